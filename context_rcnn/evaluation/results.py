"""Evaluation results as files: JSON for programs, a table for people, pictures for both."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from context_rcnn.evaluation import coco, empties, evidence, motion
from context_rcnn.evaluation.groundtruth import Image


def measure(
    images: Sequence[Image],
    detections: Mapping[int, tuple],
    class_names: Mapping[int, str],
    recalls: Sequence[float],
) -> dict[str, Any]:
    """Returns everything that is reported of a detector on these images."""
    metrics = coco.evaluate(images, detections, class_names)
    return {
        "images": len(images),
        "empty_images": sum(1 for image in images if not len(image.boxes)),
        "boxes": sum(len(image.boxes) for image in images),
        "images_without_detections": sum(
            1 for image in images if not len(detections.get(image.key, ((),))[0])
        ),
        **metrics,
        "false_positives_per_1000_empty_images": empties.false_positives_on_empties(
            images, detections, recalls
        ),
        "by_speed": motion.measure_motion(images, detections, class_names),
        "by_evidence": evidence.measure_evidence(images, detections),
    }


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers worth a curve, flat, without those that are not defined."""
    flat = {name: value for name, value in metrics.items() if isinstance(value, float)}
    for name, row in metrics["per_class"].items():
        flat[f"AP@.5 per class/{name}"] = row["AP@.5"]
    for recall, row in metrics["false_positives_per_1000_empty_images"].items():
        flat[f"false positives per 1000 empty images/at recall {recall}"] = row["detections"]
    return {name: value for name, value in flat.items() if value is not None}


def as_table(metrics: Mapping[str, Any]) -> str:
    """The metrics as aligned text."""
    lines = [
        f"{metrics['images']} images ({metrics['empty_images']} empty), {metrics['boxes']} boxes",
        "",
        *(
            f"{name:8} {_number(metrics[name])}"
            for name in ("mAP@.5", "mAP", "mAP@.75", "AR@1", "AR@10", "AR@100")
        ),
        "",
    ]
    lines += _columns(
        ["class", "boxes", "AP@.5", "AP", "AR@1"],
        [
            [name, str(row["boxes"]), *(_number(row[k]) for k in ("AP@.5", "AP", "AR@1"))]
            for name, row in metrics["per_class"].items()
        ],
    )
    lines += _columns(
        ["camera", "images", "empty", "boxes", "mAP@.5", "AR@1"],
        [
            [name, *(str(row[k]) for k in ("images", "empty", "boxes"))]
            + [_number(row[k]) for k in ("mAP@.5", "AR@1")]
            for name, row in metrics["per_camera"].items()
        ],
    )
    if metrics["by_speed"]:
        rules = ("mAP@.5", "mAP@.5 small objects")
        lines += _columns(
            ["speed", "boxes", *rules],
            [
                [name, str(row["boxes"]), *(_number(row[rule]) for rule in rules)]
                for name, row in metrics["by_speed"].items()
            ],
        )
    if metrics["by_evidence"]:
        lines += _columns(
            ["evidence", "boxes", "found", "right class"],
            [
                [name, str(row["boxes"]), _number(row["found"]), _number(row["right"])]
                for name, row in metrics["by_evidence"].items()
            ],
        )
    lines += _columns(
        ["at recall", "score from", "false positives", "images with any", "(of 1000 empty images)"],
        [
            [recall, _number(row["threshold"]), _number(row["detections"], 1)]
            + [_number(row["empty_images"], 1), ""]
            for recall, row in metrics["false_positives_per_1000_empty_images"].items()
        ],
    )
    return "\n".join(lines)


def write_results(
    folder: str,
    metrics: Mapping[str, Any],
    images: Sequence[Image],
    detections: Mapping[int, tuple],
    class_names: Mapping[int, str],
) -> None:
    """Writes metrics.json, metrics.txt, and groundtruth and detections in COCO's format."""
    tf.io.gfile.makedirs(folder)
    groundtruth, results = coco.to_coco(images, detections, class_names)
    for name, content in (
        ("metrics.json", json.dumps(metrics, indent=2) + "\n"),
        ("metrics.txt", as_table(metrics) + "\n"),
        ("groundtruth_coco.json", json.dumps(groundtruth)),
        ("detections_coco.json", json.dumps(results)),
    ):
        path = os.path.join(folder, name)
        with tf.io.gfile.GFile(path + ".tmp", "w") as file:
            file.write(content)
        tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ] + [""]
