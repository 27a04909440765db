"""VGG-16: the network of tf_keras.applications, its weight files, and its second stage."""

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.detectors import freezing, vgg
from context_rcnn.detectors.backbones import normalize_images
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from tests.detectors.conftest import tiny_config
from tests.tolerance import assert_close


def build(hidden=(24, 16), dropout=0.5):
    config = tiny_config("vgg16")
    config.backbone.depth_multiplier = 0.0625
    config.boxes = configs.Boxes(samples=12, hidden=list(hidden), dropout=dropout)
    tf_keras.utils.set_random_seed(1)
    model = build_faster_rcnn(config)
    model(tf.zeros([1, 64, 128, 3]), tf.constant([[64.0, 128.0]]))
    return model


@pytest.fixture(scope="module")
def tiny():
    return build()


@pytest.fixture(scope="module")
def weights():
    """Random values by the names of the .h5 files, as a tiny network has them."""
    rng = np.random.default_rng(0)
    model = build()
    return {
        name: [rng.normal(size=w.shape).astype(np.float32) for w in layer.weights]
        for name, layer in vgg.h5_layers(model).items()
    }


def save(path, weights):
    """A file in Keras's layout."""
    with h5py.File(path, "w") as file:
        for name, values in weights.items():
            group = file.create_group(name)
            parts = [f"{name}/{part}:0" for part in ("kernel", "bias")]
            for part, value in zip(parts, values, strict=True):
                group.create_dataset(part, data=value)
            group.attrs["weight_names"] = parts
    return str(path)


def test_the_stages_are_those_of_keras(tmp_path):
    """At full width, through a file that Keras has written itself."""
    theirs = tf_keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(32, 48, 3), pooling=None
    )
    path = str(tmp_path / "vgg16_notop.h5")
    theirs.save_weights(path)
    trunk, neck, network = vgg.build_vgg16()
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    by_name = {f"block{name[4]}_conv{name[6]}": layer for name, layer in layers.items()}
    assert len(by_name) == 13 and network.count_params() == 14_714_688
    vgg.load_h5(path, "field", by_name)
    image = np.random.default_rng(0).integers(0, 255, (1, 32, 48, 3)).astype(np.float32)
    before_pool = tf_keras.Model(theirs.input, theirs.get_layer("block5_conv3").output)
    expected = before_pool(tf_keras.applications.vgg16.preprocess_input(image.copy()))
    maps = neck(neck.before(trunk(normalize_images(image))))
    assert maps["4"] is maps["5"] and maps["5"].shape == (1, 2, 3, 512)
    assert_close(maps["5"], expected)
    assert_close(network(normalize_images(image)), expected)


@pytest.mark.slow
def test_a_whole_file_of_keras_fills_a_detector_of_the_papers_size(tmp_path):
    theirs = tf_keras.applications.VGG16(weights=None)
    assert theirs.count_params() == 138_357_544
    path = str(tmp_path / "vgg16.h5")
    theirs.save_weights(path)
    config = tiny_config("vgg16")
    config.backbone.depth_multiplier = 1.0
    config.boxes = configs.Boxes(samples=12, hidden=[4096, 4096], dropout=0.5)
    model = build_faster_rcnn(config)
    model(tf.zeros([1, 64, 128, 3]), tf.constant([[64.0, 128.0]]))
    layers = vgg.h5_layers(model)
    count = sum(layer.count_params() for layer in layers.values())
    assert count == 138_357_544 - 4096 * 1000 - 1000
    vgg.load_h5(path, "field", layers)
    crop = tf.random.stateless_uniform([1, 7, 7, 512], [1, 2])
    dense = [theirs.get_layer(name) for name in ("flatten", "fc1", "fc2")]
    expected = crop
    for layer in dense:
        expected = layer(expected)
    assert_close(model.box_head(crop[None])[0, :, 0, 0], expected)


def test_files_fill_the_layers_of_their_names(tmp_path, weights, tiny):
    vgg.load_h5(save(tmp_path / "all.h5", weights), "field", vgg.h5_layers(tiny))
    for name, layer in vgg.h5_layers(tiny).items():
        for value, expected in zip(layer.get_weights(), weights[name], strict=True):
            np.testing.assert_array_equal(value, expected)


def test_files_that_do_not_fit_are_refused_with_the_names(tmp_path, weights, tiny):
    layers = vgg.h5_layers(tiny)
    notop = {name: values for name, values in weights.items() if "fc" not in name}
    with pytest.raises(ValueError, match="field: .*notop.h5 has no fc1, fc2; take the file with"):
        vgg.load_h5(save(tmp_path / "notop.h5", notop), "field", layers)
    rest = {name: values for name, values in weights.items() if name != "block3_conv2"}
    with pytest.raises(ValueError, match="has no block3_conv2$"):
        vgg.load_h5(save(tmp_path / "rest.h5", rest), "field", layers)
    other = weights | {"fc1": [np.zeros([3, 24], np.float32), np.zeros([24], np.float32)]}
    with pytest.raises(ValueError, match=r"fc1 of .*other.h5 is \[\(3, 24\), \(24,\)\], expected"):
        vgg.load_h5(save(tmp_path / "other.h5", other), "field", layers)


def test_a_box_is_one_vector_and_training_leaves_out_half_of_it():
    model = build(hidden=(400, 300))
    crops = tf.random.stateless_uniform([1, 2, 7, 7, 32], [1, 2])
    still = model.box_head(crops)
    assert still.shape == (1, 2, 1, 1, 300)
    np.testing.assert_array_equal(still, model.box_head(crops, training=False))
    first, second = model.box_head.dense
    x = tf.nn.relu(tf.reshape(crops, [2, -1]) @ first.kernel + first.bias)
    assert_close(still[0, :, 0, 0], tf.nn.relu(x @ second.kernel + second.bias))
    # Of those that are not 0 anyway half are left out: 300 lots, within five deviations.
    on = still.numpy() > 0.05
    learning = model.box_head(crops, training=True).numpy()
    share = (learning[on] == 0).mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(on.sum())


def test_a_memory_of_maps_may_take_the_place_of_its_last_convolution():
    config = tiny_config("vgg16")
    config.backbone.depth_multiplier = 0.0625
    seen = {}

    class Port(tf_keras.layers.Layer):
        def call(self, maps, *, images=None, shapes=None, memory=None, training=None):
            seen.update(maps)
            return maps

    model = build_faster_rcnn(config, map_memory=Port(), swaps_convolution=True)
    found = model.look(np.zeros([1, 64, 128, 3], np.uint8), tf.constant([[64.0, 128.0]]))
    assert sorted(seen) == ["5"] and found.maps["4"] is found.maps["5"] is seen["5"]
    assert not any("conv5/3" in v.name for v in model.variables)
    assert len(vgg.h5_layers(model)) == 12


def test_its_blocks_can_be_frozen_by_name(tiny):
    parts = freezing.parts_of(tiny)
    names = {f"conv{i}" for i in range(1, 6)} | {"neck", "box_head", "first_stage"}
    assert names <= set(parts)
    assert [len(parts[f"conv{i}"]) for i in range(1, 6)] == [2, 2, 3, 3, 3]
