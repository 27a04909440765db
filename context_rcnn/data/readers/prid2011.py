"""PRID-2011: prid_2011/multi_shot/cam_a/person_0001/*.png; the first 200 persons are in both.

Published numbers use those of the 200 who have at least 27 frames in both cameras, which are 178.
`splits_prid2011.json`, where it is there, has a list of splits, each with the persons of `train`.
"""

import json
from pathlib import Path

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers import two_cameras
from context_rcnn.data.tracklets import (
    Collector,
    Tracklet,
    TrackletSet,
    list_folders,
    list_images,
)

_IMAGES = "prid_2011/multi_shot"
_SPLITS = "splits_prid2011.json"
_IN_BOTH = 200


def read_prid2011(
    root: Path, split: int = 0, split_seed: int = 0, min_frames: int = 27
) -> TrackletSet:
    """Reads PRID-2011 with one of ten splits.

    Args:
        root: folder that holds `prid_2011`.
        split: number of the split, from 0 on.
        split_seed: seed of the split where the file of splits is not there.
        min_frames: shortest tracklet of a person, in both cameras.
    """
    if not (root / _IMAGES / "cam_a").is_dir():
        raise ValueError(f"{root}: there is no folder {_IMAGES}/cam_a as PRID-2011 has it")
    collector = Collector("prid2011")
    cameras = [_camera(root, camera, collector) for camera in ("cam_a", "cam_b")]
    long = [_long_enough(camera, min_frames) for camera in cameras]
    both = sorted(long[0].keys() & long[1].keys())
    collector.notes["persons_in_one_camera_only"] = len(cameras[0].keys() ^ cameras[1].keys())
    collector.notes["persons_with_fewer_frames"] = len(cameras[0].keys() & cameras[1].keys()) - len(
        both
    )
    if (root / _SPLITS).exists():
        train = _read_split(root / _SPLITS, split)
        source = f"{split} of {_SPLITS}"
    else:
        two_cameras.check_split(split, two_cameras.SPLITS, "PRID-2011")
        train = two_cameras.seeded_split(both, split, split_seed)
        source = f"{split}, drawn by seed {split_seed}: {_SPLITS} is not there"
    return TrackletSet(
        str(root),
        *two_cameras.divide(long[0], long[1], train),
        failures=collector.failures,
        notes=collector.notes,
        split=source,
    )


def _camera(root: Path, camera: str, collector: Collector) -> dict[str, Tracklet]:
    """Tracklets of the persons who may be in both cameras."""
    found = {}
    for person in list_folders(root / _IMAGES / camera):
        number = person.rpartition("_")[2]
        if not number.isdigit():
            collector.fail(Reason.BAD_RECORD, "is no folder person_NUMBER", f"{camera}/{person}")
            continue
        if int(number) > _IN_BOTH:
            continue
        files = list_images(root, f"{_IMAGES}/{camera}/{person}")
        tracklet = collector.tracklet(f"{camera}/{person}", files, person, camera)
        if tracklet is not None:
            found[person] = tracklet
    return found


def _long_enough(camera: dict[str, Tracklet], frames: int) -> dict[str, Tracklet]:
    return {person: part for person, part in camera.items() if len(part.frames) >= frames}


def _read_split(path: Path, split: int) -> set[str]:
    """Persons for training of a split."""
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(splits, list):
        raise ValueError(f"{path}: expected a list of splits, found {type(splits).__name__}")
    two_cameras.check_split(split, len(splits), str(path))
    row = splits[split]
    persons = row.get("train") if isinstance(row, dict) else None
    if not isinstance(persons, list) or not all(isinstance(name, str) for name in persons):
        raise ValueError(f"{path}: split {split} must have 'train', a list of persons")
    return set(persons)
