"""Proposals, suppressed before or after they are clipped, against a loop and the library."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers import roi_generator

from context_rcnn.detectors.proposers import Proposer
from tests.detectors.test_suppression import iou

ROWS, COLUMNS, ANCHORS, COUNT = 4, 6, 3, 12
SHAPE = (40.0, 90.0)


def loop(offsets, scores, anchors, count, clip_first):
    """Boxes and scores of one image, best first."""
    boxes = []
    for (dy, dx, dh, dw), (y1, x1, y2, x2) in zip(offsets, anchors, strict=True):
        height, width = np.exp(dh) * (y2 - y1), np.exp(dw) * (x2 - x1)
        y, x = (y1 + y2) / 2 + dy * (y2 - y1), (x1 + x2) / 2 + dx * (x2 - x1)
        boxes.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    clipped = np.clip(boxes, 0, [*SHAPE, *SHAPE])
    compared = clipped if clip_first else np.array(boxes)
    kept = []
    for i in np.argsort(-scores):
        if len(kept) < count and all(iou(compared[i], compared[j]) < 0.5 for j in kept):
            kept.append(i)
    kept = [i for i in kept if (clipped[i, 2:] > clipped[i, :2]).all()]
    return clipped[kept], scores[kept]


@pytest.mark.parametrize("jit", [False, True])
def test_boxes_are_compared_as_they_were_decoded_and_clipped_later(jit):
    rng = np.random.default_rng(0)
    number = ROWS * COLUMNS * ANCHORS
    corner = rng.uniform(-30, [50, 80], (number, 2))  # some lie outside of the image altogether
    anchors = np.concatenate([corner, corner + rng.uniform(20, 60, (number, 2))], 1)
    offsets = rng.normal(0, 0.2, (2, number, 4)).astype(np.float32)
    logits = rng.normal(0, 2, (2, number)).astype(np.float32)
    proposer = Proposer(pre_nms=0, iou_threshold=0.5, count=COUNT, clips_first=False)

    def propose():
        return proposer(
            {"4": tf.reshape(offsets, [2, ROWS, COLUMNS, ANCHORS * 4])},
            {"4": tf.reshape(logits, [2, ROWS, COLUMNS, ANCHORS])},
            {"4": tf.constant(np.tile(anchors[None], [2, 1, 1]), tf.float32)},
            tf.constant([SHAPE] * 2),
        )

    found = [part.numpy() for part in tf.function(propose, jit_compile=jit, autograph=False)()]
    lost = different = 0
    for image in range(2):
        given = (offsets[image], 1 / (1 + np.exp(-logits[image])), anchors, COUNT)
        boxes, scores = loop(*given, clip_first=False)
        with np.errstate(invalid="ignore"):  # of two boxes without area
            usual, _ = loop(*given, clip_first=True)
        lost += COUNT - len(boxes)
        different += len(usual) != len(boxes) or not np.allclose(usual, boxes)
        np.testing.assert_allclose(found[0][image, : len(boxes)], boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(found[1][image, : len(boxes)], scores, rtol=1e-5)
        assert not found[0][image, len(boxes) :].any() and not found[1][image, len(boxes) :].any()
    assert lost and different


@pytest.mark.parametrize("pre_nms", [20, 60, 600], ids=["few", "all of a level", "tiles"])
def test_clipped_first_it_proposes_what_the_library_does(pre_nms):
    """On two levels; 600 boxes are more than suppression takes at once."""
    rng = np.random.default_rng(1)
    sides = {"4": (16, 20), "5": (4, 5)}
    offsets, logits, anchors = {}, {}, {}
    for level, (rows, columns) in sides.items():
        number = rows * columns * ANCHORS
        corner = rng.uniform(-40, [SHAPE[0] + 20, SHAPE[1] + 20], (2, number, 2))
        anchors[level] = np.concatenate([corner, corner + rng.uniform(1, 60, corner.shape)], -1)
        offsets[level] = rng.normal(0, 0.3, (2, rows, columns, ANCHORS * 4))
        logits[level] = rng.normal(0, 2, (2, rows, columns, ANCHORS))
    given = [
        {level: tf.constant(part, tf.float32) for level, part in parts.items()}
        for parts in (offsets, logits, anchors)
    ]
    library = roi_generator.MultilevelROIGenerator(
        pre_nms_top_k=pre_nms,
        pre_nms_min_size_threshold=1.0,
        nms_iou_threshold=0.5,
        num_proposals=40,
    )
    proposer = Proposer(pre_nms=pre_nms, iou_threshold=0.5, count=40)
    boxes, scores = proposer(*given, tf.constant([SHAPE, (24.0, 60.0)]))
    theirs, their_scores = library(*given, tf.constant([SHAPE, (24.0, 60.0)]), training=True)
    there = their_scores.numpy() > 0
    assert there.sum() > 40
    np.testing.assert_allclose(scores, their_scores, rtol=1e-6)
    np.testing.assert_allclose(boxes.numpy()[there], theirs.numpy()[there], rtol=0, atol=1e-3)
