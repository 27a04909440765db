"""Own TFRecord framing, read back by TensorFlow; files that appear whole."""

import pytest
import tensorflow as tf

from beam_pipelines.tfrecord import TFRecordWriter, file_size, read_text, whole_file, write_text

RECORDS = [b"", b"a", bytes(range(256)) * 100]


def test_tensorflow_reads_what_is_written_and_would_write_the_same(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    with whole_file(path) as file:
        writer = TFRecordWriter(file)
        for record in RECORDS:
            writer.write(record)
    assert [record.numpy() for record in tf.data.TFRecordDataset(path)] == RECORDS
    assert (writer.records, writer.bytes) == (3, file_size(path))
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as theirs:
        for record in RECORDS:
            theirs.write(record)
    assert (tmp_path / "a.tfrecord").read_bytes() == (tmp_path / "b.tfrecord").read_bytes()


def test_an_interrupted_file_leaves_the_old_one(tmp_path):
    path = str(tmp_path / "a.txt")
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert read_text(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_missing_file_has_no_text_and_no_size(tmp_path):
    assert read_text(str(tmp_path / "none")) is None
    assert file_size(str(tmp_path / "none")) is None
