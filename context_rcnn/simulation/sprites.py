"""Draws one animal: silhouette, coat and shading, as an image with transparency.

Bodies are drawn large with Pillow, once per species and pose, and shrunk for use. Area-averaging on
the way down is what hides the coat of a small animal, as it does in a real lens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from context_rcnn.simulation import canvas
from context_rcnn.simulation.species import BY_NAME, Build

POSES = 8  # four phases of the stride, head up or down
HEAD_ON_WIDTH = 0.36  # of an animal that faces the camera, in lengths
CONTRAST_STEPS = 8  # coats are cached at this many strengths

_TRUNK = 88  # pixels of a trunk length while drawing
_LIGHT_FROM_ABOVE = 0.22


@dataclass(frozen=True)
class Sprite:
    """One animal facing right: colours `[h, w, 3]` and opacity `[h, w]`, feet on the last row."""

    rgb: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class _Parts:
    """Masks of a drawn body, 0..1."""

    body: np.ndarray
    far_legs: np.ndarray
    torso: np.ndarray  # the part that wears the coat
    accents: np.ndarray  # hooves, muzzle, horns, mane


class _Pen:
    """Draws in trunk lengths, x to the right of the trunk's centre and y up from the ground."""

    def __init__(self, width: float, height: float):
        size = (round(2 * width * _TRUNK), round(height * _TRUNK) + 3)
        self._origin = (width * _TRUNK, size[1] - 2)
        self.layers = {name: Image.new("L", size) for name in _Parts.__dataclass_fields__}
        self._draws = {name: ImageDraw.Draw(layer) for name, layer in self.layers.items()}

    def _pixel(self, point: tuple[float, float]) -> tuple[float, float]:
        return self._origin[0] + point[0] * _TRUNK, self._origin[1] - point[1] * _TRUNK

    def ellipse(self, layers: str, x: float, y: float, rx: float, ry: float) -> None:
        corners = [self._pixel((x - rx, y + ry)), self._pixel((x + rx, y - ry))]
        for layer in layers.split():
            self._draws[layer].ellipse(corners, fill=255)

    def limb(self, layers: str, points: list[tuple[float, float]], widths: list[float]) -> None:
        """A limb through `points`, its thickness going linearly between `widths`."""
        for (a, b), (wa, wb) in zip(
            zip(points, points[1:], strict=False),
            zip(widths, widths[1:], strict=False),
            strict=True,
        ):
            steps = max(int(math.dist(a, b) * 24), 1)
            for k in range(steps + 1):
                t = k / steps
                radius = (wa + t * (wb - wa)) / 2
                x, y = a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])
                self.ellipse(layers, x, y, radius, radius)


