"""The ten vehicle types of CityCam as small box models, drawn in perspective."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from context_rcnn.simulation.roads import Projection

Colour = tuple[float, ...]  # red, green, blue
Point = Sequence[float] | np.ndarray  # x, y, z

_GLASS: Colour = (0.16, 0.20, 0.26)
_TYRE: Colour = (0.07, 0.07, 0.08)
_WHITE, _SILVER = (0.90, 0.90, 0.90), (0.66, 0.68, 0.70)
_PAINTS: tuple[Colour, ...] = (
    _WHITE,
    _SILVER,
    (0.62, 0.12, 0.12),
    (0.14, 0.24, 0.50),
    (0.16, 0.36, 0.24),
    (0.55, 0.50, 0.42),
)


@dataclass(frozen=True)
class VehicleType:
    """One of CityCam's types.

    Attributes:
      label: CityCam's number.
      name: CityCam's name.
      size: length, width and height in metres.
      shape: "car", "truck", "van", "bus" or "cycle".
      paints: colours it comes in.
      share: how often it is met, on all roads. Big buses keep to a timetable instead.
    """

    label: int
    name: str
    size: tuple[float, float, float]
    shape: str
    paints: tuple[Colour, ...]
    share: float


TYPES: tuple[VehicleType, ...] = (
    VehicleType(1, "taxi", (4.7, 1.9, 1.5), "car", ((0.95, 0.74, 0.10),), 0.17),
    VehicleType(2, "black_sedan", (4.8, 1.9, 1.45), "car", ((0.08, 0.08, 0.09),), 0.24),
    VehicleType(3, "other_cars", (4.5, 1.9, 1.5), "car", _PAINTS, 0.36),
    VehicleType(4, "little_truck", (5.4, 2.0, 2.1), "truck", (_WHITE, _SILVER), 0.055),
    VehicleType(5, "middle_truck", (7.2, 2.3, 2.9), "truck", (_WHITE, (0.75, 0.60, 0.35)), 0.035),
    VehicleType(6, "big_truck", (11.0, 2.5, 3.7), "truck", ((0.50, 0.56, 0.62), _WHITE), 0.018),
    VehicleType(7, "van", (5.1, 2.0, 2.1), "van", (_WHITE, _SILVER, _PAINTS[3]), 0.09),
    VehicleType(8, "middle_bus", (8.0, 2.3, 2.9), "bus", ((0.86, 0.84, 0.70), _WHITE), 0.015),
    VehicleType(9, "big_bus", (12.0, 2.6, 3.2), "bus", ((0.20, 0.38, 0.66),), 0.0),
    VehicleType(10, "other", (2.2, 0.8, 1.5), "cycle", ((0.30, 0.10, 0.10),), 0.012),
)
BIG_BUS = TYPES[8]


@dataclass(frozen=True)
class Vehicle:
    """One vehicle: what it is and how it is painted."""

    type: VehicleType
    paint: Colour


def shares_of_a_road(rng: np.random.Generator) -> np.ndarray:
    """How often each of `TYPES` is met on one road; many together come near their shares.

    One leads to a freight yard, another has no lorries at all: which of two types a dark shape is,
    the road tells better than the shape.
    """
    shares = np.array([kind.share for kind in TYPES]) * rng.gamma(0.5, 2.0, len(TYPES))
    return shares / shares.sum()


def road_fleet(rng: np.random.Generator, count: int) -> tuple[Vehicle, ...]:
    """Draws buses, trucks and vans with paints of their own, by which they are known again."""
    kinds = [kind for kind in TYPES if kind.shape in ("bus", "truck", "van")]
    hues = (np.arange(count) + rng.random()) / count
    fleet = []
    for place, hue in enumerate(rng.permutation(hues).tolist()):
        paint = colorsys.hsv_to_rgb(hue, rng.uniform(0.75, 1.0), rng.uniform(0.55, 0.95))
        fleet.append(Vehicle(kinds[place % len(kinds)], paint))
    return tuple(fleet)


def random_vehicle(
    rng: np.random.Generator, shares: np.ndarray, longest: float = math.inf
) -> Vehicle:
    """Draws a vehicle of at most that length, with these shares."""
    shares = shares * [kind.size[0] <= longest for kind in TYPES]
    kind = TYPES[int(rng.choice(len(TYPES), p=shares / shares.sum()))]
    paint = kind.paints[int(rng.integers(len(kind.paints)))]
    shade = rng.uniform(0.9, 1.1)
    return Vehicle(kind, tuple(float(min(channel * shade, 1.0)) for channel in paint))


@dataclass(frozen=True)
class _Block:
    """A box of the model: extents along, across and up, in shares of the vehicle's size."""

    along: tuple[float, float]
    across: float
    up: tuple[float, float]
    colour: Colour
    glass: tuple[float, float] | None = None  # height of the window strip within the box


