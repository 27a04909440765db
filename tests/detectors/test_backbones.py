"""ResNets whose conv5 is dilated: what a cell sees, and that checkpoints fit."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import resnet

from context_rcnn.detectors import backbones
from tests.tolerance import LOGITS


@pytest.fixture(scope="module", params=[10, 50])
def dilated(request):
    return backbones.build_resnet(request.param, kind="dc5", depth_multiplier=0.125)


def test_conv5_of_the_whole_map_sees_every_second_cell(dilated):
    conv5 = dilated.conv5()
    cells = tf.Variable(tf.random.uniform([1, 21, 21, conv5.input_shape[-1]]))
    with tf.GradientTape() as tape:
        middle = tf.reduce_sum(conv5(cells, training=False)[:, 10, 10])
    seen = np.abs(tape.gradient(middle, cells).numpy()).max(axis=(0, 3)) > 0
    rows, columns = np.nonzero(seen)
    reach = {10: 4, 50: 6}[dilated._model_id]  # one block of two 3x3, three blocks of one
    assert set(rows - 10) == set(columns - 10) == set(range(-reach, reach + 1, 2))


def test_maps_keep_the_stride_of_conv4(dilated):
    maps = dilated.maps()(tf.zeros([1, 64, 96, 3]))
    assert maps["4"].shape[1:3] == maps["5"].shape[1:3] == (4, 6)
    assert maps["5"].shape[3] == 2 * maps["4"].shape[3]


# Of the papers' networks with a layer of 1,000 classes: 25.0 and 44.2 million.
@pytest.mark.parametrize(
    "depth, parameters", [(50, 25_028_904), pytest.param(101, 44_177_704, marks=pytest.mark.slow)]
)
def test_a_resnext_has_the_parameters_of_its_paper(depth, parameters):
    network = backbones.build_resnet(depth, kind="fpn", groups=32)
    of_classes = 2048 * 1000 + 1000
    assert sum(w.shape.num_elements() for w in network.trainable_weights) == parameters - of_classes


@pytest.mark.whole  # `make test` runs without oneDNN, whose kernels alone have this gradient
def test_a_resnext_trains_and_compiles():
    network = backbones.build_resnet(50, kind="dc5", depth_multiplier=0.125, groups=4).conv5()
    cells = tf.random.stateless_normal([1, 5, 5, network.input_shape[-1]], [1, 2])

    def gradients(cells):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(network(cells, training=False) ** 2)
        return tape.gradient(loss, network.trainable_variables)

    plain = gradients(cells)
    compiled = tf.function(gradients, jit_compile=True, autograph=False)(cells)
    largest = max(np.abs(g).max() for g in plain)
    for variable, one, other in zip(network.trainable_variables, plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=LOGITS * largest, err_msg=variable.name)
        assert np.abs(one).max() > 0, variable.name


def test_only_bottlenecks_can_have_groups():
    with pytest.raises(ValueError, match="a ResNet of 18 layers has no bottlenecks"):
        backbones.build_resnet(18, kind="dc5", groups=32)


def test_weights_are_those_of_the_classification_network(dilated):
    plain = backbones.build_resnet(dilated._model_id, kind="fpn", depth_multiplier=0.125)
    shapes = [[tuple(w.shape) for w in model.get_weights()] for model in (dilated, plain)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("depth", [10, 50])
def test_a_conv5_that_strides_on_crops_is_the_classification_networks(depth):
    """Crops of 7x7 leave it as 4x4, as the Object Detection API's TensorFlow 2 models have them."""
    ours = backbones.build_resnet(depth, kind="c4", depth_multiplier=0.125, conv5_stride=2)
    plain = backbones.build_resnet(depth, kind="fpn", depth_multiplier=0.125)
    ours.set_weights(plain.get_weights())
    crops = tf.random.stateless_normal([2, 7, 7, ours.conv5().input_shape[-1]], [1, 2])
    features = ours.conv5()(crops, training=False)
    assert features.shape[1:3] == (4, 4)
    theirs = tf_keras.Model(plain.output["4"], plain.output["5"])(crops, training=False)
    np.testing.assert_array_equal(features, theirs)


@pytest.mark.skipif(
    os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0",
    reason="oneDNN's gradient of the library's shortcuts writes behind its memory; see `make test`",
)
@pytest.mark.parametrize("depth, width", [(18, 0.125), (50, 0.03125)])
def test_narrow_shortcuts_answer_as_the_librarys_and_leave_out_its_gradient(depth, width):
    settings = {"depth_multiplier": width, "bn_trainable": False}
    images = tf_keras.layers.InputSpec(shape=[None, None, None, 3])
    theirs = resnet.ResNet(depth, input_specs=images, **settings)
    ours = backbones.Backbone(depth, input_specs=images, **settings)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    theirs.set_weights(ours.get_weights())

    @tf.function
    def gradients(network, x):
        with tf.GradientTape() as tape:
            maps = network(x, training=True)
            loss = sum(tf.reduce_mean(maps[level]) for level in maps)
        return maps, tape.gradient(loss, network.trainable_variables)

    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, [2, 64, 95, 3]), tf.float32)
    for a, b in zip(
        tf.nest.flatten(gradients(ours, x)), tf.nest.flatten(gradients(theirs, x)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())

    def narrow(network):
        graph = gradients.get_concrete_function(network, x).graph
        kernels = [
            op.inputs[1].shape
            for op in graph.get_operations()
            if op.type == "Conv2D" and op.get_attr("strides")[1] > 1
        ]
        return [kernel for kernel in kernels if kernel[0] == 1 and kernel[2] < 16]

    assert narrow(theirs) and not narrow(ours)
