"""Finds what cannot be read in TFRecord files of examples, record by record."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import tensorflow as tf

from context_rcnn.data import examples


def find_damage(
    files: Sequence[str], progress: Callable[[Iterable], Iterable] = iter
) -> Iterator[str]:
    """Yields a line for everything that is wrong: file, record, what.

    Reads every record, parses it and decodes its image. Behind a broken checksum or a cut record
    the rest of that file cannot be read; the other files still are.
    """
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
                tf.io.decode_image(example["image_bytes"], channels=3, expand_animations=False)
            except (tf.errors.OpError, UnicodeDecodeError) as error:
                yield f"{file}: record {number}: {_brief(error)}"
            number += 1


def _brief(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):  # TensorFlow quotes the broken bytes.
        return "not a tf.Example"
    return error.message.split("[Op:")[0].splitlines()[0][:200].strip()
