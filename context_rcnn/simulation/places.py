"""Paints the places of camera traps: ground, sky, trees, rocks, and what fools a detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from context_rcnn.simulation import canvas
from context_rcnn.simulation.scenes import Distractor, Perspective, Prop, Scene
from context_rcnn.simulation.species import BY_NAME
from context_rcnn.simulation.sprites import animal_sprite

MARGIN = 0.10  # how much larger than the frame a scene is, in frame widths on every side

_SUPERSAMPLE = 3
_TUFTS = 45


@dataclass(frozen=True)
class Biome:
    """Colours and plants of a landscape."""

    ground: tuple[float, float, float]
    grass: tuple[float, float, float]
    leaves: tuple[float, float, float]
    hills: tuple[float, float, float]
    trees: int
    bushes: int
    rocks: int
    snow: bool = False


BIOMES: tuple[Biome, ...] = (
    Biome((0.62, 0.54, 0.34), (0.70, 0.62, 0.36), (0.36, 0.42, 0.20), (0.52, 0.55, 0.50), 3, 6, 3),
    Biome((0.36, 0.38, 0.20), (0.34, 0.46, 0.20), (0.17, 0.31, 0.13), (0.25, 0.36, 0.27), 8, 6, 2),
    Biome((0.58, 0.48, 0.38), (0.52, 0.50, 0.30), (0.40, 0.43, 0.28), (0.58, 0.46, 0.40), 2, 5, 6),
    Biome((0.42, 0.48, 0.28), (0.42, 0.54, 0.26), (0.22, 0.38, 0.18), (0.40, 0.50, 0.46), 5, 5, 3),
    Biome((0.78, 0.79, 0.82), (0.60, 0.58, 0.50), (0.22, 0.30, 0.24), (0.55, 0.60, 0.66), 7, 3, 3,
          snow=True),
)  # fmt: skip


class _Painter:
    """Paints a scene from far to near."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], biome: Biome, margin: int):
        self.rng = rng
        self.biome = biome
        self.margin = margin
        self.width, self.height = (side + 2 * self.margin for side in size)
        self.unit = size[0] / 160
        self.horizon = self.margin + rng.uniform(0.20, 0.36) * size[1]
        self.perspective = Perspective(self.horizon, self.margin + size[1], size[0])
        self.albedo: np.ndarray = np.zeros((self.height, self.width, 3), np.float32)
        self.sky = np.zeros((self.height, self.width), np.float32)
        self.sway = np.zeros((self.height, self.width), np.float32)

    def _noise(self, cell: float, octaves: int = 3) -> np.ndarray:
        return canvas.smooth_noise(self.rng, (self.height, self.width), cell * self.unit, octaves)

    def background(self) -> None:
        rows = np.arange(self.height, dtype=np.float32)[:, None]
        columns = np.arange(self.width)
        far = canvas.smooth_noise(self.rng, (4, self.width), 40 * self.unit)[0]
        ridge = self.horizon - self.unit * np.clip(5 + 4 * far, 0, 14)
        edge = self.horizon + 1.5 * self.unit * np.sin(columns / (30 * self.unit))
        self.sky = (rows < ridge[None]).astype(np.float32)
        ground = rows >= edge[None]

        height = np.clip(rows / self.horizon, 0, 1)[..., None]
        sky = np.array((0.52, 0.66, 0.86)) + height * np.array((0.26, 0.18, 0.06))
        sky = sky + np.clip(0.10 * self._noise(24), 0, 0.25)[..., None]
        hills = np.array(self.biome.hills) * (1 + 0.10 * self._noise(6))[..., None]
        patches = np.clip(0.5 + 0.6 * self._noise(30), 0, 1)[..., None]
        soil = np.array(self.biome.ground) * (1 - patches) + np.array(self.biome.grass) * patches
        grain = 0.07 * self._noise(3, 2) + 0.05 * self._noise(12)
        soil = soil * (1 + grain)[..., None]
        self.albedo = np.where(ground[..., None], soil, hills)
        self.albedo = np.where(self.sky[..., None] > 0, sky, self.albedo).astype(np.float32)

    def path(self) -> None:
        """A trodden trail across the ground, a little brighter than the rest."""
        t = np.linspace(0, 1, self.width)
        depth = self.height - self.horizon
        start, end, bend = self.rng.uniform(0.3, 0.8, 3)
        centre = self.horizon + depth * ((1 - t) * start + t * end + (bend - 0.5) * t * (1 - t))
        half = 0.05 * (centre - self.horizon) + 1
        rows = np.arange(self.height)[:, None]
        trodden = np.clip(1.5 - np.abs(rows - centre) / half, 0, 1) * (rows > self.horizon + 2)
        colour = np.array(self.biome.ground) * 1.12
        self.albedo = canvas.blend(self.albedo, colour, 0.55 * trodden.astype(np.float32))

    def tuft(self, x: float, foot: float) -> None:
        scale = self.scale(foot)
        image, draw = self._sheet()
        for _ in range(int(self.rng.integers(5, 10))):
            dx, lean = self.rng.normal(0, 3.0 * scale), self.rng.normal(0, 2.0 * scale)
            top = foot - scale * self.rng.uniform(4, 9)
            line = [(x + dx, foot), (x + dx + lean, top)]
            draw.line([(_SUPERSAMPLE * a, _SUPERSAMPLE * b) for a, b in line], fill=255, width=2)
        alpha = self._shrink(image)
        shade = self.rng.uniform(0.75, 1.1)
        self._lay(np.array(self.biome.grass) * shade, alpha)
        self.sway = np.maximum(self.sway, alpha)

    def scale(self, foot: float) -> float:
        """How large things are at a row: 1 at the bottom of the frame, in units of the frame."""
        return self.unit * max(self.perspective.nearness(foot), 0.12)

    def tree(self, x: float, foot: float) -> Prop:
        scale = 1.5 * self.scale(foot) * self.rng.uniform(0.8, 1.2)
        trunk, draw = self._sheet()
        lean = self.rng.normal(0, 3) * scale
        half, top = self.rng.uniform(2.5, 4.5) * scale, foot - 62 * scale
        outline = [(x - half, foot), (x + half, foot), (x + lean + 0.5 * half, top),
                   (x + lean - 0.5 * half, top)]  # fmt: skip
        draw.polygon([(_SUPERSAMPLE * a, _SUPERSAMPLE * b) for a, b in outline], fill=255)
        bark = self._shrink(trunk)
        self._lay(np.array((0.30, 0.24, 0.19)) * self._texture(2.5, 0.22), bark)
        leaves = self._foliage(x + lean, top + 8 * scale, 22 * scale, 14 * scale, 16)
        return Prop(_bytes(np.maximum(bark, leaves)), foot)

    def bush(self, x: float, foot: float) -> Prop:
        scale = self.scale(foot) * self.rng.uniform(0.8, 1.3)
        return Prop(_bytes(self._foliage(x, foot - 6 * scale, 12 * scale, 6 * scale, 9)), foot)

    def thicket(self, x: float) -> Prop:
        """A tall bush close to the camera, in front of everything."""
        foot = self.perspective.row(1.15)
        scale = self.scale(foot) * self.rng.uniform(0.9, 1.3)
        alpha = self._foliage(x, foot - 26 * scale, 13 * scale, 30 * scale, 30)
        return Prop(_bytes(alpha), foot)

    def rock(self, x: float, foot: float) -> Prop:
        scale = self.scale(foot) * self.rng.uniform(0.7, 1.5)
        image, draw = self._sheet()
        angles = np.linspace(0, 2 * np.pi, 11)[:-1]
        radius = self.rng.uniform(0.75, 1.15, angles.size)
        points = [
            (x + 11 * scale * r * math.cos(a), foot - 6 * scale + 7 * scale * r * math.sin(a))
            for a, r in zip(angles, radius, strict=True)
        ]
        draw.polygon([(_SUPERSAMPLE * a, _SUPERSAMPLE * b) for a, b in points], fill=255)
        alpha = self._shrink(image)
        rows = np.arange(self.height)[:, None, None]
        shade = np.clip(1.1 - 0.035 * (rows - (foot - 13 * scale)) / scale, 0.55, 1.2)
        grey = np.array((0.52, 0.50, 0.47)) * self.rng.uniform(0.75, 1.1)
        self._lay(grey * shade * self._texture(4, 0.14), alpha)
        return Prop(_bytes(alpha), foot)

    def distractor(self, species: str, x: float, length: float) -> tuple[Prop, Distractor]:
        """A still thing with the shape and the coat of an animal, drawn as animals are drawn."""
        foot = self.perspective.row_for(length, BY_NAME[species].size)
        foot = min(foot, self.perspective.bottom - 3.0)
        pose = int(self.rng.integers(8))
        sprite = animal_sprite(species, length, pose=pose)
        flip = -1 if self.rng.random() < 0.5 else 1
        rgb, alpha = sprite.rgb[:, ::flip], sprite.alpha[:, ::flip]
        left, top = round(x - length / 2), round(foot) - alpha.shape[0]
        layer = np.zeros((self.height, self.width), np.float32)
        window = canvas.visible_window(left, top, alpha.shape, layer.shape)
        if window is None:
            raise ValueError(f"a {species} at column {x:.0f} stands outside of the picture")
        rows, columns, inner_rows, inner_columns = window
        layer[rows, columns] = alpha[inner_rows, inner_columns]
        colours = np.zeros_like(self.albedo)
        colours[rows, columns] = rgb[inner_rows, inner_columns]
        self._lay(colours, layer)
        self.sway *= 1 - layer
        return Prop(_bytes(layer), foot), Distractor(species, _bytes(layer))

    def _foliage(self, x: float, y: float, rx: float, ry: float, blobs: int) -> np.ndarray:
        image, draw = self._sheet()
        for _ in range(blobs):
            a, r = self.rng.uniform(0, 2 * np.pi), math.sqrt(self.rng.random())
            bx, by = x + 0.7 * rx * r * math.cos(a), y + 0.7 * ry * r * math.sin(a)
            w, h = self.rng.uniform(0.25, 0.5) * rx, self.rng.uniform(0.3, 0.55) * ry
            box = [bx - w, by - h, bx + w, by + h]
            draw.ellipse([_SUPERSAMPLE * side for side in box], fill=255)
        texture = self._texture(3, 0.24)
        holes = np.clip(1.6 - 0.9 * np.abs(texture - 1) / 0.24, 0, 1)
        alpha = self._shrink(image) * holes[..., 0]
        top_light = np.clip(1 - 0.25 * (np.arange(self.height) - y) / max(ry, 1), 0.6, 1.3)
        self._lay(np.array(self.biome.leaves) * texture * top_light[:, None, None], alpha)
        if self.biome.snow:
            snow = np.clip(0.9 * (top_light - 1.1) / 0.2, 0, 1)[:, None].astype(np.float32)
            self._lay(np.array((0.86, 0.87, 0.9)), alpha * snow)
        self.sway = np.maximum(self.sway, 0.8 * alpha)
        return alpha

    def _texture(self, cell: float, strength: float) -> np.ndarray:
        return (1 + strength * self._noise(cell, 2))[..., None]

    def _sheet(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        image = Image.new("L", (_SUPERSAMPLE * self.width, _SUPERSAMPLE * self.height))
        return image, ImageDraw.Draw(image)

    def _shrink(self, image: Image.Image) -> np.ndarray:
        small = image.resize((self.width, self.height), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255

    def _lay(self, colour: np.ndarray, alpha: np.ndarray) -> None:
        self.albedo = canvas.blend(self.albedo, colour.astype(np.float32), alpha)
        self.sky = self.sky * (1 - alpha)


def _bytes(plane: np.ndarray) -> np.ndarray:
    return canvas.to_uint8(np.asarray(plane, np.float32))


def build_scene(
    rng: np.random.Generator,
    frame_size: tuple[int, int],
    distractors: tuple[str, ...] = (),
    *,
    margin: int = 0,
    thickets: int = 0,
) -> Scene:
    """Builds a random place.

    Args:
      rng: source of randomness.
      frame_size: width and height of the frames that will show it.
      distractors: species that still things of this place look like.
      margin: pixels at least by which the place is larger than the frame, on every side.
      thickets: number of bushes close to the camera.
    """
    biome = BIOMES[int(rng.integers(len(BIOMES)))]
    painter = _Painter(rng, frame_size, biome, max(round(MARGIN * frame_size[0]), margin))
    painter.background()
    painter.path()
    perspective = painter.perspective

    def foot(nearest: float, farthest: float = 0.04) -> float:
        return perspective.row(rng.uniform(farthest, nearest))

    # (row, what stands there, its column and length if settled), to be painted from far to near.
    plan: list[tuple[float, str, tuple[float, float] | None]]
    plan = [(foot(0.75), "tree", None) for _ in range(biome.trees)]
    plan += [(foot(0.9), "bush", None) for _ in range(biome.bushes)]
    plan += [(foot(0.9), "rock", None) for _ in range(biome.rocks)]
    plan += [(foot(1.1, farthest=0.1), "tuft", None) for _ in range(_TUFTS)]
    slots = rng.permutation(len(distractors))
    for species, slot in zip(distractors, slots, strict=True):
        size = BY_NAME[species].size
        length = rng.uniform(0.16, 0.27) * frame_size[0] * min(1.0, size + 0.1)
        x = painter.margin + (slot + rng.uniform(0.25, 0.75)) / len(distractors) * frame_size[0]
        plan.append((perspective.row_for(length, size), species, (x, length)))

    props: list[Prop] = []
    still: list[Distractor] = []
    for row, what, settled in sorted(plan, key=lambda item: item[0]):
        x = rng.uniform(0, painter.width)
        if settled:
            prop, distractor = painter.distractor(what, *settled)
            props.append(prop)
            still.append(distractor)
        elif what == "tuft":
            painter.tuft(x, row)
        else:
            paint = {"tree": painter.tree, "bush": painter.bush, "rock": painter.rock}[what]
            props.append(paint(x, row))
    props += [painter.thicket(rng.uniform(0, painter.width)) for _ in range(thickets)]
    return Scene(
        albedo=_bytes(painter.albedo),
        sky=_bytes(painter.sky),
        sway=_bytes(painter.sway),
        perspective=perspective,
        margin=painter.margin,
        props=tuple(props),
        distractors=tuple(still),
        snowy=biome.snow,
    )
