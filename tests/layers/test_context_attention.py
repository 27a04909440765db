"""Equations 1 and 2 against an implementation in NumPy that loops over boxes and entries."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.layers.context_attention import (
    AttentionStack,
    ContextAttention,
    masked_softmax,
)

BATCH, BOXES, ENTRIES, IN, MEMORY, DEPTH = 2, 3, 5, 6, 9, 4
KINDS = [("paper", "dense_first"), ("released", "dense_first"), ("released", "norm_first")]


@pytest.fixture
def inputs():
    rng = np.random.default_rng(1)
    boxes = rng.normal(size=(BATCH, BOXES, IN)).astype(np.float32)
    memory = rng.normal(size=(BATCH, ENTRIES, MEMORY)).astype(np.float32)
    box_valid = np.array([[1, 1, 0], [1, 1, 1]], bool)
    valid = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
    return boxes, box_valid, memory, valid


def random_weights(layer, seed=2):
    """Weights, biases and statistics that all matter."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        value = rng.normal(scale=0.5, size=variable.shape)
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.name else value)


def np_project(projection, rows, valid, training, unit):
    """One projection, written out; `valid` rows only are given back, the others as zeros."""
    weights = {v.name.split("/")[-1].split(":")[0]: v.numpy() for v in projection.variables}
    out = np.zeros((*rows.shape[:-1], weights["kernel"].shape[1]))
    inside = rows[valid].astype(np.float64)

    def norm(x):
        mean = x.mean(0) if training else weights["moving_mean"]
        variance = x.var(0) if training else weights["moving_variance"]
        return (x - mean) / np.sqrt(variance + 1e-3) * weights["gamma"] + weights["beta"]

    def dense(x):
        return x @ weights["kernel"] + weights.get("bias", 0.0)

    if "gamma" not in weights:
        inside = dense(inside)
    elif len(weights["gamma"]) == inside.shape[1] and projection._norm_first:
        inside = np.clip(dense(norm(inside)), 0, 6)
    else:
        inside = np.clip(norm(dense(inside)), 0, 6)
    if unit:
        inside /= np.maximum(np.linalg.norm(inside, axis=1, keepdims=True), 1e-6)
    out[valid] = inside
    return out


def np_attention(layer, variant, temperature, boxes, box_valid, memory, valid, training=False):
    """Returns what is added to each box, and the weights."""
    unit = variant == "released"
    q = np_project(layer._query, boxes, box_valid, training, unit)
    k = np_project(layer._key, memory, valid, training, unit)
    v = np_project(layer._value, memory, valid, training, unit)
    scale = temperature * (1.0 if unit else np.sqrt(DEPTH))
    weights = np.zeros((BATCH, BOXES, ENTRIES))
    context = np.zeros((BATCH, BOXES, DEPTH))
    for b, i in itertools.product(range(BATCH), range(BOXES)):
        entries = [j for j in range(ENTRIES) if valid[b, j]]
        if not box_valid[b, i] or not entries:
            continue
        logits = np.array([q[b, i] @ k[b, j] / scale for j in entries])
        w = np.exp(logits - logits.max())
        w /= w.sum()
        for j, weight in zip(entries, w, strict=True):
            weights[b, i, j] = weight
            context[b, i] += weight * v[b, j]
    found = weights.sum(-1) > 0
    return np_project(layer._output, context, found, training, False), weights


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("variant", "order"), KINDS)
def test_it_is_the_papers_or_the_releases_attention(inputs, variant, order, training):
    boxes, box_valid, memory, valid = inputs
    layer = ContextAttention(IN, depth=DEPTH, temperature=0.3, variant=variant, norm_order=order)
    layer(boxes, box_valid, layer.project(memory, valid))
    random_weights(layer)
    expected, weights = np_attention(layer, variant, 0.3, *inputs, training)
    projected = layer.project(memory, valid, training=training)
    output, got = layer(boxes, box_valid, projected, training=training)
    np.testing.assert_allclose(got, weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected[box_valid]).max() > 0.1 and not expected[~box_valid].any()


