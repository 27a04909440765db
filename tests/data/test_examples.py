"""The tf.Example, checked by plain protocol buffers and by parsing."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.prepare import prepare
from context_rcnn.data.records import Box, ImageRecord, LabelState, Visibility

LABEL_MAP = {"bobcat": 1, "deer": 2}
RECORD = ImageRecord(
    image_id="im-1",
    file_name="a.jpg",
    camera="33",
    seconds=1380893513,
    seq_id="seq-a",
    seq_num_frames=2,
    frame_num=1,
    label_state=LabelState.BOXES,
    class_names=("bobcat", "deer"),
    boxes=(Box(16, 12, 32, 36, "deer"), Box(-10, 0, 32, 24, "bobcat", area=252.0)),
    width=64,
    height=48,
)


@pytest.fixture
def encode(tmp_path, jpeg):
    def write_and_encode(record: ImageRecord, **image) -> bytes:
        (tmp_path / record.file_name).write_bytes(jpeg(**image))
        prepared, failures = prepare(record, tmp_path, ImageOptions())
        assert not failures
        return examples.encode_example(prepared, LABEL_MAP)

    return write_and_encode


def plain(serialized: bytes) -> dict[str, list]:
    """Values by key, without any code of ours."""
    features = tf.train.Example.FromString(serialized).features.feature
    return {key: list(getattr(f, f.WhichOneof("kind")).value) for key, f in features.items()}


def test_keys_and_values_are_those_of_the_object_detection_api(encode, jpeg):
    values = plain(encode(RECORD))
    floats = {
        "image/object/bbox/xmin": [0.25, 0.0],
        "image/object/bbox/xmax": [0.5, 0.5],
        "image/object/bbox/ymin": [0.25, 0.0],
        "image/object/bbox/ymax": [0.75, 0.5],
        # Half of the box without an annotated area; else its share of the box, here a quarter, of
        # what is left of it inside of the image.
        "image/object/area": [16 * 24 / 2, 32 * 24 * 252 / (42 * 24)],
    }
    for key, expected in floats.items():
        assert values.pop(key) == pytest.approx(expected), key
    assert values == {
        "image/height": [48],
        "image/width": [64],
        "image/filename": [b"a.jpg"],
        "image/source_id": [b"im-1"],
        "image/key/sha256": [hashlib.sha256(jpeg()).hexdigest().encode()],
        "image/encoded": [jpeg()],
        "image/format": [b"jpeg"],
        "image/location": [b"33"],
        "image/seq_id": [b"seq-a"],
        "image/seq_num_frames": [2],
        "image/seq_frame_num": [1],
        "image/date_captured": [b"2013-10-04 13:31:53"],
        "image/unix_seconds": [1380893513],
        "image/label_state": [3],
        "image/class/label": [1, 2],
        "image/class/text": [b"bobcat", b"deer"],
        "image/object/class/text": [b"deer", b"bobcat"],
        "image/object/class/label": [2, 1],
    }


def test_an_empty_image_has_class_zero_and_an_unlabelled_one_none(encode):
    changes = {"boxes": (), "class_names": (), "seconds": None}
    empty = plain(encode(replace(RECORD, label_state=LabelState.EMPTY, **changes)))
    assert empty["image/class/label"] == [0]
    assert empty["image/class/text"] == [b"empty"]
    unlabelled = plain(encode(replace(RECORD, label_state=LabelState.UNLABELLED, **changes)))
    assert "image/class/text" not in unlabelled or unlabelled["image/class/text"] == []
    assert "image/unix_seconds" not in unlabelled
    assert "image/date_captured" not in unlabelled


def test_encoding_twice_gives_the_same_bytes(encode):
    assert encode(RECORD) == encode(RECORD)


def test_what_is_written_is_parsed(encode):
    parsed = examples.parse_example(tf.constant(encode(RECORD)))
    parsed = {key: value.numpy() for key, value in parsed.items()}
    assert parsed["image_id"] == b"im-1"
    assert parsed["camera"] == b"33"
    assert parsed["seq_id"] == b"seq-a"
    assert parsed["seconds"] == 1380893513
    assert parsed["has_seconds"]
    assert parsed["label_state"] == LabelState.BOXES
    np.testing.assert_allclose(parsed["boxes"], [[0.25, 0.25, 0.75, 0.5], [0, 0, 0.5, 0.5]])
    np.testing.assert_array_equal(parsed["classes"], [2, 1])
    np.testing.assert_allclose(parsed["areas"], [192, 192])
    np.testing.assert_array_equal(parsed["scores"], [1, 1])
    assert (parsed["height"], parsed["width"]) == (48, 64)


def test_scores_of_a_detector_are_kept_and_human_boxes_count_one(encode):
    boxes = (Box(0, 0, 9, 9, "deer", score=0.9375), Box(0, 0, 9, 9, "deer"))
    serialized = encode(replace(RECORD, boxes=boxes))
    assert plain(serialized)["image/object/score"] == [0.9375, 1.0]
    np.testing.assert_array_equal(examples.parse_example(serialized)["scores"], [0.9375, 1.0])


def test_boxes_turn_with_the_pixels(encode):
    """The file is 64x48 and so are the annotations; shown upright it is 48x64."""
    serialized = encode(replace(RECORD, boxes=(Box(0, 0, 16, 12, "deer"),)), orientation=6)
    parsed = examples.parse_example(serialized)
    assert (int(parsed["height"]), int(parsed["width"])) == (64, 48)
    np.testing.assert_allclose(parsed["boxes"], [[0, 0.75, 0.25, 1]])


def test_any_image_that_passes_is_read_by_tensorflow(encode, gradient):
    for mode in ("RGB", "L", "CMYK"):
        parsed = examples.parse_example(encode(replace(RECORD, boxes=()), mode=mode))
        image = tf.io.decode_image(parsed["image_bytes"], channels=3)
        assert image.shape == [48, 64, 3]


def old_example(**changes) -> bytes:
    """As create_cococameratraps_tfexample_main wrote them."""
    values = {
        "image/height": [480],
        "image/width": [640],
        "image/filename": [b"a.jpg"],
        "image/source_id": [b"old-1"],
        "image/encoded": [b"jpeg"],
        "image/format": [b"jpeg"],
        "image/location": [b"26"],
        "image/seq_num_frames": [3],
        "image/seq_frame_num": [1],
        "image/seq_id": [b"s"],
        "image/date_captured": [b"2013-10-04 13:31:53"],
        "image/class/label": [2],
        "image/class/text": [b"deer"],
    }
    values = {key: value for key, value in {**values, **changes}.items() if value is not None}

    def feature(value):
        if value and isinstance(value[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        if value and isinstance(value[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    features = {key: feature(value) for key, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


BOX = {
    "image/object/bbox/xmin": [0.25],
    "image/object/bbox/xmax": [0.75],
    "image/object/bbox/ymin": [0.5],
    "image/object/bbox/ymax": [1.0],
    "image/object/class/label": [2],
}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        (BOX, LabelState.BOXES),
        ({}, LabelState.IMAGE_LEVEL),
        ({"image/class/text": [b"empty"], "image/class/label": [0]}, LabelState.EMPTY),
        ({"image/class/text": None, "image/class/label": None}, LabelState.UNLABELLED),
    ],
)
def test_old_examples_are_parsed_in_graphs(changes, state):
    parse = tf.function(examples.parse_example)
    parsed = parse(tf.constant(old_example(**changes)))
    assert int(parsed["label_state"]) == state
    assert bool(parsed["has_seconds"]) and int(parsed["seconds"]) == 1380893513
    assert parsed["image_id"] == b"old-1"
    assert parsed["boxes"].shape[0] == (1 if changes is BOX else 0)


@pytest.mark.parametrize("date", [b"", b"0000:00:00 00:00:00", b"1970-01-01 00:00:09", b"noon"])
def test_old_examples_without_a_usable_date_are_undated(date):
    parsed = examples.parse_example(old_example(**{"image/date_captured": [date]}))
    assert not bool(parsed["has_seconds"]) and int(parsed["seconds"]) == examples.NO_SECONDS


def test_old_boxes_get_areas_and_scores():
    parsed = examples.parse_example(old_example(**BOX))
    np.testing.assert_allclose(parsed["areas"], [640 * 480 * 0.25 / 2])
    np.testing.assert_array_equal(parsed["scores"], [1])
    scored = old_example(**BOX, **{"image/object/class/score": [0.75]})
    np.testing.assert_array_equal(examples.parse_example(scored)["scores"], [0.75])


def test_examples_of_one_kind_and_another_go_through_one_dataset(encode):
    serialized = [encode(RECORD), old_example(**BOX), old_example()]
    dataset = tf.data.Dataset.from_tensor_slices(serialized).map(examples.parse_example)
    assert [len(parsed["boxes"]) for parsed in dataset] == [2, 1, 0]


def test_what_simulated_boxes_show_is_kept_and_others_are_unknown(encode):
    seen = Visibility("clear", True, blur=0.0, occluded=0.25, speed=1.5)
    boxes = (Box(0, 0, 9, 9, "deer", seen=seen), Box(0, 0, 9, 9, "deer"),
             Box(0, 0, 9, 9, "deer", seen=Visibility("plain", False)))  # fmt: skip
    serialized = encode(replace(RECORD, boxes=boxes))
    expected = {
        "look": [b"clear", b"", b"plain"],
        "shows": [1, -1, 0],
        "blur": [0.0, -1.0, -1.0],
        "occluded": [0.25, -1.0, -1.0],
        "speed": [1.5, -1.0, -1.0],
    }
    written, parsed = plain(serialized), examples.parse_example(serialized)
    for key, name in zip(expected, ("looks", "shows", "blurs", "occluded", "speeds"), strict=True):
        assert written[f"image/object/visibility/{key}"] == expected[key]
        assert parsed[name].numpy().tolist() == expected[key]
    without = examples.parse_example(encode(RECORD))
    assert not [key for key in plain(encode(RECORD)) if "visibility" in key]
    assert without["looks"].numpy().tolist() == [b"", b""]
    assert without["shows"].numpy().tolist() == without["speeds"].numpy().tolist() == [-1, -1]
