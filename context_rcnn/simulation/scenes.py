"""The place a camera looks at, as drawn once, and as the camera sees it.

A scene is drawn without light and is larger than the frame, so that a camera that was bumped sees a
little past its old edge. A `View` is the scene through the camera as it hangs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

_Row = TypeVar("_Row", float, np.ndarray)

NEAREST_LENGTH = 0.44  # length of a zebra at the bottom edge, in frame widths


@dataclass(frozen=True)
class Perspective:
    """Flat ground seen at a slant: how large things look, by the row on which they stand."""

    horizon: float  # row where the ground ends
    bottom: float  # row of the frame's lower edge
    width: int  # of the frame

    def nearness(self, row: _Row) -> _Row:
        """0 at the horizon, 1 at the bottom of the frame; sizes are proportional to it."""
        return (row - self.horizon) / (self.bottom - self.horizon)

    def row(self, nearness: float) -> float:
        """The row of a nearness."""
        return self.horizon + nearness * (self.bottom - self.horizon)

    def length_at(self, row: float, size: float) -> float:
        """Length in pixels of an animal of relative `size` that stands at `row`."""
        return NEAREST_LENGTH * self.width * size * self.nearness(row)

    def row_for(self, length: float, size: float) -> float:
        """Row at which an animal of relative `size` is `length` pixels long."""
        return self.row(length / (NEAREST_LENGTH * self.width * size))


@dataclass(frozen=True)
class Prop:
    """Something that stands on the ground and hides what walks behind it."""

    alpha: np.ndarray  # [height, width] of the scene, uint8
    foot: float  # row at which it touches the ground


@dataclass(frozen=True)
class Distractor:
    """A stump or rock that looks like an animal and never moves."""

    species: str
    mask: np.ndarray  # [height, width] of the scene, uint8


@dataclass(frozen=True)
class Scene:
    """Everything that stays where it is, in scene coordinates (the frame plus its margin)."""

    albedo: np.ndarray  # [height, width, 3] uint8: colours without light
    sky: np.ndarray  # [height, width] uint8, 255 where the sky is
    sway: np.ndarray  # [height, width] uint8, how much the wind moves the plants
    perspective: Perspective
    margin: int
    props: tuple[Prop, ...]
    distractors: tuple[Distractor, ...]
    snowy: bool

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the frame."""
        height, width = self.sky.shape
        return width - 2 * self.margin, height - 2 * self.margin


@dataclass(frozen=True)
class Mount:
    """How a camera hangs: turned by `angle` degrees and moved by `dx`, `dy` pixels."""

    angle: float = 0.0
    dx: float = 0.0
    dy: float = 0.0


class Sight(Protocol):
    """What a frame shows of a place, without animals; all layers are `[height, width, ...]`."""

    albedo: np.ndarray
    sky: np.ndarray
    nearness: np.ndarray  # [height, 1] of the ground at each row; 0 at the horizon and beyond

    def occlusion(self, row: float) -> np.ndarray | None:
        """Opacity `[height, width]` of all that stands in front of scene row `row`."""


class View:
    """A scene as the frame shows it under one mount."""

    def __init__(self, scene: Scene, mount: Mount):
        self.width, self.height = scene.frame_size
        self._coefficients = _to_scene(scene, mount)
        self.albedo = self._look(scene.albedo)
        self.sky = self._look(scene.sky)
        self._sway = self._look(scene.sway)[..., None]
        # What stands nearer than a row hides it: opacities added up from the nearest prop on.
        self._fronts: list[tuple[float, np.ndarray]] = []
        front = np.zeros_like(self.sky)
        for prop in sorted(scene.props, key=lambda p: -p.foot):
            front = np.maximum(front, self._look(prop.alpha))
            self._fronts.append((prop.foot, front))
        # Masks, in the order of the scene.
        self.distractors = [self._look(d.mask) > 0.5 for d in scene.distractors]
        rows = np.arange(self.height, dtype=np.float32) + scene.margin
        self.nearness = np.clip(scene.perspective.nearness(rows), 0, 1)[:, None]
        self._swung: dict[int, np.ndarray] = {}

    def _look(self, layer: np.ndarray) -> np.ndarray:
        seen = Image.fromarray(layer).transform(
            (self.width, self.height),
            Image.Transform.AFFINE,
            self._coefficients,
            Image.Resampling.BILINEAR,
        )
        return np.asarray(seen, np.float32) / 255

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Maps a point of the scene to the frame."""
        a, b, c, d, e, f = self._coefficients
        u, v = x - c, y - f
        determinant = a * e - b * d
        return (e * u - b * v) / determinant, (a * v - d * u) / determinant

    def occlusion(self, row: float) -> np.ndarray | None:
        """Opacity `[height, width]` of all that stands in front of scene row `row`."""
        hiding = None
        for foot, front in self._fronts:
            if foot <= row:
                break
            hiding = front
        return hiding

    def swaying(self, pixels: int) -> np.ndarray:
        """The background with its plants bent by `pixels`."""
        if pixels not in self._swung:
            bent = np.roll(self.albedo, pixels, axis=1) * (1 + 0.04 * pixels)
            self._swung[pixels] = self.albedo + self._sway * (bent - self.albedo)
        return self._swung[pixels]


def _to_scene(scene: Scene, mount: Mount) -> tuple[float, float, float, float, float, float]:
    """Affine coefficients that map frame pixels to scene pixels."""
    width, height = scene.frame_size
    cos, sin = math.cos(math.radians(mount.angle)), math.sin(math.radians(mount.angle))
    cx, cy = width / 2, height / 2
    shift_x = scene.margin + mount.dx + cx - cos * cx + sin * cy
    shift_y = scene.margin + mount.dy + cy - sin * cx - cos * cy
    return cos, -sin, shift_x, sin, cos, shift_y