def test_a_hand_worked_case():
    layer = ContextAttention(1, depth=1, temperature=1.0)
    boxes, ones = np.float32([[[1.0]]]), np.ones((1, 1), bool)
    memory, valid = np.float32([[[0.0], [np.log(3.0)]]]), np.ones((1, 2), bool)
    layer(boxes, ones, layer.project(memory, valid))
    for part in (layer._query, layer._key, layer._value, layer._output):
        part._dense.set_weights([np.float32([[1.0]]), np.float32([0.0])])
    output, weights = layer(boxes, ones, layer.project(memory, valid))
    np.testing.assert_allclose(weights, [[[0.25, 0.75]]], rtol=1e-6)
    np.testing.assert_allclose(output, [[[0.75 * np.log(3.0)]]], rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("variant", "order"), KINDS)
@pytest.mark.parametrize(("heads", "layers"), [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_heads_are_averaged_and_layers_ask_with_what_the_last_one_said(
    inputs, variant, order, heads, layers, training
):
    boxes, box_valid, memory, valid = inputs
    options = {"depth": DEPTH, "temperature": 0.5, "variant": variant, "norm_order": order}
    stack = AttentionStack(IN, heads=heads, layers=layers, **options)
    stack(boxes, box_valid, stack.project(memory, valid))
    random_weights(stack)
    blocks = iter(stack._blocks)
    asking, all_weights = boxes.astype(np.float64), []
    for _ in range(layers):
        said = np.zeros_like(asking)
        for _ in range(heads):
            output, weights = np_attention(
                next(blocks), variant, 0.5, asking, box_valid, memory, valid, training
            )
            said += output / heads
            all_weights.append(weights)
        asking = asking + said
    total, weights = stack(
        boxes, box_valid, stack.project(memory, valid, training=training), training=training
    )
    np.testing.assert_allclose(total, asking - boxes, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(weights, np.mean(all_weights, axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("variant", "order"), KINDS)
def test_padding_holds_whatever_it_likes(inputs, variant, order, training):
    boxes, box_valid, memory, valid = inputs

    def run(boxes, memory):
        tf_keras.utils.set_random_seed(0)
        layer = AttentionStack(IN, depth=DEPTH, variant=variant, norm_order=order)
        with tf.GradientTape() as tape:
            projected = layer.project(memory, valid, training=training)
            output, weights = layer(boxes, box_valid, projected, training=training)
            loss = tf.reduce_sum(output**2)
        gradients = tape.gradient(loss, layer.trainable_variables)
        return [output, weights, *gradients, *layer.variables]

    clean = run(boxes, memory)
    junk = run(
        np.where(box_valid[..., None], boxes, 1e4).astype(np.float32),
        np.where(valid[..., None], memory, np.nan).astype(np.float32),
    )
    for a, b in zip(clean, junk, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        assert np.isfinite(a).all()


@pytest.mark.parametrize(("variant", "order"), KINDS)
def test_the_order_of_the_bank_and_more_padding_change_nothing(inputs, variant, order):
    boxes, box_valid, memory, valid = inputs
    layer = ContextAttention(IN, depth=DEPTH, variant=variant, norm_order=order)
    output, weights = layer(boxes, box_valid, layer.project(memory, valid))
    turn = np.random.default_rng(3).permutation(ENTRIES)
    turned, moved = layer(boxes, box_valid, layer.project(memory[:, turn], valid[:, turn]))
    np.testing.assert_allclose(turned, output, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved, weights.numpy()[..., turn], rtol=1e-5, atol=1e-5)
    wide = np.pad(memory, [(0, 0), (0, 7), (0, 0)]), np.pad(valid, [(0, 0), (0, 7)])
    np.testing.assert_allclose(
        layer(boxes, box_valid, layer.project(*wide))[0], output, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("variant", "order"), KINDS)
def test_the_neighbours_in_the_batch_change_nothing(inputs, variant, order):
    boxes, box_valid, memory, valid = inputs
    layer = ContextAttention(IN, depth=DEPTH, variant=variant, norm_order=order)
    both, _ = layer(boxes, box_valid, layer.project(memory, valid))
    one, _ = layer(boxes[:1], box_valid[:1], layer.project(memory[:1], valid[:1]))
    np.testing.assert_allclose(one, both[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("variant", "order"), KINDS)
def test_an_empty_bank_says_exactly_nothing(inputs, variant, order, training):
    boxes, box_valid, memory, valid = inputs
    layer = AttentionStack(IN, heads=2, layers=2, depth=DEPTH, variant=variant, norm_order=order)
    layer(boxes, box_valid, layer.project(memory, valid))
    random_weights(layer)
    valid = np.array([np.zeros(ENTRIES, bool), valid[1]])
    projected = layer.project(memory, valid, training=training)
    output, weights = layer(boxes, box_valid, projected, training=training)
    assert not output[0].numpy().any() and not weights[0].numpy().any()
    assert output[1].numpy().any()


def test_a_box_only_looks_at_what_it_may_see(inputs):
    boxes, box_valid, memory, valid = inputs
    layer = ContextAttention(IN, depth=DEPTH, temperature=1.0)
    projected = layer.project(memory, valid)
    visible = np.zeros((1, BOXES, ENTRIES), bool)
    visible[:, 0, :3] = visible[:, 1, 2:] = True
    output, weights = layer(boxes, box_valid, projected, visible)
    assert not weights.numpy()[:, 0, 3:].any() and not weights.numpy()[:, 1, :2].any()
    assert not weights.numpy()[:, 2].any() and not output.numpy()[:, 2].any()
    few, _ = layer(boxes, box_valid, layer.project(memory[:, :3], valid[:, :3]))
    np.testing.assert_allclose(output[:, 0], few[:, 0], rtol=1e-5, atol=1e-5)


def test_any_bank_and_batch_size_without_rebuilding(inputs):
    boxes, box_valid, memory, valid = inputs
    layer = ContextAttention(IN, depth=DEPTH)
    layer(boxes, box_valid, layer.project(memory, valid))
    built = len(layer.variables)
    big = np.tile(memory, (3, 4, 1)), np.tile(valid, (3, 4))
    output, _ = layer(np.tile(boxes, (3, 1, 1)), np.tile(box_valid, (3, 1)), layer.project(*big))
    assert output.shape == (6, BOXES, IN) and len(layer.variables) == built
    # A bank that holds everything four times says the same.
    np.testing.assert_allclose(
        output[:2], layer(boxes, box_valid, layer.project(memory, valid))[0], atol=1e-5
    )


def test_softmax_of_nothing_is_zero_and_so_is_its_gradient():
    logits = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    valid = tf.constant([[True, False], [False, False]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        weights = masked_softmax(logits, valid)
        loss = tf.reduce_sum(weights**2)
    np.testing.assert_array_equal(weights, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "release"}, "variant must be one of paper, released"),
        ({"norm_order": "last"}, "norm_order must be one of"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        ContextAttention(IN, **wrong)
    with pytest.raises(ValueError, match="heads and layers"):
        AttentionStack(IN, heads=0)


@pytest.mark.parametrize(("variant", "norm_order"), KINDS)
def test_an_untrained_block_speaks_as_strongly_as_it_is_told(variant, norm_order):
    rng = np.random.default_rng(0)
    boxes, memory = (rng.normal(size=(2, n, 64)).astype(np.float32) for n in (20, 30))
    valid, seen = np.ones((2, 20), bool), np.ones((2, 30), bool)

    def loudness(initial_output):
        tf_keras.utils.set_random_seed(0)
        block = ContextAttention(
            64, depth=32, initial_output=initial_output, variant=variant, norm_order=norm_order
        )
        projected = block.project(memory, seen, training=True)
        output, _ = block(boxes, valid, projected, training=True)
        return np.sqrt(np.mean(np.square(output)))

    assert loudness(0.1) == pytest.approx(0.1 * loudness(1.0), rel=0.02)
    with pytest.raises(ValueError, match="initial_output must be positive"):
        ContextAttention(64, initial_output=0.0)
