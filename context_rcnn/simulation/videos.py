"""Simulates videos of animals and writes them in the layout of ImageNet VID.

```
<output_dir>/Data/VID/train/ILSVRC2015_VID_train_0000/<video>/000000.JPEG
<output_dir>/Data/VID/val/<video>/000000.JPEG
<output_dir>/Annotations/VID/<the same>/000000.xml    boxes with the track of each animal
<output_dir>/Visibility/VID/<the same>.json           what each box shows (docs/formats.md)
<output_dir>/Flow/VID/<the same>/000000_000004.flo    optical flow, if it is asked for
<output_dir>/simulation.json                          settings and what a test may want to know
```

What makes videos hard is in them: look-alikes that hide what tells them apart for one frame or for
twenty, pictures out of focus, bushes, cameras that pan and shake, animals that turn and cross. A
single frame often does not tell which of two look-alikes it shows, and the video does.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from context_rcnn.simulation import writers
from context_rcnn.simulation.arguments import restored
from context_rcnn.simulation.film import PAIRS, SPECIES, Film, SeenAnimal, Shot, length_of
from context_rcnn.simulation.flow_files import write_flow
from context_rcnn.simulation.jobs import Progress, run_jobs
from context_rcnn.simulation.settings import VideoSettings

# The data set's own names of what our animals stand for.
SYNSETS = {
    "zebra": "n02391049",
    "wild_ass": "n02374451",  # horse
    "leopard": "n02129604",  # tiger
    "puma": "n02129165",  # lion
    "fallow_deer": "n02419796",  # antelope
    "red_deer": "n02411705",  # sheep
    "bear": "n02131653",
    "buffalo": "n02402425",  # cattle
    "hare": "n02324045",  # rabbit
    "crane": "n01503061",  # bird
}
VISIBILITY, FLOW = "Visibility", "Flow"

_SIMULATOR = "simulate_videos"
_CONTENTS = ("Data", "Annotations", VISIBILITY, FLOW)
_OCCLUDED = 0.3  # share of an animal from which it is called occluded
_SPEEDS = {"static": 0.1, "slow": 0.5, "medium": 1.0, "fast": math.inf}  # up to so many cells


def simulate_videos(
    output_dir: str | os.PathLike[str],
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Simulates videos of animals, and writes their frames and labels.

    The same settings give the same bytes, whatever the number of workers.

    Args:
      output_dir: folder to write; an earlier simulation in it is replaced.
      workers: processes to use.
      overwrite: write even into a folder that holds other things; they are kept.
      progress: called as `progress(video, frames_done, frames_total)` when a video is done.
      **settings: fields of `VideoSettings`.

    Returns:
      Counts: videos, frames, boxes, and boxes by class, speed in cells and look.
    """
    chosen = VideoSettings(**settings)
    writers.check_workers(workers)
    names = SPECIES[: chosen.species]
    pairs = [[SYNSETS[a], SYNSETS[b]] for a, b in PAIRS if {a, b} <= set(names)]
    root, marker = writers.begin(
        output_dir, _SIMULATOR, chosen, _CONTENTS, overwrite, lookalikes=pairs
    )
    jobs = [_VideoJob(root, chosen, index) for index in range(chosen.videos)]
    counts: Counter = sum(run_jobs(jobs, workers, progress), Counter())
    summary = _summary(counts, jobs)
    writers.write_json(root / writers.MARKER, marker | {"summary": summary})
    return summary


def open_film(root: str | os.PathLike[str], video: str) -> Film:
    """The film behind a video of an archive, for its optical flow between any two frames.

    Args:
      root: folder that `simulate_videos` wrote.
      video: name of the video, as `ILSVRC2015_val_00000003`; what is before a slash is ignored.
    """
    path = Path(root) / writers.MARKER
    marker = json.loads(path.read_text(encoding="utf-8"))
    if marker.get("simulator") != _SIMULATOR:
        raise ValueError(f"{path} is not of simulated videos")
    settings = restored(VideoSettings, marker["parameters"])
    index = video.rpartition("_")[2]
    if not index.isdecimal() or int(index) >= settings.videos:
        raise ValueError(f"{path}: there is no video {video!r}")
    return Film(settings, int(index))


