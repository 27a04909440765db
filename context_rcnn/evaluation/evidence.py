"""How often boxes get their class, by what they show: for simulations, whose labels tell it.

What tells an animal from its look-alikes is in some frames only. A memory can help where a box does
not show it and another box of its object does; mAP sees that late, because it also asks for boxes
and for an order of scores. The class of a box is that of the best detection on it, whose overlap is
at least .5. An object is a track, or, where nobody follows objects, a species at its camera.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.overlaps import iou

GROUPS = ("clear", "seen elsewhere", "hidden throughout")
MATCHED = 0.5


def groups_of(images: Sequence[Image]) -> list[list[str]]:
    """One of `GROUPS` for the boxes of each image; "" where the labels do not tell."""
    shown = {
        _identity(image, j) for image in images for j, one in enumerate(image.shows) if one == 1
    }

    def group(image: Image, j: int) -> str:
        if not image.shows or image.shows[j] not in (0, 1):
            return ""
        if image.shows[j]:
            return GROUPS[0]
        return GROUPS[1 if _identity(image, j) in shown else 2]

    return [[group(image, j) for j in range(len(image.boxes))] for image in images]


def measure_evidence(
    images: Sequence[Image], detections: Mapping[int, tuple]
) -> dict[str, Any] | None:
    """Share of boxes that are found, and of those the share with their class; None if unknown."""
    groups = groups_of(images)
    if not any(name for row in groups for name in row):
        return None
    found = {name: 0 for name in GROUPS}
    right, total = dict(found), dict(found)
    for image, names in zip(images, groups, strict=True):
        classes = classes_of(image, detections.get(image.key, ()))
        for name, given, true in zip(names, classes, image.classes, strict=True):
            if name:
                total[name] += 1
                found[name] += int(given > 0)
                right[name] += int(given == true)
    return {
        name: {
            "boxes": total[name],
            "found": found[name] / total[name] if total[name] else None,
            "right": right[name] / found[name] if found[name] else None,
        }
        for name in GROUPS
    }


def classes_of(image: Image, detected: Sequence[np.ndarray]) -> np.ndarray:
    """The class that each box of an image gets, int [boxes]; 0 for a box that is not found.

    Args:
        image: the labels.
        detected: its boxes, scores and classes, or nothing.
    """
    given = np.zeros(len(image.boxes), int)
    if not len(detected) or not len(detected[1]) or not len(given):
        return given
    boxes, scores, classes = (np.asarray(part) for part in detected[:3])
    overlaps = iou(image.boxes, boxes.astype(np.float64).reshape(-1, 4))
    on = np.where(overlaps >= MATCHED, scores, -np.inf)
    best = on.argmax(axis=1)
    return np.where(np.isfinite(on.max(axis=1)), classes[best], 0).astype(int)


def _identity(image: Image, j: int) -> tuple:
    track = image.tracks[j] if image.tracks else ""
    if track:
        return image.camera, image.burst, track
    return image.camera, int(image.classes[j])
