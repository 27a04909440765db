"""Videos measured as ImageNet VID is: by how fast objects move, and with its rule for small ones.

Motion IoU of a box: the mean overlap of its object with itself in the frames around it, up to ten
before and ten after. Slow objects have more than .9, fast ones less than .7, computed here from the
tracks; the data set's own groups come in a file without a program. To measure one group, boxes of
the others are neither to be found nor counted against a detector.

The data set asks for less overlap where boxes are small: min(.5, w h / ((w + 10) (h + 10))), in
pixels; here it is computed besides the flat .5, and both are said. Matching is pycocotools', with
overlaps scaled so that each box's own threshold becomes .5; AP is its mean of 101 points.
"""

import contextlib
import copy
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from context_rcnn.evaluation import coco
from context_rcnn.evaluation.groundtruth import Image

REACH = 10
SPEEDS = ("slow", "medium", "fast")


def motion_ious(images: Sequence[Image]) -> list[np.ndarray]:
    """Motion IoU [boxes] of the boxes of each image; NaN without a track, or of an object alone."""
    places: dict[tuple, dict[int, tuple[int, int]]] = defaultdict(dict)
    for i, image in enumerate(images):
        for j, track in enumerate(image.tracks):
            if track:
                places[image.camera, image.burst, track][image.place] = (i, j)
    ious = [np.full(len(image.boxes), np.nan) for image in images]
    for seen in places.values():
        for frame, (i, j) in seen.items():
            others = [
                seen[other]
                for other in range(frame - REACH, frame + REACH + 1)
                if other != frame and other in seen
            ]
            if others:
                box = images[i].boxes[j]
                ious[i][j] = np.mean([_iou(box, images[k].boxes[m]) for k, m in others])
    return ious


def speed_of(iou: float) -> str:
    """Of a motion IoU, one of `SPEEDS`; "" if it is unknown."""
    if np.isnan(iou):
        return ""
    return "slow" if iou > 0.9 else "medium" if iou >= 0.7 else "fast"


def measure_motion(
    images: Sequence[Image], detections: Mapping[int, tuple], class_names: Mapping[int, str]
) -> dict[str, Any] | None:
    """AP at IoU .5 by speed, and all of it by the rule for small objects; None without tracks."""
    speeds = [[speed_of(iou) for iou in row] for row in motion_ious(images)]
    if not any(speed for row in speeds for speed in row):
        return None
    groundtruth, results = coco.to_coco(images, detections, class_names)
    flat = [speed for row in speeds for speed in row]
    groups = {"all": None, **{speed: speed for speed in SPEEDS}}
    measured = {}
    for name, wanted in groups.items():
        counted = [wanted is None or speed == wanted for speed in flat]
        measured[name] = {
            "boxes": sum(counted),
            "mAP@.5": _average_precision(groundtruth, results, counted, COCOeval),
            "mAP@.5 small objects": _average_precision(
                groundtruth, results, counted, _SmallObjectsEval
            ),
        }
    return measured


def _average_precision(
    groundtruth: dict[str, Any], results: list[dict], counted: Sequence[bool], evaluator: type
) -> float | None:
    """mAP at .5 where only these annotations are to be found; the others are no mistakes."""
    # Areas are what pycocotools chooses by: 1 counts, and all detections have it.
    annotations = [
        annotation | {"area": 1.0 if kept else 2.0}
        for annotation, kept in zip(groundtruth["annotations"], counted, strict=True)
    ]
    found = [result | {"id": i, "area": 1.0, "iscrowd": 0} for i, result in enumerate(results, 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, detected = COCO(), COCO()
        for index, rows in ((truth, annotations), (detected, found)):
            index.dataset = copy.copy(groundtruth) | {"annotations": rows}
            index.createIndex()
        evaluation = evaluator(truth, detected, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1.5]], ["counted"]
        evaluation.params.maxDets = [300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    values = precision[precision > -1]
    return float(values.mean()) if values.size else None


class _SmallObjectsEval(COCOeval):
    def computeIoU(self, imgId, catId):  # noqa: N802, N803  (pycocotools' names)
        ious = super().computeIoU(imgId, catId)
        if not len(ious):
            return ious
        sizes = np.array([box["bbox"][2:] for box in self._gts[imgId, catId]])
        thresholds = np.minimum(0.5, np.prod(sizes, axis=1) / np.prod(sizes + 10, axis=1))
        return np.asarray(ious) * (0.5 / thresholds)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of boxes y1 x1 y2 x2."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(sides, 0))
    return float(both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both))
