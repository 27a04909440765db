"""Writing and reading banks."""

import contextlib
import gzip
import mmap
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import context_rcnn.memory_bank
from context_rcnn.memory_bank import encoding, records
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.manifest import BankInfo, shard_of
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.writer import BankWriter, ShardWriter, recover

EXTRACTOR = "sha256:1234"
ODD_NAMES = [
    "../outside",
    "/etc/camera",
    "",
    "зимовка 🦌",
    "a\x00b",
    "bank-00000-of-00003.tfrecord",
]


def files_of(folder):
    contents = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            contents[name] = file.read()
    return contents


def base_of(array):
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_what_was_written_is_read(dtype, compression, write_bank, make_entries):
    entries = make_entries()
    folder = write_bank({"cam": entries}, dtype=dtype, compression=compression)
    camera = Bank.open(folder, EXTRACTOR).camera("cam")
    expected = entries.in_time_order().stored_as(dtype)
    np.testing.assert_array_equal(camera.features.read(np.arange(80)), expected.float_features())
    for name in ("boxes", "scores", "seconds", "dated", "image_ids", "ranks", "classes"):
        np.testing.assert_array_equal(getattr(camera, name), getattr(expected, name))
    assert list(camera.dated) == [True] * 74 + [False] * 6


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_features_are_mapped_from_the_file_at_aligned_addresses(dtype, write_bank, monkeypatch):
    monkeypatch.setattr(records, "MAX_ENTRIES", 7)
    folder = write_bank(dtype=dtype)
    unpacked = Bank.open(write_bank(dtype=dtype, compression="gzip", folder="gzip"))
    for camera in Bank.open(folder):
        assert len(camera.features.blocks) == 12
        for block in camera.features.blocks:
            assert block.ctypes.data % 64 == 0
            assert isinstance(base_of(block), mmap.mmap)
            assert not block.flags.writeable
        np.testing.assert_array_equal(
            camera.features.read(np.arange(80)),
            unpacked.camera(camera.name).features.read(np.arange(80)),
        )


def test_records_stay_moderate():
    assert records.entries_per_segment(32, "float16") == 4096
    assert records.entries_per_segment(2048, "float16") == 4096
    assert records.entries_per_segment(8192, "float32") == 1024
    assert records.entries_per_segment(100_000_000, "float32") == 1


@pytest.mark.parametrize("variant", encoding.VARIANTS)
def test_entries_are_features_with_the_encoding_of_box_and_time(variant, write_bank, make_entries):
    entries = make_entries().in_time_order()
    camera = Bank.open(write_bank({"cam": entries}, dtype="float32")).camera("cam")
    indices = np.array([0, 5, 6, 79])
    found = camera.entries(indices, variant)
    encoded = encoding.encode(
        entries.boxes[indices], entries.seconds[indices], entries.dated[indices], variant
    )
    np.testing.assert_array_equal(found[:, :-9], entries.features[indices])
    np.testing.assert_array_equal(found[:, -9:], encoded)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_bytes_do_not_depend_on_the_order_of_cameras_and_entries(
    compression, write_bank, make_entries
):
    cameras = {f"camera {i}": make_entries(seed=i) for i in range(6)}
    first = files_of(write_bank(cameras, compression=compression))
    random = np.random.default_rng(0)
    shuffled = {
        name: cameras[name].take(random.permutation(80))
        for name in random.permutation(list(cameras))
    }
    assert files_of(write_bank(shuffled, folder="again", compression=compression)) == first
    assert len(first) == 4


def test_compressed_records_do_not_hold_the_time_they_were_written(write_bank):
    bank = Bank.open(write_bank(compression="gzip"))
    contents = files_of(bank.folder)
    for info in bank.manifest.cameras.values():
        data = contents[bank.manifest.shard_names[info.shard]][info.segments[0].offset :]
        assert data[:2] == b"\x1f\x8b" and data[4:8] == bytes(4)


