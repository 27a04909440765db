"""Finds what cannot be read, or cannot teach, in TFRecord files of examples, record by record."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from context_rcnn.data import examples
from context_rcnn.data.complaints import complaint

_OUTSIDE = 0.01  # of the image's side: what rounding may do


def find_damage(
    files: Sequence[str],
    progress: Callable[[Iterable], Iterable] = iter,
    *,
    labels_alone: bool = False,
) -> Iterator[str]:
    """Yields a line for everything that is wrong: file, record, what.

    Reads every record, parses it, decodes its image and looks at its labels. Behind a broken
    checksum or a cut record the rest of that file cannot be read; the other files still are.

    Args:
        files: files of examples.
        progress: wraps the files, to show how far it is.
        labels_alone: whether records need no image, as where a memory learns on stored features.
    """
    places: dict[str, str] = {}
    for file in progress(files):
        number, records = 0, iter(tf.data.TFRecordDataset(file))
        while True:
            try:
                record = next(records, None)
            except (tf.errors.OpError, UnicodeDecodeError) as error:
                yield f"{file}: record {number} and all behind it: {_brief(error)}"
                break
            if record is None:
                if not number:
                    yield f"{file}: has no records"
                break
            try:
                example = examples.parse_example(record)
                if not labels_alone or example["image_bytes"].numpy():
                    said = complaint(example["image_bytes"])
                    if said:
                        yield f"{file}: record {number}: {said}"
                for problem in _label_problems(example):
                    yield f"{file}: record {number}: {problem}"
                image_id = example["image_id"].numpy().decode()
                first = places.setdefault(image_id, f"record {number} of {file}")
                if first != f"record {number} of {file}":
                    yield f"{file}: record {number}: image {image_id!r} is also {first}"
            except (tf.errors.OpError, UnicodeDecodeError) as error:
                if _is_sequence(record.numpy()):
                    yield (
                        f"{file}: record {number} is a tf.SequenceExample, as the Object Detection "
                        "API's context step writes them, and no tf.Example: `context-rcnn bank "
                        f"import BANK --examples={file} --images=FOLDER` makes examples of the "
                        "file; the rest of it was not read"
                    )
                    break
                yield f"{file}: record {number}: {_brief(error)}"
            number += 1


def _label_problems(example: Mapping[str, tf.Tensor]) -> Iterator[str]:
    """What is wrong with the boxes of an example: boxes without area teach nothing."""
    name = f"image {example['image_id'].numpy().decode(errors='replace')!r}"
    boxes, classes = example["boxes"].numpy(), example["classes"].numpy()
    if len(boxes) and len(classes) != len(boxes):
        yield f"{name}: {len(boxes)} boxes, but {len(classes)} classes"
        return
    for number, (box, label) in enumerate(zip(boxes, classes, strict=False)):
        where = f"{name}, box {number}"
        edges = ", ".join(f"{edge:g}" for edge in box)
        if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
            yield f"{where}: has no area and teaches nothing (ymin, xmin, ymax, xmax: {edges})"
        elif box.min() < -_OUTSIDE or box.max() > 1 + _OUTSIDE:
            yield f"{where}: reaches out of the image (ymin, xmin, ymax, xmax: {edges})"
        if label < 1:
            yield f"{where}: class {label}, but classes count from 1"


def _is_sequence(record: bytes) -> bool:
    """Whether a record that is no tf.Example is a tf.SequenceExample."""
    try:
        lists = tf.train.SequenceExample.FromString(record).feature_lists.feature_list
    except DecodeError:
        return False
    return any(name.startswith(("image/", "region/")) for name in lists)


def _brief(error: UnicodeDecodeError | tf.errors.OpError) -> str:
    if isinstance(error, UnicodeDecodeError):  # TensorFlow quotes the broken bytes.
        return "not a tf.Example"
    return error.message.split("[Op:")[0].splitlines()[0][:200].strip()