def _blocks(vehicle: Vehicle) -> list[_Block]:
    paint = vehicle.paint
    if vehicle.type.shape == "car":
        blocks = [
            _Block((0.0, 1.0), 1.0, (0.16, 0.58), paint),
            _Block((0.18, 0.74), 0.86, (0.58, 1.0), paint, glass=(0.08, 0.78)),
        ]
        if vehicle.type.name == "taxi":
            blocks.append(_Block((0.42, 0.52), 0.4, (1.0, 1.13), _WHITE))
        return blocks
    if vehicle.type.shape == "truck":
        cab = tuple(0.65 * channel for channel in paint)
        return [
            _Block((0.0, 0.72), 1.0, (0.22, 1.0), paint),
            _Block((0.75, 1.0), 0.94, (0.14, 0.74), cab, glass=(0.5, 0.9)),
        ]
    if vehicle.type.shape == "van":
        return [_Block((0.0, 1.0), 1.0, (0.14, 1.0), paint, glass=(0.52, 0.86))]
    if vehicle.type.shape == "bus":
        stripe = tuple(0.6 * channel for channel in paint)
        return [
            _Block((0.0, 1.0), 1.0, (0.10, 0.34), stripe),
            _Block((0.0, 1.0), 1.0, (0.34, 1.0), paint, glass=(0.25, 0.72)),
        ]
    rider = (0.20, 0.24, 0.34)
    return [
        _Block((0.0, 1.0), 0.5, (0.10, 0.50), paint),
        _Block((0.3, 0.6), 0.9, (0.50, 1.0), rider),
    ]


# Faces of a box: corner numbers (along, across, up bits: 4, 2, 1) and brightness.
_FACES = {
    "back": ((0, 2, 3, 1), 0.80),
    "front": ((4, 6, 7, 5), 0.86),
    "left": ((0, 4, 5, 1), 0.68),
    "right": ((2, 6, 7, 3), 0.74),
    "top": ((1, 3, 7, 5), 1.08),
}


class VehiclePainter:
    """Draws vehicles into a picture and, with their number, into a map of who is seen where."""

    def __init__(
        self, projection: Projection, picture: ImageDraw.ImageDraw, owners: ImageDraw.ImageDraw
    ):
        self._projection, self._picture, self._owners = projection, picture, owners

    def draw(
        self, vehicle: Vehicle, x: float, z: float, heading: int, number: int, lights: bool
    ) -> None:
        """Draws a vehicle whose middle is at (x, z) on the ground and that drives to +z or -z."""
        length, width, height = vehicle.type.size

        def corner(along: float, across: float, up: float) -> tuple[float, float, float]:
            side = 0.5 * heading * width * across
            return x + side, up * height, z + heading * (along - 0.5) * length

        shadow = [corner(a, s, 0) for a, s in ((0, -1.15), (1, -1.15), (1, 1.15), (0, 1.15))]
        self._fill(shadow, (0.13, 0.13, 0.14), None)
        for along in (0.18, 0.82):
            self._wheels(corner, along, length, height, number)
        blocks = _blocks(vehicle)
        if vehicle.type.shape == "truck":  # draw the farther of the two boxes first
            blocks.sort(key=lambda b: -abs(z + heading * (sum(b.along) / 2 - 0.5) * length))
        for block in blocks:
            self._block(block, corner, number)
        if lights:
            self._lamps(corner, heading)

    def _wheels(self, corner, along: float, length: float, height: float, number: int) -> None:
        radius = 0.34 if height < 2.2 else 0.48
        for across in (-1.0, 1.0):
            rim = [
                corner(along + radius / length * math.cos(a), across,
                       radius * (1 + math.sin(a)) / height)
                for a in np.linspace(0, 2 * math.pi, 8, endpoint=False)
            ]  # fmt: skip
            self._fill(rim, _TYRE, number)

    def _block(self, block: _Block, corner, number: int) -> None:
        (a0, a1), s, (u0, u1) = block.along, block.across, block.up
        corners = np.array(
            [corner(a, side, u) for a in (a0, a1) for side in (-s, s) for u in (u0, u1)]
        )
        middle = sum(corners) / 8
        for name, (indices, brightness) in _FACES.items():
            face = [corners[i] for i in indices]
            centre = sum(face) / 4
            if (centre - middle) @ (self._projection.position - centre) <= 0:
                continue
            self._fill(face, tuple(brightness * c for c in block.colour), number)
            if block.glass and name != "top":
                self._fill(_strip(face, *block.glass), _GLASS, number)

    def _lamps(self, corner, heading: int) -> None:
        toward = heading < 0  # we see headlamps of what drives towards the camera
        colour: Colour = (1.0, 0.97, 0.82) if toward else (0.95, 0.12, 0.08)
        for across in (-0.7, 0.7):
            u, v = self._projection.pixel([corner(float(toward), across, 0.4)])[0]
            reach = self._projection.scale_at(corner(0.5, 0, 0)) * (0.32 if toward else 0.2)
            box = (u - reach, v - reach, u + reach, v + reach)
            self._picture.ellipse(box, fill=_bytes(colour))

    def _fill(self, points: Sequence[Point], colour: Colour, number: int | None) -> None:
        outline = [tuple(p) for p in self._projection.pixel(points)]
        self._picture.polygon(outline, fill=_bytes(colour))
        if number is not None:
            self._owners.polygon(outline, fill=number)


def _strip(face: Sequence[Point], low: float, high: float) -> list[np.ndarray]:
    """A horizontal strip of an upright face, a little in from its sides."""
    a, b, c, d = (np.asarray(p) for p in face)  # lower left, lower right, upper right, upper left

    def at(side: float, up: float) -> np.ndarray:
        return (1 - up) * ((1 - side) * a + side * b) + up * ((1 - side) * d + side * c)

    return [at(0.07, low), at(0.93, low), at(0.93, high), at(0.07, high)]


def _bytes(colour: Colour) -> tuple[int, ...]:
    return tuple(int(255 * min(max(channel, 0.0), 1.0)) for channel in colour)
