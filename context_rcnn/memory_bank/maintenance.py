"""Looking after banks: verify, merge, prune, delete; and looking into them.

What changes a bank rewrites the files concerned and no others, and takes place whole or not at all
(see `writer`). A command that was killed can be given again; one that has been carried out changes
nothing the second time.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.memory_bank import curation, sampling
from context_rcnn.memory_bank import features as storage
from context_rcnn.memory_bank.entries import Entries, concatenate
from context_rcnn.memory_bank.files import LOCAL
from context_rcnn.memory_bank.manifest import PROGRESS, Manifest
from context_rcnn.memory_bank.store import Bank, CameraBank
from context_rcnn.memory_bank.writer import (
    BankWriter,
    ShardWriter,
    commit,
    describe,
    recover,
    staged,
)

DUPLICATE = "duplicate"
DELETED = "deleted"
UNDATED = "undated"

_CHUNK = 4096


def verify(folder: str) -> list[str]:
    """What is wrong with a bank, a line each: reads all of it and compares every hash."""
    try:
        bank = Bank.open(folder)
    except ValueError as error:
        return [str(error)]
    problems = []
    for name, info in bank.manifest.cameras.items():
        try:
            entries = bank.camera(name).mapped()
            ordered = entries.in_time_order()
        except ValueError as error:
            problems.append(str(error))
            continue
        if not np.array_equal(entries.image_ids, ordered.image_ids):
            problems.append(f"camera {name!r}: entries are not in time order")
        found = describe(info.shard, entries, info.dropped, info.segments)
        problems += [
            f"camera {name!r}: {field} is {getattr(found, field)}, "
            f"the manifest says {getattr(info, field)}"
            for field in vars(info)
            if getattr(found, field) != getattr(info, field)
        ]
    return problems


def merge(
    sources: Collection[str],
    folder: str,
    num_shards: int | None = None,
    dtype: storage.StorageDtype | None = None,
) -> Manifest:
    """Writes a bank of all entries of several, which have to be of one extractor.

    An image that several banks have of a camera is taken from the first of them.

    Args:
        sources: Folders of banks.
        folder: Folder of the new bank; may be one of the sources.
        num_shards: Files of the new bank; None for as many as the largest source has.
        dtype: Type of the new bank; None for that of the sources, which must then be the same.
    """
    if not sources:
        raise ValueError("sources: name at least one bank")
    banks = [Bank.open(source) for source in sources]
    first = banks[0]
    for bank in banks[1:]:
        for field in ("extractor_hash", "feature_source", "depth", *([] if dtype else ["dtype"])):
            ours, theirs = getattr(first.info, field), getattr(bank.info, field)
            if ours != theirs:
                raise ValueError(
                    f"{field}: {ours!r} in {first.folder}, {theirs!r} in {bank.folder}; "
                    "such banks cannot be merged"
                )
    num_shards = num_shards or max(len(bank.manifest.shard_bytes) for bank in banks)
    info = dataclasses.replace(first.info, dtype=dtype or first.info.dtype)
    with BankWriter(folder, info, num_shards) as writer:
        for name in sorted({name for bank in banks for name in bank.cameras}):
            having = [bank for bank in banks if name in bank]
            entries, dropped, _ = merged_camera(having, name, info.dtype)
            writer.add(name, entries, dropped)
    return Bank.open(folder).manifest


def merged_camera(
    banks: Sequence[Bank], name: str, dtype: storage.StorageDtype | None = None
) -> tuple[Entries, Counter, list[str]]:
    """A camera's entries of all banks; an image that several have is taken from the first.

    Args:
        banks: All that have the camera.
        name: Name of the camera.
        dtype: Type of the features; None if all banks have the same.

    Returns:
        The entries, what was left out by reason, and the images that several have, sorted.
    """
    parts: list[Entries] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    repeated: set[str] = set()
    for bank in banks:
        entries = bank.camera(name).mapped()
        if dtype:
            entries = entries.stored_as(dtype)
        new = np.array([image not in seen for image in entries.image_ids], bool)
        repeated.update(entries.image_ids[~new])
        seen.update(entries.image_ids)
        dropped.update(bank.manifest.cameras[name].dropped)
        dropped[DUPLICATE] += int(np.count_nonzero(~new))
        parts.append(entries if new.all() else entries.take(new))
    return concatenate(parts), +dropped, sorted(repeated)


def prune(folder: str, options: curation.CameraOptions) -> Manifest:
    """Brings every camera within a budget; its frames are not strided again."""

    def choose(camera: CameraBank) -> np.ndarray:
        return curation.within_budget(camera.seconds, camera.dated, camera.features.read, options)

    return _keep_only(folder, choose, curation.OVER_BUDGET)


def delete(
    folder: str,
    *,
    cameras: Collection[str] | None = None,
    first: int | None = None,
    last: int | None = None,
    undated: bool = False,
) -> Manifest:
    """Removes entries for good: their bytes are gone from the bank's files.

    What a build keeps to go on with holds features too, and is removed with them, whatever was
    deleted. A later build extracts everything again, of the images that there are then.

    A camera of which nothing is left is removed with its name; of others the count stays, as
    dropped for the reason "deleted".

    Args:
        folder: Folder of the bank.
        cameras: Names of the cameras; None for all. Names that the bank does not have are ignored.
        first, last: First and last second, both included; None for no bound.
        undated: Remove also entries whose date is unknown, which lie within no bound. Without
            bounds they go with the cameras; without cameras too, only they go.
    """
    if cameras is None and first is None and last is None and not undated:
        raise ValueError("delete: say which cameras or which time; remove the folder to remove all")

    bounded = first is not None or last is not None

    def choose(camera: CameraBank) -> np.ndarray:
        if cameras is not None and camera.name not in cameras:
            return np.arange(len(camera))
        if bounded:
            after = True if first is None else camera.seconds >= first
            before = True if last is None else camera.seconds <= last
            doomed = np.where(camera.dated, np.logical_and(after, before), undated)
        else:
            doomed = np.full(len(camera), True) if cameras is not None else ~camera.dated
        return np.flatnonzero(~doomed)

    manifest = _keep_only(folder, choose, DELETED)
    LOCAL.delete(os.path.join(folder, PROGRESS))
    return manifest


def _keep_only(folder: str, choose: Callable[[CameraBank], np.ndarray], reason: str) -> Manifest:
    """Rewrites the files with a camera of which `choose` does not keep every entry."""
    recover(folder)
    bank = Bank.open(folder)
    manifest = bank.manifest
    kept, shards = {}, set()
    for camera in bank:
        indices = choose(camera)
        if len(indices) < len(camera):
            kept[camera.name] = indices
            shards.add(manifest.cameras[camera.name].shard)
    if not kept:
        return manifest
    cameras, sizes = dict(manifest.cameras), list(manifest.shard_bytes)
    for shard in sorted(shards):
        with staged(folder, manifest.shard_names[shard]) as file:
            writer = ShardWriter(file, manifest.info, shard)
            members = [name for name, info in manifest.cameras.items() if info.shard == shard]
            for name in members:
                dropped = Counter(manifest.cameras[name].dropped)
                left = kept.get(name)
                if left is not None:
                    dropped[reason] += manifest.cameras[name].entries - len(left)
                if left is not None and not len(left):
                    del cameras[name]
                    continue
                cameras[name] = writer.add(name, bank.camera(name).mapped(left), dropped)
            sizes[shard] = writer.bytes
    changed = Manifest(manifest.info, tuple(sizes), cameras)
    commit(folder, changed)
    return changed


def summary(bank: Bank) -> dict[str, Any]:
    """What a bank holds, as plain values: of all, and of each camera."""
    info = bank.info
    return {
        "folder": bank.folder,
        "extractor_hash": info.extractor_hash,
        "feature_source": info.feature_source,
        "depth": info.depth,
        "dtype": info.dtype,
        "compression": info.compression,
        **bank.manifest.totals(),
        "by_camera": {
            name: {
                "entries": camera.entries,
                "undated": camera.undated,
                "images": camera.images,
                "first": _date(camera.first_seconds),
                "last": _date(camera.last_seconds),
                "dropped": dict(camera.dropped),
            }
            for name, camera in bank.manifest.cameras.items()
        },
    }


def coverage(bank: Bank) -> dict[str, dict[str, int]]:
    """Entries by camera and day: {"camera 7": {"2022-12-31": 40, "undated": 2}}."""
    days = {}
    for camera in bank:
        dates = (camera.seconds[camera.dated] // 86400).astype("datetime64[D]")
        found, counts = np.unique(dates, return_counts=True)
        days[camera.name] = dict(zip(map(str, found), map(int, counts), strict=True))
        if not camera.dated.all():
            days[camera.name][UNDATED] = int(np.count_nonzero(~camera.dated))
    return days


def nearest(
    bank: Bank, feature: np.ndarray, count: int, cameras: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """The entries that are most similar to a feature, by cosine similarity, best first.

    Args:
        bank: Bank to search.
        feature: [D].
        count: Number of entries.
        cameras: Cameras to search; None for all cameras.

    Returns:
        For each entry its camera, position, image id, rank, date, box, score, class and similarity.
    """
    if np.shape(feature) != (bank.info.depth,):
        raise ValueError(f"feature: must be [{bank.info.depth}], is {list(np.shape(feature))}")
    (query,) = sampling.normalised(np.asarray(feature)[np.newaxis])
    found = []
    for name in bank.cameras if cameras is None else cameras:
        camera = bank.camera(name)
        for start in range(0, len(camera), _CHUNK):
            indices = np.arange(start, min(start + _CHUNK, len(camera)))
            alike = sampling.normalised(camera.features.read(indices)) @ query
            best = np.argsort(-alike, kind="stable")[:count]
            found += [(float(alike[i]), name, int(indices[i])) for i in best]
        found = sorted(found, key=lambda item: (-item[0], item[1:]))[:count]
    return [_row(bank.camera(name), index, alike) for alike, name, index in found]


def _row(camera: CameraBank, index: int, similarity: float) -> dict[str, Any]:
    return {
        "camera": camera.name,
        "index": index,
        "image_id": camera.image_ids[index],
        "rank": int(camera.ranks[index]),
        "date": _date(int(camera.seconds[index]) if camera.dated[index] else None),
        "box": [float(edge) for edge in camera.boxes[index]],
        "score": float(camera.scores[index]),
        "class": int(camera.classes[index]),
        "similarity": similarity,
    }


def _date(seconds: int | None) -> str | None:
    return None if seconds is None else format_timestamp(seconds)
