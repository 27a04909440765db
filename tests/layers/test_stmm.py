"""The memory module by hand, against loops written from the paper, and what it promises."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.stmm import Stmm
from tests.layers.stmm_loops import run
from tests.tolerance import assert_close

DEPTH, CHANNELS = 3, 2
HEIGHT, WIDTH, FRAMES = 3, 4, 4


def tap(value):
    """A 3x3 kernel of one channel with a centre only."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = value
    return kernel


def by_hand(u=0.0, frames=2, **options):
    """A module on a map of two cells, W = W_z = W_r = 1, no bias, U as given, F = [1, 3]."""
    features = tf.constant([1.0, 3.0])[None, None, None, :, None]
    features = tf.tile(features, [1, frames, 1, 1, 1])
    module = Stmm(1, initial_memory="zeros", **options)
    module(features, tf.ones([1, frames], tf.bool))
    module.start_from(tap(1.0), tf.zeros([1]))
    module._of_memory.kernel.assign(tf.zeros([3, 3, 1, 2]))
    module._of_reset.kernel.assign(tap(u))
    return module(features, tf.ones([1, frames], tf.bool)).numpy()[0, :, 0, :, 0]


def test_two_steps_by_hand():
    expected = [[0.2, 1.8], [0.36, 2.52]]
    np.testing.assert_allclose(by_hand(match_trans=False), expected, rtol=1e-5)


def test_the_reset_acts_on_the_memory_before_its_convolution():
    expected = [[0.2, 1.8], [0.368, 3.168]]
    np.testing.assert_allclose(by_hand(u=1.0, match_trans=False), expected, rtol=1e-5)


def test_the_aligned_memory_replaces_the_memory_everywhere():
    """Also in what stays of it, by hand."""
    np.testing.assert_allclose(by_hand(), [[0.2, 1.8], [1.32, 2.36]], rtol=1e-5)


def test_as_released_features_count_twenty_times():
    found = by_hand(frames=1, match_trans=False, variant="released")
    np.testing.assert_allclose(found, [[3.20377, 28.83395]], rtol=1e-5)


def weights_of(module):
    """By the names of the paper."""
    kernel, bias = (np.split(x.numpy(), 3, axis=-1) for x in module._of_features.weights)
    gates = np.split(module._of_memory.kernel.numpy(), 2, axis=-1)
    return {
        **dict(zip(("W_z", "W_r", "W"), kernel, strict=True)),
        **dict(zip(("b_z", "b_r", "b"), bias, strict=True)),
        **dict(zip(("U_z", "U_r"), gates, strict=True)),
        "U": module._of_reset.kernel.numpy(),
    }


def make(seed=0, **options):
    """A module with spread weights, and sequences."""
    module = Stmm(CHANNELS, **options)
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.normal(0.4, 1.0, (2, FRAMES, HEIGHT, WIDTH, DEPTH)), 0)
    features = features.astype(np.float32)
    module(features[:1], tf.ones([1, FRAMES], tf.bool))
    for variable in module.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return module, features


