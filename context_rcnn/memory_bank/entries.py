"""The entries of one camera in memory: features with where, when and how sure."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from context_rcnn.memory_bank import features as storage


@dataclasses.dataclass(frozen=True, eq=False)
class Entries:
    """Entries of one camera, one row each.

    In a bank they are in time order: dated ones by second, image id and rank, then undated ones by
    image id and rank. The entries of an image therefore lie together.

    Attributes:
        features: [n, D] pooled features, float32 or in a storage dtype; an array, or
            `features.Gathered`, which stays in files until rows are asked for.
        boxes: [n, 4] float32 ymin, xmin, ymax, xmax as fractions of the image.
        scores: [n] float32, of the frozen detector.
        seconds: [n] int64 wall-clock seconds since 1970, time-zone free; 0 where undated.
        dated: [n] bool, False where the camera's clock is unknown.
        image_ids: [n] str objects.
        ranks: [n] int32, place among the entries of the image.
        classes: [n] int32, 0 where there is no class.
        scales: [n] float32 for int8 features, else None.
    """

    features: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    seconds: np.ndarray
    dated: np.ndarray
    image_ids: np.ndarray
    ranks: np.ndarray
    classes: np.ndarray
    scales: np.ndarray | None = None

    @classmethod
    def make(
        cls,
        *,
        image_ids: Sequence[str] | np.ndarray,
        seconds: Sequence[int | None],
        boxes: np.ndarray,
        features: np.ndarray,
        scores: np.ndarray | None = None,
        ranks: Sequence[int] | None = None,
        classes: Sequence[int] | np.ndarray | None = None,
    ) -> "Entries":
        """Entries in the order given; `in_time_order` brings them in theirs.

        Args:
            image_ids: n.
            seconds: n, None where the camera's clock is unknown.
            boxes: [n, 4].
            features: [n, D].
            scores: [n], 1 if not given.
            ranks: n; if not given, entries of an image are ranked as they come.
            classes: n, 0 if not given.
        """
        count = len(image_ids)
        dated = np.array([second is not None for second in seconds], bool)
        known = [0 if second is None else int(second) for second in seconds]
        ids = np.empty(count, object)
        ids[:] = [str(image_id) for image_id in image_ids]
        entries = cls(
            features=np.asarray(features),
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            seconds=np.array(known, np.int64),
            dated=dated,
            image_ids=ids,
            ranks=_count_within_images(ids) if ranks is None else np.asarray(ranks, np.int32),
            classes=np.zeros(count, np.int32) if classes is None else np.asarray(classes, np.int32),
        )
        entries.check_lengths()
        return entries

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def depth(self) -> int:
        return self.features.shape[1]

    def take(self, indices: np.ndarray | slice) -> "Entries":
        """The entries at these positions (or where a mask is True), in this order."""
        columns: dict[str, Any] = {
            field.name: None if values is None else values[indices]
            for field, values in self._columns()
        }
        return Entries(**columns)

    def check_lengths(self) -> None:
        for field, values in self._columns():
            if values is not None and len(values) != len(self):
                raise ValueError(
                    f"{field.name}: {len(values)} rows for {len(self)} entries; "
                    "every column needs one row an entry"
                )
        if self.features.ndim != 2:
            raise ValueError(f"features: must be [entries, depth], are {self.features.shape}")

    def in_time_order(self) -> "Entries":
        """Sorted as banks are.

        Raises:
            ValueError: If an image has two times, or two entries of one rank.
        """
        names, numbers = np.unique(self.image_ids, return_inverse=True)
        times = np.where(self.dated, self.seconds, 0)
        order = np.lexsort([self.ranks, numbers, times, ~self.dated])
        number, time, dated = numbers[order], times[order], self.dated[order]
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        if len(starts) != len(names):
            images, runs = np.unique(number[starts], return_counts=True)
            raise ValueError(f"image {names[images[np.argmax(runs > 1)]]!r} has two times")
        same_image = np.diff(number) == 0
        two_times = same_image & ((np.diff(time) != 0) | (dated[1:] != dated[:-1]))
        if two_times.any():
            raise ValueError(f"image {names[number[np.argmax(two_times)]]!r} has two times")
        repeated = same_image & (np.diff(self.ranks[order]) == 0)
        if repeated.any():
            raise ValueError(f"image {names[number[np.argmax(repeated)]]!r} has a rank twice")
        ordered = self.take(order)
        return dataclasses.replace(ordered, seconds=time)

    def dated_by(self, times: Mapping[str, int | None]) -> "Entries":
        """With other times.

        Args:
            times: seconds by image id, None where undated; of every image that has an entry.
        """
        seconds = [times[image_id] for image_id in self.image_ids]
        return dataclasses.replace(
            self,
            seconds=np.array([second or 0 for second in seconds], np.int64),
            dated=np.array([second is not None for second in seconds], bool),
        )

    def stored_as(self, dtype: storage.StorageDtype) -> "Entries":
        """With features in this storage dtype; features that have it already stay bit for bit."""
        if self.features.dtype == storage.storage_dtype(dtype):
            return self
        values, scales = storage.quantise(self.float_features(), dtype)
        return dataclasses.replace(self, features=values, scales=scales)

    def float_features(self) -> np.ndarray:
        """Features [n, D] as float32."""
        stored = storage.StoredFeatures([self.features], self.scales)
        return stored.read(np.arange(len(self)))

    def _columns(self) -> list[tuple[dataclasses.Field, Any]]:
        return [(field, getattr(self, field.name)) for field in dataclasses.fields(self)]


def concatenate(parts: Sequence[Entries]) -> Entries:
    """All entries of the parts, which have the same dtype and depth, part by part."""
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(Entries):
        values = [getattr(part, field.name) for part in parts]
        if any(isinstance(value, storage.Gathered) for value in values):
            columns[field.name] = storage.Gathered.joined(values)
        else:
            columns[field.name] = None if values[0] is None else np.concatenate(values)
    return Entries(**columns)


def _count_within_images(image_ids: np.ndarray) -> np.ndarray:
    """How many entries of the same image came before each: [n] int32."""
    _, numbers = np.unique(image_ids, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    counts = np.empty(len(image_ids), np.int32)
    lengths = np.diff(np.append(starts, len(image_ids)))
    counts[order] = np.arange(len(image_ids)) - np.repeat(starts, lengths)
    return counts
