"""Crops, held against TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.crop_and_resize import crop_and_resize

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=[2, 5, 7, 3]).astype(np.float32)
BOXES = np.float32(
    [
        [[0.0, 0.0, 1.0, 1.0], [0.2, 0.3, 0.7, 0.4], [0.5, 0.5, 0.5, 0.5]],
        [[-0.2, 0.1, 0.6, 1.3], [0.9, 0.8, 0.1, 0.2], [0.0, 0.0, 0.0, 0.0]],
    ]
)


def of_tensorflow(maps, size):
    crops = tf.image.crop_and_resize(maps, BOXES.reshape(-1, 4), np.repeat([0, 1], 3), [size, size])
    return np.reshape(crops, [2, 3, size, size, 3])


@pytest.mark.parametrize("size", [2, 14])
@pytest.mark.parametrize("jit", [False, True])
def test_crops_are_those_of_tensorflow(size, jit):
    crop = tf.function(lambda maps, boxes: crop_and_resize(maps, boxes, size), jit_compile=jit)
    found = crop(tf.constant(MAPS), tf.constant(BOXES))
    np.testing.assert_allclose(found, of_tensorflow(MAPS, size), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_reach_the_cells_that_were_sampled(jit):
    @tf.function(jit_compile=jit)
    def gradient_of(maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(crop_and_resize(maps, tf.constant(BOXES[:, 1:2]), 4))
        return tape.gradient(total, maps)

    gradient = gradient_of(tf.constant(MAPS))
    # Weights of the four neighbours of a sample add up to one.
    np.testing.assert_allclose(tf.reduce_sum(gradient), 2 * 16 * 3, rtol=1e-5)
    assert not gradient[0, 4].numpy().any()


def test_a_function_within_a_compiled_one_is_compiled_too():
    inner = tf.function(lambda maps, boxes: crop_and_resize(maps, boxes, 3))
    outer = tf.function(lambda maps, boxes: inner(maps, boxes), jit_compile=True)
    found = outer(tf.constant(MAPS), tf.constant(BOXES))
    np.testing.assert_allclose(found, of_tensorflow(MAPS, 3), rtol=1e-5, atol=1e-5)


def test_crops_keep_the_type_of_the_maps():
    maps = tf.cast(MAPS, tf.bfloat16)
    found = crop_and_resize(maps, tf.constant(BOXES), 3)
    assert found.dtype == tf.bfloat16
    wanted = of_tensorflow(tf.cast(maps, tf.float32), 3)
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, rtol=2**-8, atol=1e-6)
