"""The tf.Example of one image: its keys, writing it, parsing it.

Keys and types are those of the Object Detection API's camera-trap scripts, so their tools read what
is written here and examples of theirs are parsed here. Added are `image/unix_seconds`,
`image/label_state`, `image/object/score`, `image/object/track` and `image/object/visibility/...`.
"""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn.data import tensor_timestamps
from context_rcnn.data.prepare import PreparedImage
from context_rcnn.data.records import UNKNOWN, LabelState, Visibility
from context_rcnn.data.timestamps import format_timestamp

# The image.
HEIGHT = "image/height"
WIDTH = "image/width"
FILENAME = "image/filename"
SOURCE_ID = "image/source_id"
SHA256 = "image/key/sha256"
ENCODED = "image/encoded"
FORMAT = "image/format"

# Where and when. `DATE_CAPTURED` and `UNIX_SECONDS` are absent when the date is unknown.
LOCATION = "image/location"
SEQ_ID = "image/seq_id"
SEQ_NUM_FRAMES = "image/seq_num_frames"
SEQ_FRAME_NUM = "image/seq_frame_num"
DATE_CAPTURED = "image/date_captured"
UNIX_SECONDS = "image/unix_seconds"

# What is known of its content. `LABEL_STATE` is a `LabelState`.
LABEL_STATE = "image/label_state"
CLASS_LABEL = "image/class/label"
CLASS_TEXT = "image/class/text"
BOX_YMIN = "image/object/bbox/ymin"
BOX_XMIN = "image/object/bbox/xmin"
BOX_YMAX = "image/object/bbox/ymax"
BOX_XMAX = "image/object/bbox/xmax"
OBJECT_TEXT = "image/object/class/text"
OBJECT_LABEL = "image/object/class/label"
OBJECT_AREA = "image/object/area"
OBJECT_SCORE = "image/object/score"
OBJECT_TRACK = "image/object/track"
# What a simulated box shows, as `records.Visibility` has it; absent where no box has one.
OBJECT_LOOK = "image/object/visibility/look"
OBJECT_SHOWS = "image/object/visibility/shows"
OBJECT_BLUR = "image/object/visibility/blur"
OBJECT_OCCLUDED = "image/object/visibility/occluded"
OBJECT_SPEED = "image/object/visibility/speed"
OLD_OBJECT_SCORE = "image/object/class/score"  # as generate_detection_data wrote it

# Boxes of another detector, for a second stage that finds none itself.
PROPOSAL_BOX = "image/proposals/bbox"
PROPOSAL_SCORE = "image/proposals/score"

EMPTY_TEXT, EMPTY_LABEL = "empty", 0
NO_SECONDS = -1
"""Stands for an unknown time after parsing; real ones are later than 2000."""

_ABSENT = -1
_UNSEEN = Visibility("", False)
_BOX_EDGES = (BOX_YMIN, BOX_XMIN, BOX_YMAX, BOX_XMAX)  # in the order of box tensors
_PROPOSAL_EDGES = tuple(f"{PROPOSAL_BOX}/{edge}" for edge in ("ymin", "xmin", "ymax", "xmax"))


