"""The road a traffic camera looks at, and how the camera sees it.

World coordinates are metres: x to the right across the road, y up, z along the road away from the
camera. The camera stands above the road at z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from context_rcnn.simulation import canvas

LANE_WIDTH = 3.5
FARTHEST = 75.0  # metres to which vehicles are simulated
SUPERSAMPLE = 2

WEATHERS = ("Sunny", "Cloudy", "Sunny & Cloudy", "Rainy")


class Projection:
    """A pinhole camera above a road; its pixels are those of the supersampled picture."""

    def __init__(
        self, image_size: tuple[int, int], *, height: float, pitch: float, yaw: float, view: float
    ):
        self.size = (SUPERSAMPLE * image_size[0], SUPERSAMPLE * image_size[1])
        self.position = np.array((0.0, height, 0.0))
        self._focal = 0.5 * self.size[0] / math.tan(math.radians(view) / 2)
        cos_p, sin_p = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
        cos_y, sin_y = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        turn = np.array(((cos_y, 0, -sin_y), (0, 1, 0), (sin_y, 0, cos_y)))
        tilt = np.array(((1, 0, 0), (0, cos_p, sin_p), (0, -sin_p, cos_p)))
        self._rotation = tilt @ turn

    def pixel(self, points: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
        """Maps world points `[n, 3]` to pixels `[n, 2]`."""
        seen = (np.asarray(points, float) - self.position) @ self._rotation.T
        depth = np.maximum(seen[:, 2], 0.5)
        u = self.size[0] / 2 + self._focal * seen[:, 0] / depth
        v = self.size[1] / 2 - self._focal * seen[:, 1] / depth
        return np.stack([u, v], axis=1)

    def scale_at(self, point: Sequence[float]) -> float:
        """Pixels a metre has at a point."""
        return self._focal / float(np.linalg.norm(np.asarray(point) - self.position))

    def sees(self, point: Sequence[float]) -> bool:
        """Whether a point of the world is within the frame."""
        u, v = self.pixel([point])[0]
        return 0 <= u < self.size[0] and 0 <= v < self.size[1]


@dataclass(frozen=True)
class Lane:
    """A lane at `x`, driven towards +z (away from the camera) or -z."""

    x: float
    heading: int


@dataclass(frozen=True)
class Road:
    """A place: the camera, the lanes, and the picture without vehicles."""

    projection: Projection
    lanes: tuple[Lane, ...]
    kerbs: tuple[float, float]  # x of the left and the right edge of the carriageway
    background: np.ndarray  # [SUPERSAMPLE * height, SUPERSAMPLE * width, 3] uint8

    def visible_stretch(self, x: float) -> tuple[float, float]:
        """The first and the last z at which the line at `x` is in the frame."""
        z = np.arange(4.0, FARTHEST, 0.5)
        seen = [s for s in z.tolist() if self.projection.sees((x, 0.7, s))]
        return (seen[0], seen[-1]) if seen else (FARTHEST, FARTHEST)

    def outline(self) -> list[tuple[int, int]]:
        """The carriageway as a polygon of frame pixels, the region that is annotated."""
        z = np.linspace(4, FARTHEST, 12)
        left = [(self.kerbs[0], 0, s) for s in z]
        right = [(self.kerbs[1], 0, s) for s in z[::-1]]
        points = self.projection.pixel(left + right) / SUPERSAMPLE
        limits = np.array(self.projection.size) // SUPERSAMPLE - 1
        clipped = np.clip(np.rint(points), 0, limits).astype(int)
        return list(dict.fromkeys((int(u), int(v)) for u, v in clipped))


def build_road(rng: np.random.Generator, image_size: tuple[int, int]) -> Road:
    """Builds a random road of four to six lanes and the camera that watches it."""
    projection = Projection(
        image_size,
        height=rng.uniform(9, 13),
        pitch=rng.uniform(19, 25),
        yaw=rng.uniform(-14, 14),
        view=rng.uniform(50, 60),
    )
    count = int(rng.integers(4, 7))
    middle = rng.uniform(-2.5, 2.5)
    edges = middle + LANE_WIDTH * (np.arange(count + 1) - count / 2)
    lanes = tuple(
        Lane(float(edges[k] + LANE_WIDTH / 2), -1 if k < count // 2 else 1) for k in range(count)
    )
    kerbs = (float(edges[0] - 2.4), float(edges[-1] + 2.4))  # room to park on both sides
    background = _draw_background(rng, projection, edges, kerbs)
    return Road(projection, lanes, kerbs, background)


def _draw_background(
    rng: np.random.Generator, projection: Projection, edges: np.ndarray,
    kerbs: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    width, height = projection.size
    image = Image.new("RGB", projection.size, (176, 196, 220))
    draw = ImageDraw.Draw(image)

    def ground(x0: float, x1: float, z0: float, z1: float, colour: tuple[int, ...]) -> None:
        corners = [(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)]
        draw.polygon([tuple(p) for p in projection.pixel(corners)], fill=colour)

    green = tuple(int(c) for c in rng.uniform((80, 100, 60), (130, 140, 95)))
    for z in range(400, 0, -20):  # in strips: what is behind the camera has no projection
        ground(-600, 600, z, z + 20, green)
    for z in range(395, 0, -5):
        ground(kerbs[0] - 3, kerbs[1] + 3, z, z + 5, (150, 147, 141))
        ground(*kerbs, z, z + 5, (84, 85, 88))
    for x in edges:
        solid = x in (edges[0], edges[-1], edges[len(edges) // 2 - (len(edges) % 2 == 0)])
        for z in range(160, 1, -1 if solid else -8):
            ground(x - 0.08, x + 0.08, z, z + (1 if solid else 3), (205, 203, 190))
    for side, kerb in ((-1, kerbs[0] - 5), (1, kerbs[1] + 5)):
        near = 170.0
        while near > 12:
            near -= rng.uniform(10, 22)
            tint = np.array((1.0, 0.93, 0.86)) + rng.normal(0, 0.04, 3)
            wall = tuple(int(c) for c in rng.uniform(95, 175) * tint)
            _building(
                draw, projection, (kerb, side * 14), (near, near + 9), rng.uniform(4, 16), wall
            )
    picture = np.asarray(image, np.float32) / 255
    grain = canvas.smooth_noise(rng, (height, width), 10, 3)
    shade = canvas.smooth_noise(rng, (height, width), 80, 2)
    return canvas.to_uint8(picture * (1 + 0.035 * grain + 0.03 * shade)[..., None])


def _building(
    draw: ImageDraw.ImageDraw, projection: Projection, across: tuple[float, float],
    along: tuple[float, float], height: float, wall: tuple[int, ...],
) -> None:  # fmt: skip
    """A box beside the road: its front, and the side that faces the road, with windows."""
    x, depth = across
    near, far = max(along[0], 3.0), max(along[1], 4.0)
    front = [(x, 0, near), (x + depth, 0, near), (x + depth, height, near), (x, height, near)]
    side = [(x, 0, near), (x, 0, far), (x, height, far), (x, height, near)]
    roof = [(x, height, near), (x, height, far), (x + depth, height, far),
            (x + depth, height, near)]  # fmt: skip
    for corners, light in ((roof, 1.1), (side, 0.95), (front, 0.75)):
        colour = tuple(min(int(light * c), 255) for c in wall)
        draw.polygon([tuple(p) for p in projection.pixel(corners)], fill=colour)
    for floor in np.arange(1.2, height - 1.5, 2.8).tolist():
        for z in np.arange(near + 1, far - 1, 2.2).tolist():
            pane = [(x, floor, z), (x, floor, z + 1), (x, floor + 1.4, z + 1), (x, floor + 1.4, z)]
            draw.polygon([tuple(p) for p in projection.pixel(pane)], fill=(60, 70, 84))


def photograph(
    picture: Image.Image, *, hour: float, weather: str, rng: np.random.Generator
) -> np.ndarray:
    """Returns the frame `[height, width, 3]` uint8: light, rain and noise added, then shrunk."""
    size = (picture.width // SUPERSAMPLE, picture.height // SUPERSAMPLE)
    image = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32) / 255
    sun = float(np.clip((math.sin(math.pi * (hour - 5.5) / 15) + 0.05) * 3, 0, 1))
    light = np.array((1.0, 0.97 + 0.03 * sun, 0.90 + 0.10 * sun))
    cloudy = {"Sunny": 0.0, "Sunny & Cloudy": 0.3, "Cloudy": 0.7, "Rainy": 1.0}[weather]
    light = light * (0.40 + 0.64 * sun) * (1 - 0.22 * cloudy)
    lit = image * light.astype(np.float32)
    if sun < 1:
        brightest = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
        shining = (1 - sun) * np.clip(brightest * 6 - 5.0, 0, 1)  # lamps, and what they light
        lit = canvas.blend(lit, image, shining)
    if cloudy:
        lit += 0.5 * cloudy * (canvas.grey(lit) - lit)
    if weather == "Rainy":
        lit = 0.86 * lit + 0.14 * (0.25 + 0.35 * sun)
        lit += _rain(rng, lit.shape[:2])[..., None]
    noise = 0.012 + 0.016 * (1 - sun)
    lit += noise * rng.standard_normal((*lit.shape[:2], 1), np.float32)
    return canvas.to_uint8(lit)


def _rain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape
    drops = height * width // 400
    y, x = rng.integers(0, height - 8, drops), rng.integers(2, width, drops)
    light = rng.uniform(0.04, 0.16, drops).astype(np.float32)
    falling = np.zeros(shape, np.float32)
    for step in range(8):
        falling[y + step, x - step // 4] = light
    return falling
