"""Writing banks, completely or not at all, with the same bytes for the same content.

A rewrite becomes the bank in one step. New files are first written beside the old ones, as
`<name>.next`. Then `manifest.json.next` appears: from here on the rewrite is certain, and what is
left to do, renaming, can be done again by anybody after a crash (`recover`). Before it appears, the
old bank is untouched. This holds on any storage where a file appears whole, see `files`. Two
programs must not write to one bank at the same time.
"""

import contextlib
import gzip
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np

from context_rcnn.memory_bank import manifest as manifests
from context_rcnn.memory_bank import records, wire
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.features import first_not_finite
from context_rcnn.memory_bank.files import LOCAL, TEMP_MARK, Files
from context_rcnn.memory_bank.manifest import BankInfo, CameraInfo, Manifest, SegmentPlace
from context_rcnn.memory_bank.store import open_shard, read_camera

_GZIP_LEVEL = 6
_DEFAULT_SHARDS = 16
_HASHED_ROWS = 1024  # at a time
_SHARD = re.compile(r"bank-\d{5}-of-\d{5}\.tfrecord")
_STAGED_SHARD = re.compile(_SHARD.pattern + re.escape(manifests.NEXT))


class ShardWriter:
    """Writes cameras to one open file, one after the other.

    Equal cameras in equal order give equal bytes; `BankWriter` adds them in order of their names.
    """

    def __init__(self, file: BinaryIO, info: BankInfo, shard: int):
        self._file = file
        self._info = info
        self._shard = shard
        self.bytes = 0

    def add(self, camera: str, entries: Entries, dropped: Mapping[str, int]) -> CameraInfo:
        """Writes the entries of a camera, in any order and dtype, and says where they are.

        Raises:
            ValueError: For entries that cannot be stored; it names camera, image and rank.
        """
        if entries.depth != self._info.depth:
            raise ValueError(
                f"camera {camera!r}: features have depth {entries.depth}, "
                f"the bank has {self._info.depth}"
            )
        try:
            entries = entries.in_time_order().stored_as(self._info.dtype)
        except ValueError as error:
            raise ValueError(f"camera {camera!r}: {error}") from error
        _check_values(camera, entries, self._info.dtype)
        size = records.entries_per_segment(self._info.depth, self._info.dtype)
        places = []
        for number, start in enumerate(range(0, len(entries), size)):
            part = entries.take(slice(start, start + size))
            segment = records.Segment(camera, number, self._info.dtype, part)
            places.append(self._write(segment))
        return describe(self._shard, entries, dropped, places)

    def _write(self, segment: records.Segment) -> SegmentPlace:
        compressed = self._info.compression == "gzip"
        parts = records.encode_segment(segment, offset=0 if compressed else self.bytes)
        if compressed:
            parts = [gzip.compress(b"".join(parts), _GZIP_LEVEL, mtime=0)]
        place = SegmentPlace(self.bytes, wire.total_bytes(parts), len(segment.entries))
        for part in parts:
            self._file.write(part)
        self.bytes += place.bytes
        return place


class BankWriter:
    """Writes a bank camera by camera, in any order:

        with BankWriter(folder, BankInfo("sha256:...", "box_features", 2048)) as writer:
            writer.add("camera 7", entries, dropped={"not_top_k": 120})

    One camera is in memory at a time. Without an exception the folder then holds this bank and no
    other; with one it is as before.
    """

    def __init__(self, folder: str, info: BankInfo, num_shards: int = _DEFAULT_SHARDS):
        """
        Args:
            folder: Folder to write; it is created if missing, and a bank in it is replaced.
            info: Facts about the whole bank.
            num_shards: Files; each camera lies in one of them.
        """
        if num_shards < 1:
            raise ValueError(f"num_shards {num_shards}: must be positive")
        self._folder = folder
        self._info = info
        self._num_shards = num_shards
        self._cameras: dict[str, CameraInfo] = {}
        os.makedirs(folder, exist_ok=True)
        recover(folder)
        self._spool = tempfile.mkdtemp(prefix=TEMP_MARK, dir=folder)

    def add(self, camera: str, entries: Entries, dropped: Mapping[str, int] | None = None) -> None:
        """Adds all entries of a camera, and the counts by reason of what was left out of them.

        Raises:
            ValueError: If the camera was added before, or its entries cannot be stored.
        """
        if camera in self._cameras:
            raise ValueError(f"camera {camera!r} was added before; add all its entries at once")
        with open(self._spool_path(camera), "wb") as file:
            shard = manifests.shard_of(camera, self._num_shards)
            info = ShardWriter(file, self._info, shard).add(camera, entries, dropped or {})
        self._cameras[camera] = info

    def close(self) -> Manifest:
        """Puts the bank together and in its place."""
        shards: list[list[str]] = [[] for _ in range(self._num_shards)]
        for camera in sorted(self._cameras):
            shards[self._cameras[camera].shard].append(camera)
        sizes, cameras = [], {}
        for index, members in enumerate(shards):
            with staged(self._folder, manifests.shard_name(index, self._num_shards)) as file:
                writer = ShardWriter(file, self._info, index)
                for camera in members:
                    spooled = self._cameras[camera]
                    data = open_shard(self._spool_path(camera))
                    entries = read_camera(data, camera, spooled, self._info, check=False).mapped()
                    cameras[camera] = writer.add(camera, entries, spooled.dropped)
                sizes.append(writer.bytes)
        written = Manifest(self._info, tuple(sizes), dict(sorted(cameras.items())))
        commit(self._folder, written)  # removes what was spooled, too
        return written

    def abort(self) -> None:
        """Forgets everything that was added."""
        LOCAL.delete(self._spool)

    def __enter__(self) -> "BankWriter":
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _spool_path(self, camera: str) -> str:
        return os.path.join(self._spool, hashlib.blake2b(camera.encode()).hexdigest()[:32])


