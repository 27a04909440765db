"""The Object Detection API's side of an exported model: its inputs, its outputs, its flags."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.export import detection_api
from context_rcnn.export import export as export_lib


@pytest.fixture(scope="module")
def trained(run):
    return export_lib.load_run(run.folder)


@pytest.fixture(scope="module")
def serve(trained):
    """`serve(input_type=...)`, made once for the same arguments."""
    made = {}

    def make(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = export_lib.serve(trained, **options)
        return made[key].serving_default

    return make


@pytest.fixture(scope="module")
def same_size(photographs):
    """Pixels of two images of one size, and the same encoded without loss."""
    pixels = np.random.default_rng(0).integers(0, 255, (2, 70, 90, 3)).astype(np.uint8)
    return pixels, [tf.io.encode_png(image).numpy() for image in pixels]


def assert_same(found, expected, **tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name, **{"atol": 1e-4} | tolerance)


def write_example(encoded, features=None, length=None):
    kinds = {"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))}
    if features is not None:
        values = tf.train.FloatList(value=np.ravel(features))
        kinds["image/context_features"] = tf.train.Feature(float_list=values)
        length = tf.train.Int64List(value=[length or features.shape[-1]])
        kinds["image/context_feature_length"] = tf.train.Feature(int64_list=length)
    return tf.train.Example(features=tf.train.Features(feature=kinds)).SerializeToString()


def test_every_input_type_detects_the_same(serve, same_size, entries):
    pixels, encoded = same_size
    features, size = entries[0][:2], np.array([5, 3], np.int32)
    expected = serve(input_type="encoded_image_string_tensor")(tf.constant(encoded), features, size)
    found = serve(input_type="image_tensor")(tf.constant(pixels), features, size)
    assert_same(found, expected)
    found = serve(input_type="float_image_tensor")(pixels.astype(np.float32), features, size)
    assert_same(found, expected)
    written = [write_example(encoded[0], features[0]), write_example(encoded[1], features[1, :3])]
    assert_same(serve(input_type="tf_example")(tf.constant(written)), expected)


def test_a_memory_that_is_not_given_is_an_empty_one(serve, same_size, entries):
    pixels, encoded = same_size
    images = serve(input_type="image_tensor")
    alone = images(tf.constant(pixels))
    nothing = images(tf.constant(pixels), entries[0][:2], np.zeros(2, np.int32))
    assert_same(nothing, alone)
    given = images(tf.constant(pixels), entries[0][:2], np.array([5, 3], np.int32))
    assert np.abs(given["detection_scores"] - alone["detection_scores"]).max() > 1e-3
    written = [write_example(encoded[0]), write_example(encoded[1], entries[0][0])]
    mixed = serve(input_type="tf_example")(tf.constant(written))
    assert_same({k: v[:1] for k, v in mixed.items()}, {k: v[:1] for k, v in alone.items()})
    none = serve(input_type="tf_example")(tf.constant([write_example(encoded[0])]))
    assert_same(none, {k: v[:1] for k, v in alone.items()})


def test_half_a_memory_is_refused(serve, same_size, entries):
    model, pixels = serve(input_type="image_tensor"), tf.constant(same_size[0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="without valid_context_size"):
        model(pixels, entries[0][:2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="without context_features"):
        model(pixels, valid_context_size=tf.constant([1, 1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="valid_context_size is negative"):
        model(pixels, entries[0][:2], tf.constant([3, -5]))


def test_outputs_are_those_of_the_api(trained, same_size):
    pixels, encoded = same_size
    model = export_lib.serve(trained)
    found = model.serving_default(tf.constant(pixels))
    found = {name: value.numpy() for name, value in found.items()}
    lean = model.detect(tf.constant(encoded))
    assert sorted(found) == [
        "detection_anchor_indices",
        "detection_boxes",
        "detection_classes",
        "detection_multiclass_scores",
        "detection_scores",
        "num_detections",
        "raw_detection_boxes",
        "raw_detection_scores",
    ]
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    for i in range(2):
        count = int(found["num_detections"][i])
        assert 0 < count == (lean["detection_scores"][i].numpy() >= 0).sum()
        for j in range(count):
            box, score = lean["detection_boxes"][i, j], lean["detection_scores"][i, j]
            label = int(found["detection_classes"][i, j])
            assert label == lean["detection_classes"][i, j]
            np.testing.assert_allclose(found["detection_boxes"][i, j], box, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found["detection_scores"][i, j], score, rtol=1e-5, atol=1e-5)
            # The proposal it came from has this score for this class,
            anchor = int(found["detection_anchor_indices"][i, j])
            raw = found["raw_detection_scores"][i, anchor]
            np.testing.assert_array_equal(found["detection_multiclass_scores"][i, j], raw)
            np.testing.assert_allclose(raw[label], score, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(raw.sum(), 1, rtol=1e-5, atol=1e-4)
            # and, if it is its best class, this box before it was cut at the edges.
            if raw[1:].argmax() + 1 == label:
                uncut = found["raw_detection_boxes"][i, anchor]
                np.testing.assert_allclose(np.clip(uncut, 0, 1), box, rtol=1e-5, atol=1e-4)
        assert (found["detection_scores"][i, count:] == 0).all()
        assert (found["detection_classes"][i, count:] == 1).all()


def test_sizes_that_are_given_are_fixed(serve, same_size, entries, frozen):
    size = frozen.depth + 9
    model = serve(
        use_side_inputs=True,
        side_input_shapes=f"1/1,5,{size}",
        side_input_types="tf.int32,float",
        side_input_names="valid_context_size,context_features",
    )
    pixels = tf.constant(same_size[0])
    free = serve(input_type="image_tensor")
    fixed = model(pixels, entries[0][:1], tf.constant([5]))
    assert_same(fixed, free(pixels, entries[0][:1], tf.constant([5])))
    with pytest.raises(TypeError, match="Can not cast.*2, 73.*1, 5, 73"):
        model(pixels, entries[0][:1, :2], tf.constant([2]))
    with pytest.raises(TypeError, match="missing a required argument: 'context_features'"):
        model(pixels)


def test_side_inputs_may_be_left_away(serve, same_size):
    without = serve(use_side_inputs=False)
    assert_same(
        without(tf.constant(same_size[0])),
        serve(input_type="image_tensor")(tf.constant(same_size[0])),
    )
    with pytest.raises(TypeError, match="too many positional arguments"):
        without(tf.constant(same_size[0]), None, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"shapes": "1,2000,2057/1"}, r"shapes: context_features is -1,-1,73 .*, got 1,2000,2057"),
        ({"shapes": "1,2000/1"}, "context_features is -1,-1,73 .*, got 1,2000$"),
        ({"shapes": "1,2000,73"}, "expected a shape for each of context_features,valid_"),
        ({"shapes": "1,2000,73/__import__('os')"}, "expected whole numbers like"),
        ({"shapes": "1,0,73/1"}, "expected whole numbers like"),
        ({"types": "float,string"}, "valid_context_size is int32 .*, got 'string'"),
        ({"types": "float"}, "expected 2 types, got 'float'"),
        ({"names": "context_features,size"}, "expected context_features,valid_context_size"),
    ],
)
def test_flags_that_do_not_fit_are_named(flags, message):
    with pytest.raises(ValueError, match=message):
        detection_api.side_input_specs(73, **flags)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_type": "video"}, "--input_type must be one of image_tensor, float_image"),
        ({"side_input_shapes": "1,5,73/1"}, "need --use_side_inputs"),
        (
            {"use_side_inputs": True, "side_input_types": "float,int", "input_type": "tf_example"},
            "the memory is read from the examples",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(trained, options, message):
    with pytest.raises(ValueError, match=message):
        export_lib.serve(trained, **options)


def test_a_still_image_detector_has_no_side_inputs(make_run, same_size):
    still = export_lib.load_run(make_run().folder)
    with pytest.raises(ValueError, match="--use_side_inputs: .*attends to no memory bank"):
        export_lib.serve(still, use_side_inputs=True)
    model = export_lib.serve(still)
    assert sorted(model.functions()) == ["detect", "detect_prepared", "serving_default"]
    assert model.describe()["memory"] is None
    pixels, encoded = same_size
    found = model.serving_default(tf.constant(pixels))
    lean = model.detect(tf.constant(encoded))
    np.testing.assert_allclose(
        found["detection_boxes"], lean["detection_boxes"], rtol=1e-5, atol=1e-4
    )
    written = tf.constant([write_example(image) for image in encoded])
    examples = export_lib.serve(still, input_type="tf_example")
    assert_same(examples.serving_default(written), found)


def test_a_copied_bank_of_another_length_is_refused(serve, same_size, entries):
    model = serve(input_type="tf_example")
    for features, length in ((entries[0][0, :, :-1], None), (entries[0][0], 72)):
        written = tf.constant([write_example(same_size[1][0], features, length)])
        with pytest.raises(tf.errors.InvalidArgumentError, match="expected entries of length 73"):
            model(written)


def test_without_its_extractor_a_memory_cannot_be_filled(trained, frozen, caplog):
    with caplog.at_level(logging.WARNING):
        model = export_lib.serve(trained)
    assert f"neither extract nor step (its memory bank was made by extractor {frozen.hash})" in (
        caplog.text
    )
    assert not {"extract", "step", "initial_state"} & set(model.functions())
    assert "detect_with_context" in model.functions()
