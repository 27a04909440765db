"""The boxes of a simulated archive, and what is known about them."""

import dataclasses
import json
import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from context_rcnn.data.archive import ArchiveOptions, SplitArchive
from context_rcnn.data.readers.imagenet_vid import CLASS_NAMES
from context_rcnn.data.records import ImageRecord

MARKER = "simulation.json"


@dataclasses.dataclass(frozen=True)
class Boxes:
    """All boxes of one camera or video; arrays are [boxes].

    Attributes:
        camera: name of the camera.
        images: place of its image among the camera's.
        times: number of its frame in a video, seconds at a camera.
        bursts: number of its burst among the camera's.
        classes: class ids.
        groups: number of the group of look-alikes that its class is of.
        identities: the same for boxes of one object: its track, or its species at a camera.
        shows: whether it shows what tells it from its look-alikes.
        places: left, top, right and bottom in pixels, [boxes, 4].
    """

    camera: str
    images: np.ndarray
    times: np.ndarray
    bursts: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    identities: np.ndarray
    shows: np.ndarray
    places: np.ndarray


@dataclasses.dataclass(frozen=True)
class Study:
    """A split of an archive.

    Attributes:
        cameras: boxes of each camera that has any.
        records: images of each camera, in the order of `Boxes.images`.
        videos: whether cameras are videos, whose boxes have tracks.
        classes: names by id.
        guesses: most common class of hidden boxes, by group of look-alikes, in all splits.
        root: folder that file names start from.
    """

    cameras: list[Boxes]
    records: list[list[ImageRecord]]
    videos: bool
    classes: dict[int, str]
    guesses: dict[int, int]
    root: pathlib.Path


def read_study(options: ArchiveOptions, archive: SplitArchive, split: str) -> Study:
    """The boxes of a split.

    Raises:
        ValueError: if the archive is not simulated, the split is not there, or has no box.
    """
    if split not in archive.records:
        raise ValueError(f"--split: there is no {split!r}, only {', '.join(archive.records)}")
    groups = group_numbers(read_lookalikes(options), list(archive.label_map))
    videos = any(box.track for record in archive.records[split] for box in record.boxes)
    found: dict[str, list[tuple[Boxes, list[ImageRecord]]]] = {}
    for name, members in archive.records.items():
        by_camera: dict[str, list[ImageRecord]] = {}
        for record in members:
            by_camera.setdefault(record.camera, []).append(record)
        found[name] = [
            (_boxes_of(camera, records, archive.label_map, groups, videos), records)
            for camera, records in sorted(by_camera.items())
            if any(record.boxes for record in records)
        ]
    if not found[split]:
        raise ValueError(f"no image of the split {split!r} has boxes")
    return Study(
        cameras=[boxes for boxes, _ in found[split]],
        records=[records for _, records in found[split]],
        videos=videos,
        classes={number: name for name, number in archive.label_map.items()},
        guesses=guesses_of([boxes for pairs in found.values() for boxes, _ in pairs]),
        root=pathlib.Path(archive.root),
    )


def guesses_of(cameras: Sequence[Boxes]) -> dict[int, int]:
    """The most common class of hidden boxes, by group of look-alikes."""
    counts: dict[int, Counter] = {}
    for boxes in cameras:
        hidden = ~boxes.shows
        pairs = zip(boxes.groups[hidden].tolist(), boxes.classes[hidden].tolist(), strict=True)
        for group, name in pairs:
            counts.setdefault(group, Counter())[name] += 1
    return {group: count.most_common(1)[0][0] for group, count in counts.items()}


def read_lookalikes(options: ArchiveOptions) -> list[tuple[str, ...]]:
    """Pairs of class names, from the simulation.json beside the archive."""
    source = pathlib.Path(options.source)
    return lookalikes_of(source if source.is_dir() else source.parent)


def lookalikes_of(folder: pathlib.Path) -> list[tuple[str, ...]]:
    """Pairs of class names, from the simulation.json in a folder."""
    path = folder / MARKER
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))["lookalikes"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} has no look-alikes ({type(error).__name__}); ceilings need what only a "
            "simulation by `context-rcnn simulate camera-traps` or `videos` knows"
        ) from error
    return [tuple(CLASS_NAMES.get(name, name) for name in pair) for pair in pairs]


def group_numbers(pairs: Sequence[tuple[str, ...]], names: Sequence[str]) -> dict[str, int]:
    """A number for each class name, the same for look-alikes."""
    numbers = {name: place for place, name in enumerate(names)}
    for pair in pairs:
        numbers |= {name: numbers[pair[0]] for name in pair if name in numbers}
    return numbers


def _boxes_of(
    camera: str,
    records: list[ImageRecord],
    label_map: dict[str, int],
    groups: dict[str, int],
    videos: bool,
) -> Boxes:
    rows = [(place, record, box) for place, record in enumerate(records) for box in record.boxes]
    for _, record, box in rows:
        if box.seen is None:
            raise ValueError(f"{record.file_name}: it is not known what its boxes show")
        if not videos and record.seconds is None:
            raise ValueError(f"{record.file_name} has no date")
    bursts = {name: number for number, name in enumerate(dict.fromkeys(r.seq_id for r in records))}
    identities = [box.track if videos else box.label for _, _, box in rows]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(identities))}
    return Boxes(
        camera=camera,
        images=np.array([place for place, _, _ in rows]),
        times=np.array([record.frame_num if videos else record.seconds for _, record, _ in rows]),
        bursts=np.array([bursts[record.seq_id] for _, record, _ in rows]),
        classes=np.array([label_map[box.label] for _, _, box in rows]),
        groups=np.array([groups[box.label] for _, _, box in rows]),
        identities=np.array([numbers[name] for name in identities]),
        shows=np.array([box.seen is not None and box.seen.shows for _, _, box in rows]),
        places=np.array([(box.xmin, box.ymin, box.xmax, box.ymax) for _, _, box in rows], float),
    )
