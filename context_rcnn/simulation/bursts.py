"""One camera trap at work: draws the frames of its triggers and knows the truth about them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from context_rcnn.simulation import canvas
from context_rcnn.simulation.habits import CameraPlan, Trigger, Visit, schedule
from context_rcnn.simulation.light import Moment, develop, sample_weather
from context_rcnn.simulation.places import build_scene
from context_rcnn.simulation.scenes import Mount, Scene, Sight, View
from context_rcnn.simulation.species import BY_NAME
from context_rcnn.simulation.sprites import POSES, animal_sprite

MIN_SIDES = (3, 8)  # pixels of the shorter and longer side of a box in a frame 160 wide
MIN_PIXELS = 16  # visible pixels in such a frame; animals that show less are not annotated

_SOLID = 0.35  # opacity from which a pixel belongs to an animal
_MOSTLY_HIDDEN = 0.45  # visible share below which a clear animal is called partial
_SCENE, _WEATHER, _MOMENT, _WALK, _SENSOR, _SHOWN = range(10, 16)  # purposes of random streams
_DAY = 24 * 3600
_PASSING = ("night", "blur", "camouflage")  # what an animal may step out of for a frame


@dataclass(frozen=True)
class Look:
    """How an animal appears.

    Attributes:
      contrast: how much of its coat shows. Look-alikes without it are equal to the last bit.
      opacity: how much of it stands out from the background.
      motion: motion blur, in lengths of the animal.
      defocus: radius of a blur that dissolves its outline, in lengths of the animal.
      head_on: whether it faces the camera, where species of one colour are alike.
      shadow: whether it darkens the ground, which says where it is even if it can hardly be seen.
    """

    contrast: float = 0.0
    opacity: float = 1.0
    motion: float = 0.0
    defocus: float = 0.0
    head_on: bool = False
    shadow: bool = True


LOOKS = {
    "clear": Look(contrast=1.0),
    "far": Look(opacity=0.95),
    "night": Look(opacity=0.75),
    "blur": Look(opacity=0.95, motion=0.32),
    "camouflage": Look(opacity=0.42),
    "cropped": Look(),
    "plain": Look(),
    "faint": Look(opacity=0.16, shadow=False),
    "defocus": Look(defocus=0.13, shadow=False),
    "head_on": Look(head_on=True),
}


@dataclass(frozen=True)
class Animal:
    """One animal as a frame shows it.

    Attributes:
      species: name of the species.
      mask: visible pixels, bool `[height, width]`.
      difficulty: why it is hard to recognise (a key of `habits.DIFFICULTIES`), or "partial" if it
        is clear but mostly out of the frame or behind something.
      visible: share of the animal that is visible.
    """

    species: str
    mask: np.ndarray
    difficulty: str
    visible: float = 1.0

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x, y, width, height) of the visible pixels."""
        return canvas.filled_box(self.mask)

    @property
    def ambiguous(self) -> bool:
        """Whether no coat shows, so that this frame alone does not tell look-alikes apart."""
        return self.difficulty not in ("clear", "partial")


@dataclass(frozen=True)
class Frame:
    """A photograph, uint8 `[height, width, 3]`, and the animals in it.

    `second` is its time in seconds after the start of the study.
    """

    image: np.ndarray
    second: int
    animals: tuple[Animal, ...]


@dataclass(frozen=True)
class Actor:
    """An animal placed for one frame; `x`, `y` is the middle of its feet in the frame."""

    visit: Visit
    x: float
    y: float
    row: float  # of the scene, decides what stands in front
    length: float
    pose: int
    brightness: float
    track: int = 0  # tells the animals of a video apart


