"""Simulates videos of animals and writes them in the layout of ImageNet VID.

```
<output_dir>/Data/VID/train/ILSVRC2015_VID_train_0000/<video>/000000.JPEG
<output_dir>/Data/VID/val/<video>/000000.JPEG
<output_dir>/Annotations/VID/<the same>/000000.xml    boxes with the track of each animal
<output_dir>/simulation.json                          parameters and what a test may want to know
```

What makes videos hard is in them: animals that look alike show their coat in some frames only, and
are blurred, far out of focus or dim in the others; plants hide them; the camera sways. A single
frame often does not tell which of two look-alikes it shows, and the video does.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.simulation import canvas, writers
from context_rcnn.simulation.arguments import check, check_common
from context_rcnn.simulation.bursts import Actor, compose
from context_rcnn.simulation.habits import Visit
from context_rcnn.simulation.jobs import Progress, run_jobs
from context_rcnn.simulation.light import Moment, develop, sample_weather
from context_rcnn.simulation.places import build_scene
from context_rcnn.simulation.scenes import Mount, Scene, View
from context_rcnn.simulation.species import BY_NAME
from context_rcnn.simulation.sprites import POSES

# The data set's own names of what our animals stand for; the first four are two look-alike pairs.
SYNSETS = {
    "zebra": "n02391049",
    "wild_ass": "n02374451",  # horse
    "leopard": "n02129604",  # tiger
    "puma": "n02129165",  # lion
    "bear": "n02131653",
    "fallow_deer": "n02419796",  # antelope
    "hare": "n02324045",  # rabbit
    "crane": "n01503061",  # bird
}
# Lengths of its own that an animal moves in a frame. Over ten frames, a slow one overlaps itself by
# more than .9, a fast one by less than .7: the three kinds by which the data set is evaluated.
SPEEDS = {"slow": (0.0, 0.007), "medium": (0.013, 0.026), "fast": (0.05, 0.14)}

_SCENE, _PLAN, _SENSOR = 20, 21, 22  # purposes of random streams
_CONTENTS = ("Data", "Annotations", writers.MARKER)
_HARD = ("far", "blur", "camouflage")
_RUN = 6  # shortest time in frames for which an animal looks the same
_OCCLUDED = 0.7  # visible share below which an animal is called occluded


def simulate_videos(
    output_dir: str | os.PathLike[str],
    *,
    videos: int = 40,
    frames: int = 40,
    seed: int = 0,
    image_size: tuple[int, int] = (160, 120),
    species: int = 4,
    animals: int = 2,
    clear_fraction: float = 0.35,
    val_fraction: float = 0.25,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Simulates videos of animals, and writes their frames and labels.

    The same arguments give the same bytes, whatever the number of workers.

    Args:
      output_dir: folder to write; an earlier simulation in it is replaced.
      videos: number of videos, each of its own place.
      frames: average number of frames in a video; the shortest has half of it, the longest 1.5
          times as many.
      seed: seed of all random choices.
      image_size: width and height of the frames.
      species: number of species.
      animals: most animals of a video.
      clear_fraction: share of the time for which a coat shows.
      val_fraction: share of the videos held out for validation, rounded up.
      workers: processes to use.
      overwrite: write even into a folder that holds other things; they are kept.
      progress: called as `progress(video, frames_done, frames_total)` when a video is done.

    Returns:
      Counts: videos, frames, boxes, and boxes by class, speed and difficulty.
    """
    check("videos", videos, isinstance(videos, int) and videos >= 1, "an integer of at least 1")
    check("frames", frames, isinstance(frames, int) and 2 <= frames <= 10_000, "in 2..10000")
    check("species", species, species in range(1, len(SYNSETS) + 1), f"in 1..{len(SYNSETS)}")
    check("animals", animals, animals in range(1, 9), "in 1..8")
    check("clear_fraction", clear_fraction, 0 <= clear_fraction <= 1, "in 0..1")
    check("val_fraction", val_fraction, 0 <= val_fraction < 1, "in [0, 1)")
    check_common(seed=seed, workers=workers, image_size=image_size, smallest=64, start="2015-01-01")
    root = Path(output_dir)
    writers.prepare_folder(root, "simulate_videos", _CONTENTS, overwrite)
    parameters = {
        "videos": videos,
        "frames": frames,
        "seed": seed,
        "image_size": list(image_size),
        "species": species,
        "animals": animals,
        "clear_fraction": clear_fraction,
        "val_fraction": val_fraction,
    }
    marker = {"simulator": "simulate_videos", "parameters": parameters}
    writers.write_json(root / writers.MARKER, marker)
    held_out = math.ceil(videos * val_fraction)
    jobs = []
    for index in range(videos):
        rng = canvas.generator(seed, _PLAN, index)
        place = f"val/ILSVRC2015_val_{index:08d}"
        if index >= held_out:
            place = f"train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_{index:08d}"
        jobs.append(
            _VideoJob(
                root=root,
                place=place,
                index=index,
                seed=seed,
                frames=int(rng.integers(frames - frames // 2, frames + frames // 2 + 1)),
                image_size=(image_size[0], image_size[1]),
                names=tuple(SYNSETS)[:species],
                animals=animals,
                clear_fraction=clear_fraction,
            )
        )
    counts: Counter = sum(run_jobs(jobs, workers, progress), Counter())
    summary: dict[str, Any] = {"videos": videos, "frames": sum(job.frames for job in jobs)}
    for key in ("boxes", "by_class", "by_speed", "by_difficulty"):
        found = {name[1]: count for name, count in sorted(counts.items()) if name[0] == key}
        summary[key] = found.get("all", 0) if key == "boxes" else found
    writers.write_json(root / writers.MARKER, marker | {"summary": summary})
    return summary


@dataclass(frozen=True)
class _VideoJob:
    """One video."""

    root: Path
    place: str
    index: int
    seed: int
    frames: int
    image_size: tuple[int, int]
    names: tuple[str, ...]
    animals: int
    clear_fraction: float

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]

    def __call__(self) -> Counter:
        images, labels = (self.root / part / "VID" / self.place for part in ("Data", "Annotations"))
        for folder in (images, labels):
            folder.mkdir(parents=True)
        scene = build_scene(canvas.generator(self.seed, _SCENE, self.index), self.image_size)
        rng = canvas.generator(self.seed, _PLAN, self.index, 1)
        moment = Moment(float(rng.uniform(8, 18)), *sample_weather(rng, snowy=scene.snowy))
        sway = rng.uniform(0.2, 1.0) * scene.margin * 0.8
        phase, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.08)
        tracks = [
            _Track(rng, number, self, scene) for number in range(rng.integers(1, self.animals + 1))
        ]
        counts: Counter = Counter()
        for number in range(self.frames):
            shift = sway * np.sin(phase + pace * number)
            view = View(scene, Mount(dx=float(shift), dy=float(0.3 * shift)))
            actors = [track.actor(number, view) for track in tracks]
            albedo, seen = compose(view, view.albedo, actors, night=False)
            noise = canvas.generator(self.seed, _SENSOR, self.index, number)
            image = develop(albedo, view, moment, noise)
            Image.fromarray(image).save(
                images / f"{number:06d}.JPEG", "JPEG", quality=writers.JPEG_QUALITY
            )
            xml = _frame_xml(images.relative_to(self.root), number, self.image_size, seen)
            (labels / f"{number:06d}.xml").write_text(xml, encoding="utf-8")
            for actor, animal in seen:
                counts["boxes", "all"] += 1
                counts["by_class", animal.species] += 1
                counts["by_speed", tracks[actor.track].speed_kind] += 1
                counts["by_difficulty", animal.difficulty] += 1
        return counts


