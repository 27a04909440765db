"""False positives on empty images: what an ecologist has to click away."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from context_rcnn.evaluation.groundtruth import Image

IOU = 0.5


def false_positives_on_empties(
    images: Sequence[Image], detections: Mapping[int, tuple], recalls: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Counts detections on empty images at the scores that find given shares of the objects.

    An object counts as found at score s if a detection of any class with a score of at least s
    overlaps it with IoU .5: the question is whether a person is shown the image.

    Returns:
        For each recall: the `threshold`, the `detections` per 1000 empty images, and
        `empty_images`, how many of 1000 show any. None where the recall is out of reach, or
        where there is no empty image.
    """
    best = np.concatenate([_best_scores(image, detections) for image in images] or [np.zeros(0)])
    empty = [image for image in images if not len(image.boxes)]
    scores = [
        np.asarray(detections[image.key][1]) if image.key in detections else np.zeros(0)
        for image in empty
    ]
    report = {}
    for recall in recalls:
        threshold = _threshold(best, recall)
        row = {"threshold": threshold, "detections": None, "empty_images": None}
        if threshold is not None and empty:
            above = np.array([np.sum(s >= threshold) for s in scores])
            row["detections"] = float(1000.0 * above.mean())
            row["empty_images"] = float(1000.0 * (above > 0).mean())
        report[f"{recall:g}"] = row
    return report


def _threshold(best: np.ndarray, recall: float) -> float | None:
    """The highest score at which at least this share of the objects is found."""
    needed = int(np.ceil(recall * len(best) - 1e-9))
    found = np.sort(best[best >= 0])[::-1]
    return float(found[needed - 1]) if 0 < needed <= len(found) else None


def _best_scores(image: Image, detections: Mapping[int, tuple]) -> np.ndarray:
    """For each object the best score of a detection on it, -1 where there is none."""
    boxes, scores, _ = detections.get(image.key, (np.zeros((0, 4)), np.zeros(0), None))
    if not len(boxes):
        return np.full(len(image.boxes), -1.0)
    size = np.array([image.height, image.width, image.height, image.width], np.float64)
    overlaps = _iou(image.boxes * size, np.asarray(boxes) * size) >= IOU
    return np.where(overlaps, np.asarray(scores)[None], -1.0).max(axis=1)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [a, b] of boxes y1 x1 y2 x2."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    area = np.prod(a[:, 2:] - a[:, :2], axis=1)[:, None] + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return overlap / np.maximum(area - overlap, 1e-12)
