"""Overlaps of boxes in NumPy, and the suppression of detections in each frame alone."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from context_rcnn.evaluation.video_rows import detections_of, rows_of

if TYPE_CHECKING:  # they import TensorFlow
    from context_rcnn.evaluation.coco import Detections
    from context_rcnn.evaluation.groundtruth import Image


@dataclasses.dataclass(frozen=True)
class NmsOptions:
    """Suppression in each frame, of each class alone: for joined detections of two detectors.

    Attributes:
        nms_iou: IoU with a better box of the same class above which a box is dropped.
    """

    nms_iou: float = 0.5

    def __post_init__(self):
        if not 0.0 <= self.nms_iou <= 1.0:
            raise ValueError(f"nms.nms_iou must lie in 0..1, got {self.nms_iou}")


def suppress_frames(
    frames: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    options: NmsOptions | None = None,
) -> np.ndarray:
    """Which detections are left, bool [detections].

    Args:
        frames: [detections] or [detections, n], the same for all of a frame.
        boxes: [detections, 4], y1 x1 y2 x2 in any unit.
        scores: [detections].
        classes: [detections].
        options: the IoU.
    """
    options = options or NmsOptions()
    boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64)
    owners = np.concatenate([np.reshape(frames, [len(scores), -1]), np.c_[classes]], axis=1)
    left = np.zeros(len(scores), bool)
    if not len(scores):
        return left
    _, owner = np.unique(owners, axis=0, return_inverse=True)
    order = np.lexsort((-scores, owner.ravel()))
    edges = np.flatnonzero(np.diff(owner.ravel()[order])) + 1
    for rows in np.split(order, edges):
        left[rows[suppress(boxes[rows], options.nms_iou)]] = True
    return left


def suppress_images(
    images: "Sequence[Image]", detections: Mapping[int, tuple], options: NmsOptions | None = None
) -> "tuple[Detections, int]":
    """Suppresses the detections of each image; also returns how many are dropped."""
    rows = rows_of(images, detections)
    frames = np.stack([rows.videos, rows.places], axis=1)
    left = suppress_frames(frames, rows.boxes, rows.scores, rows.classes, options)
    return detections_of(rows, detections, left, rows.scores), int((~left).sum())


def suppress(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """Places of the boxes, best first, that no better kept box overlaps above a threshold."""
    kept: list[int] = []
    gone = np.zeros(len(boxes), bool)
    for i in range(len(boxes)):
        if not gone[i]:
            kept.append(i)
            gone[i + 1 :] |= iou(boxes[i : i + 1], boxes[i + 1 :])[0] > threshold
    return np.array(kept, np.int64)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes y1 x1 y2 x2, [boxes, others]; 0 where neither has an area."""
    starts = np.maximum(boxes[:, None, :2], others[None, :, :2])
    ends = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.maximum(ends - starts, 0.0).prod(axis=-1)
    areas = [np.maximum(part[:, 2:] - part[:, :2], 0.0).prod(axis=-1) for part in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - both
    return np.where(union > 0, both / np.where(union > 0, union, 1.0), 0.0)
