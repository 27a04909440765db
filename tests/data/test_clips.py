"""Clips: who stands beside whom, what stands in for the missing, and one flip for all."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from context_rcnn.data import input as input_lib
from context_rcnn.data.clips import ClipOptions, read_clips
from context_rcnn.data.records import LabelState

SIZE = (16, 24)


def example(name, camera, burst, state=LabelState.EMPTY):
    """A picture whose left half is bright, and whose red says its number."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:, : SIZE[1] // 2, 1] = 250
    picture[..., 0] = int(name[1:])
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[buffer.getvalue()])),
        "image/source_id": text(name),
        "image/location": text(camera),
        "image/label_state": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(state)])),
    }
    if burst:
        features["image/seq_id"] = text(burst)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


# Bursts of 5, 1, 2 and 3 frames; two frames without a burst; the same burst name at two cameras.
RECORDS = [
    *[("a", "x")] * 5,
    *[("a", "y")] * 1,
    *[("b", "y")] * 2,
    *[("b", "")] * 2,
    *[("b", "z")] * 3,
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("clips") / "f.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for i, (camera, burst) in enumerate(RECORDS):
            state = LabelState.UNLABELLED if i in (1, 11) else LabelState.EMPTY
            writer.write(example(f"i{i}", camera, burst, state))
    return path


def reference(frames, spacing):
    """For each record, which records make its clip, and which of them are there."""
    clips = []
    for i, (camera, burst) in enumerate(RECORDS):
        wanted = [i + spacing * (k - frames // 2) for k in range(frames)]
        there = [
            0 <= j < len(RECORDS) and (j == i or (bool(burst) and RECORDS[j] == (camera, burst)))
            for j in wanted
        ]
        clips.append(([j if ok else i for j, ok in zip(wanted, there, strict=True)], there))
    return clips


def name_of(record):
    return tf.train.Example.FromString(record).features.feature["image/source_id"].bytes_list.value


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("spacing", [1, 2, 3])
def test_each_record_is_a_keyframe_among_its_own_burst(file, frames, spacing):
    clip = ClipOptions(frames, spacing)
    clips = list(read_clips(file, clip).as_numpy_iterator())
    assert len(clips) == len(RECORDS)
    for (records, valid), (expected, there) in zip(clips, reference(frames, spacing), strict=True):
        assert [name_of(r)[0].decode() for r in records] == [f"i{j}" for j in expected]
        assert list(valid) == there
        assert valid[clip.keyframe]


def rows(batch):
    """The numbers of the pictures, and whether they are mirrored."""
    pictures = batch["image"]
    return pictures[:, 0, 0, 0], pictures[:, 0, -1, 1] > 100


def test_frames_of_a_clip_are_mirrored_together_and_with_their_memory(file):
    def join(example, flip):
        return {"flipped": tf.convert_to_tensor(flip), "of": example["image_id"]}

    clip = ClipOptions(4)
    dataset = input_lib.training_batches(
        [file],
        input_lib.ImageInput(SIZE, max_boxes=2, join=join),
        batch_size=3,
        seed=1,
        shuffle_buffer_size=20,
        flip_probability=0.5,
        clip=clip,
    )
    seen = set()
    for batch in dataset.take(20).as_numpy_iterator():
        numbers, mirrored = (value.reshape(3, 4) for value in rows(batch))
        assert batch["image"].shape == (12, *SIZE, 3) and batch["clip_valid"].shape == (3, 4)
        for i in range(3):
            assert set(mirrored[i]) == {batch["flipped"][i]}
            key = int(numbers[i, clip.keyframe])
            expected, there = reference(4, 1)[key]
            assert list(numbers[i]) == expected
            assert batch["of"][i] == f"i{key}".encode()
            # A frame without a label is there to be seen, and does not teach.
            teaches = [ok and j not in (1, 11) for j, ok in zip(expected, there, strict=True)]
            assert list(batch["valid"].reshape(3, 4)[i]) == teaches
            seen.add(key)
    assert seen == set(range(len(RECORDS))) - {1, 11}  # each labelled record is a keyframe


def test_evaluation_asks_each_labelled_image_once(file):
    clip = ClipOptions(3)
    dataset = input_lib.evaluation_batches(
        [file], input_lib.ImageInput(SIZE), batch_size=4, steps=3, clip=clip
    )
    asked = []
    for batch in dataset.as_numpy_iterator():
        asked += list(rows(batch)[0][batch["valid"]])
        assert not batch["valid"].reshape(4, 3)[:, [0, 2]].any()
    assert asked == [i for i in range(len(RECORDS)) if i not in (1, 11)]


def test_chosen_keyframes_come_in_file_order_and_none_is_lost(file):
    keys = [int(input_lib.image_key(tf.constant(name))) for name in ("i7", "i1", "i12")]
    dataset = input_lib.chosen_batches(
        [file], input_lib.ImageInput(SIZE), keys, batch_size=2, clip=ClipOptions(3)
    )
    numbers = [rows(batch)[0].reshape(-1, 3)[:, 1] for batch in dataset.as_numpy_iterator()]
    assert [len(part) for part in numbers] == [2, 1]
    assert list(np.concatenate(numbers)) == [1, 7, 12]


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"spacing": 0}])
def test_clips_of_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=f"clip.{next(iter(wrong))} must be at least 1"):
        ClipOptions(**wrong)
