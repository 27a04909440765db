"""Simulates tracklets of people and writes them in the layout of MARS.

```
<output_dir>/bbox_train/0001/0001C1T0001F001.jpg   person 1, camera 1, tracklet 1, frame 1
<output_dir>/bbox_test/0101/..., 0000/..., 00-1/   people to find, distractors, junk
<output_dir>/info/                                 train_name.txt, tracks_train_info.mat, ...
<output_dir>/masks/bbox_test/0101/....png          0 background, 1 the person, 2 what hides them
<output_dir>/people.json                           what each person looks like
<output_dir>/simulation.json                       parameters and counts
```

What makes the data hard is in it: people who look alike but for a cue that shows in a part of a
tracklet; pillars, bushes and other people before them for some frames or for most; boxes that
wander, cut bodies in half or lose them; cameras with their own light. The `.mat` files need SciPy.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from context_rcnn.simulation import canvas, writers
from context_rcnn.simulation.jobs import Progress, run_jobs
from context_rcnn.simulation.people_figures import (
    OCCLUDER,
    PERSON,
    Box,
    Look,
    Sketch,
    background,
    draw_group,
)
from context_rcnn.simulation.settings import TrackletSettings

_SIMULATOR = "simulate_tracklets"
_CONTENTS = ("bbox_train", "bbox_test", "info", "masks", "people.json")
_LOOKS, _CAMERA, _TRACKLET, _PLAN = 30, 31, 32, 33  # purposes of random streams
_SHORT = (1, 3, 7)  # lengths of tracklets that are shorter than a clip
_DISTRACTOR, _JUNK = 0, -1
_STANDING = ("pillar", "bush")  # what hides people and is not one


def simulate_tracklets(
    output_dir: str | os.PathLike[str],
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Simulates tracklets of people, and writes their frames and lists.

    The same settings give the same bytes, whatever the number of workers.

    Args:
      output_dir: folder to write; an earlier simulation in it is replaced.
      workers: processes to use.
      overwrite: write even into a folder that holds other things; they are kept.
      progress: called as `progress(person, frames_done, frames_total)` when a person is done.
      **settings: fields of `TrackletSettings`.

    Returns:
      Counts: people, tracklets, frames, queries, and frames by what is wrong with them.
    """
    chosen = TrackletSettings(**settings)
    writers.check_workers(workers)
    root, marker = writers.begin(output_dir, _SIMULATOR, chosen, _CONTENTS, overwrite)
    both = chosen.people + chosen.test_people
    looks = _draw_looks(chosen.seed, both, chosen.lookalike_fraction)
    jobs = _make_jobs(root, looks, chosen)
    counts: Counter = sum(run_jobs(jobs, workers, progress), Counter())
    queries = _write_lists(root, jobs)
    _write_people(root, looks, chosen.people)
    summary = {
        "people": chosen.people,
        "test_people": chosen.test_people,
        "tracklets": sum(len(job.plans) for job in jobs),
        "frames": sum(job.frames for job in jobs),
        "queries": queries,
        "frames_by_kind": dict(sorted(counts.items())),
    }
    writers.write_json(root / writers.MARKER, marker | {"summary": summary})
    return summary


