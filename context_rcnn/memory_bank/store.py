"""Reading banks: one camera at a time, in place where the file allows it.

Opening a bank reads its manifest only. The features of a camera in an uncompressed bank are mapped
from the file and never copied as a whole, so a bank may be larger than memory; those of a
compressed one are unpacked into a cache of bounded size.
"""

import gzip
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from context_rcnn.memory_bank import encoding, records
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.features import StoredFeatures, first_not_finite, storage_dtype
from context_rcnn.memory_bank.files import is_local
from context_rcnn.memory_bank.manifest import BankInfo, CameraInfo, Manifest, read_manifest
from context_rcnn.memory_bank.window import Timeline

_ENTRY_BYTES = 200  # about what everything but the feature costs in memory


class CameraBank:
    """The entries of one camera, in time order with undated ones last.

    Attributes:
        name: The camera.
        features: Read as float32 with `features.read`; `features.blocks` are the stored arrays.
        boxes: [n, 4] float32 ymin, xmin, ymax, xmax as fractions of the image.
        scores: [n] float32.
        classes, ranks: [n] int32.
        timeline: When each entry was seen, and in which image.
    """

    def __init__(self, name: str, segments: list[Entries], bank: BankInfo):
        self.name = name
        self.boxes = _joined(segments, "boxes", np.zeros([0, 4], np.float32))
        self.scores = _joined(segments, "scores", np.zeros(0, np.float32))
        self.classes = _joined(segments, "classes", np.zeros(0, np.int32))
        self.ranks = _joined(segments, "ranks", np.zeros(0, np.int32))
        nothing = np.zeros([0, bank.depth], storage_dtype(bank.dtype))
        self.features = StoredFeatures(
            [entries.features for entries in segments] or [nothing],
            _joined(segments, "scales", np.zeros(0, np.float32)) if bank.dtype == "int8" else None,
        )
        self.timeline = Timeline(
            _joined(segments, "seconds", np.zeros(0, np.int64)),
            _joined(segments, "dated", np.zeros(0, bool)),
            _joined(segments, "image_ids", np.zeros(0, object)),
        )
        self._encodings: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def seconds(self) -> np.ndarray:
        """[n] int64, 0 where undated."""
        return self.timeline.seconds

    @property
    def dated(self) -> np.ndarray:
        """[n] bool."""
        return self.timeline.dated

    @property
    def image_ids(self) -> np.ndarray:
        """[n] str objects."""
        return self.timeline.image_ids

    def encoded(self, variant: encoding.Variant) -> np.ndarray:
        """Where and when of all entries: [n, 9] float32, computed once."""
        if variant not in self._encodings:
            self._encodings[variant] = encoding.encode(
                self.boxes, self.seconds, self.dated, variant
            )
        return self._encodings[variant]

    def entries(
        self,
        indices: np.ndarray,
        variant: encoding.Variant = "paper",
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Features with where and when: [k, D + 9] float32.

        Args:
            indices: [k] ascending positions.
            variant: variant of the encoding.
            out: [k, D + 9] to write to; None for a new array.
        """
        depth = self.features.depth
        if out is None:
            out = np.empty([len(indices), depth + encoding.SIZE], np.float32)
        self.features.read(indices, out[:, :depth])
        out[:, depth:] = self.encoded(variant)[indices]
        return out

    def stored(self, indices: np.ndarray | None = None) -> Entries:
        """Entries at ascending positions, features in storage dtype; None for all of them."""
        indices = np.arange(len(self)) if indices is None else indices
        return self._entries(indices, *self.features.stored(indices))

    def mapped(self, indices: np.ndarray | None = None) -> Entries:
        """As `stored`, but features stay in the file until they are asked for."""
        indices = np.arange(len(self)) if indices is None else indices
        return self._entries(indices, *self.features.mapped(indices))

    def _entries(self, indices: np.ndarray, features: Any, scales: np.ndarray | None) -> Entries:
        return Entries(
            features=features,
            boxes=self.boxes[indices],
            scores=self.scores[indices],
            seconds=self.seconds[indices],
            dated=self.dated[indices],
            image_ids=self.image_ids[indices],
            ranks=self.ranks[indices],
            classes=self.classes[indices],
            scales=scales,
        )


class Bank:
    """A bank on disk, by camera. May be shared by threads.

    Attributes:
        folder: Folder of the bank.
        manifest: Manifest of the bank.
    """

    def __init__(self, folder: str, manifest: Manifest, cache_bytes: int, check: bool):
        self.folder = folder
        self.manifest = manifest
        self._cache_bytes = cache_bytes
        self._check = check
        self._shards: dict[int, memoryview] = {}
        self._loaded: OrderedDict[str, tuple[CameraBank, int]] = OrderedDict()
        self._loaded_bytes = 0
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike,
        extractor_hash: str | None = None,
        *,
        cache_bytes: int = 1 << 30,
        check: bool = True,
    ) -> "Bank":
        """Opens a bank and reads its manifest.

        Args:
            folder: Folder of the bank.
            extractor_hash: Hash of the extractor whose features are wanted; None takes any.
            cache_bytes: Memory for cameras in use. Features mapped from files do not count.
            check: When a camera is first used, compare its checksums and look for features that are
                not finite; reads all of it once.

        Raises:
            ValueError: If the folder holds no finished bank, or one of another extractor.
        """
        folder = os.fspath(folder)
        if not is_local(folder):
            raise ValueError(
                f"{folder}: banks are mapped from the local disk; get this one with "
                f"`context-rcnn bank copy {folder} FOLDER`, and give FOLDER"
            )
        manifest = read_manifest(folder)
        found = manifest.info.extractor_hash
        if extractor_hash is not None and found != extractor_hash:
            raise ValueError(
                f"{folder}: the bank was made by extractor {found}, "
                f"features of extractor {extractor_hash} are asked for"
            )
        for name, size in zip(manifest.shard_names, manifest.shard_bytes, strict=True):
            path = os.path.join(folder, name)
            if not os.path.exists(path):
                raise ValueError(f"{path}: this file of the bank is missing")
            if os.path.getsize(path) != size:
                raise ValueError(
                    f"{path}: {os.path.getsize(path)} bytes, the manifest says {size}: "
                    "half written, or of another bank"
                )
        return cls(folder, manifest, cache_bytes, check)

    @property
    def info(self) -> BankInfo:
        return self.manifest.info

    @property
    def cameras(self) -> list[str]:
        """Names, sorted."""
        return list(self.manifest.cameras)

    def __contains__(self, camera: str) -> bool:
        return camera in self.manifest.cameras

    def __iter__(self) -> Iterator[CameraBank]:
        """Cameras by name."""
        return map(self.camera, self.cameras)

    def boxes_per_image(self) -> int:
        """Entries that an image has at most, 0 in an empty bank.

        Ranks count from 0 in each image; the camera with the most entries per image shows the most.
        """
        cameras = self.manifest.cameras
        fullest = max(
            (name for name, info in cameras.items() if info.entries),
            key=lambda name: cameras[name].entries / cameras[name].images,
            default=None,
        )
        return int(self.camera(fullest).ranks.max()) + 1 if fullest is not None else 0

    def camera(self, name: str) -> CameraBank:
        """The entries of a camera; those in use lately are kept in memory.

        Raises:
            KeyError: If the bank has no such camera.
            ValueError: If its records are damaged.
        """
        if name not in self:
            raise KeyError(f"{self.folder}: the bank has no camera {name!r}")
        info = self.manifest.cameras[name]
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name][0]
            path = os.path.join(self.folder, self.manifest.shard_names[info.shard])
            if info.shard not in self._shards:
                self._shards[info.shard] = open_shard(path)
            try:
                camera = read_camera(self._shards[info.shard], name, info, self.info, self._check)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            self._keep(camera)
            return camera

    def _keep(self, camera: CameraBank) -> None:
        """Remembers a camera, and forgets those not used for longest beyond the memory allowed."""
        size = len(camera) * _ENTRY_BYTES
        if self.info.compression != "none":
            size += sum(block.nbytes for block in camera.features.blocks)
        self._loaded[camera.name] = camera, size
        self._loaded_bytes += size
        while self._loaded_bytes > self._cache_bytes and len(self._loaded) > 1:
            _, (_, forgotten) = self._loaded.popitem(last=False)
            self._loaded_bytes -= forgotten


def open_shard(path: str) -> memoryview:
    """The bytes of a file, mapped; they stay those of the file as it is now."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_camera(
    shard: memoryview, name: str, info: CameraInfo, bank: BankInfo, check: bool = True
) -> CameraBank:
    """Reads a camera from the bytes of its shard.

    Raises:
        ValueError: If a record is not what the manifest says, or, with `check`, is damaged.
    """
    segments = []
    for number, place in enumerate(info.segments):
        framed = shard[place.offset : place.offset + place.bytes]
        try:
            if bank.compression == "gzip":
                framed = memoryview(gzip.decompress(framed))
            segment = records.decode_segment(framed, bank.depth, check)
            found = (segment.camera, segment.number, segment.dtype, len(segment.entries))
            if found != (name, number, bank.dtype, place.entries):
                raise ValueError(f"holds {found}")
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(
                f"camera {name!r}, record {number} at byte {place.offset}: {error}"
            ) from error
        segments.append(segment.entries)
    if check:
        _check_finite(name, segments)
    return CameraBank(name, segments, bank)


def _check_finite(name: str, segments: list[Entries]) -> None:
    for entries in segments:
        row = first_not_finite(entries.features)
        if row is not None:
            raise ValueError(
                f"camera {name!r}, image {entries.image_ids[row]!r}, rank {entries.ranks[row]}: "
                "the feature holds NaN or infinity"
            )


def _joined(segments: list[Entries], name: str, nothing: np.ndarray) -> np.ndarray:
    return np.concatenate([nothing, *(getattr(entries, name) for entries in segments)])
