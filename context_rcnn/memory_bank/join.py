"""Joins keyframes with the windows of their cameras' banks, in tf.data.

    join = MemoryJoin("bank", WindowOptions("month"), max_entries=2000)
    dataset = dataset.map(parse_example).map(join, tf.data.AUTOTUNE, deterministic=True)

Nothing is copied into examples: the bank lies on disk once, and each window is converted from
there, or copied from memory if the bank is small enough to be kept there as float32.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from context_rcnn.data.examples import NO_SECONDS
from context_rcnn.memory_bank import encoding
from context_rcnn.memory_bank.buffers import Buffers
from context_rcnn.memory_bank.features import is_run
from context_rcnn.memory_bank.store import Bank, CameraBank
from context_rcnn.memory_bank.window import WindowOptions, window

_LOG = logging.getLogger(__name__)


class MemoryJoin:
    """Adds the window of its camera's bank to each example.

    The same example gives the same window, whatever runs beside it. Inside tf.data it cannot be
    sent to other machines: it reads the bank of the machine it is on.

    Attributes:
        bank: Read by all calls.
        counts: `windows` asked for, and of these `missing_camera`, `undated_keyframe`, `empty` and
            `full` ones (as many entries as there is room for).
        missing_cameras: Keyframes by camera that is not in the bank.
    """

    def __init__(
        self,
        bank: Bank | str | os.PathLike,
        options: WindowOptions | None = None,
        *,
        max_entries: int = 2000,
        variant: encoding.Variant = "paper",
        with_image_ids: bool = False,
        strict: bool = False,
        cache_bytes: int = 1 << 30,
    ):
        """
        Args:
            bank: The bank or its folder.
            options: Window of the bank that a keyframe sees; None for a month around it.
            max_entries: M, room for entries in a window.
            variant: variant of the encoding.
            with_image_ids: Also add `context_image_ids`.
            strict: A camera that is not in the bank is an error, not an empty window.
            cache_bytes: Memory for cameras kept as float32; the first ones used stay. 0 always
                reads the bank.
        """
        if max_entries < 1:
            raise ValueError(f"max_entries {max_entries}: must be positive")
        encoding.check_variant(variant)
        self.bank = bank if isinstance(bank, Bank) else Bank.open(bank)
        self.counts: Counter = Counter()
        self.missing_cameras: Counter = Counter()
        self._options = options or WindowOptions()
        self._max_entries = max_entries
        self._variant = variant
        self._with_image_ids = with_image_ids
        self._strict = strict
        self._cache_bytes = cache_bytes
        self._buffers = Buffers([max_entries, self.entry_size])
        self._rows: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    @property
    def entry_size(self) -> int:
        """D + 9, length of an entry."""
        return self.bank.info.depth + encoding.SIZE

    def __call__(
        self, example: Mapping[str, tf.Tensor], flip: tf.Tensor | bool = False
    ) -> dict[str, tf.Tensor]:
        """The example with its memory.

        Args:
            example: Holds `camera`, `image_id` string, `seconds` int64, `has_seconds` bool.
            flip: bool, mirror the entries as the image is.

        Returns:
            The example and, rows being in time order and padding zero unless said otherwise:
            `context_features` [M, D + 9] float32.
            `context_valid` [M] bool, False for padding.
            `context_size` int32.
            `context_seconds` [M] int64, -1 for undated entries and padding.
            `context_boxes` [M, 4] float32 ymin, xmin, ymax, xmax.
            `context_image_ids` [M] string, "" for padding; only if asked for.
        """
        rows = self._max_entries
        shapes = {
            "context_features": (tf.float32, [rows, self.entry_size]),
            "context_size": (tf.int32, []),
            "context_seconds": (tf.int64, [rows]),
            "context_boxes": (tf.float32, [rows, 4]),
        }
        if self._with_image_ids:
            shapes["context_image_ids"] = (tf.string, [rows])

        def read(camera, image_id, seconds, has_seconds, flip):
            seconds = int(seconds) if has_seconds else None
            memory = self.read(camera.decode(), seconds, image_id.decode(), bool(flip))
            return [memory[name] for name in shapes]

        keyframe = [example[name] for name in ("camera", "image_id", "seconds", "has_seconds")]
        values = tf.numpy_function(
            read,
            [*keyframe, tf.convert_to_tensor(flip)],
            [dtype for dtype, _ in shapes.values()],
            stateful=False,
        )
        memory = {
            name: tf.ensure_shape(value, shape)
            for value, (name, (_, shape)) in zip(values, shapes.items(), strict=True)
        }
        memory["context_valid"] = tf.range(rows) < memory["context_size"]
        return {**example, **memory}

    def read(
        self, camera: str, seconds: int | None, image_id: str, flip: bool = False
    ) -> dict[str, np.ndarray]:
        """What `__call__` adds, except `context_valid`, as arrays.

        Raises:
            KeyError: If strict, and the bank does not have the camera.
        """
        rows = self._max_entries
        memory: dict[str, Any] = {
            "context_features": self._buffers.take(),
            "context_size": np.int32(0),
            "context_seconds": np.full(rows, NO_SECONDS, np.int64),
            "context_boxes": np.zeros([rows, 4], np.float32),
        }
        if self._with_image_ids:
            memory["context_image_ids"] = np.full(rows, b"", object)
        size = 0
        if camera in self.bank:
            bank = self.bank.camera(camera)
            indices = window(
                bank.timeline, seconds, image_id, self._options, rows, bank.features.read
            )
            size = len(indices)
            memory["context_size"] = np.int32(size)
            if size:
                valid = {name: values[:size] for name, values in memory.items() if values.ndim}
                self._fill(valid, bank, indices, flip)
        memory["context_features"][size:] = 0
        self._count(camera, seconds, size)
        return memory

    def _fill(
        self, memory: dict[str, np.ndarray], bank: CameraBank, indices: np.ndarray, flip: bool
    ) -> None:
        """Writes the entries at these positions to the valid rows."""
        features, boxes = memory["context_features"], memory["context_boxes"]
        self._copy(bank, indices, features)
        boxes[:] = bank.boxes[indices]
        memory["context_seconds"][:] = np.where(
            bank.dated[indices], bank.seconds[indices], NO_SECONDS
        )
        if self._with_image_ids:
            memory["context_image_ids"][:] = [name.encode() for name in bank.image_ids[indices]]
        if flip:
            features[:, encoding.X_CENTRE] = 1 - features[:, encoding.X_CENTRE]
            boxes[:] = encoding.flip_boxes(boxes)

    def _copy(self, bank: CameraBank, indices: np.ndarray, out: np.ndarray) -> None:
        """Entries [k, D + 9] to `out`: from memory if they are there, else from the bank."""
        rows = self._cached_rows(bank)
        if rows is None:
            bank.entries(indices, self._variant, out)
        elif is_run(indices):
            np.copyto(out, rows[indices[0] : indices[-1] + 1])
        else:
            np.take(rows, indices, axis=0, out=out, mode="clip")

    def _cached_rows(self, bank: CameraBank) -> np.ndarray | None:
        """All entries of a camera as float32 if there is room for them, else None.

        The first cameras stay: with shuffled keyframes any other choice of what to keep is found
        as often, and throwing out costs more than it brings.
        """
        with self._lock:
            if bank.name not in self._rows:
                needed = len(bank) * self.entry_size * np.dtype(np.float32).itemsize
                if needed > self._cache_bytes:
                    return None
                self._cache_bytes -= needed
                self._rows[bank.name] = bank.entries(np.arange(len(bank)), self._variant)
            return self._rows[bank.name]

    def _count(self, camera: str, seconds: int | None, size: int) -> None:
        missing = camera not in self.bank
        happened = {
            "windows": True,
            "missing_camera": missing,
            "undated_keyframe": seconds is None,
            "empty": size == 0,
            "full": size == self._max_entries,
        }
        with self._lock:
            self.counts.update(name for name, is_so in happened.items() if is_so)
            if missing:
                first = not self.missing_cameras
                self.missing_cameras[camera] += 1
        if missing and self._strict:
            raise KeyError(f"{self.bank.folder}: the bank has no camera {camera!r}")
        if missing and first:
            _LOG.warning(
                "%s: no camera %r in the bank, its keyframes have no memory; "
                "`missing_cameras` counts this and further ones",
                self.bank.folder,
                camera,
            )


def flip_entries(entries: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """`encoding.flip` for tensors.

    Args:
        entries: [..., D + 9].
        valid: [...] bool, False for padding.
    """
    x = encoding.X_CENTRE
    centre = entries[..., x : x + 1]
    flipped = tf.where(valid[..., tf.newaxis], 1 - centre, centre)
    return tf.concat([entries[..., :x], flipped, entries[..., x + 1 :]], axis=-1)