def _draw_looks(seed: int, count: int, lookalike_fraction: float) -> list[Look]:
    """People, a share of them in groups of four to six look-alikes."""
    # A group has five people on average: so many draws must be one for the share of people.
    probability = lookalike_fraction / (5 - 4 * lookalike_fraction)
    looks: list[Look] = []
    group = 0
    while len(looks) < count:
        rng = canvas.generator(seed, _LOOKS, group)
        size = int(rng.integers(4, 7)) if rng.random() < probability else 1
        looks += draw_group(rng, group, size)
        group += 1
    return looks[:count]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A tracklet: its camera, its number among those of the person, its length."""

    camera: int
    number: int
    frames: int


def _plan(settings: TrackletSettings, person: int) -> tuple[_Plan, ...]:
    """The tracklets of a person."""
    rng = canvas.generator(settings.seed, _PLAN, person)
    plans: list[_Plan] = []
    for camera in range(1, settings.cameras + 1):
        for _ in range(settings.tracklets):
            plans.append(_Plan(camera, len(plans) + 1, _length(rng, settings.frames)))
    return tuple(plans)


def _plan_strangers(settings: TrackletSettings, kind: int, count: int) -> tuple[_Plan, ...]:
    """The tracklets of all who are nobody."""
    rng = canvas.generator(settings.seed, _PLAN, 10_000 - kind)
    return tuple(
        _Plan(int(rng.integers(1, settings.cameras + 1)), number, _length(rng, settings.frames))
        for number in range(1, count + 1)
    )


def _length(rng: np.random.Generator, frames: int) -> int:
    if rng.random() < 0.05:
        return int(rng.choice(_SHORT))
    return int(rng.integers(max(1, round(0.4 * frames)), round(1.6 * frames) + 1))


@dataclasses.dataclass(frozen=True)
class _PersonJob:
    """All tracklets of a person, or of everybody who is nobody."""

    root: Path
    settings: TrackletSettings
    person: int
    look: Look | None
    plans: tuple[_Plan, ...]
    part: str
    others: tuple[Look, ...]

    @property
    def name(self) -> str:
        return "00-1" if self.person == _JUNK else f"{self.person:04d}"

    @property
    def frames(self) -> int:
        return sum(plan.frames for plan in self.plans)

    def files(self, plan: _Plan) -> list[str]:
        """Names of the frames of a tracklet."""
        start = f"{self.name}C{plan.camera}T{plan.number:04d}"
        return [f"{start}F{frame:03d}.jpg" for frame in range(1, plan.frames + 1)]

    def __call__(self) -> Counter:
        folder = self.root / f"bbox_{self.part}" / self.name
        folder.mkdir(parents=True)
        masks = self.root / "masks" / f"bbox_{self.part}" / self.name
        if self.part == "test":
            masks.mkdir(parents=True)
        counts: Counter = Counter()
        for plan in self.plans:
            look = self.look
            if look is None and self.person == _DISTRACTOR:
                look = self.others[(plan.number - 1) % len(self.others)]
            key = self.person if self.person > 0 else 10_000 - self.person
            rng = canvas.generator(self.settings.seed, _TRACKLET, key, plan.number)
            walk = _Walk(rng, plan, look, self)
            for frame, file in enumerate(self.files(plan)):
                image, mask, kind = walk.frame(frame)
                counts[kind] += 1
                image.save(folder / file, "JPEG", quality=writers.JPEG_QUALITY)
                if self.part == "test":
                    mask.save(masks / f"{file[:-4]}.png")
        return counts


def _make_jobs(root: Path, looks: Sequence[Look], settings: TrackletSettings) -> list[_PersonJob]:
    """One job for each person, one for all distractors, one for all junk.

    The person who crosses before another one is of the same part, so that the two can be taken for
    each other.
    """
    parts = {"train": looks[: settings.people], "test": looks[settings.people :]}
    jobs = []
    for part, members in parts.items():
        first = 1 if part == "train" else settings.people + 1
        for place, look in enumerate(members):
            others = (*members[:place], *members[place + 1 :]) or (look,)
            plans = _plan(settings, first + place)
            jobs.append(_PersonJob(root, settings, first + place, look, plans, part, others))
    most = max(1, settings.distractors)
    strangers = tuple(_draw_looks(settings.seed + 1_000_003, most, settings.lookalike_fraction))
    for kind, count in ((_DISTRACTOR, settings.distractors), (_JUNK, settings.junk)):
        if count:
            plans = _plan_strangers(settings, kind, count)
            jobs.append(_PersonJob(root, settings, kind, None, plans, "test", strangers))
    return jobs


class _Walk:
    """A person who walks through the view of a camera."""

    def __init__(self, rng: np.random.Generator, plan: _Plan, look: Look | None, job: _PersonJob):
        self._rng, self._look, self._count = rng, look, plan.frames
        settings = job.settings
        self._size = settings.image_size[0] * 2, settings.image_size[1] * 2
        camera = canvas.generator(settings.seed, _CAMERA, plan.camera)
        width, height = self._size
        self._scene = background(camera, (6 * width, height))
        self._light = camera.uniform(0.75, 1.15, 3) * camera.uniform(0.7, 1.15)
        self._blur = float(camera.uniform(0.0, 0.9))
        self._start = float(rng.uniform(0.5, 4.5)) * width
        self._pace = float(rng.uniform(-0.05, 0.05)) * width
        self._phase, self._stride = rng.uniform(0, 6.28), rng.uniform(0.35, 0.6)
        # Half a turn or more in most tracklets: the cue shows in some of the frames.
        self._facing = rng.uniform(0, 6.28) + rng.uniform(1.5, 4.5) * np.linspace(
            0, 1, plan.frames
        ) * rng.choice((-1, 1))
        self._jitter = _wander(rng, plan.frames, 3)
        self._half = _episode(rng, plan.frames, 0.15, (0.1, 0.3))
        self._lost = _episode(rng, plan.frames, 0.2, (0.03, 0.1))
        standing = str(rng.choice(_STANDING))
        self._occluder = "person" if rng.random() < settings.crossing_fraction else standing
        share = (0.55, 0.8) if rng.random() < settings.mostly_hidden_fraction else (0.2, 0.5)
        self._hidden = _episode(rng, plan.frames, settings.occluded_fraction, share)
        self._stranger = job.others[int(rng.integers(len(job.others)))]
        red, green, blue = camera.integers(60, 200, 3).tolist()
        self._colour = (red, green, blue)
        self._leaves = int(rng.integers(1 << 30))

    def frame(self, number: int) -> tuple[Image.Image, Image.Image, str]:
        """The picture, its mask, and what is wrong with it."""
        width, height = self._size
        x = int(np.clip(self._start + self._pace * number, 0, 5 * width))
        sketch = Sketch(Image.fromarray(self._scene[:, x : x + width]))
        kind = "clear"
        if self._lost[number] or self._look is None:
            kind = "lost"
        else:
            box = self._place(number)
            phase = self._phase + self._stride * number
            sketch.person(self._look, box, float(self._facing[number]), phase, PERSON)
            kind = "half" if self._half[number] else kind
        if self._hidden[number] and kind != "lost":
            self._occlude(sketch, number)
            kind = "occluded"
        return self._develop(sketch.image), self._small(sketch.mask), kind

    def _place(self, number: int) -> Box:
        """The body in the box of a tracker that is not exact."""
        width, height = self._size
        dx, dy, ds = 0.15 * self._jitter[:, number]
        if self._half[number]:
            dy += 0.45
        return Box(width * (0.5 + dx), height * (0.97 + dy), height * 0.93 * (1 + ds))

    def _occlude(self, sketch: Sketch, number: int) -> None:
        """Something that stays where it is in the scene, or another person who crosses."""
        width, height = self._size
        (places,) = np.nonzero(self._hidden)
        along = (number - places[0] + 0.5) / len(places)  # 0..1 through the episode
        if self._occluder == "pillar":
            sketch.pillar((0.72 - 0.85 * along) * width, 0.42 * width, self._colour)
        elif self._occluder == "bush":
            rng = np.random.default_rng(self._leaves)
            sketch.bush(rng, -0.1 * width, 0.3 * height, 1.2 * width)
        else:
            # Comes quickly, stays before the person, and goes.
            x = np.interp(along, (0.0, 0.15, 0.85, 1.0), (0.85, 0.55, 0.45, 0.15))
            box = Box(float(x) * width, 1.0 * height, 1.0 * height)
            facing = 1.57 if self._pace > 0 else -1.57
            sketch.person(self._stranger, box, facing, self._phase + 0.5 * number, OCCLUDER)

    def _develop(self, image: Image.Image) -> Image.Image:
        """The picture as this camera takes it, at its real size."""
        small = image.reduce(2)
        if self._blur > 0.3:
            small = small.filter(ImageFilter.GaussianBlur(self._blur))
        pixels = np.asarray(small, np.float32) * self._light
        pixels += self._rng.normal(0, 3.0, pixels.shape)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    def _small(self, mask: Image.Image) -> Image.Image:
        return mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.NEAREST)


def _wander(rng: np.random.Generator, frames: int, count: int) -> np.ndarray:
    """Paths [count, frames] of about -1..1 that change slowly."""
    path = np.empty((count, frames))
    state = rng.normal(0, 0.5, count)
    for frame in range(frames):
        state = 0.85 * state + rng.normal(0, 0.26, count)
        path[:, frame] = state
    return np.clip(path, -1, 1)


def _episode(
    rng: np.random.Generator, frames: int, probability: float, share: tuple[float, float]
) -> np.ndarray:
    """Whether each frame is in an episode that lasts for that share of a tracklet, if any."""
    there = np.zeros(frames, bool)
    length = round(rng.uniform(*share) * frames)
    start = int(rng.integers(0, max(1, frames - length + 1)))
    if rng.random() < probability:
        there[start : start + length] = True
    return there


def _write_lists(root: Path, jobs: Sequence[_PersonJob]) -> int:
    """The lists of names, tracklets and queries. Returns the number of queries."""
    info = root / "info"
    info.mkdir()
    queries: list[int] = []
    for part in ("train", "test"):
        names: list[str] = []
        rows: list[list[int]] = []
        for job in sorted((job for job in jobs if job.part == part), key=lambda job: job.name):
            asked: set[int] = set()
            for plan in job.plans:
                files = job.files(plan)
                rows.append([len(names) + 1, len(names) + len(files), job.person, plan.camera])
                names += files
                if part == "test" and job.person > 0 and plan.camera not in asked:
                    asked.add(plan.camera)
                    queries.append(len(rows))
        (info / f"{part}_name.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        writers.write_matlab(info / f"tracks_{part}_info.mat", f"track_{part}_info", rows)
    writers.write_matlab(info / "query_IDX.mat", "query_IDX", [queries])
    return len(queries)


def _write_people(root: Path, looks: Sequence[Look], people: int) -> None:
    rows = [
        {"identity": str(number), "part": "train" if number <= people else "test"}
        | dataclasses.asdict(look)
        for number, look in enumerate(looks, 1)
    ]
    writers.write_json(root / "people.json", rows)
