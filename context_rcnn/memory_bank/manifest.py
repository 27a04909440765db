"""The description of a bank: `manifest.json`."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Literal

from context_rcnn.memory_bank.features import StorageDtype
from context_rcnn.memory_bank.files import LOCAL, Files

FORMAT = "context-rcnn memory bank"
FORMAT_VERSION = 1
FILE_NAME = "manifest.json"
PROGRESS = "_progress"
"""Folder of what a build needs to go on; it holds features, too."""
NEXT = ".next"
"""Ending of files that will take the place of those without it, see `writer`."""

Compression = Literal["none", "gzip"]
COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip")


@dataclasses.dataclass(frozen=True)
class BankInfo:
    """Facts about a whole bank.

    Attributes:
        extractor_hash: Hash of the frozen extractor. Features of two extractors never mix.
        feature_source: Name of the extractor's tensor that was stored.
        depth: D, length of a feature.
        dtype: Storage dtype of the features, see `features`.
        compression: "none", or "gzip" where each record is a gzip member of its own.
    """

    extractor_hash: str
    feature_source: str
    depth: int
    dtype: StorageDtype = "float16"
    compression: Compression = "none"

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"depth {self.depth}: must be positive")
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"compression {self.compression!r}: must be one of {', '.join(COMPRESSIONS)}"
            )


@dataclasses.dataclass(frozen=True)
class SegmentPlace:
    """Place of a record: its frame as stored, possibly compressed."""

    offset: int
    bytes: int
    entries: int


@dataclasses.dataclass(frozen=True)
class CameraInfo:
    """What a bank holds of a camera.

    Attributes:
        shard: Number of the file.
        entries, undated: Entries, and how many of them have no date.
        images: Images with an entry.
        first_seconds, last_seconds: Times of the first and last dated entry; None if there is none.
        dropped: Counts by reason of what was not stored.
        hash: Hash of the content, the same for equal entries in any place.
        segments: The camera's records in order.
    """

    shard: int
    entries: int
    undated: int
    images: int
    first_seconds: int | None
    last_seconds: int | None
    dropped: Mapping[str, int]
    hash: str
    segments: tuple[SegmentPlace, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything but the entries.

    Attributes:
        info: Facts about the whole bank.
        shard_bytes: Size of each file.
        cameras: Cameras by name, sorted.
    """

    info: BankInfo
    shard_bytes: tuple[int, ...]
    cameras: Mapping[str, CameraInfo]

    @property
    def shard_names(self) -> list[str]:
        return [shard_name(i, len(self.shard_bytes)) for i in range(len(self.shard_bytes))]

    def totals(self) -> dict[str, Any]:
        cameras = self.cameras.values()
        dropped: dict[str, int] = {}
        for camera in cameras:
            for reason, count in camera.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        return {
            "cameras": len(cameras),
            "entries": sum(camera.entries for camera in cameras),
            "undated": sum(camera.undated for camera in cameras),
            "images": sum(camera.images for camera in cameras),
            "bytes": sum(self.shard_bytes),
            "dropped": dict(sorted(dropped.items())),
        }

    def to_json(self) -> str:
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **dataclasses.asdict(self.info),
            "shards": [
                {"file": name, "bytes": size}
                for name, size in zip(self.shard_names, self.shard_bytes, strict=True)
            ],
            "cameras": {name: dataclasses.asdict(info) for name, info in self.cameras.items()},
            "totals": self.totals(),
        }
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, path: str) -> "Manifest":
        """Reads a manifest; `path` is for error messages.

        Raises:
            ValueError: If this is no manifest of a bank, or one of a newer format.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise ValueError(f"format is {document['format']!r}, not {FORMAT!r}")
            version = int(document["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not the manifest of a memory bank: {error!r}") from error
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{path}: format version {version} is newer than this program, "
                f"which reads up to {FORMAT_VERSION}; update it"
            )
        try:
            names = [field.name for field in dataclasses.fields(BankInfo)]
            manifest = cls(
                BankInfo(**{name: document[name] for name in names}),
                tuple(shard["bytes"] for shard in document["shards"]),
                {name: _camera(fields) for name, fields in sorted(document["cameras"].items())},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: missing or wrong field: {error!r}") from error
        for name, camera in manifest.cameras.items():
            if not 0 <= camera.shard < len(manifest.shard_bytes):
                raise ValueError(f"{path}: camera {name!r} is said to be in file {camera.shard}")
        return manifest


def _camera(fields: Mapping[str, Any]) -> CameraInfo:
    segments = tuple(SegmentPlace(**place) for place in fields["segments"])
    return CameraInfo(**{**fields, "segments": segments})


def shard_name(index: int, count: int) -> str:
    return f"bank-{index:05d}-of-{count:05d}.tfrecord"


def shard_of(camera: str, count: int) -> int:
    """Which of `count` shards a camera is in: follows from its name alone."""
    digest = hashlib.blake2b(camera.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def read_manifest(folder: str, files: Files = LOCAL) -> Manifest:
    """The manifest of a finished bank.

    Raises:
        ValueError: If there is none, a rewrite was interrupted, or it cannot be read.
    """
    path = os.path.join(folder, FILE_NAME)
    if files.size(path + NEXT) is not None:
        raise ValueError(
            f"{folder}: a rewrite was interrupted; finish it with `context-rcnn bank recover`"
        )
    text = files.read(path)
    if text is None:
        raise ValueError(f"{folder}: no {FILE_NAME}: not a memory bank, or unfinished")
    return Manifest.from_json(text.decode(), path)
