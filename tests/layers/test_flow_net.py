"""FlowNetS: its size, its units, its levels."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.layers.flow_net import UNIT, FlowNetS, half, half_size


@pytest.fixture(scope="module")
def tiny():
    tf_keras.utils.set_random_seed(3)
    net = FlowNetS(0.125, 5)
    net.build(None)
    return net


def test_the_papers_net_has_its_weights():
    net = FlowNetS()
    net.build(None)
    assert net.count_params() == 38_676_514


def test_flow_is_on_the_grid_of_the_maps(tiny):
    """608x1008 makes maps of 38x63; odd sizes are rounded up everywhere, as strides do."""
    for size, stride, expected in (
        ((608, 1008), 16, (38, 63)),
        ((600, 1000), 16, (38, 63)),
        ((90, 130), 16, (6, 9)),
        ((96, 128), 8, (12, 16)),
    ):
        images = tf.zeros([1, *half_size(size), 3])
        found = tf.function(lambda x, stride=stride: tiny(x, x, stride)).get_concrete_function(
            images
        )
        assert found.structured_outputs.shape == (1, *expected, 2)
        assert half(tf.zeros([1, *size, 3], tf.uint8)).shape == images.shape


def test_a_prediction_of_one_is_two_and_a_half_cells(tiny):
    """20 pixels of half images are 40 of the image: 2.5 cells of 16, 5 of 8."""
    kernel, bias = tiny._predict[0].kernel, tiny._predict[0].bias
    before = kernel.numpy()
    kernel.assign(tf.zeros_like(kernel))
    bias.assign([1.0, -2.0])
    images = tf.random.stateless_uniform([2, 32, 48, 3], [1, 2])
    np.testing.assert_allclose(tiny(*images[:, None])[0, 1, 1], [2.5, -5.0], rtol=1e-6)
    np.testing.assert_allclose(tiny(*images[:, None], stride=8)[0, 1, 1], [5.0, -10.0], rtol=1e-6)
    np.testing.assert_allclose(
        UNIT * tiny.predictions(*images[:, None])[0][0, 1, 1], [20.0, -40.0], rtol=1e-6
    )
    kernel.assign(before)
    bias.assign([0.0, 0.0])


def test_predictions_go_from_fine_to_coarse(tiny):
    images = tf.random.stateless_uniform([2, 50, 70, 3], [1, 2])
    sizes = [tuple(p.shape[1:3]) for p in tiny.predictions(*images[:, None])]
    assert sizes == [(13, 18), (7, 9), (4, 5), (2, 3)]
    assert len(FlowNetS(0.1, 6).predictions(*images[:, None])) == 5


def test_half_images_are_means_of_four_pixels():
    image = np.arange(2 * 4 * 3).reshape(1, 2, 4, 3).astype(np.uint8)
    expected = image.reshape(1, 1, 2, 2, 2, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(half(tf.constant(image)), expected, rtol=1e-6)


def test_a_cell_looks_at_both_images_around_itself(tiny):
    """Padding is the same on both sides: a mirrored pair gives, with mirrored kernels, a mirror."""
    images = tf.random.stateless_uniform([2, 33, 33, 3], [4, 2])
    flow = tiny._down[0][0]
    kernel = flow.kernel.numpy()
    from context_rcnn.layers.flow_net import _convolve

    pair = tf.concat([images[:1], images[1:]], axis=-1)
    found = _convolve(flow, pair)
    flow.kernel.assign(kernel[:, ::-1])
    mirrored = _convolve(flow, pair[:, :, ::-1])
    flow.kernel.assign(kernel)
    np.testing.assert_allclose(mirrored[:, :, ::-1], found, rtol=0, atol=1e-5)


def test_all_weights_learn(tiny):
    images = tf.random.stateless_uniform([2, 64, 64, 3], [5, 2])
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(p * p) for p in tiny.predictions(*images[:, None])])
    for gradient, variable in zip(
        tape.gradient(loss, tiny.trainable_variables), tiny.trainable_variables, strict=True
    ):
        assert gradient is not None and np.abs(gradient).max() > 0, variable.name


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="levels must be one of"):
        FlowNetS(levels=7)
    with pytest.raises(ValueError, match="width must be positive"):
        FlowNetS(0.0)
    with pytest.raises(ValueError, match="stride 8 or 16, not 32"):
        FlowNetS(0.1, 3)(tf.zeros([1, 8, 8, 3]), tf.zeros([1, 8, 8, 3]), stride=32)


def test_brightness_and_contrast_of_a_pair_change_nothing(tiny):
    images = tf.random.stateless_uniform([2, 32, 48, 3], [6, 2])
    changed = 0.1 + 0.5 * images
    for found, expected in zip(
        tiny.predictions(*changed[:, None]), tiny.predictions(*images[:, None]), strict=True
    ):
        # The least spread counts for a thousandth here.
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3 * np.abs(expected).max())
    apart = (
        tiny.predictions(images[:1], 0.5 * images[1:])[0] - tiny.predictions(*images[:, None])[0]
    )
    assert np.abs(apart).max() > 1e-3
