"""The part of a camera's bank that a batch of images sees, as keys and values of the model.

An image sees the window of its own camera's bank that it would see in training. Windows of images
that follow each other are nearly the same, so a batch gets the union of its windows, and each image
has a mask of the entries that count for it. Entries are projected once per camera, a block of
neighbours at a time. Blocks that have not been used for long are forgotten, so a camera may have
any number of entries.
"""

import collections
from collections.abc import Sequence

import numpy as np

from context_rcnn.memory_bank import encoding
from context_rcnn.memory_bank.store import CameraBank
from context_rcnn.memory_bank.window import window
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.model import MemorySettings, Model

BLOCK = 256
"""Entries projected together: always so many, so that their bits do not depend on the others."""
CACHE_BYTES = 256 << 20


class CameraMemory:
    """The memory of one camera.

    Args:
        model: projects entries.
        bank: bank of the camera.
        settings: settings that the model was trained with.
        cache_bytes: RAM for projected blocks; those of one batch are always kept.
    """

    def __init__(
        self,
        model: Model,
        bank: CameraBank,
        settings: MemorySettings,
        cache_bytes: int = CACHE_BYTES,
    ):
        self._model, self._bank, self._settings = model, bank, settings
        self._cache_bytes = cache_bytes
        self._blocks: collections.OrderedDict[int, tuple[np.ndarray, np.ndarray]] = (
            collections.OrderedDict()
        )
        self._latest: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def seen_by(
        self, images: Sequence[ImageResult]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Keys, values [1, blocks, m, depth] and which count, bool [images, m]; None if m is 0."""
        settings, features = self._settings, self._bank.features.read
        windows = [
            window(
                self._bank.timeline,
                image.seconds,
                image.image_id,
                settings.window,
                settings.max_entries,
                features,
            )
            for image in images
        ]
        union = np.unique(np.concatenate(windows))
        if not len(union):
            return None
        keys, values = self._projected(union)
        valid = np.stack([np.isin(union, seen, assume_unique=True) for seen in windows])
        return keys, values, valid

    def seen_last(self) -> np.ndarray:
        """Positions in the bank of the m entries that `seen_by` gave last."""
        if self._latest is None:
            raise ValueError("no image has seen an entry yet")
        return self._latest[0]

    def _projected(self, union: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values of the entries at these ascending positions."""
        if self._latest is not None and np.array_equal(self._latest[0], union):
            return self._latest[1:]
        numbers, starts = np.unique(union // BLOCK, return_index=True)
        edges = [*starts.tolist(), len(union)]
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for number, start, stop in zip(numbers.tolist(), edges, edges[1:], strict=False):
            inside = union[start:stop] - number * BLOCK
            for part, block in zip(parts, self._block(number), strict=True):
                part.append(block[:, inside])
        self._forget(len(numbers))
        keys, values = (np.concatenate(part, axis=1)[None] for part in parts)
        self._latest = (union, keys, values)
        return keys, values

    def _block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values [blocks, BLOCK, depth] of neighbours; the last block is filled up."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        size = self._bank.features.depth + encoding.SIZE
        entries = np.zeros([BLOCK, size], np.float32)
        indices = np.arange(number * BLOCK, min((number + 1) * BLOCK, len(self._bank)))
        self._bank.entries(indices, self._settings.variant, entries[: len(indices)])
        keys, values = self._model.project(entries)
        self._blocks[number] = keys, values
        return self._blocks[number]

    def _forget(self, used: int) -> None:
        """Forgets blocks beyond the memory allowed, but for those used just now."""
        size = sum(part.nbytes for part in next(iter(self._blocks.values())))
        while len(self._blocks) > max(used, self._cache_bytes // size):
            self._blocks.popitem(last=False)
