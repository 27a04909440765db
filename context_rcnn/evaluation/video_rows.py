"""Detections of images as rows of videos, for what links them, and back."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # they import TensorFlow
    from context_rcnn.evaluation.coco import Detections
    from context_rcnn.evaluation.groundtruth import Image


class VideoRows(NamedTuple):
    """All detections of an evaluation, image after image.

    Attributes:
        keys: images, of those with detections.
        ends: end of the rows of each image.
        videos, places: number of the video of each row, and place of its frame there.
        boxes: [rows, 4], normalised y1 x1 y2 x2.
        scores, classes: of each row.
        sides: [rows, 4], height and width of the image, twice.
    """

    keys: list[int]
    ends: np.ndarray
    videos: np.ndarray
    places: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    sides: np.ndarray


def rows_of(images: "Sequence[Image]", detections: Mapping[int, tuple]) -> VideoRows:
    """The detections of these images; a burst is a video, and so is an image without one.

    Raises:
        ValueError: If two images have the same place.
    """
    numbers: dict[tuple, int] = {}
    at: dict[tuple, str] = {}
    rows, sides = [], []
    for image in images:
        number = numbers.setdefault(image.video, len(numbers))
        if at.setdefault((number, image.place), image.id) != image.id:
            raise ValueError(
                f"images {at[number, image.place]!r} and {image.id!r} have the same place, "
                f"{image.place}, in burst {image.burst!r} of camera {image.camera!r}"
            )
        if image.key in detections:
            rows.append((image.key, number, image.place))
            sides.append([image.height, image.width] * 2)
    lengths = np.array([len(detections[key][1]) for key, _, _ in rows], np.int64)
    boxes, scores, classes = (
        np.concatenate([*(detections[key][i] for key, _, _ in rows), empty])
        for i, empty in enumerate((np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)))
    )
    return VideoRows(
        [key for key, _, _ in rows],
        np.cumsum(lengths),
        np.repeat(np.array([number for _, number, _ in rows], np.int64), lengths),
        np.repeat(np.array([place for _, _, place in rows], np.int64), lengths),
        boxes,
        scores,
        classes,
        np.repeat(np.array(sides, np.float64).reshape(-1, 4), lengths, axis=0),
    )


def detections_of(
    rows: VideoRows,
    detections: Mapping[int, tuple],
    left: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray | None = None,
) -> "Detections":
    """Detections by image, best first, after rows were left out or changed.

    Args:
        rows: from `rows_of`.
        detections: the detections before; images without rows keep theirs.
        left: bool [rows], False for those that are gone.
        scores: new scores of all rows.
        boxes: new boxes of all rows; as they were by default.
    """
    from context_rcnn.evaluation.coco import Detections

    boxes = rows.boxes if boxes is None else boxes
    changed, start = Detections(detections), 0
    for key, end in zip(rows.keys, rows.ends.tolist(), strict=True):
        here = np.arange(start, end)[left[start:end]]
        changed.add(key, boxes[here], scores[here], rows.classes[here])
        start = end
    return changed