def test_cameras_with_odd_names_stay_in_the_folder(write_bank, make_entries, tmp_path):
    cameras = {name: make_entries(images=3, seed=i) for i, name in enumerate(ODD_NAMES)}
    bank = Bank.open(write_bank(cameras))
    assert bank.cameras == sorted(ODD_NAMES)
    for name, entries in cameras.items():
        expected = entries.in_time_order().boxes
        np.testing.assert_array_equal(bank.camera(name).boxes, expected)
    assert os.listdir(tmp_path) == ["bank"]


def test_the_shard_of_a_camera_is_fixed_for_all_time():
    assert [shard_of(name, 1000) for name in ("", "camera 7", "é")] == [876, 394, 743]


def test_manifest_counts(write_bank, make_entries):
    cameras = {"a": make_entries(), "b": make_entries(images=0), "c": make_entries(undated=40)}
    dropped = {"a": {"not_top_k": 7, "stride": 0}, "b": {"not_positive": 5}}
    manifest = Bank.open(write_bank(cameras, dropped=dropped)).manifest
    a, b, c = (manifest.cameras[name] for name in "abc")
    assert (a.entries, a.undated, a.images, a.dropped) == (80, 6, 40, {"not_top_k": 7})
    assert (a.first_seconds, a.last_seconds) == (1_600_000_000 + 2100, 1_600_000_000 + 39 * 700)
    assert (b.entries, b.images, b.first_seconds, b.segments) == (0, 0, None, ())
    assert (c.undated, c.first_seconds, c.last_seconds) == (80, None, None)
    totals = manifest.totals()
    assert totals["entries"] == 160 and totals["images"] == 80
    assert totals["dropped"] == {"not_top_k": 7, "not_positive": 5}


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_camera_without_entries_can_be_read(dtype, write_bank, make_entries):
    camera = Bank.open(write_bank({"a": make_entries(images=0)}, dtype=dtype)).camera("a")
    assert camera.entries(np.arange(0)).shape == (0, 41)
    assert len(camera.stored()) == 0


def test_a_failed_writer_leaves_the_old_bank(write_bank, make_entries):
    folder = write_bank()
    before = files_of(folder)
    with pytest.raises(RuntimeError), BankWriter(folder, Bank.open(folder).info) as writer:
        writer.add("new", make_entries())
        raise RuntimeError
    assert files_of(folder) == before


def test_a_new_bank_replaces_the_old_one_and_its_files(write_bank, make_entries):
    folder = write_bank(num_shards=5)
    write_bank({"only": make_entries()}, num_shards=2)
    assert Bank.open(folder).cameras == ["only"]
    expected = [f"bank-0000{i}-of-00002.tfrecord" for i in range(2)] + ["manifest.json"]
    assert sorted(os.listdir(folder)) == expected


def test_a_camera_is_added_once(write_bank, make_entries, tmp_path):
    with (
        pytest.raises(ValueError, match="camera 'a' was added before"),
        BankWriter(str(tmp_path / "b"), BankInfo("h", "pooled", 32)) as writer,
    ):
        writer.add("a", make_entries())
        writer.add("a", make_entries())


@pytest.mark.parametrize("killed_after", range(10))
def test_a_killed_rewrite_is_all_or_nothing(killed_after, write_bank, make_entries, monkeypatch):
    """Killed before any of its renames, a rewrite has happened or it has not."""
    folder = write_bank()
    old = files_of(folder)
    new = files_of(write_bank({"x": make_entries(seed=9)}, folder="new"))
    replaced = []

    def replace(source, target, original=os.replace):
        if len(replaced) == killed_after:
            raise KeyboardInterrupt
        replaced.append(target)
        original(source, target)

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(os, "replace", replace)
        write_bank({"x": make_entries(seed=9)})
    certain = any(target.endswith("manifest.json.next") for target in replaced)
    assert certain == (killed_after > 3)  # three files of the bank are staged before
    if os.path.exists(os.path.join(folder, "manifest.json.next")):
        with pytest.raises(ValueError, match="a rewrite was interrupted"):
            Bank.open(folder)
    recover(folder)
    assert files_of(folder) == (new if certain else old)
    assert recover(folder) is False


