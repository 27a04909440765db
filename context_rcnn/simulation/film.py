"""One simulated video: who is in it, its frames, the truth about them, and the optical flow.

Anything can be asked of a film in any order; equal settings give equal answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from context_rcnn.simulation import canvas
from context_rcnn.simulation.bursts import LOOKS, Actor, Placed, annotate, place
from context_rcnn.simulation.habits import Visit
from context_rcnn.simulation.light import Moment, develop, sample_weather
from context_rcnn.simulation.looks import animal_looks, picture_looks
from context_rcnn.simulation.motion import Path, animal_path, camera_path, mirrored
from context_rcnn.simulation.panorama import Panorama, PanoramaSight
from context_rcnn.simulation.places import build_scene
from context_rcnn.simulation.settings import VIDEO_SPECIES, VideoSettings
from context_rcnn.simulation.species import BY_NAME
from context_rcnn.simulation.sprites import POSES

# In pairs of look-alikes, then those that are like no other.
SPECIES = ("zebra", "wild_ass", "leopard", "puma", "fallow_deer", "red_deer", "bear", "buffalo",
           "hare", "crane")  # fmt: skip
PAIRS = tuple(zip(SPECIES[0:8:2], SPECIES[1:8:2], strict=True))

DEFOCUS = 0.02  # radius of the blur of a whole picture, in frame widths
_GLARE = 2.4  # exposure of an overexposed picture
_SCENE, _PLAN, _SENSOR = 20, 21, 22  # purposes of random streams
_KEPT = 20  # frames whose drawing is remembered

assert len(SPECIES) == VIDEO_SPECIES


@dataclass(frozen=True)
class SeenAnimal:
    """An animal as a frame shows it, and what that is worth.

    Attributes:
      track: number of the animal in its video.
      species: its species.
      box: left, top, width and height of its visible pixels.
      look: `clear`, `partial` (clear, but mostly hidden by something), or what hides its coat:
        another name of `LOOKS`, or `picture_defocus` or `picture_glare` if all of the picture does.
      shows: whether the frame shows what tells it from its look-alike.
      blur: radius of its blur in pixels, or length of its motion blur.
      occluded: share of its pixels that are outside of the frame, or behind something.
      speed: cells that it moved in the picture since the frame before, or to the next in the first;
        the camera's motion is part of it.
    """

    track: int
    species: str
    box: tuple[int, int, int, int]
    look: str
    shows: bool
    blur: float
    occluded: float
    speed: float


@dataclass(frozen=True)
class Shot:
    """A frame, uint8 `[height, width, 3]`, and the animals in it."""

    image: np.ndarray
    animals: tuple[SeenAnimal, ...]


@dataclass(frozen=True)
class Flow:
    """Where the points of one frame are in another.

    Attributes:
      vectors: columns and rows from a pixel to its place in the other frame, float32
        `[height, width, 2]`.
      valid: bool `[height, width]`, whether that place is in the picture and shows the same point:
        nothing nearer covers it, and its animal shows the same side.
    """

    vectors: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class _Member:
    """One animal of the cast."""

    number: int
    species: str
    length: float
    path: Path
    looks: list[str]
    pace: float
    phase: int
    brightness: float


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for a frame: its colours without light, and where each animal is."""

    sight: PanoramaSight
    albedo: np.ndarray
    placed: dict[int, Placed]  # by track

    def owners(self) -> np.ndarray:
        """The track `[height, width]` that each pixel shows, -1 for the place itself."""
        owners = np.full(self.albedo.shape[:2], -1)
        for track, placed in self.placed.items():
            owners[placed.mask] = track
        return owners


