"""Detections of another run joined to those of this one, before what links or suppresses them.

STMN is measured with the still-image detector that it started from beside it: boxes of both are
pooled, and then linked.
"""

import os
from collections.abc import Sequence

import numpy as np

from context_rcnn.data import fields
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.groundtruth import Image


def join_run(folder: str, images: Sequence[Image], detections: Detections) -> Detections:
    """Joins the detections that another run has written.

    Args:
        folder: folder `evaluation/step-N` of the other run.
        images: images of this evaluation.
        detections: detections of this evaluation.

    Raises:
        ValueError: If the other run has not seen exactly these images, naming file and field.
    """
    others = read_run(folder, images)
    joined = Detections(detections)
    for key, columns in others.items():
        if key in joined:
            columns = tuple(np.concatenate(pair) for pair in zip(joined[key], columns, strict=True))
        joined.add(key, *columns)
    return joined


def read_run(folder: str, images: Sequence[Image]) -> Detections:
    """The detections in the folder of another evaluation of the same images."""
    truth_path = os.path.join(folder, "groundtruth_coco.json")
    path = os.path.join(folder, "detections_coco.json")
    field = "task.evaluation.ensemble"
    for file in (truth_path, path):
        if not os.path.exists(file):
            raise ValueError(
                f"{field}: {folder} is not the folder of an evaluation, evaluation/step-N: there "
                f"is no {file}"
            )
    by_name = {image.id: image for image in images}
    truth = fields.load_json_object(truth_path)
    owners = {row["id"]: row["file_name"] for row in truth["images"]}
    if set(owners.values()) != set(by_name):
        raise ValueError(
            f"{field}: {truth_path} has {len(owners)} images, which are not the {len(by_name)} of "
            "this evaluation"
        )
    rows: dict[str, list[tuple]] = {name: [] for name in by_name}
    for row in fields.load_json_list(path):
        rows[owners[row["image_id"]]].append((row["bbox"], row["score"], row["category_id"]))
    found = Detections()
    for name, its in rows.items():
        image = by_name[name]
        boxes = np.array([box for box, _, _ in its], np.float64).reshape(-1, 4)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        sides = np.array([image.height, image.width] * 2, np.float64)
        found.add(
            image.key,
            corners[:, [1, 0, 3, 2]] / sides,
            np.array([score for _, score, _ in its], np.float64),
            np.array([label for _, _, label in its], np.int64),
        )
    return found