class _Track:
    """One animal that walks to and fro through a video."""

    def __init__(self, rng: np.random.Generator, number: int, video: _VideoJob, scene: Scene):
        self._number, self._scene = number, scene
        self._species = str(rng.choice(video.names))
        self._size = BY_NAME[self._species].size
        self.speed_kind = str(rng.choice(list(SPEEDS)))
        width = scene.frame_size[0]
        self._length = rng.uniform(0.16, 0.36) * width
        self._row = min(
            scene.perspective.row_for(self._length, self._size),
            scene.perspective.bottom - rng.uniform(2, 12),
        )
        speed = rng.uniform(*SPEEDS[self.speed_kind]) * self._length
        self._x, self._direction = self._path(rng, speed, width, video.frames)
        self._looks = self._episodes(rng, video)
        self._pace = rng.uniform(0.15, 0.5)
        self._brightness = float(rng.uniform(0.9, 1.1))

    @staticmethod
    def _path(rng, speed: float, width: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Columns and directions of all frames; it turns where it would leave the picture."""
        x, direction = rng.uniform(0.2, 0.8) * width, rng.choice((-1, 1))
        places, directions = [], []
        for _ in range(frames):
            places.append(x)
            directions.append(direction)
            if not 0.05 * width < x + direction * speed < 0.95 * width:
                direction = -direction
            x += direction * speed
        return np.array(places), np.array(directions)

    def _episodes(self, rng: np.random.Generator, video: _VideoJob) -> list[str]:
        """How it looks in each frame, for some frames alike."""
        looks: list[str] = []
        while len(looks) < video.frames:
            clear = rng.random() < video.clear_fraction
            look = "clear" if clear else str(rng.choice(_HARD))
            looks += [look] * int(rng.integers(_RUN, 3 * _RUN))
        return looks

    def actor(self, number: int, view: View) -> Actor:
        """The animal in a frame."""
        visit = Visit(
            self._species, (0.0, 0.0), 1, self._looks[number], int(self._direction[number])
        )
        x, y = view.position(self._x[number] + self._scene.margin, self._row)
        pose = int(self._pace * number) % (POSES // 2)
        return Actor(
            visit, x, y, self._row, self._length, pose, self._brightness, track=self._number
        )


def _frame_xml(folder: Path, number: int, size: tuple[int, int], seen) -> str:
    """The annotation of a frame."""
    name = "/".join(folder.parts[3:])
    lines = [
        "<annotation>",
        f"  <folder>{name}</folder>",
        f"  <filename>{number:06d}</filename>",
        "  <source><database>ILSVRC_2015</database></source>",
        f"  <size><width>{size[0]}</width><height>{size[1]}</height></size>",
    ]
    for actor, animal in seen:
        x, y, width, height = animal.box
        lines += [
            "  <object>",
            f"    <trackid>{actor.track}</trackid>",
            f"    <name>{SYNSETS[animal.species]}</name>",
            f"    <bndbox><xmax>{x + width}</xmax><xmin>{x}</xmin>"
            f"<ymax>{y + height}</ymax><ymin>{y}</ymin></bndbox>",
            f"    <occluded>{int(animal.visible < _OCCLUDED)}</occluded>",
            "    <generated>0</generated>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>"]) + "\n"