@dataclass(frozen=True)
class _VideoJob:
    """One video."""

    root: Path
    settings: VideoSettings
    index: int

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]

    @property
    def place(self) -> str:
        """Its folder within the layout."""
        if self.index < math.ceil(self.settings.videos * self.settings.val_fraction):
            return f"val/ILSVRC2015_val_{self.index:08d}"
        return f"train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_{self.index:08d}"

    @property
    def frames(self) -> int:
        return length_of(self.settings, self.index)

    def __call__(self) -> Counter:
        images, labels = (self.root / part / "VID" / self.place for part in ("Data", "Annotations"))
        for folder in (images, labels):
            folder.mkdir(parents=True)
        film = Film(self.settings, self.index)
        visibility: dict[str, list[dict[str, Any]]] = {}
        counts: Counter = Counter()
        for number in range(film.frames):
            shot = film.shot(number)
            Image.fromarray(shot.image).save(
                images / f"{number:06d}.JPEG", "JPEG", quality=writers.JPEG_QUALITY
            )
            xml = _frame_xml(self.place, number, self.settings.image_size, shot)
            (labels / f"{number:06d}.xml").write_text(xml, encoding="utf-8")
            visibility[f"{number:06d}"] = [_visibility(animal) for animal in shot.animals]
            for animal in shot.animals:
                counts["boxes", "all"] += 1
                counts["by_class", animal.species] += 1
                counts["by_speed", _speed_kind(animal.speed)] += 1
                counts["by_look", animal.look] += 1
        self._write_flow(film)
        self._write_visibility(visibility)
        return counts

    def _write_visibility(self, frames: dict[str, list[dict[str, Any]]]) -> None:
        path = self.root / VISIBILITY / "VID" / f"{self.place}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"frames": frames}) + "\n", encoding="utf-8")

    def _write_flow(self, film: Film) -> None:
        if not self.settings.flow_distances:
            return
        folder = self.root / FLOW / "VID" / self.place
        folder.mkdir(parents=True)
        for number in range(film.frames):
            for distance in self.settings.flow_distances:
                other = number + distance
                if 0 <= other < film.frames:
                    path = folder / f"{number:06d}_{other:06d}"
                    write_flow(path, film.flow(number, other))


def _visibility(animal: SeenAnimal) -> dict[str, Any]:
    return {
        "trackid": str(animal.track),
        "look": animal.look,
        "shows": animal.shows,
        "blur": animal.blur,
        "occluded": animal.occluded,
        "speed": animal.speed,
    }


def _speed_kind(speed: float) -> str:
    return next(kind for kind, most in _SPEEDS.items() if speed <= most)


def _summary(counts: Counter, jobs: list[_VideoJob]) -> dict[str, Any]:
    summary: dict[str, Any] = {"videos": len(jobs), "frames": sum(job.frames for job in jobs)}
    summary["boxes"] = counts["boxes", "all"]
    for key in ("by_class", "by_speed", "by_look"):
        found = {name[1]: count for name, count in sorted(counts.items()) if name[0] == key}
        summary[key] = found
    return summary


def _frame_xml(place: str, number: int, size: tuple[int, int], shot: Shot) -> str:
    """The annotation of a frame."""
    lines = [
        "<annotation>",
        f"  <folder>{place.partition('/')[2]}</folder>",
        f"  <filename>{number:06d}</filename>",
        "  <source><database>ILSVRC_2015</database></source>",
        f"  <size><width>{size[0]}</width><height>{size[1]}</height></size>",
    ]
    for animal in shot.animals:
        x, y, width, height = animal.box
        lines += [
            "  <object>",
            f"    <trackid>{animal.track}</trackid>",
            f"    <name>{SYNSETS[animal.species]}</name>",
            f"    <bndbox><xmax>{x + width}</xmax><xmin>{x}</xmin>"
            f"<ymax>{y + height}</ymax><ymin>{y}</ymin></bndbox>",
            f"    <occluded>{int(animal.occluded > _OCCLUDED)}</occluded>",
            "    <generated>0</generated>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>"]) + "\n"
