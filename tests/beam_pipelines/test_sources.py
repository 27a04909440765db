"""Pieces of examples and archives: what they give, and keys that change when it does."""

import os
import shutil

import pytest
import tensorflow as tf

from beam_pipelines import sources
from context_rcnn.data.complaints import complaint
from tests.cli import hostile_folder


def test_a_damaged_examples_file_is_named_and_not_cut_short(archive, tmp_path):
    file = shutil.copy(sorted(archive.glob("*.tfrecord"))[0], tmp_path / "x.tfrecord")
    (piece,) = sources.examples_files(str(file))
    whole = len(list(piece.read()))
    os.truncate(file, os.path.getsize(file) - 100)
    (piece,) = sources.examples_files(str(file))
    with pytest.raises(ValueError, match=rf"x\.tfrecord: record {whole - 1} is damaged"):
        list(piece.read())


def test_a_damaged_image_of_examples_is_named_and_read_without_a_complaint(archive, tmp_path):
    (source, *_) = sorted(archive.glob("*.tfrecord"))
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as file:
        for number, record in enumerate(tf.data.TFRecordDataset(str(source)).take(3)):
            example = tf.train.Example.FromString(record.numpy())
            if number == 1:
                image = example.features.feature["image/encoded"].bytes_list
                image.value[0] = hostile_folder.damaged()
            file.write(example.SerializeToString())
    (piece,) = sources.examples_files(str(tmp_path / "x.tfrecord"))
    first, failure, second, third = piece.read()
    assert (failure.reason, failure.lost) == ("damaged_data", "nothing")
    assert (failure.image_id, failure.camera) == (second.image_id, second.camera)
    assert not any(complaint(photograph.encoded) for photograph in (first, second, third))
    assert complaint(hostile_folder.damaged())


def test_the_key_of_an_examples_file_follows_its_content_not_its_place(archive, tmp_path):
    file = sorted(archive.glob("*.tfrecord"))[0]
    (piece,) = sources.examples_files(str(file))
    (moved,) = sources.examples_files(str(shutil.copy2(file, tmp_path / file.name)))
    assert moved.key == piece.key and moved.name != piece.name
    with open(moved.name, "ab") as changed:
        changed.write(b"more")
    (changed,) = sources.examples_files(moved.name)
    assert changed.key != piece.key


def test_an_unfinished_folder_of_examples_is_refused(archive, tmp_path):
    shutil.copy(sorted(archive.glob("*.tfrecord"))[0], tmp_path)
    with pytest.raises(ValueError, match="no manifest.json"):
        sources.examples_files(str(tmp_path))