class CameraTrap:
    """A camera: its place, the views before and after it was bumped, and its triggers."""

    def __init__(self, seed: int, plan: CameraPlan, *, days: int, image_size: tuple[int, int]):
        self.plan = plan
        self.scene: Scene = build_scene(
            canvas.generator(seed, _SCENE, plan.index), image_size, plan.fakes
        )
        self.triggers = schedule(seed, plan, days)
        self._seed = seed
        mounts = [(0, Mount())] + [
            (second, Mount(m.angle, m.dx * image_size[0], m.dy * image_size[0]))
            for second, m in plan.bumps
        ]
        self.views = [(second, View(self.scene, mount)) for second, mount in mounts]

    def view_at(self, second: int) -> View:
        """The view at a time: that since the last bump."""
        return next(view for since, view in reversed(self.views) if second >= since)

    def frames(self, trigger: Trigger) -> Iterator[Frame]:
        """Draws the frames of a trigger."""
        view = self.view_at(trigger.second)
        moment = self._moment(trigger)
        walk = self._walk(trigger, trigger.visit, view) if trigger.visit else None
        for number in range(trigger.frames):
            actors = walk.actors(number) if walk else []
            actors = self._shown_after_all(trigger, number, actors)
            rng = self._generator(_SENSOR, trigger.index, number)
            bend = int(rng.integers(-moment.wind, moment.wind + 1))
            background = view.swaying(bend)
            albedo, seen = compose(view, background, actors, night=moment.night)
            animals = [animal for _, animal in seen]
            image = develop(albedo, view, moment, rng)
            yield Frame(image, trigger.second + number, tuple(animals))

    def _shown_after_all(self, trigger: Trigger, number: int, actors: list[Actor]) -> list[Actor]:
        """The animals of a frame, some of a hard visit with a coat that shows in this frame."""
        visit, chance = trigger.visit, self.plan.clear_in_burst
        if visit is None or chance == 0 or visit.difficulty not in _PASSING:
            return actors
        clear = dataclasses.replace(visit, difficulty="clear")
        drawn = self._generator(_SHOWN, trigger.index, number).random(len(actors))
        return [
            dataclasses.replace(actor, visit=clear) if draw < chance else actor
            for actor, draw in zip(actors, drawn, strict=True)
        ]

    def _generator(self, purpose: int, *key: int) -> np.random.Generator:
        return canvas.generator(self._seed, purpose, self.plan.index, *key)

    def _moment(self, trigger: Trigger) -> Moment:
        day, second = divmod(trigger.second, _DAY)
        weather, strength = sample_weather(self._generator(_WEATHER, day), snowy=self.scene.snowy)
        rng = self._generator(_MOMENT, trigger.index)
        wind = int(rng.integers(0, 2)) if trigger.visit else int(rng.integers(1, 3))
        exposure = float(rng.normal(1.0, 0.05))
        return Moment(second / 3600, weather, strength, exposure, wind)

    def _walk(self, trigger: Trigger, visit: Visit, view: View) -> _Walk:
        """Draws how a group walks, again if nothing of it would be seen in the first frame."""
        for attempt in range(20):
            rng = self._generator(_WALK, trigger.index, attempt)
            walk = _Walk(rng, visit, self.scene, view)
            if compose(view, view.albedo, walk.actors(0), night=True)[1]:
                break
        return walk


