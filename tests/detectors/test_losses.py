"""The losses against plain NumPy loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors import losses


@pytest.fixture(name="rng")
def fixture_rng():
    return np.random.default_rng(11)


def loop_mean(per_sample, valid):
    """Mean over images of the mean over valid samples."""
    total = 0.0
    for row, kept in zip(per_sample, valid, strict=True):
        values = [value for value, keep in zip(row, kept, strict=True) if keep]
        total += sum(values) / max(len(values), 1)
    return total / len(per_sample)


def loop_smooth_l1(error, delta):
    total = 0.0
    for e in error:
        e = abs(e)
        total += 0.5 * e * e / delta if e < delta else e - 0.5 * delta
    return total


VALID = np.array([[1, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], bool)


def test_objectness_loss_equals_the_loop(rng):
    logits = rng.normal(size=(3, 5)).astype(np.float32) * 3
    objectness = (rng.random((3, 5)) < 0.4).astype(np.float32)
    expected = [
        [
            -(t * math.log(1 / (1 + math.exp(-x))) + (1 - t) * math.log(1 / (1 + math.exp(x))))
            for x, t in zip(row, target, strict=True)
        ]
        for row, target in zip(logits, objectness, strict=True)
    ]
    loss = losses.objectness_loss(tf.constant(logits), tf.constant(objectness), tf.constant(VALID))
    assert float(loss) == pytest.approx(loop_mean(expected, VALID), rel=1e-5)


def test_class_loss_equals_the_loop(rng):
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32) * 2
    classes = rng.integers(0, 4, (3, 5)).astype(np.int32)
    expected = [
        [
            math.log(sum(math.exp(x) for x in row)) - row[label]
            for row, label in zip(image, labels, strict=True)
        ]
        for image, labels in zip(logits, classes, strict=True)
    ]
    loss = losses.class_loss(tf.constant(logits), tf.constant(classes), tf.constant(VALID))
    assert float(loss) == pytest.approx(loop_mean(expected, VALID), rel=1e-5)


@pytest.mark.parametrize("delta", [1.0, 1 / 9])
def test_box_loss_equals_the_loop(rng, delta):
    offsets = rng.normal(size=(3, 5, 4)).astype(np.float32)
    goal = rng.normal(size=(3, 5, 4)).astype(np.float32) * 0.5
    positive = rng.random((3, 5)) < 0.5
    expected = [
        [loop_smooth_l1(o - g, delta) if p else 0.0 for o, g, p in zip(a, b, c, strict=True)]
        for a, b, c in zip(offsets, goal, positive, strict=True)
    ]
    loss = losses.box_loss(*map(tf.constant, (offsets, goal, positive, VALID)), delta)
    assert float(loss) == pytest.approx(loop_mean(expected, VALID), rel=1e-5)


def test_what_is_not_valid_may_hold_anything(rng):
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32)
    classes = rng.integers(0, 4, (3, 5)).astype(np.int32)
    clean = losses.class_loss(tf.constant(logits), tf.constant(classes), tf.constant(VALID))
    logits[~VALID] = np.nan
    dirty = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(dirty)
        loss = losses.class_loss(dirty, tf.constant(classes), tf.constant(VALID))
    assert float(loss) == pytest.approx(float(clean), rel=1e-5)
    gradient = tape.gradient(loss, dirty).numpy()
    assert np.isfinite(gradient[VALID]).all()


def test_the_loss_of_a_batch_is_the_mean_over_any_split_of_it(rng):
    """Replicas see parts of a batch; together they must learn what one would."""
    logits = tf.constant(rng.normal(size=(4, 6)).astype(np.float32))
    objectness = tf.constant((rng.random((4, 6)) < 0.5).astype(np.float32))
    valid = tf.constant(rng.random((4, 6)) < 0.6)
    whole = losses.objectness_loss(logits, objectness, valid)
    parts = [
        losses.objectness_loss(logits[i : i + 2], objectness[i : i + 2], valid[i : i + 2])
        for i in (0, 2)
    ]
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-5)
