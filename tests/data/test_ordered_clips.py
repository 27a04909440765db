"""Sequences of ordered frames, from videos written by hand."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data.ordered_clips import OrderedClips


def example(video, frame, length, tracks=()):
    """A frame without pixels; `tracks` are (name, class)."""
    features = {
        examples.SOURCE_ID: f"{video}/{frame}",
        examples.LOCATION: video,
        examples.SEQ_ID: video if length > 1 else "",
        examples.SEQ_NUM_FRAMES: length,
        examples.OBJECT_TRACK: [name for name, _ in tracks],
        examples.OBJECT_LABEL: [label for _, label in tracks],
    }

    def feature(key, value):
        values = value if isinstance(value, list) else [value]
        if key == examples.OBJECT_TRACK or isinstance(value, str):
            texts = [text.encode() for text in values]
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    record = tf.train.Example(
        features=tf.train.Features(feature={k: feature(k, v) for k, v in features.items()})
    )
    return record.SerializeToString()


def write(path, videos):
    """A file of videos: name -> tracks of each frame."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, frames in videos.items():
            for i, tracks in enumerate(frames):
                writer.write(example(name, i, len(frames), tracks))
    return str(path)


def sequences(path, clips):
    """(video, places, there) of each sequence, in order."""
    found = []
    for records, there, places in clips.read(path, 5).as_numpy_iterator():
        ids = [
            tf.train.Example.FromString(record).features.feature[examples.SOURCE_ID]
            for record in records
        ]
        names = [one.bytes_list.value[0].decode() for one in ids]
        video = names[0].split("/")[0]
        assert names == [f"{video}/{place}" for place in places]
        found.append((video, places.tolist(), there.tolist()))
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    videos = {"long": [()] * 30, "short": [()] * 5, "still": [()]}
    return write(folder / "a.tfrecord", videos)


def test_frames_are_ordered_and_as_far_apart_as_asked_for(path):
    found = sequences(path, OrderedClips(4, 3, sequences=5))
    of_long = [(places, there) for video, places, there in found if video == "long"]
    assert len(of_long) == 5
    for i, (places, there) in enumerate(of_long):
        assert there == [True] * 4
        assert np.diff(places).tolist() == [3, 3, 3] and places[-1] < 30
        # One of each of five equal parts of the 21 possible first frames.
        assert i * 21 // 5 <= places[0] <= (i + 1) * 21 / 5


def test_each_phase_of_a_short_video_is_a_sequence(path):
    found = sequences(path, OrderedClips(4, 3, sequences=5))
    of_short = sorted((places, there) for video, places, there in found if video == "short")
    assert of_short == [
        ([0, 3, 0, 0], [True, True, False, False]),
        ([1, 4, 1, 1], [True, True, False, False]),
        ([2, 2, 2, 2], [True, False, False, False]),
    ]


@pytest.mark.parametrize(
    "stills, there",
    [("none", None), ("single", [True, False, False]), ("copies", [True] * 3)],
)
def test_still_images_are_sequences_of_one(path, stills, there):
    found = [row for row in sequences(path, OrderedClips(3, 2, stills=stills)) if row[0] == "still"]
    assert found == ([] if there is None else [("still", [0, 0, 0], there)])


def test_each_pass_draws_others_and_a_seed_the_same(path):
    clips = OrderedClips(2, 1, sequences=3, seed=4)
    first, second, again = (drawn(path, clips, lot) for lot in (7, 8, 7))
    assert first == again != second
    assert drawn(path, OrderedClips(2, 1, sequences=3, seed=5), 7) != first


def drawn(path, clips, lot):
    """Places in the long video, in a pass with this lot."""
    rows = [
        (
            tf.train.Example.FromString(records[0])
            .features.feature[examples.LOCATION]
            .bytes_list.value[0]
            .decode(),
            places.tolist(),
            there.tolist(),
        )
        for records, there, places in clips.read(path, lot).as_numpy_iterator()
    ]
    return [places for video, places, _ in rows if video == "long"]


def test_as_released_one_object_is_in_the_whole_sequence(tmp_path):
    """A cat in frames 0 to 6, another in 4 to 19, a dog in 3 to 5; the span is 5 frames."""
    frames = [
        [
            *([("first", 1)] if t <= 6 else []),
            *([("second", 1)] if 4 <= t <= 19 else []),
            *([("dog", 2)] if 3 <= t <= 5 else []),
            *([("", 3)] if t < 20 else []),  # whose object it is, nobody knows
        ]
        for t in range(24)
    ]
    path = write(tmp_path / "a.tfrecord", {"video": frames, "few": frames[:4]})
    clips = OrderedClips(3, 2, sequences=40, sampling="released")
    found = sequences(path, clips)
    assert {video for video, _, _ in found} == {"video"}  # the other is too short
    assert {places[0] for _, places, _ in found} == {*range(0, 3), *range(4, 16)}


def test_as_released_classes_take_turns(tmp_path):
    """Of eight videos of cats and two with a dog, as many sequences of each are drawn, about."""
    videos = {f"cat{i}": [[("a", 1)]] * 4 for i in range(4)}
    videos |= {f"both{i}": [[("a", 1), ("b", 2)]] * 4 for i in range(2)}
    videos |= {f"late{i}": [[("a", 1)]] * 4 for i in range(4)}
    path = write(tmp_path / "a.tfrecord", videos)
    found = sequences(path, OrderedClips(2, 1, sequences=1, sampling="released"))
    drawn = collections.Counter(video[:4] for video, _, _ in found)
    # Four cats come first; both videos with a dog are a dog's turn, and then cats wait.
    assert drawn == {"cat0": 1, "cat1": 1, "cat2": 1, "cat3": 1, "both": 2}


def test_as_released_tracks_are_needed(tmp_path):
    """Labels without tracks are refused rather than left out in silence."""
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for frame in range(3):
            record = tf.train.Example.FromString(example("video", frame, 3, [("a", 1)]))
            del record.features.feature[examples.OBJECT_TRACK]
            writer.write(record.SerializeToString())
    clips = OrderedClips(2, 1, sampling="released")
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs image/object/track"):
        sequences(str(tmp_path / "a.tfrecord"), clips)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"frames": 0}, "task.clip.frames must be at least 1, got 0"),
        ({"sampling": "some"}, "clip.sampling must be one of uniform, released, got 'some'"),
        (
            {"stills": "all", "field": "task.here"},
            "task.here.stills must be one of none, single, copies, got 'all'",
        ),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        OrderedClips(**options)