class _Walk:
    """How the individuals of a visit move through a burst."""

    def __init__(self, rng: np.random.Generator, visit: Visit, scene: Scene, view: View):
        self._visit, self._scene, self._view = visit, scene, view
        count = visit.count
        width = scene.frame_size[0]
        length = visit.trail[0] * width
        if visit.difficulty == "cropped":
            self._start = np.zeros(1)
            speed = 0.0
        else:
            # The first of a group is seen in the first frame; the others follow behind it.
            lead = rng.uniform(0.15, 0.6) if count == 1 else rng.uniform(0.35, 0.75)
            gaps = np.cumsum(rng.uniform(0.5, 1.1, count)) * length
            behind = gaps - gaps[0]
            self._start = lead * width - behind
            speed = rng.choice((0.05, 0.25, 0.6), p=(0.3, 0.5, 0.2)) * length
        self._speed = speed * rng.uniform(0.8, 1.2, count)
        self._aside = rng.normal(0, 0.02, count)
        self._phase = rng.integers(4, size=count)
        self._grazing = (rng.random(count) < 0.3) & (visit.difficulty != "cropped")
        self._size = rng.uniform(0.93, 1.07, count)
        self._brightness = rng.uniform(0.9, 1.1, count)
        self._shown = rng.uniform(0.26, 0.40)

    def actors(self, number: int) -> list[Actor]:
        """The individuals in frame `number` of the burst."""
        return [self._actor(k, number) for k in range(len(self._start))]

    def _actor(self, k: int, number: int) -> Actor:
        visit, scene = self._visit, self._scene
        width = scene.frame_size[0]
        size = BY_NAME[visit.species].size
        along = self._start[k] + number * self._speed[k]
        x = along if visit.direction > 0 else width - along
        share = float(np.clip(x / width, 0, 1))
        left, right = visit.trail
        fraction = (1 - share) * left + share * right + self._aside[k] * left
        lowest = scene.perspective.bottom - 2.0 + 20 * self._aside[k]
        row = min(scene.perspective.row_for(fraction * width, size), lowest)
        length = scene.perspective.length_at(row, size) * self._size[k]
        px, py = self._view.position(x + scene.margin, row)
        if visit.difficulty == "cropped":  # only the head looks into the frame
            hidden = (0.5 - self._shown + 0.01 * (number % 3)) * length
            px = -hidden if visit.direction > 0 else width + hidden
        pose = int(self._phase[k] + number) % 4 + (POSES // 2 if self._grazing[k] else 0)
        return Actor(visit, px, py, row, length, pose, float(self._brightness[k]))


@dataclass(frozen=True)
class Placed:
    """An animal as it was drawn.

    Attributes:
      actor: who it is.
      mask: visible pixels, bool `[height, width]`.
      whole: number of pixels it would have if nothing hid it.
      box: left, top, width and height of its sharp drawing in the frame, hidden parts included.
    """

    actor: Actor
    mask: np.ndarray
    whole: int
    box: tuple[float, float, int, int]


def compose(
    view: Sight, background: np.ndarray, actors: list[Actor], *, night: bool
) -> tuple[np.ndarray, list[tuple[Actor, Animal]]]:
    """Puts animals into a background, far ones first.

    Returns:
      The picture without light, and of each animal that shows enough who it is and what is seen.
    """
    albedo = background.copy() if actors else background
    return albedo, annotate(place(albedo, view, actors, night=night))


def place(albedo: np.ndarray, view: Sight, actors: list[Actor], *, night: bool) -> list[Placed]:
    """Draws animals into `albedo`, far ones first; nearer ones take pixels from farther ones."""
    placed: list[Placed] = []
    for actor in sorted(actors, key=lambda a: a.row):
        new = _paint(albedo, view, actor, night)
        for farther in placed:
            farther.mask[new.mask] = False
        placed.append(new)
    return placed


def annotate(placed: list[Placed]) -> list[tuple[Actor, Animal]]:
    """Of each animal that shows enough, who it is and what is seen."""
    seen = []
    for one in placed:
        unit = one.mask.shape[1] / 160
        pixels = np.count_nonzero(one.mask)
        if pixels < MIN_PIXELS * unit**2:
            continue
        sides = sorted(canvas.filled_box(one.mask)[2:])
        if any(side < least * unit for side, least in zip(sides, MIN_SIDES, strict=True)):
            continue
        difficulty = one.actor.visit.difficulty
        if difficulty == "clear" and pixels < _MOSTLY_HIDDEN * one.whole:
            difficulty = "partial"
        animal = Animal(one.actor.visit.species, one.mask, difficulty, pixels / one.whole)
        seen.append((one.actor, animal))
    return seen


def _paint(albedo: np.ndarray, view: Sight, actor: Actor, night: bool) -> Placed:
    """Draws an animal into `albedo`."""
    look = LOOKS[actor.visit.difficulty]
    sprite = animal_sprite(
        actor.visit.species,
        actor.length,
        pose=actor.pose,
        contrast=look.contrast,
        head_on=look.head_on,
    )
    sharp = np.dstack([sprite.rgb * sprite.alpha[..., None], sprite.alpha])
    if actor.visit.direction < 0:
        sharp = sharp[:, ::-1]
    rgba = canvas.motion_blur(sharp, round(look.motion * actor.length))
    opaque = rgba[..., 3]
    foot = round(actor.y)
    if radius := look.defocus * actor.length:
        border = math.ceil(2 * radius)
        opaque = np.pad(opaque, border)
        rgba = canvas.defocus(np.pad(rgba, ((border, border), (border, border), (0, 0))), radius)
        foot += border
    height, width = rgba.shape[:2]
    left, top = round(actor.x - width / 2), foot - height
    mask = np.zeros(albedo.shape[:2], bool)
    whole = int(np.count_nonzero(opaque > _SOLID))
    box = (left + (width - sharp.shape[1]) / 2, round(actor.y) - sharp.shape[0],
           sharp.shape[1], sharp.shape[0])  # fmt: skip
    window = canvas.visible_window(left, top, (height, width), mask.shape)
    if window is None:
        return Placed(actor, mask, whole, box)
    rows, columns, inner_rows, inner_columns = window
    hiding = view.occlusion(actor.row)
    shows = 1.0 if hiding is None else 1 - hiding[rows, columns]
    if look.shadow and not night:
        _shade_ground(albedo, left, round(actor.y), width, hiding)
    rgba = rgba[inner_rows, inner_columns] * np.asarray(shows)[..., None]
    alpha = look.opacity * rgba[..., 3:]
    albedo[rows, columns] *= 1 - alpha
    albedo[rows, columns] += look.opacity * actor.brightness * rgba[..., :3]
    mask[rows, columns] = opaque[inner_rows, inner_columns] * np.asarray(shows) > _SOLID
    return Placed(actor, mask, whole, box)


def _shade_ground(
    albedo: np.ndarray, left: int, foot: int, width: int, hiding: np.ndarray | None
) -> None:
    """Darkens the ground under an animal."""
    height = max(width // 8, 2)
    window = canvas.visible_window(left, foot - height // 2, (height, width), albedo.shape[:2])
    if window is None:
        return
    rows, columns, inner_rows, inner_columns = window
    y = np.linspace(-1, 1, height, dtype=np.float32)[inner_rows, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, inner_columns]
    shade = 0.35 * np.clip(1.2 - x * x - y * y, 0, 1)
    if hiding is not None:
        shade = shade * (1 - hiding[rows, columns])
    albedo[rows, columns] *= 1 - shade[..., None]