def encode_example(prepared: PreparedImage, label_map: Mapping[str, int]) -> bytes:
    """Serialized tf.Example of a prepared image; equal inputs give equal bytes.

    Args:
        prepared: The image and what is known about it. All its classes must be in `label_map`.
        label_map: Class ids by name, from 1.
    """
    record, image = prepared.record, prepared.image
    empty = record.label_state == LabelState.EMPTY
    class_names = (EMPTY_TEXT,) if empty else record.class_names
    labels = [EMPTY_LABEL] if empty else [label_map[name] for name in class_names]
    features = {
        HEIGHT: _ints(image.height),
        WIDTH: _ints(image.width),
        FILENAME: _texts(record.file_name),
        SOURCE_ID: _texts(record.image_id),
        SHA256: _texts(image.sha256),
        ENCODED: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.encoded])),
        FORMAT: _texts("jpeg"),
        LOCATION: _texts(record.camera),
        SEQ_ID: _texts(record.seq_id),
        SEQ_NUM_FRAMES: _ints(record.seq_num_frames),
        SEQ_FRAME_NUM: _ints(record.frame_num),
        LABEL_STATE: _ints(record.label_state),
        CLASS_LABEL: _ints(*labels),
        CLASS_TEXT: _texts(*class_names),
        OBJECT_TEXT: _texts(*(box.label for box in record.boxes)),
        OBJECT_LABEL: _ints(*(label_map[box.label] for box in record.boxes)),
        OBJECT_AREA: _floats(prepared.areas),
    }
    for key, edge in zip(_BOX_EDGES, prepared.boxes.T, strict=True):
        features[key] = _floats(edge)
    if prepared.proposals is not None:
        for key, values in zip(
            [*_PROPOSAL_EDGES, PROPOSAL_SCORE], prepared.proposals.T, strict=True
        ):
            features[key] = _floats(values)
    if record.seconds is not None:
        features[DATE_CAPTURED] = _texts(format_timestamp(record.seconds))
        features[UNIX_SECONDS] = _ints(record.seconds)
    if any(box.score is not None for box in record.boxes):
        scores = [1.0 if box.score is None else box.score for box in record.boxes]
        features[OBJECT_SCORE] = _floats(scores)
    if any(box.track for box in record.boxes):
        features[OBJECT_TRACK] = _texts(*(box.track for box in record.boxes))
    if any(box.seen for box in record.boxes):
        seen = [box.seen or _UNSEEN for box in record.boxes]
        features[OBJECT_LOOK] = _texts(*(one.look for one in seen))
        features[OBJECT_SHOWS] = _ints(*(int(one.shows) if one.look else _ABSENT for one in seen))
        features[OBJECT_BLUR] = _floats([one.blur for one in seen])
        features[OBJECT_OCCLUDED] = _floats([one.occluded for one in seen])
        features[OBJECT_SPEED] = _floats([one.speed for one in seen])
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


