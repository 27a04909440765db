"""COCO's detection numbers, all of them by pycocotools.

Images without detections count, and so do detections on empty images.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from context_rcnn.evaluation.groundtruth import Image


class Detections(dict):
    """Detections by image key: (boxes [n, 4] normalised y1 x1 y2 x2, scores [n], classes [n])."""

    def add(self, key: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> None:
        """Adds one image's detections, best first, without padding rows (score below 0)."""
        kept = np.asarray(scores) >= 0
        order = np.argsort(-np.asarray(scores)[kept], kind="stable")
        self[key] = (
            np.asarray(boxes, np.float64)[kept][order],
            np.asarray(scores, np.float64)[kept][order],
            np.asarray(classes, np.int64)[kept][order],
        )


def to_coco(
    images: Sequence[Image], detections: Mapping[int, tuple], class_names: Mapping[int, str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns COCO groundtruth and COCO results, ready for a JSON file or for pycocotools.

    Images also have COCO-VID's fields: a burst is a video, and so is an image without one.
    """
    first: dict[tuple, int] = {}  # place in each video
    names: dict[tuple, str] = {}
    for image in images:
        first[image.video] = min(image.place, first.get(image.video, image.place))
        names.setdefault(image.video, image.burst or image.id)
    numbers = {video: i for i, video in enumerate(names, 1)}
    groundtruth: dict[str, Any] = {
        "info": {"description": "groundtruth"},
        "videos": [{"id": numbers[video], "name": name} for video, name in names.items()],
        "images": [
            {
                "id": i,
                "file_name": image.id,
                "width": image.width,
                "height": image.height,
                "video_id": numbers[image.video],
                "frame_id": image.place - first[image.video],
            }
            for i, image in enumerate(images, 1)
        ],
        "categories": [{"id": int(k), "name": name} for k, name in sorted(class_names.items())],
        "annotations": [],
    }
    results = []
    for i, image in enumerate(images, 1):
        for box, label in zip(_pixels(image.boxes, image), image.classes, strict=True):
            annotation = {
                "id": len(groundtruth["annotations"]) + 1,
                "image_id": i,
                "category_id": int(label),
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            groundtruth["annotations"].append(annotation)
        boxes, scores, classes = detections.get(image.key, (np.zeros((0, 4)), [], []))
        for box, score, label in zip(_pixels(boxes, image), scores, classes, strict=True):
            results.append(
                {"image_id": i, "category_id": int(label), "bbox": box, "score": float(score)}
            )
    return groundtruth, results


def evaluate(
    images: Sequence[Image], detections: Mapping[int, tuple], class_names: Mapping[int, str]
) -> dict[str, Any]:
    """Returns mAP@.5, mAP, AR@1 and their like, overall, per class and per camera.

    A number that is not defined, such as the AP of a class without groundtruth, is None.
    """
    groundtruth, results = to_coco(images, detections, class_names)
    truth, found = _index(groundtruth), _index(groundtruth | {"annotations": _scored(results)})
    evaluation = _run(truth, found, [image["id"] for image in groundtruth["images"]])
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    metrics: dict[str, Any] = dict(_overall(evaluation))
    boxes_of_class = np.bincount(
        [a["category_id"] for a in groundtruth["annotations"]],
        minlength=max(class_names, default=0) + 1,
    )
    # precision: [IoUs, recalls, classes, areas, max detections]; recall lacks the second axis.
    metrics["per_class"] = {
        class_names[label]: {
            "AP@.5": _mean(precision[0, :, k, 0, -1]),
            "AP": _mean(precision[:, :, k, 0, -1]),
            "AR@1": _mean(recall[:, k, 0, 0]),
            "boxes": int(boxes_of_class[label]),
        }
        for k, label in enumerate(evaluation.params.catIds)
    }
    cameras: dict[str, list[int]] = {}
    for i, image in enumerate(images, 1):
        cameras.setdefault(image.camera, []).append(i)
    metrics["per_camera"] = {
        camera: _overall(_run(truth, found, ids), brief=True)
        | {
            "images": len(ids),
            "empty": sum(1 for i in ids if not len(images[i - 1].boxes)),
            "boxes": sum(len(images[i - 1].boxes) for i in ids),
        }
        for camera, ids in sorted(cameras.items())
    }
    return metrics


def _run(truth: COCO, found: COCO, image_ids: Sequence[int]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _overall(evaluation: COCOeval, brief: bool = False) -> dict[str, float | None]:
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    numbers = {
        "mAP@.5": _mean(precision[0, :, :, 0, -1]),
        "mAP": _mean(precision[:, :, :, 0, -1]),
        "AR@1": _mean(recall[:, :, 0, 0]),
    }
    if brief:
        return numbers
    return numbers | {
        "mAP@.75": _mean(precision[5, :, :, 0, -1]),
        "AR@10": _mean(recall[:, :, 0, 1]),
        "AR@100": _mean(recall[:, :, 0, 2]),
    }


def _mean(values: np.ndarray) -> float | None:
    """COCO marks what is not defined with -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _index(dataset: dict[str, Any]) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
    return coco


def _scored(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        result | {"id": i, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for i, result in enumerate(results, 1)
    ]


def _pixels(boxes: np.ndarray, image: Image) -> list[list[float]]:
    """Normalised y1 x1 y2 x2 to absolute x, y, width, height."""
    scale = np.array([image.width, image.height, image.width, image.height], np.float64)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    corners = boxes[:, [1, 0, 3, 2]] * scale
    corners[:, 2:] -= corners[:, :2]
    return corners.tolist()
