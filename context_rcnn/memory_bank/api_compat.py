"""To and from the examples of the Object Detection API's Context R-CNN.

Its tools keep memory in two places. After its embedding step each image has its own entries:

    image/embedding         float [count * length], entries one after the other
    image/embedding_score   float [count]
    image/embedding_length  int64, 2057
    image/embedding_count   int64
    image/unix_time         float32 seconds

and after its context step each image has a copy of its camera's bank:

    image/context_features                float [entries * length]
    image/context_feature_length          int64
    image/context_features_image_id_list  ids

What is lost on the way back: the entries' nine floats hold the time to the minute and the box to
float32 rounding; `image/date_captured` gives an image's own time to the second.
`image/unix_time` is written for its readers and never read: a float32 steps by 128 seconds in these
years, and its origin depends on the machine that wrote it. Copied banks have neither scores (1 is
put in) nor classes (0).
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data.timestamps import ClockError, format_timestamp, parse_timestamp
from context_rcnn.memory_bank import encoding
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.store import CameraBank

EMBEDDING = "image/embedding"
EMBEDDING_SCORE = "image/embedding_score"
EMBEDDING_LENGTH = "image/embedding_length"
EMBEDDING_COUNT = "image/embedding_count"
UNIX_TIME = "image/unix_time"
CONTEXT = "image/context_features"
CONTEXT_LENGTH = "image/context_feature_length"
CONTEXT_IDS = "image/context_features_image_id_list"


def add_embedding(
    example: tf.train.Example, camera: CameraBank, variant: encoding.Variant = "released"
) -> tf.train.Example:
    """A copy of an image's example with the entries that its camera's bank has of it."""
    copy = tf.train.Example.FromString(example.SerializeToString())
    image_id = _text(example, examples.SOURCE_ID)
    indices = np.arange(*camera.timeline.of_image(image_id))
    entries = camera.entries(indices, variant)
    _put_floats(copy, EMBEDDING, entries.ravel())
    _put_floats(copy, EMBEDDING_SCORE, camera.scores[indices])
    _put_ints(copy, EMBEDDING_LENGTH, entries.shape[1])
    _put_ints(copy, EMBEDDING_COUNT, entries.shape[0])
    if len(indices) and camera.dated[indices[0]]:
        seconds = int(camera.seconds[indices[0]])
        _put_floats(copy, UNIX_TIME, [seconds])
        _put_texts(copy, examples.DATE_CAPTURED, [format_timestamp(seconds)])
    return copy


def read_embedding(
    example: tf.train.Example, variant: encoding.Variant = "released"
) -> tuple[str, Entries]:
    """Camera and entries of an image after the embedding step.

    Raises:
        ValueError: If the fields are missing or do not fit each other; it names image and field.
    """
    image_id = _text(example, examples.SOURCE_ID)
    vectors = _vectors(example, EMBEDDING, EMBEDDING_LENGTH, image_id)
    (count,) = _ints(example, EMBEDDING_COUNT, image_id)
    if count != len(vectors):
        raise ValueError(
            f"image {image_id!r}, {EMBEDDING_COUNT}: {count}, but {EMBEDDING} has {len(vectors)}"
        )
    boxes, seconds, dated = encoding.decode(vectors[:, encoding.X_CENTRE :], variant)
    times = _times(seconds, dated)
    stated = _text(example, examples.DATE_CAPTURED)
    if stated:
        try:
            times = [parse_timestamp(stated)] * count
        except ClockError:
            times = [None] * count
    scores = np.array(example.features.feature[EMBEDDING_SCORE].float_list.value, np.float32)
    if len(scores) != count:
        raise ValueError(
            f"image {image_id!r}, {EMBEDDING_SCORE}: {len(scores)} values, expected {count}"
        )
    entries = Entries.make(
        image_ids=[image_id] * count,
        seconds=times,
        boxes=boxes,
        features=vectors[:, : encoding.X_CENTRE],
        scores=scores,
    )
    return _text(example, examples.LOCATION), entries


def add_context(
    example: tf.train.Example,
    camera: CameraBank,
    indices: np.ndarray,
    variant: encoding.Variant = "released",
) -> tf.train.Example:
    """A copy of an image's example with a copy of these entries of its camera's bank.

    One id is written for each entry. The old tool writes one for each image, which is the same as
    long as there is one entry an image, its default.
    """
    copy = tf.train.Example.FromString(example.SerializeToString())
    entries = camera.entries(indices, variant)
    _put_floats(copy, CONTEXT, entries.ravel())
    _put_ints(copy, CONTEXT_LENGTH, entries.shape[1])
    _put_texts(copy, CONTEXT_IDS, camera.image_ids[indices])
    return copy


def read_context(
    example: tf.train.Example,
    variant: encoding.Variant = "released",
    dates: Mapping[str, int] | None = None,
) -> tuple[str, Entries]:
    """Camera and entries of the bank that was copied into an image's example.

    Times are those of the nine floats, to the minute, or to the second those of `dates` by image.

    There may be one id for each entry or, as the old tool writes them, one for each image if all
    have equally many; "" fills up. Without ids each entry is taken for an image of its own, named
    after what it holds, so that it has one name in all copies of the bank.

    Raises:
        ValueError: If the fields are missing or do not fit each other; it names image and field.
    """
    image_id = _text(example, examples.SOURCE_ID)
    vectors = _vectors(example, CONTEXT, CONTEXT_LENGTH, image_id)
    boxes, seconds, dated = encoding.decode(vectors[:, encoding.X_CENTRE :], variant)
    values = example.features.feature[CONTEXT_IDS].bytes_list.value
    ids = [value.decode() for value in values if value]
    if not ids:
        ids = [
            f"entry {hashlib.blake2b(vector.tobytes(), digest_size=8).hexdigest()}"
            for vector in vectors
        ]
    if ids and len(vectors) % len(ids):
        raise ValueError(
            f"image {image_id!r}, {CONTEXT_IDS}: {len(ids)} ids do not share "
            f"{len(vectors)} entries evenly"
        )
    image_ids = np.repeat(np.array(ids, object), len(vectors) // max(1, len(ids)))
    times, dates = _times(seconds, dated), dates or {}
    entries = Entries.make(
        image_ids=image_ids,
        seconds=[dates.get(name, time) for name, time in zip(image_ids, times, strict=True)],
        boxes=boxes,
        features=vectors[:, : encoding.X_CENTRE],
    )
    return _text(example, examples.LOCATION), entries


def _vectors(example: tf.train.Example, key: str, length_key: str, image_id: str) -> np.ndarray:
    """[n, D + 9] float32."""
    (length,) = _ints(example, length_key, image_id)
    values = np.array(example.features.feature[key].float_list.value, np.float32)
    if length <= encoding.SIZE or len(values) % length:
        raise ValueError(
            f"image {image_id!r}, {key}: {len(values)} floats are no entries of length {length}"
        )
    return values.reshape(-1, length)


def _times(seconds: np.ndarray, dated: np.ndarray) -> list[int | None]:
    return [int(time) if known else None for time, known in zip(seconds, dated, strict=True)]


def _ints(example: tf.train.Example, key: str, image_id: str) -> list[int]:
    values = list(example.features.feature[key].int64_list.value)
    if len(values) != 1:
        raise ValueError(f"image {image_id!r}, {key}: {len(values)} values, expected 1")
    return values


def _text(example: tf.train.Example, key: str) -> str:
    values = example.features.feature[key].bytes_list.value
    return values[0].decode() if values else ""


def _put_floats(example: tf.train.Example, key: str, values) -> None:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    example.features.feature[key].CopyFrom(feature)


def _put_ints(example: tf.train.Example, key: str, *values: int) -> None:
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    example.features.feature[key].CopyFrom(feature)


def _put_texts(example: tf.train.Example, key: str, values) -> None:
    encoded = [value.encode() for value in values]
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
    example.features.feature[key].CopyFrom(feature)
