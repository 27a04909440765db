"""Own tracklets: identity/camera_tracklet/*.jpg.

    leopards/F12/north_0003/000.jpg      F12, camera "north", tracklet "0003"
    leopards/unknown/ridge_0007/000.jpg  nobody knows who it is

The camera is what stands before the last underscore. With the folders `train`, `query` and
`gallery`, each with identities in it, the set is split by hand. Otherwise identities are split by
a hash of their names, and the first tracklet of each held-out identity and camera is a query.
"""

import hashlib
from pathlib import Path

from context_rcnn.data.failures import Reason
from context_rcnn.data.tracklets import (
    UNKNOWN,
    Collector,
    Tracklet,
    TrackletSet,
    list_folders,
    list_images,
)

NOBODY = "unknown"  # folder of tracklets whose identity is not known
_PARTS = ("train", "query", "gallery")


def read_tracklet_folder(
    root: Path, test_fraction: float = 0.5, split_seed: int = 0
) -> TrackletSet:
    """Reads a folder of tracklets.

    Args:
        root: the folder.
        test_fraction: share of identities held out for evaluation, if the folder has no parts.
        split_seed: seed of that split.
    """
    collector = Collector("tracklet_folder")
    folders = list_folders(root)
    if not folders:
        raise ValueError(f"{root}: holds no folder; expected identity/camera_tracklet/*.jpg")
    if set(folders) <= set(_PARTS):
        parts = {part: _read(root, f"{part}/", collector) for part in _PARTS}
        source = "folders train, query and gallery"
    else:
        tracklets = _read(root, "", collector)
        parts = _split(tracklets, test_fraction, split_seed)
        source = f"hash of the identities' names, seed {split_seed}"
    return TrackletSet(
        str(root),
        parts["train"],
        parts["query"],
        parts["gallery"],
        failures=collector.failures,
        notes=collector.notes,
        split=source,
    )


def read_all(root: Path) -> tuple[list[Tracklet], Collector]:
    """All tracklets of a folder, whatever the split, and what could not be used."""
    collector = Collector("tracklet_folder")
    folders = list_folders(root)
    parts = [f"{part}/" for part in folders] if folders and set(folders) <= set(_PARTS) else [""]
    found = [tracklet for part in parts for tracklet in _read(root, part, collector)]
    return found, collector


def _read(root: Path, part: str, collector: Collector) -> list[Tracklet]:
    found = []
    for identity in list_folders(root / part):
        for folder in list_folders(root / part / identity):
            name = f"{part}{identity}/{folder}"
            camera, underscore, _ = folder.rpartition("_")
            if not underscore or not camera:
                detail = f"folder {folder!r:.200} is not named camera_tracklet"
                collector.fail(Reason.NO_CAMERA, detail, name)
                continue
            who = UNKNOWN if identity == NOBODY else identity
            tracklet = collector.tracklet(name, list_images(root, name), who, camera)
            if tracklet is not None:
                found.append(tracklet)
    return found


def _split(tracklets: list[Tracklet], fraction: float, seed: int) -> dict[str, list[Tracklet]]:
    """Identities whose hash is small are held out; the unknown are in the gallery."""
    parts: dict[str, list[Tracklet]] = {part: [] for part in _PARTS}
    asked = set()
    for tracklet in tracklets:
        if tracklet.identity != UNKNOWN and _hash(tracklet.identity, seed) >= fraction:
            parts["train"].append(tracklet)
        elif tracklet.identity == UNKNOWN or (tracklet.identity, tracklet.camera) in asked:
            parts["gallery"].append(tracklet)
        else:
            asked.add((tracklet.identity, tracklet.camera))
            parts["query"].append(tracklet)
    return parts


def _hash(identity: str, seed: int) -> float:
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.sha256(f"{seed}/{identity}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
