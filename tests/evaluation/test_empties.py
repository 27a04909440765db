"""False positives on empty images, on a case worked by hand and against a loop."""

import numpy as np
import pytest

from context_rcnn.evaluation import coco, empties
from context_rcnn.evaluation.groundtruth import Image

BOX = np.array([[0.1, 0.1, 0.5, 0.5]])


def image(key, boxes=0):
    return Image(f"i{key}", key, "c", 100, 80, np.repeat(BOX, boxes, 0), np.ones(boxes, np.int64))


def test_a_case_worked_by_hand():
    """Four animals found at .9, .8, .6 and never; empties fire at .95, .7 twice, and .3."""
    images = [image(i, boxes=1) for i in range(4)] + [image(i) for i in range(4, 9)]
    found = coco.Detections()
    for key, score in ((0, 0.9), (1, 0.8), (2, 0.6)):
        found.add(key, BOX, np.array([score]), np.array([2]))  # another class counts as found
    found.add(3, BOX + 0.45, np.array([0.99]), np.array([1]))  # beside the animal: not found
    found.add(4, BOX, np.array([0.95]), np.array([1]))
    found.add(5, np.repeat(BOX, 2, 0), np.array([0.7, 0.7]), np.array([1, 1]))
    found.add(6, BOX, np.array([0.3]), np.array([1]))
    report = empties.false_positives_on_empties(images, found, [0.25, 0.5, 0.75, 0.9])
    assert report["0.25"] == {
        "threshold": 0.9,
        "detections": pytest.approx(200.0),
        "empty_images": pytest.approx(200.0),
    }
    assert report["0.5"]["threshold"] == 0.8
    assert report["0.75"]["threshold"] == 0.6
    assert report["0.75"]["detections"] == pytest.approx(600.0)
    assert report["0.75"]["empty_images"] == pytest.approx(400.0)
    assert report["0.9"] == {"threshold": None, "detections": None, "empty_images": None}


def test_the_threshold_finds_exactly_the_asked_share():
    rng = np.random.default_rng(2)
    images, found = [], coco.Detections()
    scores = rng.random(50)
    for i, score in enumerate(scores):
        images.append(image(i, boxes=1))
        found.add(i, BOX, np.array([score]), np.array([1]))
    for recall in (0.1, 0.5, 0.9, 1.0):
        threshold = empties.false_positives_on_empties(images, found, [recall])[f"{recall:g}"][
            "threshold"
        ]
        assert (scores >= threshold).sum() == round(recall * 50)


def test_nothing_to_count_is_not_zero():
    assert (
        empties.false_positives_on_empties([image(0, boxes=1)], coco.Detections(), [0.5])["0.5"][
            "detections"
        ]
        is None
    )
    only_empty = empties.false_positives_on_empties([image(0)], coco.Detections(), [0.5])
    assert only_empty["0.5"]["threshold"] is None