def _along(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    radians = math.radians(angle)
    return start[0] + length * math.cos(radians), start[1] + length * math.sin(radians)


def _draw_legs(pen: _Pen, build: Build, phase: int) -> None:
    hip = build.legs + 0.35 * build.depth
    stride = 0.16 * math.sin(phase * math.pi / 2 + 0.6)
    for x, side in ((-0.36, 1), (0.34, -1)):
        for layers, swing in (("far_legs", -side * stride), ("body", side * stride)):
            knee = (x + 0.4 * swing + 0.03, build.legs * 0.5)
            foot = (x + swing, 0.02)
            width = build.leg_width
            pen.limb(layers, [(x, hip), knee, foot], [1.9 * width, width, 0.8 * width])
            pen.ellipse("accents", foot[0] + 0.01, 0.02, 0.5 * width, 0.03)


def _draw_head(pen: _Pen, build: Build, grazing: bool) -> None:
    shoulder = (0.38, build.legs + 0.62 * build.depth)
    angle = build.neck_angle - (70 if grazing else 0)
    nape = _along(shoulder, angle, build.neck)
    pen.limb("body", [shoulder, nape], [1.5 * build.neck_width, build.neck_width])
    if build.mane:
        crest = [_along(p, angle + 90, 0.45 * build.neck_width) for p in (shoulder, nape)]
        pen.limb("body accents", crest, [0.07, 0.07])
    down = -55 if grazing else -25
    muzzle = _along(nape, down, build.head)
    thickness = 0.62 * build.head
    pen.limb("body", [nape, muzzle], [thickness, 0.5 * thickness])
    pen.ellipse("accents", *_along(muzzle, down, 0.02), 0.2 * thickness, 0.2 * thickness)
    pen.ellipse("accents", *_along(nape, down + 35, 0.35 * build.head), 0.025, 0.025)
    crown = _along(nape, 100, 0.35 * thickness)
    if build.ears:
        for tilt in (75, 115):
            pen.limb("body", [crown, _along(crown, tilt, build.ears)], [0.08, 0.03])
    if build.horns:
        for tilt in (65, 120):
            tip = _along(crown, tilt, build.horns)
            middle = _along(crown, tilt - 12, 0.55 * build.horns)
            pen.limb("body accents", [crown, middle, tip], [0.05, 0.045, 0.03])
            if build.horns > 0.2:
                pen.limb("body accents", [middle, _along(middle, tilt - 50, 0.15)], [0.04, 0.03])


@functools.cache
def _draw_parts(build: Build, pose: int) -> _Parts:
    phase, grazing = pose % 4, pose >= 4
    reach = 0.62 + max(build.neck + build.head, build.tail) + build.ears
    height = build.legs + build.depth + build.neck + build.head + build.horns + build.ears
    pen = _Pen(reach, height)
    _draw_legs(pen, build, phase)
    middle = build.legs + build.depth / 2
    pen.ellipse("body torso", 0.0, middle, 0.50, 0.47 * build.depth)
    pen.ellipse("body torso", -0.30, middle + 0.02, 0.22, 0.50 * build.depth)
    pen.ellipse("body torso", 0.29, middle, 0.21, 0.52 * build.depth)
    _draw_head(pen, build, grazing)
    if build.tail:
        root = (-0.48, build.legs + 0.72 * build.depth)
        bend = _along(root, 180 - build.tail_angle, 0.5 * build.tail)
        tip = _along(bend, 180 - 1.3 * build.tail_angle, 0.5 * build.tail)
        pen.limb("body", [root, bend, tip], [0.08, 0.05, 0.06])
    planes = {name: np.asarray(image, np.float32) / 255 for name, image in pen.layers.items()}
    x, y, w, h = canvas.filled_box((planes["body"] + planes["far_legs"]) > 0)
    return _Parts(**{name: plane[y : y + h, x : x + w] for name, plane in planes.items()})


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / _TRUNK
    return columns, rows


def _stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.tanh(3 * np.sin(2 * np.pi * (6.0 * x + 0.25 * np.sin(7 * y) + 0.5 * y)))


def _cells(x: np.ndarray, y: np.ndarray, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest and second nearest point of a jittered grid, in pitches."""
    columns, rows = np.meshgrid(np.arange(-1, 24), np.arange(-1, 24))
    jitter = canvas.generator(7, round(100 * pitch)).uniform(-0.28, 0.28, (2, *columns.shape))
    points_x = (columns + 0.5 * (rows % 2) + jitter[0]).ravel() * pitch
    points_y = (rows * 0.87 + jitter[1]).ravel() * pitch
    inside = (points_x < x.max() + pitch) & (points_y < y.max() + pitch)
    squared = (x[..., None] - points_x[inside]) ** 2 + (y[..., None] - points_y[inside]) ** 2
    nearest = np.sqrt(np.partition(squared, 1, axis=-1)[..., :2]) / pitch
    return nearest[..., 0], nearest[..., 1]


def _spots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip((0.36 - _cells(x, y, 0.16)[0]) * 9, 0, 1)


def _rosettes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip((0.40 - _cells(x, y, 0.14)[0]) * 9, 0, 1)


def _patches(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    first, second = _cells(x, y, 0.26)
    return np.clip((second - first) * 6 - 0.4, 0, 1)


def _collar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    shoulder = np.quantile(x, 0.66) - 0.15 * (y - y.mean())
    return np.clip(1.6 - np.abs(x - shoulder) / 0.08, 0, 1)


def _rump(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip((np.quantile(x, 0.45) - x) * 12 + 0.5, 0, 1)


def _saddle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip(2.0 - np.abs(x - np.quantile(x, 0.5)) / 0.12, 0, 1)


def _plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros_like(x)


COATS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": _plain,
    "stripes": _stripes,
    "spots": _spots,
    "rosettes": _rosettes,
    "patches": _patches,
    "collar": _collar,
    "rump": _rump,
    "saddle": _saddle,
}


def _coat(name: str, torso: np.ndarray) -> np.ndarray:
    """The pattern on the torso, of mean zero so that only its detail tells look-alikes apart."""
    pattern = COATS[name](*_grid(torso.shape)) * torso
    return (pattern - pattern.sum() / torso.sum()) * torso


@functools.cache
def _drawn(species: str, pose: int, contrast_step: int) -> Image.Image:
    """The large RGBA drawing of an animal."""
    look = BY_NAME[species]
    parts = _draw_parts(look.build, pose)
    contrast = contrast_step / CONTRAST_STEPS
    coat = contrast * _coat(look.coat, parts.torso)
    rgb = np.asarray(look.colour, np.float32) + coat[..., None] * np.asarray(look.coat_colour)
    height = np.linspace(1, -1, parts.body.shape[0])[:, None, None]
    rgb = rgb * (1 + _LIGHT_FROM_ABOVE * height)
    rgb = canvas.blend(rgb, 0.25 * rgb, 0.8 * parts.accents)
    rgb = np.where(parts.body[..., None] > 0, rgb, 0.6 * rgb)
    alpha = np.maximum(parts.body, parts.far_legs)
    return Image.fromarray(canvas.to_uint8(np.dstack([rgb, alpha])), "RGBA")


@functools.cache
def _drawn_head_on(colour: tuple[float, ...], pose: int) -> Image.Image:
    """The large RGBA drawing of an animal that faces the camera: a body of any species."""
    pen = _Pen(0.30, 0.90)
    lift = 0.03 * (pose % 4 % 3)
    for x, up in ((-0.14, lift), (0.14, 0.03 - lift)):
        pen.limb("body", [(x, 0.4), (x, 0.05 + up)], [0.13, 0.10])
        pen.ellipse("accents", x, 0.04 + up, 0.06, 0.03)
    pen.ellipse("body torso", 0.0, 0.50, 0.26, 0.25)
    pen.ellipse("body", 0.0, 0.70, 0.14, 0.16)
    pen.ellipse("accents", 0.0, 0.61, 0.06, 0.05)
    planes = {name: np.asarray(image, np.float32) / 255 for name, image in pen.layers.items()}
    rgb = np.broadcast_to(np.asarray(colour, np.float32), (*planes["body"].shape, 3))
    rgb = canvas.blend(rgb, 0.25 * rgb, 0.8 * planes["accents"])
    x, y, w, h = canvas.filled_box(planes["body"] > 0)
    rgba = np.dstack([rgb, planes["body"]])[y : y + h, x : x + w]
    return Image.fromarray(canvas.to_uint8(rgba), "RGBA")


def animal_sprite(
    species: str, length: float, *, pose: int = 0, contrast: float = 1.0, head_on: bool = False
) -> Sprite:
    """Returns an animal `length` pixels long from muzzle to tail.

    Args:
      species: a name of the catalogue.
      length: width of the picture in pixels, if the animal is seen from the side.
      pose: 0..POSES-1.
      contrast: how much of the coat's pattern shows, 0..1.
      head_on: whether it faces the camera, where species of one colour look alike.
    """
    if head_on:
        drawing = _drawn_head_on(BY_NAME[species].colour, pose)
        length = HEAD_ON_WIDTH * length
    else:
        drawing = _drawn(species, pose, round(contrast * CONTRAST_STEPS))
    width = max(round(length), 3)
    height = max(round(length * drawing.height / drawing.width), 3)
    small = np.asarray(drawing.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    return Sprite(small[..., :3], small[..., 3])
