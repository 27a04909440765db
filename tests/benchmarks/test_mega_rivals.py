"""Boxes that get their class by the company they are in, by hand."""

import numpy as np
import pytest

from benchmarks.studies.mega_rivals import APART, TOGETHER, as_text, kinds_of, shares
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.report.runs import Boxes, Run

BOX = [0.1, 0.2, 0.5, 0.9]  # y1 x1 y2 x2


def image(name, video, classes, shows):
    boxes = np.array([BOX] * len(classes)) + np.arange(len(classes))[:, None] / 2
    tracks = tuple(str(j) for j in range(len(classes)))
    return Image(
        id=name,
        key=hash(name),
        camera=video,
        width=10,
        height=10,
        boxes=boxes,
        classes=np.array(classes),
        burst=video,
        place=0,
        tracks=tracks,
        shows=shows,
    )


def run_of(images, classes):
    """A run that finds the boxes of these images, with these classes."""
    boxes = np.concatenate([one.boxes for one in images])[:, [1, 0, 3, 2]]
    offsets = np.cumsum([0, *(len(one.boxes) for one in images)])
    found = Boxes(offsets, boxes, np.full(len(boxes), 0.9), np.array(classes))
    ids = [one.id for one in images]
    return Run("", {}, ids, np.full([len(ids), 2], 10), {1: "a", 2: "b", 3: "c"}, found, found)


def test_rows_are_divided_by_the_video_and_by_what_a_box_shows():
    images = [
        image("v/0", "v", (1, 2), (1, 0)),  # both of a pair
        image("v/1", "v", (1, 2), (0, 1)),
        image("w/0", "w", (1, 3), (1, 0)),  # 1 and 3 are no pair
        image("w/1", "w", (1, 3), (0, 1)),
    ]
    kinds = kinds_of(images, [(1, 2)])
    assert kinds == {("v", "v"): TOGETHER, ("w", "w"): APART}
    found = shares(images, run_of(images, [1, 1, 1, 2, 1, 3, 3, 3]), kinds)
    assert found == {
        (TOGETHER, "clear"): 1.0,
        (TOGETHER, "seen elsewhere"): 0.5,  # class 2 of v/0 was called 1
        (APART, "clear"): 1.0,
        (APART, "seen elsewhere"): 0.5,  # class 1 of w/1 was called 3
    }


def test_a_table_has_means_and_deviations():
    seeds = [{(TOGETHER, "clear"): share} for share in (0.5, 0.7)]
    text = as_text({"MEGA": seeds})
    assert "| MEGA | 60.0 ± 14.1 | - | - | - | 2 |" in text
    assert np.std([50, 70], ddof=1) == pytest.approx(14.142, abs=1e-3)