def test_a_bank_elsewhere_is_refused_with_the_way_to_get_it():
    with pytest.raises(ValueError, match="bank copy gs://bucket/bank FOLDER"):
        Bank.open("gs://bucket/bank")


def test_compressed_cameras_are_forgotten_beyond_the_cache(write_bank, monkeypatch):
    folder = write_bank(compression="gzip")
    size = 80 * 200 + 80 * 32 * 2
    unpacked = []

    def decompress(data, original=gzip.decompress):
        unpacked.append(len(data))
        return original(data)

    monkeypatch.setattr(gzip, "decompress", decompress)
    bank = Bank.open(folder, cache_bytes=2 * size)
    for name in ("camera 0", "camera 1", "camera 0", "camera 2", "camera 0", "camera 1"):
        bank.camera(name)
    assert len(unpacked) == 4  # 0, 1, 2, and 1 again: 0 was used between


def test_threads_share_a_bank(write_bank):
    bank = Bank.open(write_bank(compression="gzip"), cache_bytes=1)
    expected = {camera.name: camera.features.read(np.arange(80)) for camera in bank}
    wrong = []

    def read(seed):
        for name in np.random.default_rng(seed).choice(bank.cameras, 20):
            if not np.array_equal(bank.camera(name).features.read(np.arange(80)), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=read, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_shard_written_alone_is_that_of_the_bank(write_bank, make_entries, tmp_path):
    cameras = {f"camera {i}": make_entries(seed=i) for i in range(3)}
    folder = write_bank(cameras, num_shards=1)
    manifest = Bank.open(folder).manifest
    with open(tmp_path / "alone", "wb") as file:
        writer = ShardWriter(file, manifest.info, 0)
        infos = {name: writer.add(name, cameras[name], {}) for name in sorted(cameras)}
    assert infos == dict(manifest.cameras)
    assert (tmp_path / "alone").read_bytes() == files_of(folder)["bank-00000-of-00001.tfrecord"]


def test_plain_tensorflow_reads_a_bank_as_the_docs_say(write_bank, make_entries, capsys):
    text = context_rcnn.memory_bank.__doc__
    lines = text[text.index("    import tensorflow as tf") : text.index("\nModels, detectors")]
    code = re.sub(r"^    ", "", lines, flags=re.M)
    entries = make_entries()
    names = {"folder": write_bank({"camera é": entries}, num_shards=1)}
    exec(code, names)
    assert capsys.readouterr().out == "camera é (80,) (80, 32)\n"
    ordered = entries.in_time_order()
    np.testing.assert_array_equal(names["seconds"], ordered.seconds)
    np.testing.assert_array_equal(names["boxes"], ordered.boxes)
    np.testing.assert_array_equal(names["features"], ordered.features.astype(np.float16))


def test_only_join_and_api_compat_import_tensorflow():
    others = ["entries", "curation", "writer", "store", "maintenance", "window", "buffers"]
    code = "import sys\n" + "".join(f"import context_rcnn.memory_bank.{name}\n" for name in others)
    code += "print('tensorflow' in sys.modules or 'apache_beam' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_bank_knows_how_many_boxes_an_image_has_at_most(tmp_path):
    with BankWriter(str(tmp_path), BankInfo("made", "detections", 4, "float32"), 2) as bank:
        for camera, images in (("few", ["a", "b"]), ("many", ["c", "c", "c", "d"])):
            count = len(images)
            entries = Entries.make(
                image_ids=images,
                seconds=[5] * count,
                boxes=np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), (count, 1)),
                features=np.ones([count, 4], np.float32),
                ranks=[images[:i].count(name) for i, name in enumerate(images)],
            )
            bank.add(camera, entries)
    assert Bank.open(tmp_path).boxes_per_image() == 3
    with BankWriter(str(tmp_path / "empty"), BankInfo("made", "detections", 4, "float32"), 2):
        pass
    assert Bank.open(tmp_path / "empty").boxes_per_image() == 0
