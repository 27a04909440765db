"""Matching, sampling and targets against plain NumPy loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors import targets


def loop_iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    overlap = height * width
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union


def loop_offsets(box, anchor, weights=(1, 1, 1, 1)):
    height, width = anchor[2] - anchor[0], anchor[3] - anchor[1]
    box_height, box_width = box[2] - box[0], box[3] - box[1]
    dy = ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / height
    dx = ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / width
    dh, dw = math.log(box_height / height), math.log(box_width / width)
    return [w * v for w, v in zip(weights, (dy, dx, dh, dw), strict=True)]


def random_boxes(rng, batch, count, side=64):
    corner = rng.uniform(0, side * 0.7, (batch, count, 2))
    size = rng.uniform(4, side * 0.5, (batch, count, 2))
    return np.concatenate([corner, corner + size], axis=2).astype(np.float32)


@pytest.fixture(name="scene")
def fixture_scene():
    rng = np.random.default_rng(5)
    boxes, gt_boxes = random_boxes(rng, 3, 60), random_boxes(rng, 3, 5)
    # Some boxes lie on an object, so that there are positives.
    boxes[:, :12] = gt_boxes[:, rng.integers(0, 5, 12)] + rng.uniform(-3, 3, (3, 12, 4))
    valid = rng.random((3, 60)) < 0.8
    gt_valid = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    return boxes, valid, gt_boxes, gt_valid


def test_iou_equals_the_loop(scene):
    boxes, _, gt_boxes, _ = scene
    iou = targets.pairwise_iou(tf.constant(boxes), tf.constant(gt_boxes)).numpy()
    for b in range(3):
        for i in range(boxes.shape[1]):
            for j in range(gt_boxes.shape[1]):
                assert iou[b, i, j] == pytest.approx(
                    loop_iou(boxes[b, i], gt_boxes[b, j]), abs=1e-5
                )


@pytest.mark.parametrize("match_every_gt", [False, True])
def test_matching_equals_the_loop(scene, match_every_gt):
    boxes, valid, gt_boxes, gt_valid = scene
    found = targets.match_boxes(
        *map(tf.constant, scene),
        positive_iou=0.6,
        negative_iou=0.3,
        match_every_gt=match_every_gt,
    )
    for b in range(3):
        iou = np.zeros((60, 5))
        for i in range(60):
            for j in range(5):
                if valid[b, i] and gt_valid[b, j]:
                    iou[b * 0 + i, j] = loop_iou(boxes[b, i], gt_boxes[b, j])
        for i in range(60):
            positive = iou[i].max() >= 0.6
            expected_gt = iou[i].argmax()
            if match_every_gt:
                forced = [j for j in range(5) if iou[i, j] > 0 and iou[i, j] >= iou[:, j].max()]
                if forced:
                    positive, expected_gt = True, max(forced, key=lambda j: iou[i, j])
            negative = valid[b, i] and not positive and iou[i].max() < 0.3
            assert bool(found.positive[b, i]) == bool(positive and valid[b, i])
            assert bool(found.negative[b, i]) == negative
            if positive:
                assert int(found.gt_index[b, i]) == expected_gt


def test_padding_groundtruth_is_never_matched(scene):
    boxes, valid, gt_boxes, gt_valid = scene
    garbage = np.where(gt_valid[..., None], gt_boxes, boxes[:, :5])  # lies exactly on boxes
    clean = targets.match_boxes(
        *map(tf.constant, (boxes, valid, gt_boxes, gt_valid)),
        positive_iou=0.6,
        negative_iou=0.3,
        match_every_gt=True,
    )
    dirty = targets.match_boxes(
        *map(tf.constant, (boxes, valid, garbage, gt_valid)),
        positive_iou=0.6,
        negative_iou=0.3,
        match_every_gt=True,
    )
    np.testing.assert_array_equal(clean.positive, dirty.positive)
    np.testing.assert_array_equal(clean.negative, dirty.negative)


@pytest.mark.parametrize(
    "positives, negatives, expected",
    [(20, 60, (4, 12)), (2, 60, (2, 14)), (0, 60, (0, 16)), (3, 5, (3, 5))],
)
def test_sampling_is_balanced_and_fills_up_with_negatives(positives, negatives, expected):
    positive, negative = np.zeros((2, 90), bool), np.zeros((2, 90), bool)
    positive[:, 5 : 5 + positives] = True
    negative[:, 30 : 30 + negatives] = True
    sample = targets.sample_balanced(
        tf.constant(positive), tf.constant(negative), samples=16, positive_fraction=0.25
    )
    for b in range(2):
        index = sample.index.numpy()[b][sample.valid.numpy()[b]]
        assert len(set(index)) == len(index), "a box was drawn twice"
        assert (positive[b][index].sum(), negative[b][index].sum()) == expected
        np.testing.assert_array_equal(
            sample.positive.numpy()[b][sample.valid.numpy()[b]], positive[b][index]
        )


def test_every_candidate_can_be_drawn():
    negative = tf.ones([1, 12], tf.bool)
    drawn = set()
    for _ in range(40):
        sample = targets.sample_balanced(
            tf.zeros([1, 12], tf.bool), negative, samples=3, positive_fraction=0.5
        )
        drawn |= set(sample.index.numpy()[0])
    assert drawn == set(range(12))


def test_anchor_targets_equal_the_loop(scene):
    boxes, _, gt_boxes, gt_valid = scene
    anchors = boxes[0]
    found = targets.anchor_targets(
        tf.constant(anchors),
        tf.constant(gt_boxes),
        tf.constant(gt_valid),
        samples=32,
        positive_fraction=0.5,
        positive_iou=0.6,
        negative_iou=0.3,
    )
    for b in range(3):
        iou = np.array([[loop_iou(a, g) for g in gt_boxes[b]] for a in anchors]) * gt_valid[b]
        best_of_gt = iou.max(axis=0)
        for k in range(32):
            if not found.valid[b, k]:
                continue
            i = int(found.index[b, k])
            forced = [j for j in range(5) if iou[i, j] > 0 and iou[i, j] == best_of_gt[j]]
            positive = bool(forced) or iou[i].max() >= 0.6
            assert float(found.objectness[b, k]) == float(positive)
            expected = [0.0] * 4
            if positive:
                j = max(forced, key=lambda j: iou[i, j]) if forced else iou[i].argmax()
                expected = loop_offsets(gt_boxes[b, j], anchors[i])
            np.testing.assert_allclose(found.box_offsets[b, k], expected, rtol=1e-5, atol=1e-4)


def test_proposal_targets_equal_the_loop_and_include_the_groundtruth(scene):
    boxes, valid, gt_boxes, gt_valid = scene
    classes = np.array([[3, 1, 2, 2, 1]] * 3, np.int64)
    weights = [10.0, 10.0, 5.0, 5.0]
    found = targets.proposal_targets(
        *map(tf.constant, (boxes, valid, gt_boxes, classes, gt_valid)),
        samples=24,
        positive_fraction=0.5,
        positive_iou=0.5,
        box_weights=weights,
    )
    for b in range(3):
        for k in range(24):
            box = found.boxes.numpy()[b, k]
            iou = np.array([loop_iou(box, g) for g in gt_boxes[b]]) * gt_valid[b]
            positive = iou.max() >= 0.5
            if not found.valid[b, k]:
                continue
            assert int(found.classes[b, k]) == (classes[b, iou.argmax()] if positive else 0)
            expected = loop_offsets(box=gt_boxes[b, iou.argmax()], anchor=box, weights=weights)
            np.testing.assert_allclose(
                found.box_offsets[b, k], expected if positive else [0.0] * 4, atol=1e-3
            )
    # With no proposal at all, an image still learns from its groundtruth.
    alone = targets.proposal_targets(
        *map(tf.constant, (boxes, np.zeros_like(valid), gt_boxes, classes, gt_valid)),
        samples=24,
        positive_fraction=0.5,
        positive_iou=0.5,
        box_weights=weights,
    )
    assert sorted(alone.classes.numpy()[0][alone.valid.numpy()[0]]) == sorted(classes[0])


def test_padding_proposals_never_reach_the_second_stage(scene):
    boxes, valid, gt_boxes, gt_valid = scene
    valid = np.zeros_like(valid)
    valid[:, 7:10] = True
    boxes[~valid] = 1e6  # padding may hold anything
    found = targets.proposal_targets(
        *map(tf.constant, (boxes, valid, gt_boxes, np.ones((3, 5), np.int64), gt_valid)),
        samples=24,
        positive_fraction=0.5,
        positive_iou=0.5,
        box_weights=[1.0] * 4,
    )
    assert found.boxes.numpy().max() < 1e5
    expected = [3 + g for g in gt_valid.sum(axis=1)]
    # The third image has no groundtruth: all of its three proposals are background.
    np.testing.assert_array_less(found.valid.numpy().sum(axis=1), np.array(expected) + 1)
    assert found.valid.numpy()[2].sum() == 3
    assert not found.classes.numpy()[2].any()
