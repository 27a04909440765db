"""Own TFRecord framing, read back by TensorFlow."""

import tensorflow as tf

from beam_pipelines.tfrecord import TFRecordWriter

RECORDS = [b"", b"a", bytes(range(256)) * 100]


def test_tensorflow_reads_what_is_written_and_would_write_the_same(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    with open(path, "wb") as file:
        writer = TFRecordWriter(file)
        for record in RECORDS:
            writer.write(record)
    assert [record.numpy() for record in tf.data.TFRecordDataset(path)] == RECORDS
    assert (writer.records, writer.bytes) == (3, (tmp_path / "a.tfrecord").stat().st_size)
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as theirs:
        for record in RECORDS:
            theirs.write(record)
    assert (tmp_path / "a.tfrecord").read_bytes() == (tmp_path / "b.tfrecord").read_bytes()