# Traced once a process: a pipeline of tf.data would trace its forty steps for every file it opens.
@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Tensors of one serialized tf.Example; works in graphs, and on the old scripts' examples.

    Returns:
        `image_bytes`, `image_id`, `camera`, `seq_id`: strings, "" where missing.
        `seconds`: int64 wall-clock seconds, NO_SECONDS where unknown. Old examples have a date.
        `has_seconds`: bool.
        `seq_frame_num`: int64, -1 where missing.
        `seq_num_frames`: int64, 0 where missing.
        `label_state`: int64 `LabelState`. Old examples have none: boxes mean BOXES, the class
            text "empty" EMPTY, another class text IMAGE_LEVEL.
        `boxes`: [n, 4] float32 (ymin, xmin, ymax, xmax) in 0..1.
        `classes`: [n] int64 ids from 1.
        `areas`: [n] float32 pixels; half of the box where missing.
        `scores`: [n] float32, 1 for human boxes.
        `proposals`, `proposal_scores`: [m, 4] like `boxes`, and [m] float32, boxes of another
            detector.
        `tracks`: [n] strings, which object of its video each is, "" where unknown.
        `looks`: [n] strings, how each object appears, "" where unknown.
        `shows`: [n] int64, whether it shows what tells it from its look-alikes, -1 where unknown.
        `blurs`, `occluded`, `speeds`: [n] float32, as in `Visibility`, -1 where unknown.
        `height`, `width`: int64, 0 where missing.
    """
    parsed = tf.io.parse_single_example(serialized, _parsing_spec())
    boxes = tf.stack([parsed[key] for key in _BOX_EDGES], axis=-1)
    height, width = parsed[HEIGHT], parsed[WIDTH]
    box_sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    half_boxes = box_sizes * tf.cast(height * width, tf.float32) / 2
    ones = tf.ones_like(box_sizes)
    no_texts = tf.fill(tf.shape(ones), "")
    stated = parsed[UNIX_SECONDS]
    seconds = tf.cond(
        stated != NO_SECONDS,
        lambda: stated,
        lambda: tensor_timestamps.parse(parsed[DATE_CAPTURED], NO_SECONDS),
    )
    return {
        "image_bytes": parsed[ENCODED],
        "image_id": parsed[SOURCE_ID],
        "camera": parsed[LOCATION],
        "seq_id": parsed[SEQ_ID],
        "seconds": seconds,
        "has_seconds": seconds != NO_SECONDS,
        "seq_frame_num": parsed[SEQ_FRAME_NUM],
        "seq_num_frames": parsed[SEQ_NUM_FRAMES],
        "label_state": _label_state(parsed, boxes),
        "boxes": boxes,
        "classes": parsed[OBJECT_LABEL],
        "proposals": tf.stack([parsed[key] for key in _PROPOSAL_EDGES], axis=-1),
        "proposal_scores": parsed[PROPOSAL_SCORE],
        "areas": _first_given([parsed[OBJECT_AREA]], half_boxes),
        "scores": _first_given([parsed[OBJECT_SCORE], parsed[OLD_OBJECT_SCORE]], ones),
        "tracks": _first_given([parsed[OBJECT_TRACK]], no_texts),
        "looks": _first_given([parsed[OBJECT_LOOK]], no_texts),
        "shows": _first_given([parsed[OBJECT_SHOWS]], tf.cast(-ones, tf.int64)),
        "blurs": _first_given([parsed[OBJECT_BLUR]], UNKNOWN * ones),
        "occluded": _first_given([parsed[OBJECT_OCCLUDED]], UNKNOWN * ones),
        "speeds": _first_given([parsed[OBJECT_SPEED]], UNKNOWN * ones),
        "height": height,
        "width": width,
    }


def _parsing_spec() -> dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]:
    def one(dtype: tf.DType, default: str | int) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], dtype, default)

    many_floats = tf.io.RaggedFeature(tf.float32)
    return {
        ENCODED: tf.io.FixedLenFeature([], tf.string),
        **{key: one(tf.string, "") for key in (SOURCE_ID, LOCATION, SEQ_ID, DATE_CAPTURED)},
        **{key: one(tf.int64, 0) for key in (HEIGHT, WIDTH)},
        UNIX_SECONDS: one(tf.int64, NO_SECONDS),
        SEQ_FRAME_NUM: one(tf.int64, -1),
        SEQ_NUM_FRAMES: one(tf.int64, 0),
        LABEL_STATE: one(tf.int64, _ABSENT),
        CLASS_TEXT: tf.io.RaggedFeature(tf.string),
        OBJECT_LABEL: tf.io.RaggedFeature(tf.int64),
        OBJECT_SHOWS: tf.io.RaggedFeature(tf.int64),
        **{key: tf.io.RaggedFeature(tf.string) for key in (OBJECT_TRACK, OBJECT_LOOK)},
        **{key: many_floats for key in _BOX_EDGES},
        **{key: many_floats for key in (*_PROPOSAL_EDGES, PROPOSAL_SCORE)},
        **{key: many_floats for key in (OBJECT_AREA, OBJECT_SCORE, OLD_OBJECT_SCORE)},
        **{key: many_floats for key in (OBJECT_BLUR, OBJECT_OCCLUDED, OBJECT_SPEED)},
    }


def _label_state(parsed: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
    names = parsed[CLASS_TEXT]
    named = tf.size(names) > 0
    empty = named & tf.reduce_all(names == EMPTY_TEXT)
    derived = tf.where(empty, int(LabelState.EMPTY), int(LabelState.IMAGE_LEVEL))
    derived = tf.where(named, derived, int(LabelState.UNLABELLED))
    derived = tf.where(tf.shape(boxes)[0] > 0, int(LabelState.BOXES), derived)
    stated = parsed[LABEL_STATE]
    return tf.where(stated == _ABSENT, tf.cast(derived, tf.int64), stated)


def _first_given(candidates: list[tf.Tensor], default: tf.Tensor) -> tf.Tensor:
    """The first candidate with a value for each box, else `default`."""
    chosen = default
    for candidate in reversed(candidates):
        given = tf.size(candidate) == tf.size(default)
        chosen = tf.cond(given, lambda c=candidate: c, lambda c=chosen: c)
    return chosen


def _texts(*values: str) -> tf.train.Feature:
    encoded = [value.encode("utf-8") for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
