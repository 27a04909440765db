"""DukeMTMC-VideoReID: train, query and gallery, each person/tracklet/*.jpg.

An image is named `0001_C6_F0099_X30823.jpg`: person, camera, number of the frame.
"""

import re
from pathlib import Path

from context_rcnn.data.failures import Reason
from context_rcnn.data.tracklets import (
    Collector,
    Tracklet,
    TrackletSet,
    list_folders,
    list_images,
)

_NAME = re.compile(r"_C(?P<camera>\d+)_F(?P<frame>\d+)")


def read_duke_video(root: Path) -> TrackletSet:
    """Reads DukeMTMC-VideoReID."""
    missing = [part for part in ("train", "query", "gallery") if not (root / part).is_dir()]
    if missing:
        raise ValueError(f"{root}: there is no folder {missing[0]!r} as DukeMTMC-VideoReID has it")
    collector = Collector("duke_video")
    return TrackletSet(
        str(root),
        train=_read_part(root, "train", collector),
        query=_read_part(root, "query", collector),
        gallery=_read_part(root, "gallery", collector),
        failures=collector.failures,
        notes=collector.notes,
        split="of the data set",
    )


def _read_part(root: Path, part: str, collector: Collector) -> list[Tracklet]:
    found = []
    for person in list_folders(root / part):
        for folder in list_folders(root / part / person):
            name = f"{part}/{person}/{folder}"
            tracklet = _tracklet(name, person, list_images(root, name), collector)
            if tracklet is not None:
                found.append(tracklet)
    return found


def _tracklet(name: str, person: str, files: list[str], collector: Collector) -> Tracklet | None:
    """The frames by their numbers; files that are named otherwise are failures."""
    frames, cameras = [], set()
    for file in files:
        match = _NAME.search(file.rpartition("/")[2])
        if match is None:
            detail = "the name has no camera and frame, as in 0001_C6_F0099_X30823.jpg"
            collector.fail(Reason.NO_CAMERA, detail, file, lost="image")
            continue
        frames.append((int(match["frame"]), file))
        cameras.add(f"C{int(match['camera'])}")
    if len(cameras) > 1:
        detail = f"tracklet {name} has images of {', '.join(sorted(cameras))}"
        collector.fail(Reason.CONTRADICTORY_LABELS, detail, name)
        return None
    identity = str(int(person)) if person.lstrip("-").isdigit() else person
    ordered = [file for _, file in sorted(frames)]
    return collector.tracklet(name, ordered, identity, next(iter(cameras), ""))
