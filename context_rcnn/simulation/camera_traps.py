"""Simulates a camera-trap study and writes it in the COCO Camera Traps layout.

```
<output_dir>/images/cam_00/100RECNX/IMG_0001.JPG   photographs, EXIF times, overflow folders
<output_dir>/camera_traps.json                     COCO Camera Traps labels
<output_dir>/splits.json                           train and val locations, as LILA publishes them
<output_dir>/simulation.json                       parameters and what a test may want to know
```
"""

from __future__ import annotations

import datetime
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from context_rcnn.simulation import writers
from context_rcnn.simulation.arguments import first_day
from context_rcnn.simulation.bursts import CameraTrap, Frame
from context_rcnn.simulation.canvas import mask_box
from context_rcnn.simulation.habits import CameraPlan, plan_network, schedule, species_names
from context_rcnn.simulation.jobs import Progress, run_jobs
from context_rcnn.simulation.settings import CameraTrapSettings
from context_rcnn.simulation.species import lookalike

MAKE, MODEL = "TrailCam", "TC-160"

_CONTENTS = ("images", "camera_traps.json", "splits.json")
_TIME = "%Y-%m-%d %H:%M:%S"


def simulate_camera_traps(
    output_dir: str | os.PathLike[str],
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Simulates static cameras that animals pass by, and writes their photographs and labels.

    The same settings give the same bytes, whatever the number of workers. With more than one
    worker the calling script needs the usual `if __name__ == "__main__":`.

    Args:
      output_dir: folder to write; an earlier simulation in it is replaced.
      workers: processes to use.
      overwrite: write even into a folder that holds other things; they are kept.
      progress: called as `progress(camera, frames_done, frames_total)` when a camera is done.
      **settings: fields of `CameraTrapSettings`.

    Returns:
      Counts: frames, empty frames, triggers, boxes, each by class, camera and difficulty.
    """
    chosen = CameraTrapSettings(**settings)
    writers.check_workers(workers)
    root, marker = writers.begin(output_dir, "simulate_camera_traps", chosen, _CONTENTS, overwrite)
    plans = plan_network(chosen)
    names = species_names(chosen.species, chosen.world)
    jobs = [_CameraJob(root / "images", plan, names, chosen) for plan in plans]
    records = run_jobs(jobs, workers, progress)
    first = first_day(chosen.start)
    writers.write_json(root / "camera_traps.json", _dataset(records, names, first))
    writers.write_json(root / "splits.json", _splits(plans, chosen.pretrain_fraction))
    pairs = {
        (min(name, other), max(name, other)) for name in names if (other := lookalike(name, names))
    }
    truth = {plan.name: r.truth for plan, r in zip(plans, records, strict=True)}
    marker |= {"lookalikes": sorted(pairs), "cameras": truth}
    writers.write_json(root / writers.MARKER, marker)
    return _summary(plans, records, names)


@dataclass(frozen=True)
class _Records:
    """What one camera adds to the data set."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    truth: dict[str, Any]
    triggers: int
    empty_triggers: int


@dataclass(frozen=True)
class _CameraJob:
    """Draws and writes all photographs of one camera."""

    root: Path
    plan: CameraPlan
    names: tuple[str, ...]
    settings: CameraTrapSettings

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def frames(self) -> int:
        triggers = schedule(self.settings.seed, self.plan, self.settings.days)
        return sum(trigger.frames for trigger in triggers)

    def __call__(self) -> _Records:
        settings = self.settings
        camera = CameraTrap(
            settings.seed, self.plan, days=settings.days, image_size=settings.image_size
        )
        start = first_day(settings.start)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        (self.root / self.name).mkdir(parents=True)
        for trigger in camera.triggers:
            for number, frame in enumerate(camera.frames(trigger)):
                taken = start + datetime.timedelta(seconds=frame.second)
                file_name = self._file_name(len(images))
                path = self.root / file_name
                path.parent.mkdir(exist_ok=True)
                writers.write_photo(path, frame.image, taken, MAKE, MODEL)
                image_id = f"{self.name}-{len(images):06d}"
                image = {
                    "id": image_id,
                    "file_name": file_name,
                    "width": settings.image_size[0],
                    "height": settings.image_size[1],
                    "location": self.name,
                    "datetime": taken.strftime(_TIME),
                    "seq_id": f"{self.name}-seq-{trigger.index:05d}",
                    "seq_num_frames": trigger.frames,
                    "frame_num": number,
                }
                images.append(image)
                annotations += self._annotations(image_id, frame)
        visits = [trigger for trigger in camera.triggers if trigger.visit]
        empty = len(camera.triggers) - len(visits)
        return _Records(images, annotations, self._truth(camera), len(camera.triggers), empty)

    def _file_name(self, index: int) -> str:
        """Real cameras open a new folder when one is full and count its files from 1 again.

        Every third camera is of a make that puts all files into one folder.
        """
        if self.plan.index % 3 == 2:
            return f"{self.name}/IMG_{index + 1:05d}.JPG"
        folder, place = divmod(index, self.settings.images_per_folder)
        return f"{self.name}/{100 + folder}RECNX/IMG_{place + 1:04d}.JPG"

    def _annotations(self, image_id: str, frame: Frame) -> list[dict[str, Any]]:
        if not frame.animals:
            return [{"id": f"{image_id}-0", "image_id": image_id, "category_id": 0}]
        return [
            {
                "id": f"{image_id}-{place}",
                "image_id": image_id,
                "category_id": 1 + self.names.index(animal.species),
                "bbox": [float(side) for side in animal.box],
                "ambiguous": animal.ambiguous,
                "difficulty": animal.difficulty,
            }
            for place, animal in enumerate(frame.animals)
        ]

    def _truth(self, camera: CameraTrap) -> dict[str, Any]:
        start = first_day(self.settings.start)

        def stamp(second: int) -> str:
            return (start + datetime.timedelta(seconds=second)).strftime(_TIME)

        distractors = []
        for place, distractor in enumerate(camera.scene.distractors):
            boxes = [
                {"since": stamp(since), "bbox": mask_box(view.distractors[place])}
                for since, view in camera.views
            ]
            distractors.append({"looks_like": distractor.species, "views": boxes})
        return {
            "split": self.plan.split,
            "residents": [resident.species for resident in self.plan.residents],
            "strays": sorted(self.plan.strays.values()),
            "distractors": distractors,
            "bumps": [stamp(since) for since, _ in camera.views[1:]],
        }


def _dataset(
    records: list[_Records], names: tuple[str, ...], start: datetime.datetime
) -> dict[str, Any]:
    return {
        "info": {
            "version": "1.0",
            "description": "Simulated camera traps",
            "year": start.year,
            "contributor": "context_rcnn.simulation",
            "date_created": start.strftime("%Y-%m-%d"),
        },
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(("empty", *names))
        ],
        "images": [image for record in records for image in record.images],
        "annotations": [a for record in records for a in record.annotations],
    }


