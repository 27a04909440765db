"""Batch normalisation that padding cannot touch."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.layers.masked_batch_norm import MaskedBatchNorm


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(2.0, 3.0, (3, 5, 4)).astype(np.float32)
    valid = rng.random((3, 5)) < 0.6
    return rows, valid


def test_with_all_rows_it_is_keras_batch_normalisation(rows):
    rows, _ = rows
    ours, theirs = MaskedBatchNorm(0.9), tf_keras.layers.BatchNormalization(momentum=0.9)
    for _ in range(3):
        np.testing.assert_allclose(
            ours(rows, np.ones((3, 5), bool), training=True),
            theirs(rows, training=True),
            atol=1e-5,
        )
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5)
    np.testing.assert_allclose(
        ours(rows, np.ones((3, 5), bool)), theirs(rows), rtol=1e-5, atol=1e-5
    )


def test_statistics_are_those_of_the_valid_rows_alone(rows):
    rows, valid = rows
    layer = MaskedBatchNorm(momentum=0.75)
    out = layer(rows, valid, training=True).numpy()
    there = rows[valid]
    mean, variance = there.mean(0), there.var(0)
    np.testing.assert_allclose(
        out[valid], (there - mean) / np.sqrt(variance + 1e-3), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(layer.moving_mean, 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + 0.25 * variance, rtol=1e-5)


@pytest.mark.parametrize("garbage", [1e6, np.nan, np.inf])
def test_what_padding_holds_changes_neither_outputs_nor_gradients_nor_statistics(rows, garbage):
    rows, valid = rows

    def run(rows):
        layer = MaskedBatchNorm()
        rows = tf.constant(rows)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            out = layer(rows, valid, training=True)
            loss = tf.reduce_sum(tf.where(valid[..., None], out, 0.0) ** 3)
        gradients = tape.gradient(loss, [rows, *layer.trainable_variables])
        inside = tf.boolean_mask(out, valid), tf.boolean_mask(gradients[0], valid)
        return [*inside, *gradients[1:], layer.moving_mean, layer.moving_variance]

    for a, b in zip(run(rows), run(np.where(valid[..., None], rows, garbage)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_a_valid_row_nothing_moves_and_nothing_is_nan():
    layer = MaskedBatchNorm(0.5)
    out = layer(np.full((2, 3, 4), 7.0, np.float32), np.zeros((2, 3), bool), training=True)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(4))
    np.testing.assert_array_equal(layer.moving_variance, np.ones(4))


def test_evaluation_uses_and_leaves_the_moving_statistics(rows):
    rows, valid = rows
    layer = MaskedBatchNorm(0.5)
    layer(rows, valid, training=True)
    before = layer.moving_mean.numpy()
    one = layer(rows[:1], valid[:1])
    np.testing.assert_array_equal(one, layer(rows, valid)[:1])
    np.testing.assert_array_equal(layer.moving_mean, before)


def test_replicas_that_share_statistics_have_those_of_the_whole_batch(rows):
    rows, valid = rows
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])  # one replica: the sum over it is itself
    with strategy.scope():
        layer = MaskedBatchNorm(0.5, sync=True)

    @tf.function
    def step():
        return strategy.run(lambda: layer(rows, valid, training=True))

    alone = MaskedBatchNorm(0.5)(rows, valid, training=True)
    np.testing.assert_allclose(step(), alone, rtol=1e-5)
