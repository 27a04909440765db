"""Crops, held against TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from context_rcnn.layers import crop_and_resize as crops_of
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
    crop = tf.function(
        lambda maps, boxes: crop_and_resize(maps, boxes, size), jit_compile=jit, autograph=False
    )
    found = crop(tf.constant(MAPS), tf.constant(BOXES))
    np.testing.assert_allclose(found, of_tensorflow(MAPS, size), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_reach_the_cells_that_were_sampled(jit):
    @tf.function(jit_compile=jit, autograph=False)
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
    outer = tf.function(lambda maps, boxes: inner(maps, boxes), jit_compile=True, autograph=False)
    found = outer(tf.constant(MAPS), tf.constant(BOXES))
    np.testing.assert_allclose(found, of_tensorflow(MAPS, 3), rtol=1e-5, atol=1e-5)


def test_crops_of_any_number_of_images_are_not_warned_of(capfd, monkeypatch):
    """TensorFlow's optimiser cannot tell what they cost, and would print each of them."""
    monkeypatch.setattr(context.context(), "_config", None)  # as in a fresh process
    context.context().function_call_options = None
    specs = [tf.TensorSpec([None, *part.shape[1:]], tf.float32) for part in (MAPS, BOXES)]
    crop = tf.function(lambda maps, boxes: crop_and_resize(maps, boxes, 3), input_signature=specs)
    crop(tf.constant(MAPS), tf.constant(BOXES))
    assert "CropAndResize" not in capfd.readouterr().err
    op = next(op for op in crop.get_concrete_function().graph.get_operations() if "Crop" in op.type)
    assert op.outputs[0].shape[0] is None


def test_crops_keep_the_type_of_the_maps():
    maps = tf.cast(MAPS, tf.bfloat16)
    found = crop_and_resize(maps, tf.constant(BOXES), 3)
    assert found.dtype == tf.bfloat16
    wanted = of_tensorflow(tf.cast(maps, tf.float32), 3)
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, rtol=2**-8, atol=1e-6)


def of_loops(maps, box, size):
    """Weights of all cells for each sample of a box [size, size, height, width], one by one."""
    height, width = maps.shape[1:3]
    weights = np.zeros([size, size, height, width])
    for i, j in np.ndindex(size, size):
        y = (box[0] + (box[2] - box[0]) * i / (size - 1)) * (height - 1)
        x = (box[1] + (box[3] - box[1]) * j / (size - 1)) * (width - 1)
        for row, column in np.ndindex(height, width):
            share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
            weights[i, j, row, column] = share * (0 <= y <= height - 1 and 0 <= x <= width - 1)
    return weights


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("parts", [1, 5])
def test_gradients_of_boxes_that_overlap_add_up(jit, parts, monkeypatch):
    """TensorFlow's own loses some of them where several threads share an image."""
    monkeypatch.setattr(crops_of, "_LARGEST", 2**20 if parts == 1 else 2 * 4 * 7 * 3 * 4)
    rng = np.random.default_rng(1)
    boxes = rng.uniform(-0.1, 1.1, [2, 10, 4]).astype(np.float32)
    upstream = rng.normal(size=[2, 10, 4, 4, 3]).astype(np.float32)

    @tf.function(jit_compile=jit, autograph=False)
    def gradient_of(maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            found = crop_and_resize(maps, tf.constant(boxes), 4)
        return found, tape.gradient(found, maps, upstream)

    found, gradient = gradient_of(tf.constant(MAPS))
    operations = gradient_of.get_concrete_function(tf.constant(MAPS)).graph.get_operations()
    assert not any("CropAndResizeGrad" in operation.type for operation in operations)
    for image in range(2):
        weights = np.stack([of_loops(MAPS, box, 4) for box in boxes[image].astype(np.float64)])
        np.testing.assert_allclose(
            found[image], np.einsum("nijhw,hwc->nijc", weights, MAPS[image]), rtol=0, atol=1e-5
        )
        wanted = np.einsum("nijhw,nijc->hwc", weights, upstream[image])
        np.testing.assert_allclose(gradient[image], wanted, rtol=0, atol=1e-4)
