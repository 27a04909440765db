"""Banks that are damaged, of another kind, or hold what must not be in them."""

import json
import os

import numpy as np
import pytest

from context_rcnn.memory_bank import wire
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.store import Bank


def change_manifest(folder, change):
    path = os.path.join(folder, "manifest.json")
    with open(path) as file:
        document = json.load(file)
    change(document)
    with open(path, "w") as file:
        json.dump(document, file)


def test_another_extractor_is_refused_by_name(write_bank):
    folder = write_bank()
    with pytest.raises(ValueError, match="by extractor sha256:1234, .* of extractor sha256:99 "):
        Bank.open(folder, "sha256:99")


def test_a_newer_format_is_refused(write_bank):
    folder = write_bank()
    change_manifest(folder, lambda document: document.update(format_version=2))
    with pytest.raises(ValueError, match="format version 2 is newer .* up to 1"):
        Bank.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '"x"', "{"])
def test_what_is_no_manifest_is_named(text, tmp_path):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json: not the manifest of a memory bank"):
        Bank.open(tmp_path)


def test_a_manifest_without_a_field_is_named(write_bank):
    folder = write_bank()
    change_manifest(folder, lambda document: document.pop("depth"))
    with pytest.raises(ValueError, match="missing or wrong field: KeyError.'depth'"):
        Bank.open(folder)


def test_a_camera_in_a_file_that_is_not_listed_is_named(write_bank):
    folder = write_bank()
    change_manifest(folder, lambda document: document["cameras"]["camera 1"].update(shard=3))
    with pytest.raises(ValueError, match="camera 'camera 1' is said to be in file 3"):
        Bank.open(folder)


def test_a_folder_without_manifest_is_no_bank(tmp_path):
    with pytest.raises(ValueError, match="not a memory bank, or unfinished"):
        Bank.open(tmp_path)


def test_a_missing_file_is_named(write_bank):
    folder = write_bank()
    os.remove(os.path.join(folder, "bank-00001-of-00003.tfrecord"))
    with pytest.raises(ValueError, match="bank-00001-of-00003.tfrecord: this file .* is missing"):
        Bank.open(folder)


def test_a_half_written_file_is_named(write_bank):
    path = os.path.join(write_bank(), "bank-00001-of-00003.tfrecord")
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(ValueError, match="bank-00001-of-00003.tfrecord: .* half written"):
        Bank.open(os.path.dirname(path))


def damage(folder, camera, change):
    """Changes the bytes of a camera's first record in place."""
    bank = Bank.open(folder)
    info = bank.manifest.cameras[camera]
    place = info.segments[0]
    path = os.path.join(folder, bank.manifest.shard_names[info.shard])
    with open(path, "r+b") as file:
        file.seek(place.offset)
        framed = bytearray(file.read(place.bytes))
        change(framed)
        file.seek(place.offset)
        file.write(framed)


def test_a_truncated_record_is_named(write_bank):
    folder = write_bank()

    def shorten(framed):
        framed[:] = b"".join(wire.frame([bytes(framed[12:-104])])).ljust(len(framed), b"\0")

    damage(folder, "camera 2", shorten)
    with pytest.raises(ValueError, match="camera 'camera 2', record 0 at byte .* says it has"):
        Bank.open(folder, check=False).camera("camera 2")


def test_a_changed_byte_is_noticed_unless_checks_are_off(write_bank):
    folder = write_bank()

    def touch(framed):
        framed[-20] ^= 1

    damage(folder, "camera 2", touch)
    with pytest.raises(ValueError, match="bank-.*camera 'camera 2', record 0 .*checksum"):
        Bank.open(folder).camera("camera 2")
    assert len(Bank.open(folder, check=False).camera("camera 2")) == 80


def test_features_that_are_not_finite_are_named_when_read(write_bank):
    folder = write_bank({"cam": make_one()}, dtype="float16")

    def poison(framed):
        record = framed[12:-4]
        record[-2 * 32 * 3 : -2 * 32 * 3 + 2] = np.float16(np.nan).tobytes()
        framed[:] = b"".join(wire.frame([bytes(record)]))

    damage(folder, "cam", poison)
    with pytest.raises(ValueError, match="camera 'cam', image 'i7', rank 0: the feature holds NaN"):
        Bank.open(folder).camera("cam")
    assert len(Bank.open(folder, check=False).camera("cam")) == 10


def make_one(value=1.0):
    features = np.ones([10, 32], np.float32)
    features[4, 3] = value
    return Entries.make(
        image_ids=[f"i{i}" for i in range(10)],
        seconds=range(10),
        boxes=np.zeros([10, 4]),
        features=features,
    )


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.nan, "float32"), (np.inf, "bfloat16"), (1e6, "float16"), (np.nan, "int8")],
)
def test_features_that_are_not_finite_are_not_written(value, dtype, write_bank, tmp_path):
    with pytest.raises(ValueError, match="camera 'cam', image 'i4', rank 0: .*NaN or infinity"):
        write_bank({"cam": make_one(value)}, dtype=dtype)
    assert os.listdir(tmp_path / "bank") == []


def test_features_of_another_depth_are_refused(write_bank):
    with pytest.raises(ValueError, match="camera 'cam': features have depth 32, the bank has 16"):
        write_bank({"cam": make_one()}, depth=16)


def test_a_record_with_a_field_of_wrong_length_is_named(write_bank):
    folder = write_bank({"cam": make_one()})
    change_manifest(folder, lambda document: document.update(depth=31))
    with pytest.raises(ValueError, match="bank/features: 320 values, expected 10 x 31"):
        Bank.open(folder).camera("cam")


def test_a_record_of_another_camera_is_refused(write_bank, make_entries):
    folder = write_bank({"a": make_entries(), "b": make_entries()}, num_shards=1)

    def swap(document):
        cameras = document["cameras"]
        cameras["a"], cameras["b"] = cameras["b"], cameras["a"]

    change_manifest(folder, swap)
    with pytest.raises(ValueError, match="camera 'a', record 0 .*holds .'b', 0, 'float16', 80"):
        Bank.open(folder).camera("a")


def test_an_unknown_camera_is_named(write_bank):
    with pytest.raises(KeyError, match="no camera 'nowhere'"):
        Bank.open(write_bank()).camera("nowhere")
