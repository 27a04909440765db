"""Shares of attention by what the attended boxes are on, by hand."""

import numpy as np
import pytest

from benchmarks.attention_mass import as_text, measure
from context_rcnn.evaluation.groundtruth import Image

LEFT, RIGHT, NOWHERE = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.0, 0.9, 0.1, 1.0]


def image(number, shows, boxes=(LEFT, RIGHT)):
    return Image(
        id=f"f{number}",
        key=number,
        camera="video",
        width=100,
        height=100,
        boxes=np.array(boxes),
        classes=np.array([1, 2]),
        burst="video",
        place=number,
        tracks=("a", "b"),
        shows=shows,
    )


def entry(number, box, weight, anywhere=False):
    return {"image_id": f"f{number}", "box": box, "weight": weight, "anywhere": anywhere}


def line(number, *detections):
    return {
        "image_id": f"f{number}",
        "detections": [{"box": box, "attention": entries} for box, entries in detections],
    }


IMAGES = [image(0, (0, 1)), image(1, (1, 0)), image(2, (0, 0))]


def test_shares_add_up_within_near_frames_and_within_frames_from_anywhere():
    entries = [
        entry(1, LEFT, 0.3),  # itself, clear
        entry(2, LEFT, 0.1),  # itself, hidden
        entry(0, RIGHT, 0.1),  # the other one, clear
        entry(2, NOWHERE, 0.1),
        entry(1, LEFT, 0.1, anywhere=True),
        entry(1, RIGHT, 0.3, anywhere=True),  # the other one, hidden
    ]
    found = measure([line(0, (LEFT, entries))], IMAGES)
    near, anywhere = found["near"], found["anywhere"]
    assert near["detections"] == anywhere["detections"] == 1
    assert near["itself, clear"] == pytest.approx({"attention": 0.5, "boxes": 0.25})
    assert near["others, clear"] == pytest.approx({"attention": 1 / 6, "boxes": 0.25})
    assert near["no animal"] == pytest.approx({"attention": 1 / 6, "boxes": 0.25})
    assert anywhere["itself, clear"] == pytest.approx({"attention": 0.25, "boxes": 0.5})
    assert anywhere["others, hidden"] == pytest.approx({"attention": 0.75, "boxes": 0.5})
    assert "0.50 (0.25)" in as_text(found)


def test_only_hidden_animals_whose_evidence_was_seen_count():
    seen, unseen = [entry(1, LEFT, 0.5)], [entry(2, LEFT, 0.5)]
    clear = line(1, (LEFT, seen))
    nobody = line(0, (NOWHERE, seen))
    blind = line(2, (LEFT, unseen))
    assert measure([clear, nobody, blind], IMAGES) == {}
    both = measure([clear, blind, line(2, (LEFT, seen + unseen))], IMAGES)
    assert both["near"]["detections"] == 1
