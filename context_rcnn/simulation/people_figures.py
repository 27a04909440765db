"""Draws people who walk, what they wear and carry, and what stands before them.

A `Look` is what a person wears. People of a group share all of it but one cue, which is on one side
of the body and shows only while that side does. Figures are drawn in body heights, with feet at
y = 0 and the head at y = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from context_rcnn.simulation import canvas

Colour = tuple[int, int, int]

CUES = ("bag", "hat", "logo", "stripe", "shoes")
CUE_COLOURS: tuple[Colour, ...] = (
    (206, 44, 44), (40, 92, 206), (238, 202, 46), (48, 160, 74), (240, 240, 240), (24, 24, 24),
    (226, 120, 30), (150, 60, 170),
)  # fmt: skip
_SKIN: tuple[Colour, ...] = ((236, 196, 168), (198, 146, 108), (128, 84, 58), (86, 56, 40))
_HAIR: tuple[Colour, ...] = ((36, 28, 24), (92, 62, 38), (168, 132, 78), (120, 120, 120))

PERSON, OCCLUDER = 1, 2  # values of a mask; 0 is background


@dataclass(frozen=True)
class Look:
    """What a person looks like.

    Attributes:
      group: number of those who look alike.
      shirt, trousers, skin, hair: colours.
      width: breadth of the shoulders, in body heights.
      cue: what tells the person from others of the group, one of `CUES`.
      cue_colour: its colour.
      cue_side: direction in which it is seen best, in radians; 0 is the front.
    """

    group: int
    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    width: float
    cue: str
    cue_colour: Colour
    cue_side: float


def draw_group(rng: np.random.Generator, number: int, size: int) -> list[Look]:
    """People who share all but a cue."""

    def colour() -> Colour:
        base = rng.uniform(30, 225, 3)
        return int(base[0]), int(base[1]), int(base[2])

    shared = Look(
        number,
        colour(),
        colour(),
        _SKIN[rng.integers(len(_SKIN))],
        _HAIR[rng.integers(len(_HAIR))],
        float(rng.uniform(0.20, 0.27)),
        "",
        (0, 0, 0),
        0.0,
    )
    kinds = [(cue, colour) for cue in CUES for colour in CUE_COLOURS]
    chosen = rng.choice(len(kinds), size, replace=False)
    return [
        replace(
            shared,
            cue=kinds[i][0],
            cue_colour=kinds[i][1],
            cue_side=float(rng.choice((0.0, 0.5, 1.0, 1.5)) * math.pi),
        )
        for i in chosen
    ]


@dataclass(frozen=True)
class Box:
    """Where a body stands in a picture, in pixels: its feet and its height."""

    x: float
    y: float
    height: float


class Sketch:
    """A picture that is drawn at twice its size, with a mask of who is where."""

    def __init__(self, background: Image.Image):
        self.image = background
        self.mask = Image.new("L", background.size)
        self._draws = ImageDraw.Draw(self.image), ImageDraw.Draw(self.mask)

    def _pens(self, colour: Colour, label: int) -> list[tuple[ImageDraw.ImageDraw, Colour | int]]:
        return [(self._draws[0], colour), (self._draws[1], label)]

    def person(self, look: Look, box: Box, facing: float, phase: float, label: int) -> None:
        """Draws somebody.

        Args:
          look: what the person looks like.
          box: where the person stands.
          facing: direction that the camera sees, in radians; 0 is the front.
          phase: phase of the stride, in radians.
          label: value in the mask.
        """
        body = _Body(self, look, box, facing, label)
        body.draw(phase)

    def shape(self, kind: str, points, colour: Colour, label: int) -> None:
        """Draws a polygon or an ellipse into the picture and the mask."""
        for draw, fill in self._pens(colour, label):
            if kind == "polygon":
                draw.polygon(points, fill=fill)
            else:
                draw.ellipse(points, fill=fill)

    def limb(self, start, end, width: float, colour: Colour, label: int) -> None:
        """Draws a thick line with round ends."""
        for draw, fill in self._pens(colour, label):
            draw.line([start, end], fill=fill, width=max(1, round(width)))
            for x, y in (start, end):
                r = width / 2
                draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    def pillar(self, x: float, width: float, colour: Colour) -> None:
        """Draws a post over the whole height."""
        height = self.image.height
        corners = [(x, 0), (x + width, 0), (x + width, height), (x, height)]
        self.shape("polygon", corners, colour, OCCLUDER)

    def bush(self, rng: np.random.Generator, x: float, top: float, width: float) -> None:
        """Draws leaves from `top` down."""
        for _ in range(26):
            cx = x + rng.uniform(0, width)
            cy = top + abs(rng.normal(0, 0.5)) * (self.image.height - top)
            r = rng.uniform(0.08, 0.18) * width
            green = int(rng.integers(70, 140))
            colour = (green // 2, green, green // 3)
            self.shape("ellipse", [cx - r, cy - r, cx + r, cy + r], colour, OCCLUDER)


class _Body:
    """One person in a sketch; points are in body heights from the feet."""

    def __init__(self, sketch: Sketch, look: Look, box: Box, facing: float, label: int):
        self._sketch, self._look, self._box, self._label = sketch, look, box, label
        # A body seen from the side is narrower.
        self._width = look.width * (0.68 + 0.32 * abs(math.cos(facing)))
        self._forward = math.sin(facing)
        self._back = math.cos(facing) < 0
        self._seen = math.cos(facing - look.cue_side)  # of the cue's side

    def _at(self, x: float, y: float) -> tuple[float, float]:
        box = self._box
        return box.x + x * box.height, box.y - y * box.height

    def _limb(self, a, b, width: float, colour: Colour) -> None:
        ends = self._at(*a), self._at(*b)
        self._sketch.limb(*ends, width * self._box.height, colour, self._label)

    def _oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        corners = [*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)]
        self._sketch.shape("ellipse", corners, colour, self._label)

    def _patch(self, points, colour: Colour) -> None:
        corners = [self._at(*point) for point in points]
        self._sketch.shape("polygon", corners, colour, self._label)

    def draw(self, phase: float) -> None:
        look, half = self._look, self._width / 2
        cue = look.cue if self._seen > 0.15 else ""
        swing = 0.09 * math.sin(phase) * (0.35 + 0.65 * abs(self._forward))
        shoes = look.cue_colour if cue == "shoes" else (40, 36, 34)
        for side, step in ((-1, swing), (1, -swing)):
            foot = (side * half * 0.45 + step, 0.02)
            self._limb((side * half * 0.45, 0.47), foot, 0.085, look.trousers)
            if cue == "stripe":
                self._limb((side * half * 0.45, 0.45), foot, 0.026, look.cue_colour)
            self._oval(foot[0] + 0.02 * self._forward, 0.02, 0.045, 0.024, shoes)
        self._patch(
            [(-half, 0.80), (half, 0.80), (0.85 * half, 0.44), (-0.85 * half, 0.44)], look.shirt
        )
        for side, step in ((-1, -swing), (1, swing)):
            hand = (side * half * 1.05 + step, 0.45)
            self._limb((side * half * 0.95, 0.78), hand, 0.06, look.shirt)
            self._oval(*hand, 0.026, 0.026, look.skin)
        self._oval(0.012 * self._forward, 0.90, 0.058, 0.075, look.skin)
        hair = (0.925, 0.07) if self._back else (0.955, 0.04)
        self._oval(0.0, hair[0], 0.058, hair[1], look.hair)
        if cue == "hat":
            self._oval(0.0, 0.965, 0.085, 0.018, look.cue_colour)
            self._oval(0.0, 0.985, 0.055, 0.035, look.cue_colour)
        elif cue == "logo":
            self._oval(0.0, 0.68, 0.055, 0.055, look.cue_colour)
        elif cue == "bag":
            self._patch(
                [(-0.02, 0.80), (0.03, 0.80), (half, 0.52), (0.8 * half, 0.5)], (50, 40, 30)
            )
            self._oval(0.9 * half, 0.48, 0.075, 0.065, look.cue_colour)


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A wall and a floor, wider than a picture: uint8 [height, width, 3] of a camera."""
    width, height = size
    image = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.35, 0.6))
    image[:horizon], image[horizon:] = rng.uniform(0.25, 0.8, 3), rng.uniform(0.25, 0.7, 3)
    for _ in range(int(rng.integers(6, 12))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, horizon))
        w, h = int(rng.integers(10, width // 4)), int(rng.integers(10, horizon + 10))
        image[y : min(y + h, horizon), x : x + w] = rng.uniform(0.1, 0.9, 3)
    image += 0.05 * canvas.smooth_noise(rng, (height, width), 24)[..., None]
    return canvas.to_uint8(np.clip(image, 0, 1))
