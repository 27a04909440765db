"""Crops of one map, held against tf-models-official's."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers import roi_aligner

from context_rcnn.layers.roi_align import RoiAlign

HEIGHT, WIDTH, STRIDE = 6, 9, 16


def boxes_of(rng, number):
    """Boxes within the image, some up to its edges, one of them without area."""
    corners = np.sort(rng.uniform(-0.2, 1.2, [2, number, 2, 2]).clip(0, 1), axis=2)
    corners[0, 0] = 0.3
    pixels = corners * np.array([HEIGHT, WIDTH]) * STRIDE
    return pixels.reshape(2, number, 4).astype(np.float32)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("size", [7, 14])
def test_crops_and_their_gradients_are_the_librarys(size, jit):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=[2, HEIGHT, WIDTH, 5]).astype(np.float32)
    boxes = tf.constant(boxes_of(rng, 12))
    upstream = rng.normal(size=[2, 12, size, size, 5]).astype(np.float32)

    def crops_of(align, jit):
        @tf.function(jit_compile=jit, autograph=False)
        def run(maps):
            with tf.GradientTape() as tape:
                tape.watch(maps)
                found = align({"4": maps}, boxes)
            return found, tape.gradient(found, maps, upstream)

        return run(tf.constant(maps))

    ours = crops_of(RoiAlign(size), jit)
    theirs = crops_of(roi_aligner.MultilevelROIAligner(crop_size=size), False)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=2e-5)
    scale = np.abs(theirs[1]).max()
    np.testing.assert_allclose(ours[1] / scale, theirs[1] / scale, rtol=0, atol=2e-5)


def test_of_several_maps_each_box_has_one_as_in_the_library():
    rng = np.random.default_rng(0)
    maps = {
        str(level): tf.constant(rng.normal(size=[2, 96 >> n, 144 >> n, 3]), tf.float32)
        for n, level in enumerate((2, 3, 4))
    }
    boxes = tf.constant(boxes_of(rng, 12))
    theirs = roi_aligner.MultilevelROIAligner(crop_size=7)(maps, boxes)
    np.testing.assert_array_equal(RoiAlign(7)(maps, boxes), theirs)
