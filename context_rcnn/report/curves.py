"""Precision and recall of a run on chosen images, by pycocotools."""

import contextlib
import dataclasses
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from context_rcnn.report.runs import Boxes, Run


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision at IoU .5 over `RECALLS`, of one class. Without labelled boxes nothing is defined.

    A recall that is never reached has precision 0, as COCO counts it.
    """

    boxes: int
    ap: float | None
    precision: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run on chosen images: a curve a class, by name, and the means over classes."""

    curves: dict[str, Curve]
    mean_ap: float | None
    average_recall_1: float | None


RECALLS = np.linspace(0, 1, 101)


def measure(run: Run, images: np.ndarray) -> Measured:
    """Curves and AP at IoU .5, and AR@1, of all classes on these images (places in the run)."""
    truth, found = _coco(run, run.truth, images), _coco(run, run.found, images)
    precision = _accumulate(truth, found, images, 100, [0.5])["precision"][0, :, :, 0, 0]
    recall = _accumulate(truth, found, images, 1, None)["recall"][:, :, 0, 0]
    counts = {k: 0 for k in run.class_names}
    for annotation in truth.dataset["annotations"]:
        counts[annotation["category_id"]] += 1
    curves = {
        run.class_names[k]: Curve(
            boxes=counts[k],
            ap=float(precision[:, column].mean()) if counts[k] else None,
            precision=precision[:, column] if counts[k] else None,
        )
        for column, k in enumerate(sorted(run.class_names))
    }
    return Measured(curves, _mean(precision), _mean(recall))


def _accumulate(
    truth: COCO, found: COCO, images: np.ndarray, max_boxes: int, ious: list[float] | None
) -> dict[str, np.ndarray]:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.imgIds = (images + 1).tolist()
        evaluation.params.maxDets = [max_boxes]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        if ious:
            evaluation.params.iouThrs = np.array(ious)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def _coco(run: Run, boxes: Boxes, images: np.ndarray) -> COCO:
    """Boxes of these images in pixels, indexed; an image's id is its place and one."""
    annotations: list[dict[str, Any]] = []
    for image in images.tolist():
        part = boxes.of(image)
        edges = boxes.edges[part] * np.tile(run.sizes[image], 2)
        edges[:, 2:] -= edges[:, :2]
        rows = zip(edges.tolist(), boxes.scores[part], boxes.classes[part].tolist(), strict=True)
        annotations += [
            {
                "id": len(annotations) + i,
                "image_id": image + 1,
                "category_id": label,
                "bbox": box,
                "area": box[2] * box[3],
                "score": float(score),
                "iscrowd": 0,
            }
            for i, (box, score, label) in enumerate(rows, 1)
        ]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image + 1} for image in images.tolist()],
        "categories": [{"id": k, "name": name} for k, name in sorted(run.class_names.items())],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _mean(values: np.ndarray) -> float | None:
    """COCO marks what is not defined with -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None
