"""Detections of two runs, joined and suppressed, by hand."""

import json

import numpy as np
import pytest

from context_rcnn import configs
from context_rcnn.evaluation import coco
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.overlaps import NmsOptions, suppress_frames
from context_rcnn.evaluation.post_processing import build_post_processing, with_ensemble
from tests.evaluation.test_seq_nms import BOX, detect, image, np_iou

IMAGES = [image(0), image(1), image(2)]


@pytest.fixture
def other(tmp_path):
    """The folder of another evaluation, whose images come in another order."""
    detections = Detections({IMAGES[0].key: detect((0.4, 1)), IMAGES[2].key: detect((0.7, 2))})
    truth, rows = coco.to_coco(IMAGES[::-1], detections, {1: "cat", 2: "dog"})
    for name, content in (("groundtruth_coco", truth), ("detections_coco", rows)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def process(folder, type_="nms"):
    config = configs.PostProcessing(type=type_)
    return with_ensemble(build_post_processing(config), str(folder), type_)


def test_detections_are_joined_before_they_are_suppressed(other):
    own = Detections({IMAGES[0].key: detect((0.9, 1)), IMAGES[1].key: detect((0.3, 2))})
    left, counts = process(other)(IMAGES, own)
    assert counts == {"joined_detections": 2, "dropped_detections": 1}
    for one, scores in zip(IMAGES, ([0.9], [0.3], [0.7]), strict=True):
        assert left[one.key][1].tolist() == scores
        np.testing.assert_allclose(left[one.key][0], [BOX], rtol=1e-12)
    # Linked, the two dogs are one.
    left, counts = process(other, "seq_nms")(IMAGES, own)
    assert left[IMAGES[1].key][1].tolist() == left[IMAGES[2].key][1].tolist() == [0.5]


def test_other_images_are_refused(other):
    with pytest.raises(ValueError, match="task.evaluation.ensemble: .*groundtruth_coco.json has 3"):
        process(other)(IMAGES[:2], Detections())


def test_what_is_no_evaluation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="task.evaluation.ensemble: .* not the folder of an eval"):
        process(tmp_path)(IMAGES, Detections())


def test_joined_boxes_need_a_suppression(other):
    with pytest.raises(ValueError, match="must be one of seq_nms, viterbi, nms, got 'none'"):
        process(other, "none")
    assert process("", "none")(IMAGES, Detections()) == ({}, {})


def test_suppression_goes_frame_by_frame_and_class_by_class():
    rng = np.random.default_rng(1)
    frames, classes = rng.integers(0, 3, 40), rng.integers(0, 2, 40)
    start = rng.uniform(0, 0.4, (40, 2))
    boxes, scores = np.concatenate([start, start + 0.3], 1), rng.uniform(0, 1, 40)
    left = suppress_frames(frames, boxes, scores, classes, NmsOptions(0.3))
    kept = []
    for i in np.argsort(-scores):
        beaten = any(
            (frames[i], classes[i]) == (frames[j], classes[j]) and np_iou(boxes[i], boxes[j]) > 0.3
            for j in kept
        )
        kept += [] if beaten else [i]
    assert np.flatnonzero(left).tolist() == sorted(kept) and 5 < len(kept) < 35