class Film:
    """A video.

    Args:
      settings: those of the whole simulation.
      index: number of the video in it.
    """

    def __init__(self, settings: VideoSettings, index: int):
        self._settings, self._index = settings, index
        width, height = settings.image_size
        self.frames = length_of(settings, index)
        margin = int(np.ceil(settings.jitter * settings.cell / 2)) + 1
        scene = build_scene(
            canvas.generator(settings.seed, _SCENE, index),
            (width, height),
            margin=margin,
            thickets=settings.occluders,
        )
        self._panorama = Panorama(scene)
        rng = canvas.generator(settings.seed, _PLAN, index, 1)
        weather = sample_weather(rng, snowy=scene.snowy)
        self._hour, self._weather = float(rng.uniform(8, 18)), weather
        self._camera = camera_path(rng, self.frames, settings)
        self._pictures = picture_looks(rng, self.frames, settings)
        self._cast = self._choose_cast(rng)
        self._kept: dict[int, _Drawn] = {}

    def shot(self, number: int) -> Shot:
        """Frame `number` and the truth about it."""
        drawn, picture = self._draw(number), self._pictures[number]
        albedo = drawn.albedo
        if picture == "defocus":
            albedo = canvas.defocus(albedo, DEFOCUS * self._settings.image_size[0])
        exposure = _GLARE if picture == "glare" else 1.0
        moment = Moment(self._hour, *self._weather, exposure=exposure)
        noise = canvas.generator(self._settings.seed, _SENSOR, self._index, number)
        image = develop(albedo, drawn.sight, moment, noise)
        seen = annotate(list(drawn.placed.values()))
        animals = [self._seen(number, actor, animal) for actor, animal in seen]
        return Shot(image, tuple(animals))

    def albedo(self, number: int) -> np.ndarray:
        """Frame `number` without light, weather and sensor, 0..1 `[height, width, 3]`."""
        return self._draw(number).albedo

    def flow(self, number: int, other: int) -> Flow:
        """Where the pixels of frame `number` are in frame `other`.

        An animal moves and grows as one piece: its legs, which swing, move with its body.
        """
        here, there = self._draw(number), self._draw(other)
        owners, others = here.owners(), there.owners()
        height, width = owners.shape
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        vectors = np.empty((height, width, 2), np.float32)
        vectors[...] = self._camera[number] - self._camera[other]
        same = owners == -1
        for track, placed in here.placed.items():
            mask, end = owners == track, there.placed[track]
            x, y = _carried(columns[mask], rows[mask], placed.box, end.box)
            vectors[mask] = np.stack([x - columns[mask], y - rows[mask]], axis=-1)
            same |= mask & (_side(placed.actor) == _side(end.actor))
        x, y = (np.rint(plane + vectors[..., k]).astype(int)
                for k, plane in enumerate((columns, rows)))  # fmt: skip
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        found = others[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
        return Flow(vectors, same & inside & (found == owners))

    def _choose_cast(self, rng: np.random.Generator) -> list[_Member]:
        settings = self._settings
        names = SPECIES[: settings.species]
        pairs = [pair for pair in PAIRS if set(pair) <= set(names)]
        cast = []
        if pairs and settings.animals > 1 and rng.random() < settings.crossing_fraction:
            cast = self._crossing(rng, pairs[int(rng.integers(len(pairs)))])
        elif settings.one_species and rng.random() < settings.one_species:
            names = (str(rng.choice(names)),)
        least = max(len(cast), 1)
        for number in range(len(cast), rng.integers(least, settings.animals + 1)):
            path = animal_path(rng, self.frames, settings)
            length = rng.uniform(0.16, 0.36) * settings.image_size[0]
            cast.append(self._member(rng, number, str(rng.choice(names)), length, path))
        return cast

    def _crossing(self, rng: np.random.Generator, pair: tuple[str, str]) -> list[_Member]:
        """Two look-alikes of one size, of which the second crosses the first."""
        length = rng.uniform(0.2, 0.32) * self._settings.image_size[0]
        path = animal_path(rng, self.frames, self._settings)
        for _ in range(20):  # one of them has to move
            if np.ptp(path.columns) > length:
                break
            path = animal_path(rng, self.frames, self._settings)
        middle = int(rng.uniform(0.3, 0.7) * self.frames)
        first, second = (pair[k] for k in rng.permutation(2))
        return [
            self._member(rng, 0, first, length, path),
            self._member(rng, 1, second, 1.04 * length, mirrored(path, middle)),
        ]

    def _member(
        self, rng: np.random.Generator, number: int, species: str, length: float, path: Path
    ) -> _Member:
        moving = bool(np.ptp(path.columns) > 0)
        return _Member(
            number,
            species,
            float(length),
            path,
            animal_looks(rng, self.frames, species, self._settings),
            pace=float(rng.uniform(0.15, 0.5)) * moving,
            phase=int(rng.integers(POSES // 2)) + (0 if moving else POSES // 2),
            brightness=float(rng.uniform(0.9, 1.1)),
        )

    def _draw(self, number: int) -> _Drawn:
        if number not in self._kept:
            if not 0 <= number < self.frames:
                raise ValueError(f"frame {number} of a video of {self.frames} frames")
            margin = self._panorama.scene.margin
            column, row = (int(shift) + margin for shift in self._camera[number])
            sight = self._panorama.sight(column, row)
            actors = [self._actor(member, number) for member in self._cast]
            albedo = sight.albedo.copy()
            placed = {one.actor.track: one for one in place(albedo, sight, actors, night=False)}
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = _Drawn(sight, albedo, placed)
        return self._kept[number]

    def _actor(self, member: _Member, number: int) -> Actor:
        length = member.length * float(member.path.swelling[number])
        perspective = self._panorama.scene.perspective
        row = perspective.row_for(length, BY_NAME[member.species].size)
        row = min(row, perspective.bottom - 4.0 - 3.0 * member.number)
        x, y = self._feet(member, number, row)
        look = member.looks[number]
        if look == "clear" and self._pictures[number]:
            look = "head_on" if member.species in self._settings.rare_poses else "plain"
        direction = int(member.path.directions[number])
        visit = Visit(member.species, (0.0, 0.0), 1, look, direction)
        pose = (member.phase + int(member.pace * number)) % (POSES // 2)
        if member.phase >= POSES // 2:  # it grazes
            pose = member.phase
        return Actor(visit, x, y, row, length, pose, member.brightness, track=member.number)

    def _feet(self, member: _Member, number: int, row: float) -> tuple[float, float]:
        """The middle of an animal's feet in the frame."""
        dx, dy = self._camera[number]
        x = self._settings.image_size[0] / 2 + member.path.columns[number] - dx
        return float(x), float(row - self._panorama.scene.margin - dy)

    def _seen(self, number: int, actor: Actor, animal) -> SeenAnimal:
        member, picture = self._cast[actor.track], self._pictures[number]
        look = animal.difficulty
        blurred = LOOKS[actor.visit.difficulty]
        blur = max(blurred.motion, blurred.defocus) * actor.length
        if picture and member.looks[number] == "clear":
            look = f"picture_{picture}"
        if picture == "defocus":
            blur = max(blur, DEFOCUS * self._settings.image_size[0])
        before = number - 1 if number else number + 1
        then = self._actor(member, before)
        speed = np.hypot(actor.x - then.x, actor.y - then.y) / self._settings.cell
        return SeenAnimal(
            actor.track,
            animal.species,
            animal.box,
            look,
            look == "clear",
            round(float(blur), 2),
            round(1 - animal.visible, 3),
            round(float(speed), 3),
        )


def length_of(settings: VideoSettings, index: int) -> int:
    """Number of frames of a video."""
    first, last = settings.lengths
    return int(canvas.generator(settings.seed, _PLAN, index).integers(first, last + 1))


def _carried(
    x: np.ndarray, y: np.ndarray, here: tuple[float, float, int, int],
    there: tuple[float, float, int, int],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Points of one drawing in another that may be larger; pixels have their middle at .5."""
    places = []
    for k, points in enumerate((x, y)):
        scale = there[k + 2] / here[k + 2]
        places.append(there[k] + (points + 0.5 - here[k]) * scale - 0.5)
    return places[0], places[1]


def _side(actor: Actor) -> tuple[int, bool]:
    """What is seen of an animal: where it faces, and whether it faces the camera."""
    return actor.visit.direction, LOOKS[actor.visit.difficulty].head_on