OPTIONS = [
    {},
    {"match_trans": False},
    {"initial_memory": "zeros"},
    {"variant": "released", "initial_memory": "zeros"},
    {"variant": "released"},
    {"unit": "conv_gru"},
    {"unit": "conv_gru", "variant": "released", "match_trans": False},
    {"reach": 1},
    {"reach": 1, "sharpness": 8.0},
    {"variant": "released", "sharpness": 8.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_equations_in_loops(options):
    module, features = make(**options)
    there = np.array([[True] * FRAMES, [False, True, False, True]])
    inside = np.ones((2, FRAMES, HEIGHT, WIDTH), bool)
    inside[1, :, 2:] = inside[1, :, :, 3:] = False
    found = module(features, tf.constant(there), tf.constant(inside)).numpy()
    names = {"match_trans": "match", "initial_memory": "start"}
    written = {names.get(name, name): value for name, value in options.items()}
    for i in range(2):
        expected = run(weights_of(module), features[i], there=there[i], inside=inside[i], **written)
        for t, memory in enumerate(expected):
            if memory is not None:
                assert_close(found[i, t], memory, 1e-5, err_msg=f"{i} {t}")


@pytest.mark.parametrize("options", [{}, {"unit": "conv_gru"}], ids=str)
def test_gradients_are_those_of_finite_differences(options):
    """Through all steps, to features and weights."""
    module, features = make(seed=3, **options)
    features = np.abs(features[:1]) + 0.1
    upstream = np.random.default_rng(4).normal(size=(FRAMES, HEIGHT, WIDTH, CHANNELS))
    given = tf.Variable(features)
    with tf.GradientTape() as tape:
        memories = module(given, tf.ones([1, FRAMES], tf.bool))
        loss = tf.reduce_sum(memories[0] * upstream.astype(np.float32))
    sources = [given, module._of_features.kernel, module._of_memory.kernel, module._of_reset.kernel]
    found = tape.gradient(loss, sources)
    names = [("W_z", "W_r", "W"), ("U_z", "U_r"), ("U",)]
    weights = weights_of(module)
    rng = np.random.default_rng(5)

    def loss_at(of_features, of_weights):
        memories = run({**weights, **of_weights}, of_features, **options)
        return (np.array(memories) * upstream).sum()

    def along(step):
        """Change of the loss along a direction of features, or of some weights."""
        ends = []
        for sign in (1e-6, -1e-6):
            if isinstance(step, dict):
                shifted = {name: weights[name] + sign * d for name, d in step.items()}
                ends.append(loss_at(features[0], shifted))
            else:
                ends.append(loss_at(features[0] + sign * step, {}))
        return (ends[0] - ends[1]) / 2e-6

    size = float(np.abs(found[0]).max())
    for _ in range(4):
        step = rng.normal(size=features[0].shape)
        expected = (found[0].numpy()[0] * step).sum()
        assert along(step) == pytest.approx(expected, abs=2e-3 * size, rel=1e-3)
    for gradient, parts in zip(found[1:], names, strict=True):
        step = {name: rng.normal(size=weights[name].shape) for name in parts}
        whole = np.concatenate([step[name] for name in parts], axis=-1)
        expected = (gradient.numpy() * whole).sum()
        assert along(step) == pytest.approx(expected, abs=2e-3 * size, rel=1e-3)


def test_a_module_has_the_parameters_of_the_paper():
    module = Stmm(512)
    module.build([None, 1, None, None, 1024])
    assert sum(v.shape.num_elements() for v in module.trainable_variables) == 21_235_200
    assert all("bias" not in v.name for v in module._of_memory.weights + module._of_reset.weights)


def test_a_transferred_convolution_starts_as_itself():
    """With U = 0 the first frame's memory is that of the convolution, and so is a static one's."""
    rng = np.random.default_rng(7)
    kernel = rng.normal(size=(3, 3, DEPTH, CHANNELS)).astype(np.float32)
    bias = rng.normal(size=CHANNELS).astype(np.float32)
    features = np.abs(rng.normal(size=(1, 1, HEIGHT, WIDTH, DEPTH))).astype(np.float32)
    frames = np.repeat(features, 3, axis=1)
    module = Stmm(CHANNELS, match_trans=False)
    module(frames, tf.ones([1, 3], tf.bool))
    module.start_from(kernel, bias)
    plain = tf.nn.relu(tf.nn.conv2d(features[:, 0], kernel, 1, "SAME") + bias)
    for memory in tf.unstack(module(frames, tf.ones([1, 3], tf.bool))[0]):
        np.testing.assert_allclose(memory, plain[0], rtol=1e-5, atol=1e-6)


def test_the_memory_of_a_relu_unit_is_never_negative():
    module, features = make(seed=8)
    gru, _ = make(seed=8, unit="conv_gru")
    there = tf.ones([2, FRAMES], tf.bool)
    assert module(features, there).numpy().min() >= 0
    assert gru(features, there).numpy().min() < 0  # why the paper has another unit


def test_any_length_and_the_first_steps_stay_the_same():
    module, _ = make(seed=9)
    rng = np.random.default_rng(9)
    features = np.abs(rng.normal(size=(1, 15, HEIGHT, WIDTH, DEPTH))).astype(np.float32)
    whole = module(features, tf.ones([1, 15], tf.bool))
    for length in (1, 3, 7, 11):
        found = module(features[:, :length], tf.ones([1, length], tf.bool))
        assert_close(found, whole[:, :length], 1e-5)


def test_rows_know_nothing_of_each_other():
    module, features = make(seed=10)
    both = module(features, tf.ones([2, FRAMES], tf.bool))
    alone = module(features[1:], tf.ones([1, FRAMES], tf.bool))
    assert_close(both[1], alone[0], 1e-5)


def test_frames_that_are_missing_are_as_if_cut_out():
    module, features = make(seed=11)
    there = np.array([[True, False, True, True]] * 2)
    noisy = features.copy()
    noisy[:, 1] = 50.0
    found = module(noisy, tf.constant(there)).numpy()
    cut = module(features[:, [0, 2, 3]], tf.ones([2, 3], tf.bool)).numpy()
    assert_close(found[:, [0, 2, 3]], cut, 1e-5)
    np.testing.assert_array_equal(found[:, 1], found[:, 0])


def test_u_starts_with_zeros_and_as_released_within_the_default_bound():
    shape = [None, 1, None, None, 8]
    paper, released = Stmm(4), Stmm(4, variant="released")
    for module in (paper, released):
        module.build(shape)
    kernels = [v.numpy() for v in (paper._of_memory.kernel, paper._of_reset.kernel)]
    assert not any(kernel.any() for kernel in kernels)
    bound = 1 / 6  # 1 / sqrt(9 * 4)
    for kernel in (released._of_memory.kernel.numpy(), released._of_reset.kernel.numpy()):
        assert 0.8 * bound < np.abs(kernel).max() <= bound


@pytest.mark.parametrize(
    "options, message",
    [
        ({"unit": "lstm"}, "unit must be one of stmm, conv_gru, got 'lstm'"),
        ({"variant": "other"}, "variant must be one of paper, released"),
        ({"initial_memory": "ones"}, "initial_memory must be one of features, zeros"),
        ({"reach": -1}, "reach must be at least 0"),
        ({"sharpness": 0.5}, "sharpness must be 0, or from 1 to 1000, got 0.5"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Stmm(4, **options)
