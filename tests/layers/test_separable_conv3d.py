"""Separable 3D convolutions and their blocks against NumPy loops over pixels and frames."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.layers.separable_conv3d import (
    ConvNorm,
    FeatureGate,
    SeparableConv3D,
    SeparableInception,
    max_pool_3d,
)

CLIPS, FRAMES, HEIGHT, WIDTH, DEPTH = 3, 4, 5, 3, 6
VALID = np.array([[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 1]], bool)


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return rng.normal(size=(CLIPS, FRAMES, HEIGHT, WIDTH, DEPTH)).astype(np.float32)


def random_weights(layer, seed=1):
    """Weights, biases and statistics that all matter."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        value = rng.normal(scale=0.5, size=variable.shape)
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.name else value)


def neighbours(kernel):
    """Offsets of a kernel that is centred, as "same" padding has it."""
    return list(itertools.product(*(range(-(k // 2), k // 2 + 1) for k in kernel)))


def np_conv3d(frames, kernel):
    """A 3D convolution with zeros around, one output pixel after the other."""
    taps = neighbours(kernel.shape[:3])
    out = np.zeros((*frames.shape[:-1], kernel.shape[-1]))
    for clip, *at in np.ndindex(*frames.shape[:-1]):
        for tap, weights in zip(taps, kernel.reshape(-1, *kernel.shape[3:]), strict=True):
            place = tuple(np.add(at, tap))
            if all(0 <= p < n for p, n in zip(place, frames.shape[1:4], strict=True)):
                out[(clip, *at)] += frames[(clip, *place)] @ weights
    return out


def np_conv_norm(layer, frames, valid, training):
    """`layer`, written out in float64: convolve, normalise, clip, forget what is not there."""
    weights = {v.name.split("/")[-1].split(":")[0]: v.numpy() for v in layer.variables}
    kernel = weights["kernel"]
    kernel = kernel[:, None] if layer._time > 1 else kernel[None]
    mask = valid[:, :, None, None, None]
    out = np_conv3d(np.where(mask, frames, 0.0), kernel.astype(np.float64))
    inside = out[valid].reshape(-1, out.shape[-1])
    mean = inside.mean(0) if training else weights["moving_mean"]
    variance = inside.var(0) if training else weights["moving_variance"]
    out = (out - mean) / np.sqrt(variance + 1e-3) * weights["gamma"] + weights["beta"]
    return np.where(mask, np.maximum(out, 0.0), 0.0)


def np_gate(layer, frames, valid):
    kernel, bias = (v.numpy() for v in layer.variables)
    out = np.zeros_like(frames)
    for clip in range(len(frames)):
        there = frames[clip][valid[clip]]
        mean = there.mean((0, 1, 2)) if len(there) else np.zeros(frames.shape[-1])
        out[clip] = frames[clip] / (1.0 + np.exp(-(mean @ kernel + bias)))
    return out


def np_separable(layer, frames, valid, training):
    frames = np_conv_norm(layer._spatial, frames, valid, training)
    frames = np_conv_norm(layer._temporal, frames, valid, training)
    return np_gate(layer._gate, frames, valid) if layer._gate else frames


def np_max_pool(frames, valid):
    out = np.zeros_like(frames)
    for clip, *at in np.ndindex(*frames.shape[:-1]):
        if not valid[clip, at[0]]:
            continue
        near = [tuple(np.add(at, tap)) for tap in neighbours((3, 3, 3))]
        out[(clip, *at)] = np.max(
            [
                frames[(clip, *p)]
                for p in near
                if all(0 <= i < n for i, n in zip(p, frames.shape[1:4], strict=True))
                and valid[clip, p[0]]
            ],
            axis=0,
        )
    return out


def np_inception(layer, frames, valid, training):
    branches = [np_conv_norm(layer._point, frames, valid, training)]
    for reduce, convolve in (layer._middle, layer._narrow):
        reduced = np_conv_norm(reduce, frames, valid, training)
        branches.append(np_separable(convolve, reduced, valid, training))
    pooled = np_max_pool(frames, valid)
    branches.append(np_conv_norm(layer._pooled, pooled, valid, training))
    return np.concatenate(branches, axis=-1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kernel", [{}, {"space": 3}, {"time": 3}, {"time": 5}])
def test_a_convolution_in_space_or_in_time(frames, kernel, training):
    layer = ConvNorm(4, **kernel)
    layer(frames, VALID)
    random_weights(layer)
    expected = np_conv_norm(layer, frames, VALID, training)
    np.testing.assert_allclose(
        layer(frames, VALID, training=training), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gating", [False, True])
def test_a_separable_convolution_is_one_in_space_and_one_in_time(frames, gating, training):
    layer = SeparableConv3D(4, gating=gating)
    layer(frames, VALID)
    random_weights(layer)
    kernels = {v.name.split("/")[-3]: v.shape for v in layer.variables if "conv/kernel" in v.name}
    assert kernels == {"spatial": (3, 3, DEPTH, 4), "temporal": (3, 1, 4, 4)}
    expected = np_separable(layer, frames, VALID, training)
    np.testing.assert_allclose(
        layer(frames, VALID, training=training), expected, rtol=1e-4, atol=1e-4
    )


def test_without_norm_and_nonlinearity_it_is_the_3d_convolution_of_the_product_kernel(frames):
    """Two positive kernels on positive frames: ReLU does nothing, and the norm is the identity."""
    layer = SeparableConv3D(4)
    frames = np.abs(frames)
    layer(frames, np.ones((CLIPS, FRAMES), bool))
    kernels = {}
    for variable in layer.variables:
        if "kernel" in variable.name:
            variable.assign(tf.abs(variable))
            kernels[variable.name.split("/")[-3]] = variable.numpy()
        if "variance" in variable.name:
            variable.assign(tf.ones_like(variable) - 1e-3)
    whole = np.einsum("hwim,tmo->thwio", kernels["spatial"], kernels["temporal"][:, 0])
    got = layer(frames, np.ones((CLIPS, FRAMES), bool))
    expected = tf_keras.backend.conv3d(frames, tf.constant(whole, tf.float32), padding="same")
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gating", [False, True])
def test_an_inception_block_has_four_branches(frames, gating, training):
    layer = SeparableInception(16, gating=gating)
    layer(frames, VALID)
    random_weights(layer)
    got = layer(frames, VALID, training=training)
    assert got.shape == (CLIPS, FRAMES, HEIGHT, WIDTH, 16)
    expected = np_inception(layer, frames, VALID, training)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-4)


def test_with_1024_channels_its_widths_are_those_of_mixed_5c():
    layer = SeparableInception(1024)
    layer(np.zeros((1, 1, 1, 1, 1024), np.float32), np.ones((1, 1), bool))
    kernels = [tuple(v.shape) for v in layer.variables if "kernel" in v.name]
    assert sorted(kernels) == sorted(
        [
            (1, 1, 1024, 384),
            (1, 1, 1024, 192),
            (3, 3, 192, 384),
            (3, 1, 384, 384),
            (1, 1, 1024, 48),
            (3, 3, 48, 128),
            (3, 1, 128, 128),
            (1, 1, 1024, 128),
        ]
    )


def test_the_maximum_is_over_what_is_there(frames):
    np.testing.assert_array_equal(
        max_pool_3d(tf.constant(frames), VALID), np_max_pool(frames, VALID)
    )
    np.testing.assert_array_equal(
        max_pool_3d(tf.constant(frames - 100.0), np.zeros_like(VALID)), np.zeros_like(frames)
    )


def test_the_mean_of_a_gate_is_over_what_is_there(frames):
    layer = FeatureGate()
    layer(frames, VALID)
    random_weights(layer)
    np.testing.assert_allclose(
        layer(frames, VALID), np_gate(layer, frames, VALID), rtol=1e-5, atol=1e-5
    )


def run(layer, frames, valid):
    """Everything that a training step computes."""
    frames = tf.constant(frames)
    for variable in layer.variables:
        if "moving" in variable.name:
            variable.assign(tf.ones_like(variable))
    with tf.GradientTape() as tape:
        tape.watch(frames)
        out = layer(frames, valid, training=True)
        loss = tf.reduce_sum(out**3)
    gradients = tape.gradient(loss, [frames, *layer.trainable_variables])
    moving = [v.numpy() for v in layer.variables if "moving" in v.name]
    return [out[valid], gradients[0][valid], *gradients[1:], *moving]


@pytest.mark.parametrize("garbage", [1e6, np.nan, np.inf])
@pytest.mark.parametrize("gating", [False, True])
def test_what_absent_frames_hold_changes_nothing(frames, garbage, gating):
    layer = SeparableInception(8, gating=gating)
    layer(frames, VALID)
    random_weights(layer)
    junk = np.where(VALID[..., None, None, None], frames, np.float32(garbage))
    for a, b in zip(run(layer, frames, VALID), run(layer, junk, VALID), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(run(layer, frames, VALID)[1]).max() > 0


@pytest.mark.parametrize("gating", [False, True])
def test_absent_frames_at_the_ends_are_as_good_as_none(frames, gating):
    layer = SeparableInception(8, gating=gating)
    layer(frames, VALID)
    random_weights(layer)
    # The second clip has its two middle frames.
    whole = layer(frames[1:2], VALID[1:2])
    short = layer(frames[1:2, 1:3], VALID[1:2, 1:3])
    np.testing.assert_allclose(whole[:, 1:3], short, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(whole[:, ::3], np.zeros_like(whole[:, ::3]))
    both = layer(frames, VALID)
    np.testing.assert_allclose(both[1:2], whole, rtol=1e-5, atol=1e-5)


def test_xla_computes_the_same(frames):
    layer = SeparableInception(16, gating=True)
    layer(frames, VALID)
    random_weights(layer)
    compiled = tf.function(layer, jit_compile=True, autograph=False)
    np.testing.assert_allclose(
        compiled(tf.constant(frames), tf.constant(VALID)), layer(frames, VALID), atol=1e-4
    )


def test_sizes_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="space or time must be 1, got 3 and 3"):
        ConvNorm(4, space=3, time=3)
    with pytest.raises(ValueError, match="filters must be a multiple of 8, got 12"):
        SeparableInception(12)
