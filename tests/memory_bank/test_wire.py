"""tf.Example and TFRecord as bytes, against protobuf and TensorFlow."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.memory_bank import wire

VALUES = st.lists(st.binary(max_size=300), min_size=1, max_size=4) | st.integers(
    -(2**63), 2**63 - 1
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, min_size=1, max_size=5))
def test_protobuf_reads_what_is_written_and_the_other_way_round(fields):
    encoded = b"".join(wire.encode_example(fields))
    features = tf.train.Example.FromString(encoded).features.feature
    found = {
        key: list(feature.bytes_list.value) or feature.int64_list.value[0]
        for key, feature in features.items()
    }
    assert found == fields
    theirs = tf.train.Example.FromString(encoded).SerializeToString(deterministic=True)
    decoded = wire.decode_example(memoryview(theirs))
    assert {
        key: value[0] if isinstance(value[0], int) else [bytes(v) for v in value]
        for key, value in decoded.items()
    } == fields


@given(st.binary(max_size=60))
def test_bytes_that_are_no_example_raise_nothing_but_value_errors(data):
    with contextlib.suppress(ValueError):
        wire.decode_example(memoryview(data))


def test_tensorflow_reads_the_frames(tmp_path):
    records = [b"first", b"", bytes(100_000)]
    path = tmp_path / "records"
    path.write_bytes(b"".join(b"".join(wire.frame([record])) for record in records))
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert found == records


@pytest.mark.parametrize(
    ("position", "message"),
    [(3, "damaged length"), (9, "damaged length"), (14, "checksum"), (-2, "checksum")],
)
def test_a_changed_byte_is_noticed(position, message):
    framed = np.frombuffer(b"".join(wire.frame([b"a record"])), np.uint8).copy()
    framed[position] ^= 1
    with pytest.raises(ValueError, match=message):
        wire.unframe(memoryview(framed.tobytes()), check=True)


@pytest.mark.parametrize("length", [5, 20])
def test_a_record_that_is_cut_off_is_noticed(length):
    framed = b"".join(wire.frame([b"a record"]))
    with pytest.raises(ValueError, match="cut off|bytes"):
        wire.unframe(memoryview(framed[:length]), check=False)
