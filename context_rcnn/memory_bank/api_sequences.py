"""The Object Detection API's sequence examples of Context R-CNN, taken apart.

Its context step writes by default one tf.SequenceExample for all images of a camera and month:

    context         image/context_features, image/context_feature_length, of all of them
                    image/context_features_image_id_list, if it was asked to keep it
                    image/height, image/width, of the first image; image/format
    feature lists   image/encoded, image/source_id, image/location, image/date_captured,
                    region/bbox/{ymin,xmin,ymax,xmax}, region/label/{index,string}, an image each
                    image/context_features_idx, place of the image in the context
"""

import io
from collections.abc import Iterator

import tensorflow as tf
from PIL import Image

from context_rcnn.data import examples
from context_rcnn.data.timestamps import ClockError, parse_timestamp
from context_rcnn.memory_bank import api_compat

INDEX = "image/context_features_idx"
# Of a feature list, what it is called in an image's own example.
_OF_IMAGES = {
    examples.ENCODED: examples.ENCODED,
    examples.SOURCE_ID: examples.SOURCE_ID,
    examples.LOCATION: examples.LOCATION,
    examples.DATE_CAPTURED: examples.DATE_CAPTURED,
    "region/bbox/ymin": examples.BOX_YMIN,
    "region/bbox/xmin": examples.BOX_XMIN,
    "region/bbox/ymax": examples.BOX_YMAX,
    "region/bbox/xmax": examples.BOX_XMAX,
    "region/label/index": examples.OBJECT_LABEL,
    "region/label/string": examples.OBJECT_TEXT,
}


def parse(record: bytes) -> tf.train.SequenceExample | None:
    """A record as a sequence example; None if it is a tf.Example."""
    sequence = tf.train.SequenceExample.FromString(record)
    return sequence if sequence.feature_lists.feature_list else None


def count(sequence: tf.train.SequenceExample) -> int:
    """How many images it has."""
    return len(sequence.feature_lists.feature_list[examples.ENCODED].feature)


def images(sequence: tf.train.SequenceExample, unboxed_are_empty: bool) -> Iterator[bytes | str]:
    """A serialized example of each image, with its labels; a text where an image cannot be read.

    Args:
        sequence: taken apart.
        unboxed_are_empty: images without boxes are known to be empty. A sequence example does not
            tell them from those whose label has no box, so that by default they are unlabelled.
    """
    lists = sequence.feature_lists.feature_list
    for number, encoded in enumerate(lists[examples.ENCODED].feature):
        example = tf.train.Example()
        features = example.features.feature
        for name, key in _OF_IMAGES.items():
            if number < len(lists[name].feature):
                features[key].CopyFrom(lists[name].feature[number])
        try:
            with Image.open(io.BytesIO(encoded.bytes_list.value[0])) as image:
                (width, height), kind = image.size, str(image.format).lower()
        except (OSError, IndexError, ValueError, Image.DecompressionBombError) as error:
            yield f"image {_text(features[examples.SOURCE_ID])!r}: {error}"
            continue
        # Of these the sequence has those of its first image only.
        features[examples.HEIGHT].int64_list.value.append(height)
        features[examples.WIDTH].int64_list.value.append(width)
        features[examples.FORMAT].bytes_list.value.append(kind.encode())
        names = list(dict.fromkeys(features[examples.OBJECT_TEXT].bytes_list.value))
        if not features[examples.BOX_YMIN].float_list.value and unboxed_are_empty:
            names = [examples.EMPTY_TEXT.encode()]
        if names:
            features[examples.CLASS_TEXT].bytes_list.value.extend(names)
        yield example.SerializeToString(deterministic=True)


def context(sequence: tf.train.SequenceExample) -> tf.train.Example:
    """An example with the sequence's context and camera, as `api_compat.read_context` reads it.

    Where the ids of images in the context were not kept, they are those of the sequence's own
    images, if these are all that the context is of; else there are none.
    """
    example = tf.train.Example()
    features, lists = example.features.feature, sequence.feature_lists.feature_list
    for key in (api_compat.CONTEXT, api_compat.CONTEXT_LENGTH, api_compat.CONTEXT_IDS):
        if key in sequence.context.feature:
            features[key].CopyFrom(sequence.context.feature[key])
    for key in (examples.SOURCE_ID, examples.LOCATION):
        if lists[key].feature:
            features[key].CopyFrom(lists[key].feature[0])
    if not features[api_compat.CONTEXT_IDS].bytes_list.value:
        features[api_compat.CONTEXT_IDS].bytes_list.value.extend(_ids(sequence))
    return example


def dates(sequence: tf.train.SequenceExample) -> dict[str, int]:
    """Seconds of the sequence's images by id, of those that have a date."""
    lists = sequence.feature_lists.feature_list
    names, texts = lists[examples.SOURCE_ID].feature, lists[examples.DATE_CAPTURED].feature
    found = {}
    for name, text in zip(names, texts, strict=False):
        try:
            seconds = parse_timestamp(_text(text))
        except ClockError:
            continue
        if seconds is not None:
            found[_text(name)] = seconds
    return found


def _ids(sequence: tf.train.SequenceExample) -> list[bytes]:
    """Ids of the images in the context, in its order; none where they are not known for certain."""
    lists, features = sequence.feature_lists.feature_list, sequence.context.feature
    (length,) = features[api_compat.CONTEXT_LENGTH].int64_list.value or (1,)
    entries = len(features[api_compat.CONTEXT].float_list.value) // max(1, length)
    places = {}
    for name, place in zip(lists[examples.SOURCE_ID].feature, lists[INDEX].feature, strict=False):
        # What is not in the context has a place behind it.
        for index in place.int64_list.value:
            if index < entries:
                places[index] = name.bytes_list.value[0]
    whole = places and sorted(places) == list(range(len(places))) and entries % len(places) == 0
    return [places[index] for index in sorted(places)] if whole else []


def _text(feature: tf.train.Feature) -> str:
    return feature.bytes_list.value[0].decode(errors="replace") if feature.bytes_list.value else ""
