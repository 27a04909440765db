"""Pieces of examples and archives: what they give, and keys that change when it does."""

import os
import shutil

import pytest

from beam_pipelines import sources


def test_a_damaged_examples_file_is_named_and_not_cut_short(archive, tmp_path):
    file = shutil.copy(sorted(archive.glob("*.tfrecord"))[0], tmp_path / "x.tfrecord")
    (piece,) = sources.examples_files(str(file))
    whole = len(list(piece.read()))
    os.truncate(file, os.path.getsize(file) - 100)
    (piece,) = sources.examples_files(str(file))
    with pytest.raises(ValueError, match=rf"x\.tfrecord: record {whole - 1} is damaged"):
        list(piece.read())


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