@contextlib.contextmanager
def staged(folder: str, name: str, files: Files = LOCAL) -> Iterator[BinaryIO]:
    """A file to write that takes part in the next `commit`."""
    with files.create(os.path.join(folder, name + manifests.NEXT), durable=True) as file:
        yield file


def commit(folder: str, manifest: Manifest, files: Files = LOCAL) -> None:
    """Makes the staged files and this manifest the bank of the folder."""
    path = os.path.join(folder, manifests.FILE_NAME)
    with files.create(path + manifests.NEXT, durable=True) as file:
        file.write(manifest.to_json().encode())
    recover(folder, files)


def recover(folder: str, files: Files = LOCAL) -> bool:
    """Finishes a rewrite that was interrupted, or removes what it left if it had not got far.

    Returns:
        Whether a rewrite was finished.
    """
    path = os.path.join(folder, manifests.FILE_NAME)
    text = files.read(path + manifests.NEXT)
    names = files.names(folder)
    if text is not None:
        manifest = Manifest.from_json(text.decode(), path + manifests.NEXT)
        for name in manifest.shard_names:
            if name + manifests.NEXT in names:
                shard = os.path.join(folder, name)
                files.move(shard + manifests.NEXT, shard)
        for name in names:
            if _SHARD.fullmatch(name) and name not in manifest.shard_names:
                files.delete(os.path.join(folder, name))
        files.move(path + manifests.NEXT, path)
    for name in files.names(folder):
        if TEMP_MARK in name or _STAGED_SHARD.fullmatch(name):
            files.delete(os.path.join(folder, name))
    return text is not None


def _check_values(camera: str, entries: Entries, dtype: str) -> None:
    """ValueError for what must not get into a bank."""
    too_large = "" if dtype == "float32" else f", or a value too large for {dtype}"
    for name, problem in (("features", too_large), ("boxes", ""), ("scores", "")):
        row = first_not_finite(getattr(entries, name))
        if row is None and name == "features" and entries.scales is not None:
            row = first_not_finite(entries.scales)
        if row is not None:
            raise ValueError(
                f"camera {camera!r}, image {entries.image_ids[row]!r}, rank {entries.ranks[row]}: "
                f"{name} hold NaN or infinity{problem}"
            )


def describe(
    shard: int, entries: Entries, dropped: Mapping[str, int], places: Sequence[SegmentPlace]
) -> CameraInfo:
    dated = entries.seconds[entries.dated]
    return CameraInfo(
        shard=shard,
        entries=len(entries),
        undated=len(entries) - len(dated),
        images=len(set(entries.image_ids)),
        first_seconds=int(dated[0]) if len(dated) else None,
        last_seconds=int(dated[-1]) if len(dated) else None,
        dropped={reason: int(count) for reason, count in sorted(dropped.items()) if count},
        hash=content_hash(entries),
        segments=tuple(places),
    )


def content_hash(entries: Entries) -> str:
    """Hash of entries in time order and storage dtype: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    ids = [image_id.encode() for image_id in entries.image_ids]
    digest.update(np.array([len(image_id) for image_id in ids], "<u4").tobytes())
    digest.update(b"".join(ids))
    for name in ("seconds", "dated", "ranks", "classes", "boxes", "scores", "scales", "features"):
        values = getattr(entries, name)
        if values is not None:
            digest.update(f"{name} {values.dtype.name} {values.shape}".encode())
            for start in range(0, len(values), _HASHED_ROWS):
                rows = np.ascontiguousarray(values[start : start + _HASHED_ROWS])
                digest.update(rows.view(np.uint8).data)
    return digest.hexdigest()
