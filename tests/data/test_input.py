"""The training and evaluation input: what is fed, in which order, and what is done to it."""

import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from context_rcnn.data import examples
from context_rcnn.data import input as input_lib
from context_rcnn.data.damage import find_damage
from context_rcnn.data.records import LabelState

SIZE = (32, 48)


def make_example(name, boxes=(), classes=(), state=LabelState.BOXES, size=(40, 20), encoded=None):
    """A tf.Example written by hand, with a picture whose left half is red and right half blue."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0] = 255
    picture[:, width // 2 :, 2] = 255
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)

    def feature(values):
        if isinstance(values[0] if len(values) else 0.0, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if len(values) and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/encoded": feature([encoded if encoded is not None else buffer.getvalue()]),
        "image/source_id": feature([name.encode()]),
        "image/location": feature([b"cam"]),
        "image/height": feature([height]),
        "image/width": feature([width]),
        "image/label_state": feature([int(state)]),
        "image/object/class/label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=list(classes))
        ),
    }
    for i, edge in enumerate(("ymin", "xmin", "ymax", "xmax")):
        features[f"image/object/bbox/{edge}"] = feature(boxes[:, i].tolist())
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write(path, examples):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
    return str(path)


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    """23 images in three files: 9 with boxes, 6 empty, 5 image-level, 3 unlabelled."""
    states = (
        [LabelState.BOXES] * 9
        + [LabelState.EMPTY] * 6
        + [LabelState.IMAGE_LEVEL] * 5
        + [LabelState.UNLABELLED] * 3
    )
    examples = [
        make_example(
            f"im{i:02}",
            [[0.1, 0.2, 0.5, 0.6]] if state == LabelState.BOXES else [],
            [1] if state == LabelState.BOXES else [],
            state,
        )
        for i, state in enumerate(states)
    ]
    return [write(tmp_path / f"f{i}.tfrecord", examples[i::3]) for i in range(3)]


def key_of(name):
    return int(input_lib.image_key(tf.constant(name)))


NAMES = {key_of(f"im{i:02}"): f"im{i:02}" for i in range(23)}
TEACHING = {f"im{i:02}" for i in range(15)}


def training(files, batches, **options):
    options = {
        "batch_size": 4,
        "seed": 1,
        "shuffle_buffer_size": 10,
        "flip_probability": 0.5,
    } | options
    dataset = input_lib.training_batches(files, input_lib.ImageInput(SIZE, max_boxes=5), **options)
    return list(dataset.take(batches).as_numpy_iterator())


def names(batches):
    return [NAMES[int(key)] for batch in batches for key in batch["key"]]


def test_an_epoch_has_every_teaching_image_once_and_no_other(files):
    fed = names(training(files, 15))  # 60 rows: four epochs of 15 images
    assert set(fed) == TEACHING
    assert sorted(fed[:15]) == sorted(TEACHING)
    assert all(fed.count(name) == 4 for name in TEACHING)


def test_equal_seeds_give_equal_batches_and_others_do_not(files):
    first, again, other = training(files, 6), training(files, 6), training(files, 6, seed=2)
    for a, b in zip(first, again, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert names(first) != names(other)


def test_two_hosts_together_feed_what_one_would(files):
    one = training(files, 4, batch_size=4)
    two = [training(files, 4, batch_size=2, shard=(2, host)) for host in range(2)]
    for step in range(4):
        together = [name for host in two for name in names([host[step]])]
        assert sorted(together) == sorted(names([one[step]]))
        for host in two:
            for i, key in enumerate(host[step]["key"]):
                j = list(one[step]["key"]).index(key)
                np.testing.assert_array_equal(host[step]["image"][i], one[step]["image"][j])


def test_hosts_can_read_different_files(files):
    fed = [set(names(training(files, 20, shard=(3, h), shard_files=True))) for h in range(3)]
    assert set.union(*fed) == TEACHING and not fed[0] & fed[1]
    with pytest.raises(ValueError, match="shard_files needs a file for each of the 4 hosts"):
        training(files, 1, shard=(4, 0), shard_files=True)


def test_the_share_of_empty_images_can_be_set(files):
    fed = names(training(files, 100, empty_fraction=0.25))
    empty = sum(name >= "im09" for name in fed)
    assert 0.18 < empty / len(fed) < 0.32
    assert set(fed) == TEACHING


def test_without_a_single_teaching_image_the_input_ends(tmp_path):
    """Rather than to spin for ever."""
    file = write(tmp_path / "x", [make_example("a", state=LabelState.UNLABELLED)])
    assert training([file], 1) == [] and training([file], 1, empty_fraction=0.5) == []


def test_flipping_mirrors_pixels_and_boxes_together(files):
    """Red is left and the box is at .2 to .6; mirrored, red is right and the box at .4 to .8."""
    seen = set()
    for batch in training(files, 20):
        for i in range(4):
            red_is_left = batch["image"][i, 10, 2, 0] > 200
            seen.add(bool(red_is_left))
            if batch["box_valid"][i].any():
                x = batch["boxes"][i, 0, [1, 3]] / SIZE[1]
                np.testing.assert_allclose(x, [0.2, 0.6] if red_is_left else [0.4, 0.8], atol=1e-5)
                y = batch["boxes"][i, 0, [0, 2]] / SIZE[0]
                np.testing.assert_allclose(y, [0.1, 0.5], atol=1e-5)
    assert seen == {True, False}


def test_keeping_the_aspect_ratio_pads_and_scales_boxes():
    to_row = input_lib.ImageInput((32, 48), keep_aspect_ratio=True, max_boxes=3)
    example = examples.parse_example(
        make_example("a", [[0.0, 0.0, 1.0, 0.5]], [2], size=(20, 40))  # twice as high as wide
    )
    row = to_row.image(example, tf.constant(False))
    np.testing.assert_array_equal(row["image_shape"], [32, 16])
    assert not row["image"].numpy()[:, 16:].any()
    np.testing.assert_allclose(row["boxes"][0], [0, 0, 32, 8])
    assert row["box_valid"].numpy().tolist() == [True, False, False]
    flipped = to_row.image(example, tf.constant(True))
    np.testing.assert_allclose(flipped["boxes"][0], [0, 8, 32, 16])
    assert flipped["image"].numpy()[5, 14, 0] > 200 and not flipped["image"].numpy()[:, 16:].any()


def test_stretching_uses_the_whole_canvas():
    row = input_lib.ImageInput((32, 48)).image(
        examples.parse_example(make_example("a", size=(20, 40))), tf.constant(False)
    )
    np.testing.assert_array_equal(row["image_shape"], [32, 48])
    assert row["image"].numpy()[:, -1, 2].min() > 200


def test_evaluation_gives_every_image_once_in_order_and_fills_up(files):
    dataset = input_lib.evaluation_batches(files, input_lib.ImageInput(SIZE), batch_size=4, steps=5)
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == 5
    valid = np.concatenate([batch["valid"] for batch in batches])
    keys = np.concatenate([batch["key"] for batch in batches])[valid]
    assert valid.tolist() == [True] * 15 + [False] * 5
    assert {NAMES[int(key)] for key in keys} == TEACHING


def test_hosts_evaluate_disjoint_shares_in_equally_many_batches(files):
    shares = []
    for host in range(4):
        dataset = input_lib.evaluation_batches(
            files, input_lib.ImageInput(SIZE), batch_size=2, steps=2, shard=(4, host)
        )
        batches = list(dataset.as_numpy_iterator())
        assert len(batches) == 2
        shares.append({NAMES[int(k)] for b in batches for k in b["key"][b["valid"]]})
    assert set.union(*shares) == TEACHING and sum(map(len, shares)) == 15


def test_more_boxes_than_max_boxes_is_an_error_that_names_the_image(tmp_path):
    file = write(tmp_path / "x", [make_example("crowd", [[0, 0, 1, 1]] * 6, [1] * 6)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="max_boxes is too small.*crowd"):
        training([file], 1, batch_size=1)


def test_boxes_without_area_teach_nothing(tmp_path):
    file = write(tmp_path / "x", [make_example("a", [[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.9]], [1, 1])])
    batch = training([file], 1, batch_size=1)[0]
    assert batch["box_valid"][0].tolist() == [True, False, False, False, False]


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"task.train_data.input_path: no file matches '.*nope"):
        input_lib.find_files(f"{tmp_path}/nope-*", "task.train_data.input_path")
    with pytest.raises(ValueError, match="set it"):
        input_lib.find_files("", "task.train_data.input_path")


def test_brackets_in_a_real_name_are_not_a_pattern(tmp_path):
    path = tmp_path / "run [1].tfrecord"
    path.write_bytes(b"")
    assert input_lib.find_files(str(path)) == [str(path)]


@pytest.mark.parametrize("damage", ["cut", "flip", "not_an_image", "not_an_example"])
def test_damaged_records_are_errors_not_silence(tmp_path, files, damage):
    data = bytearray(pathlib.Path(files[0]).read_bytes())
    if damage == "cut":
        data = data[:-20]
    elif damage == "flip":
        data[40] ^= 0xFF
    path = tmp_path / "damaged"
    path.write_bytes(data)
    if damage == "not_an_image":
        write(path, [make_example("bad", [[0, 0, 1, 1]], [1], encoded=b"\xff\xd8 no image")])
    if damage == "not_an_example":
        write(path, [b"\x99\x99 no protocol buffer"])
    # TensorFlow quotes the broken bytes of what is no example, hence the UnicodeDecodeError.
    errors = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)
    with pytest.raises(errors):
        training([str(path)], 10, batch_size=1)
    problems = list(find_damage([files[1], str(path), files[2]]))
    assert len(problems) == 1 and problems[0].startswith(f"{path}: record"), problems


def test_files_without_damage_have_none(files, tmp_path):
    assert list(find_damage(files)) == []
    (tmp_path / "empty").write_bytes(b"")
    assert list(find_damage([str(tmp_path / "empty")])) == [f"{tmp_path}/empty: has no records"]


def test_records_without_images_are_whole_where_only_labels_are_read(tmp_path):
    path = write(tmp_path / "x", [make_example("a", encoded=b""), make_example("b", encoded=b"?")])
    first, second = (f"{path}: record {number}: " for number in range(2))
    found = list(find_damage([path]))
    assert [line[: len(first)] for line in found] == [first, second]
    assert [line[: len(second)] for line in find_damage([path], labels_alone=True)] == [second]


def test_sequence_examples_are_called_what_they_are(tmp_path):
    sequence = tf.train.SequenceExample()
    sequence.context.feature["image/context_feature_length"].int64_list.value.append(4)
    image = sequence.feature_lists.feature_list["image/encoded"].feature.add()
    image.bytes_list.value.append(b"an image")
    path = write(tmp_path / "sequences", [sequence.SerializeToString()] * 2)
    (problem,) = find_damage([path])
    assert problem.startswith(f"{path}: record 0 is a tf.SequenceExample")
    assert f"`context-rcnn bank import BANK --examples={path} --images=FOLDER`" in problem


BAD_BOXES = [[0.2, 0.2, 0.2, 0.5], [np.nan, 0, 1, 1], [0, 0, 1, 1.5], [0.1, 0.1, 0.9, 0.9]]


def test_labels_that_cannot_teach_are_named(tmp_path):
    bad = make_example("a", BAD_BOXES, [1, 1, 1, 0])
    path = write(
        tmp_path / "x", [bad, make_example("a"), make_example("b", [[0, 0, 1, 1]], [1, 2])]
    )
    lines = [line.removeprefix(f"{path}: record ") for line in find_damage([path])]
    edges = "(ymin, xmin, ymax, xmax: "
    assert lines == [
        f"0: image 'a', box 0: has no area and teaches nothing {edges}0.2, 0.2, 0.2, 0.5)",
        f"0: image 'a', box 1: has no area and teaches nothing {edges}nan, 0, 1, 1)",
        f"0: image 'a', box 2: reaches out of the image {edges}0, 0, 1, 1.5)",
        "0: image 'a', box 3: class 0, but classes count from 1",
        f"1: image 'a' is also record 0 of {path}",
        "2: image 'b': 1 boxes, but 2 classes",
    ]


def test_boxes_that_cannot_teach_reach_no_batch():
    example = examples.parse_example(make_example("a", BAD_BOXES, [1, 1, 1, 2]))
    row = input_lib.ImageInput(SIZE, num_classes=2).image(example, tf.constant(False))
    assert row["box_valid"].numpy()[:5].tolist() == [False, False, True, True, False]
    assert np.isfinite(row["boxes"]).all() and not row["boxes"].numpy()[:2].any()


def test_a_class_that_the_label_map_lacks_is_named():
    example = examples.parse_example(make_example("strange", [[0, 0, 1, 1]], [3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?s)label map.*strange"):
        input_lib.ImageInput(SIZE, num_classes=2).image(example, tf.constant(False))


def test_what_is_left_out_is_counted_from_the_manifest(files, tmp_path):
    shard = {"file": "f0.tfrecord", "boxed": 3, "empty": 2, "image_level": 2, "unlabelled": 1}
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": [shard]}))
    words = input_lib.count_images(files[:1])
    assert words == (
        "3 images with boxes and 2 empty ones; left out: 2 whose label has no box, "
        "1 without a label"
    )
    assert "; 2 files without a manifest are not counted (" in input_lib.count_images(files)
