"""Suppression of all classes at once is the loop's."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors.suppression import best_detections, suppress


def iou(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inside = np.prod(np.maximum(sides, 0))
    return inside / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside)


def loop(boxes, valid, threshold):
    kept = []
    for i in range(len(boxes)):
        if valid[i] and all(iou(boxes[i], boxes[j]) < threshold for j in kept):
            kept.append(i)
    return np.isin(np.arange(len(boxes)), kept)


def some_boxes(rng, *shape):
    """Boxes that overlap a lot."""
    corner = rng.uniform(0, 30, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (*shape, 2))], -1).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_it_keeps_what_the_loop_keeps(threshold):
    rng = np.random.default_rng(0)
    boxes, valid = some_boxes(rng, 20, 60), rng.random((20, 60)) < 0.8
    kept = suppress(tf.constant(boxes), tf.constant(valid), threshold).numpy()
    for row in range(20):
        np.testing.assert_array_equal(kept[row], loop(boxes[row], valid[row], threshold))


def test_a_long_chain_is_followed_to_its_end():
    """Each box overlaps the next: every second one stays."""
    left = np.arange(50, dtype=np.float32) * 4
    boxes = np.stack([np.zeros(50), left, np.full(50, 10), left + 10], -1).astype(np.float32)
    kept = suppress(tf.constant(boxes[None]), tf.ones([1, 50], tf.bool), 0.4)[0]
    np.testing.assert_array_equal(kept, np.arange(50) % 2 == 0)


@pytest.mark.parametrize("jit", [False, True])
def test_the_best_of_all_classes_come_first(jit):
    rng = np.random.default_rng(1)
    boxes, scores = some_boxes(rng, 3, 12, 4), rng.random((3, 12, 4)).astype(np.float32)
    scores[2] *= 0.2
    find = tf.function(
        lambda b, s: best_detections(b, s, score_threshold=0.3, iou_threshold=0.5, count=10),
        jit_compile=jit,
    )
    got = [value.numpy() for value in find(tf.constant(boxes), tf.constant(scores))]
    for image in range(3):
        expected = []
        for label in range(4):
            order = np.argsort(-scores[image, :, label], kind="stable")
            ranked = boxes[image, order, label]
            ok = scores[image, order, label] > 0.3
            for i in np.flatnonzero(loop(ranked, ok, 0.5)):
                expected.append((scores[image, order[i], label], label, ranked[i]))
        expected = sorted(expected, key=lambda found: -found[0])[:10]
        n = got[3][image]
        assert n == len(expected)
        for k, (score, label, box) in enumerate(expected):
            assert (got[1][image, k], got[2][image, k]) == (score, label)
            np.testing.assert_array_equal(got[0][image, k], box)
        assert not got[1][image, n:].any() and not got[0][image, n:].any()


def test_more_detections_than_boxes_are_padded():
    boxes, scores = np.float32([[[[0, 0, 5, 5]]]]), np.float32([[[0.9]]])
    found = best_detections(
        tf.constant(boxes), tf.constant(scores), score_threshold=0.1, iou_threshold=0.5, count=3
    )
    assert [value.shape.as_list() for value in found] == [[1, 3, 4], [1, 3], [1, 3], [1]]
    assert list(found[3]) == [1]


def test_the_best_of_a_class_are_clipped_after_suppression_and_may_vanish():
    """Worked by hand: 2 detections, an image of 10x10, one class."""
    boxes = [
        [0.0, 0.0, 8.0, 8.0],  # best
        [0.0, -8.0, 8.0, 0.0],  # outside: takes one of the two places, and vanishes
        [0.0, 4.0, 8.0, 20.0],  # IoU .2 as decoded, and .4 when clipped
        [2.0, 2.0, 6.0, 6.0],
    ]
    scores = [0.9, 0.8, 0.7, 0.6]
    given = {"score_threshold": 0.1, "iou_threshold": 0.35}
    inputs = tf.constant([[[box] for box in boxes]]), tf.constant([[[s] for s in scores]])
    shape = tf.constant([[10.0, 10.0]])
    found = best_detections(*inputs, **given, count=2, clip_to=shape)
    assert found[3].numpy().tolist() == [1]
    found = best_detections(*inputs, **given, count=3, clip_to=shape)
    assert found[3].numpy().tolist() == [2]
    np.testing.assert_allclose(found[0][0, :2], [boxes[0], [0, 4, 8, 10]])
    np.testing.assert_allclose(found[1][0], [0.9, 0.7, 0.0])
