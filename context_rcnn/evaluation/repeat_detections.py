"""Repeat detection elimination: boxes that come back in the same place of a camera.

What people do about false positives without a memory: a stump that is taken for an animal is taken
for one in many images, always with the same box, while animals move. The rules and their numbers
are those that users of MegaDetector know; what a person would then confirm by eye is taken for
granted here:

- Cameras are looked at one by one, detections in the order that they come in. Those whose score,
  size or class rule them out take no part.
- A detection joins each *location* of its class whose first box it overlaps with an IoU of at least
  `iou`; where there is none, it is the first box of a new one.
- A location that was seen in at least `min_occurrences` images is suspicious, and so are all its
  detections. (MegaDetector counts detections; two on one image count once here.)

The rules know neither time nor looks: an animal that sleeps for twenty images is lost, and boxes
that jitter by more than `iou` allows are never found.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:  # they import TensorFlow
    from context_rcnn.evaluation.coco import Detections
    from context_rcnn.evaluation.groundtruth import Image

# Cells of the grid, in multiples of what near-identical boxes differ by: larger ones make fewer
# cells to look into and more boxes in each.
_CELL = 2.0


@dataclasses.dataclass(frozen=True)
class RepeatDetectionOptions:
    """Which detections are near-identical, and how many are too many.

    Attributes:
        iou: Lowest IoU with the first box of a location, from 0.5 to 1.
        min_occurrences: Number of images that make a location suspicious; less on small sets.
        min_score: Detections below this score take no part.
        min_area: Nor do boxes that are smaller than this share of the image,
        max_area: nor larger ones: a large box in the same place may well be an animal at rest.
        any_class: Compare boxes of different classes, too.
        excluded_classes: Classes that take no part.
    """

    iou: float = 0.9
    min_occurrences: int = 20
    min_score: float = 0.1
    min_area: float = 0.0
    max_area: float = 0.2
    any_class: bool = False
    excluded_classes: tuple[int, ...] = ()

    def __post_init__(self):
        if not 0.5 <= self.iou <= 1.0:
            raise ValueError(f"repeat_detections.iou must lie in 0.5..1, got {self.iou}")
        if self.min_occurrences < 2:
            raise ValueError(
                "repeat_detections.min_occurrences must be at least 2: one image is no repetition, "
                f"got {self.min_occurrences}"
            )
        if not 0.0 <= self.min_area <= self.max_area:
            raise ValueError(
                "repeat_detections.min_area must not be negative nor above max_area, got "
                f"{self.min_area} and {self.max_area}"
            )


class Repeats(NamedTuple):
    """The suspicious detections, in the order of the input."""

    group: np.ndarray  # int64 [detections], number of the suspicious location, -1 where not suspect
    images: np.ndarray  # int64 [detections], images that the location was seen in, 0 where not

    @property
    def suspect(self) -> np.ndarray:
        """bool [detections]."""
        return self.group >= 0

    @property
    def groups(self) -> int:
        """Number of suspicious locations."""
        return int(self.group.max(initial=-1)) + 1


def find_repeat_detections(
    cameras: Sequence[Hashable],
    images: Sequence[Hashable],
    boxes: ArrayLike,
    scores: ArrayLike,
    classes: ArrayLike,
    options: RepeatDetectionOptions | None = None,
) -> Repeats:
    """Finds detections that come back in the same place of the same camera.

    Time and memory grow with the number of detections, not with its square.

    Args:
        cameras: camera of each detection, in any order.
        images: image of each detection.
        boxes: [detections, 4], normalised y1 x1 y2 x2.
        scores: [detections].
        classes: [detections].
        options: the defaults are MegaDetector's.

    Returns:
        Which detections are suspect. One of several locations counts for the one that was seen in
        most images, of those for the first.
    """
    options = options or RepeatDetectionOptions()
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores, classes = np.asarray(scores, np.float64), np.asarray(classes, np.int64)
    sides = boxes[:, 2:] - boxes[:, :2]
    area = np.prod(sides, axis=1)
    taking_part = (
        (scores >= options.min_score)
        & (sides > 0).all(axis=1)
        & (area >= options.min_area)
        & (area <= options.max_area)
        & ~np.isin(classes, np.asarray(options.excluded_classes, np.int64))
    )
    chosen = np.flatnonzero(taking_part).tolist()
    labels = [0 if options.any_class else int(label) for label in classes[chosen]]
    owners = [(cameras[i], label) for i, label in zip(chosen, labels, strict=True)]

    group = np.full(len(boxes), -1, np.int64)
    count = np.zeros(len(boxes), np.int64)
    numbers = itertools.count()
    for members in _locations(owners, boxes[chosen], options.iou):
        members = [chosen[i] for i in members]
        seen = len({(cameras[i], images[i]) for i in members})
        if seen < options.min_occurrences:
            continue
        number = next(numbers)
        stronger = [i for i in members if seen > count[i]]
        group[stronger], count[stronger] = number, seen
    return Repeats(group, count)


def remove_repeat_detections(
    images: "Sequence[Image]",
    detections: Mapping[int, tuple],
    options: RepeatDetectionOptions | None = None,
) -> "tuple[Detections, Repeats]":
    """Removes repeat detections from the images of an evaluation.

    Returns:
        What is left, and what `find_repeat_detections` found in all detections, image after image.
    """
    from context_rcnn.evaluation.coco import Detections

    found = [image for image in images if image.key in detections]
    lengths = [len(detections[image.key][1]) for image in found]
    columns = [[detections[image.key][i] for image in found] for i in range(3)]
    boxes, scores, classes = (
        np.concatenate([*column, empty])
        for column, empty in zip(columns, (np.zeros((0, 4)), np.zeros(0), np.zeros(0)), strict=True)
    )
    repeats = find_repeat_detections(
        [image.camera for image, n in zip(found, lengths, strict=True) for _ in range(n)],
        [image.key for image, n in zip(found, lengths, strict=True) for _ in range(n)],
        boxes,
        scores,
        classes,
        options,
    )
    left = Detections(detections)
    ends = np.cumsum([0, *lengths])
    for i, image in enumerate(found):
        kept = ~repeats.suspect[ends[i] : ends[i + 1]]
        left[image.key] = tuple(column[kept] for column in detections[image.key])
    return left, repeats


def _locations(owners: Sequence[Hashable], boxes: np.ndarray, iou: float) -> list[list[int]]:
    """The detections at each location, by number; only those of one owner are compared."""
    grid = _Grid(iou)
    first = np.zeros_like(boxes)  # of each location
    members: list[list[int]] = []
    cells: dict[tuple, list[int]] = defaultdict(list)
    for i, (owner, box) in enumerate(zip(owners, boxes.tolist(), strict=True)):
        near: list[int] = []
        for cell in grid.cells_that_may_match(box):
            near += cells.get((owner, cell), ())
        same = np.flatnonzero(overlap(boxes[i], first[near]) >= iou) if near else ()
        for number in same:
            members[near[number]].append(i)
        if not len(same):
            cells[owner, grid.cell(box)].append(len(members))
            first[len(members)] = boxes[i]
            members.append([i])
    return members


class _Grid:
    """Cells by size and place of a box, about as large as what an IoU of at least `iou` allows.

    With an IoU of t, along each axis the smaller side is at least t of the larger one, and the
    overlap as well: so the boxes start at most 1 - t of the larger side apart.
    """

    def __init__(self, iou: float):
        self._iou = iou
        # An IoU close to 1 would make cells without end.
        coarse = min(iou, 0.95)
        self._log_step = -_CELL * math.log(coarse)
        self._unit = _CELL * (1.0 - coarse)

    def cell(self, box: Sequence[float]) -> tuple[int, ...]:
        """The cell of a box y1 x1 y2 x2: size and place along y, then along x."""
        indices = []
        for start, end in (box[::2], box[1::2]):
            size = self._size(end - start)
            indices += [size, math.floor(start / self._width(size))]
        return tuple(indices)

    def cells_that_may_match(self, box: Sequence[float]) -> Iterator[tuple[int, ...]]:
        """The cells of all boxes that can overlap this one with that IoU."""
        axes = []
        for start, end in (box[::2], box[1::2]):
            # A little more than what is possible, for what rounding may do.
            smallest = (end - start) * self._iou * (1.0 - 1e-9)
            largest = (end - start) / self._iou * (1.0 + 1e-9)
            reach = (1.0 - self._iou) * largest + 1e-9
            indices = []
            for size in range(self._size(smallest), self._size(largest) + 1):
                width = self._width(size)
                low, high = math.floor((start - reach) / width), math.floor((start + reach) / width)
                indices += [(size, place) for place in range(low, high + 1)]
            axes.append(indices)
        return (rows + columns for rows in axes[0] for columns in axes[1])

    def _size(self, side: float) -> int:
        return math.floor(math.log(side) / self._log_step)

    def _width(self, size: int) -> float:
        """How much of an axis a cell for boxes of this size takes."""
        return self._unit * math.exp(size * self._log_step)


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of a box [4] with others [n, 4], all y1 x1 y2 x2 and with area."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.prod(np.maximum(sides, 0.0), axis=1)
    area = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    return both / (area - both)
