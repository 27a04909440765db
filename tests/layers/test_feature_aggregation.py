"""Aggregations of a memory with a frame, by hand and against loops."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.feature_aggregation import (
    AdaptiveWeights,
    AdaScan,
    Average,
    PixelWeights,
    frame_weights,
    weighted,
)
from tests.tolerance import FLOAT

ONE = tf.ones([1])


def maps(*values):
    """A map of one cell and one channel for each value."""
    return [tf.fill([1, 1, 1, 1], float(value)) for value in values]


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(1)
    return [tf.constant(rng.normal(size=(2, 4, 5, 6)).astype(np.float32)) for _ in range(2)]


def test_the_average_halves_what_is_old():
    """F = 8, 4, 2 makes 8, 6, 4; after t frames the first one weighs 2^-(t-1)."""
    memory, *others = maps(8, 4, 2)
    found = []
    for features in others:
        memory, _ = Average()(memory, features, ONE)
        found.append(memory.numpy().item())
    assert found == [6, 4]
    memory, zero = maps(1, 0)
    for t in range(2, 9):
        memory, _ = Average()(memory, zero, ONE)
        assert memory.numpy().item() == 2.0 ** -(t - 1)


def test_weights_start_as_the_average(pair):
    layer = PixelWeights((4, 3))
    found, weight = layer(*pair, tf.ones([2]))
    # Not every kernel makes halves of two equal logits to the last bit.
    np.testing.assert_allclose(found, Average()(*pair, ONE)[0], rtol=FLOAT, atol=FLOAT)
    np.testing.assert_array_equal(weight, [1, 1])


def test_weights_are_the_softmax_of_two_networks(pair):
    """Logits 0 and ln 3 give a quarter and three quarters."""
    layer = PixelWeights((4, 3))
    layer.build([None, 1, 1, 1])
    layer._of_features.layers[-1].bias.assign([np.log(3.0)])
    memory, features = maps(4, 8)
    np.testing.assert_allclose(layer.shares(memory, features)[0, 0, 0], [0.25, 0.75], rtol=FLOAT)
    np.testing.assert_allclose(layer(memory, features, ONE)[0], [[[[7.0]]]], rtol=FLOAT)


def test_a_weight_depends_on_its_neighbours_alone_and_they_sum_to_one(pair):
    layer = PixelWeights((4, 3))
    layer.build(pair[0].shape)
    for part in (layer._of_memory, layer._of_features):
        part.layers[-1].kernel.assign(tf.random.stateless_normal([1, 1, 3, 1], [3, 4]))
    shares = layer.shares(*pair).numpy()
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=10 * FLOAT)
    changed = pair[0].numpy()
    changed[:, 1, 2] += 5.0
    apart = np.abs(layer.shares(tf.constant(changed), pair[1]) - shares).max((0, -1)) > 1e-7
    assert apart.any() and not apart[3:].any() and not apart[:, [0, 4]].any()


def test_weights_of_frames_by_hand():
    """Cosines 1, .5 and -1."""
    vectors = np.float32([[1, 0], [0.5, 3**0.5 / 2], [-1, 0]])[None, :, None, None]
    expected = [0.574097, 0.348207, 0.077696]
    for factor in (1.0, np.float32([0.1, 7.0, 1000.0])[None, :, None, None, None]):
        found = frame_weights(tf.constant(vectors * factor), tf.constant(vectors[:, 0]))
        np.testing.assert_allclose(found[0, :, 0, 0], expected, rtol=0, atol=1e-6)


def test_frames_that_are_not_there_weigh_nothing():
    embedded = tf.random.stateless_normal([1, 3, 2, 2, 4], [1, 2])
    frames = tf.random.stateless_normal([1, 3, 2, 2, 5], [1, 3])
    there = tf.constant([[True, False, True]])
    found = weighted(frames, embedded, embedded[:, 0], there)
    kept = [tf.gather(part, [0, 2], axis=1) for part in (frames, embedded)]
    np.testing.assert_allclose(found, weighted(*kept, embedded[:, 0]), rtol=0, atol=1e-6)
    broken = tf.where(there[:, :, None, None, None], frames, np.nan)
    np.testing.assert_array_equal(weighted(broken, embedded, embedded[:, 0], there), found)


def test_adaptive_weights_of_two_maps_are_those_of_their_embeddings(pair):
    layer = AdaptiveWeights((4, 4, 8))
    layer.build(pair[0].shape)
    layer.embed.layers[-1].bias.assign(tf.range(1.0, 9.0))  # so that no embedding is zero
    found, _ = layer(*pair, tf.ones([2]))
    one, other = (layer.embed(part).numpy() for part in pair)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine = (one * other).sum(-1) / lengths
    share = 1 / (1 + np.exp(cosine - 1))  # of the frame itself, whose cosine is 1
    expected = (1 - share[..., None]) * pair[0] + share[..., None] * pair[1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_adascan_is_the_mean_weighted_by_importance(pair):
    """Against the sum over frames: memory = sum of importances times features / their sum."""
    layer = AdaScan((5,))
    layer.build(pair[0].shape)
    layer._network.layers[-1].kernel.assign(tf.random.stateless_normal([5, 1], [3, 4]))
    frames = [pair[0], pair[1], pair[0] + 2.0, pair[1] * 3.0]
    memory, weight = frames[0], tf.ones([2])
    importances = [np.ones(2)]
    for features in frames[1:]:
        importances.append(layer.importance(memory, features).numpy())
        memory, weight = layer(memory, features, weight)
    shares = np.stack(importances) / np.sum(importances, axis=0)
    expected = sum(s[:, None, None, None] * f for s, f in zip(shares, frames, strict=True))
    np.testing.assert_allclose(memory, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(weight, np.sum(importances, axis=0), rtol=1e-5)
    assert shares.min() > 0 and np.ptp(shares) > 0.01


def test_adascan_with_a_limit_forgets(pair):
    """At first every importance is 1/2: with a limit of 1 a frame takes a third, whatever came."""
    free, limited = AdaScan((5,)), AdaScan((5,), limit=1.0)
    for layer in (free, limited):
        layer.build(pair[0].shape)
    memory, weight = limited(pair[0], pair[1], tf.fill([2], 9.0))
    np.testing.assert_allclose(memory, (2 * pair[0] + pair[1]) / 3, rtol=0, atol=1e-5)
    np.testing.assert_allclose(weight, [1.5, 1.5])
    memory, weight = free(pair[0], pair[1], tf.fill([2], 9.0))
    np.testing.assert_allclose(memory, (18 * pair[0] + pair[1]) / 19, rtol=0, atol=1e-5)
    np.testing.assert_allclose(weight, [9.5, 9.5])