def _splits(plans: list[CameraPlan], pretrain_fraction: float) -> dict[str, Any]:
    splits = {
        split: [plan.name for plan in plans if plan.split == split] for split in ("train", "val")
    }
    number = int(len(splits["train"]) * pretrain_fraction)
    if number:
        splits = {"pretrain": splits["train"][:number]} | splits
        splits["train"] = splits["train"][number:]
    return {
        "info": {"version": "1.0", "description": "Locations of the simulated camera traps"},
        "splits": splits,
    }


def _summary(
    plans: list[CameraPlan], records: list[_Records], names: tuple[str, ...]
) -> dict[str, Any]:
    boxes = [a for record in records for a in record.annotations if "bbox" in a]
    classes = Counter(names[box["category_id"] - 1] for box in boxes)
    return {
        "cameras": len(plans),
        "frames": sum(len(record.images) for record in records),
        "empty_frames": sum("bbox" not in a for record in records for a in record.annotations),
        "triggers": sum(record.triggers for record in records),
        "empty_triggers": sum(record.empty_triggers for record in records),
        "boxes": len(boxes),
        "ambiguous_boxes": sum(box["ambiguous"] for box in boxes),
        "boxes_per_class": {name: classes[name] for name in names},
        "boxes_per_difficulty": dict(sorted(Counter(b["difficulty"] for b in boxes).items())),
        "frames_per_camera": {
            plan.name: len(record.images) for plan, record in zip(plans, records, strict=True)
        },
    }
