"""Verify, merge, prune, delete; and looking into banks."""

import json
import os
import re

import numpy as np
import pytest

from context_rcnn.memory_bank import features, maintenance
from context_rcnn.memory_bank.curation import CameraOptions, curate
from context_rcnn.memory_bank.entries import concatenate
from context_rcnn.memory_bank.store import Bank

START = 1_600_000_000


def contents(folder):
    """Bytes of each file, and which file it is."""
    found = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            found[name] = file.read(), os.stat(path).st_ino
    return found


def all_bytes(folder):
    return b"".join(data for data, _ in contents(folder).values())


def rewritten(before, after):
    return {name for name in after if after[name] != before.get(name)} - {"manifest.json"}


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_sound_bank_has_no_problems(dtype, compression, write_bank):
    assert maintenance.verify(write_bank(dtype=dtype, compression=compression)) == []


def change_camera(folder, **fields):
    path = os.path.join(folder, "manifest.json")
    with open(path) as file:
        document = json.load(file)
    document["cameras"]["camera 1"].update(fields)
    with open(path, "w") as file:
        json.dump(document, file)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"hash": "0"}, "camera 'camera 1': hash is .*, the manifest says 0"),
        ({"images": 41}, "camera 'camera 1': images is 40, the manifest says 41"),
        ({"undated": 0}, "camera 'camera 1': undated is 6, the manifest says 0"),
    ],
)
def test_verify_names_what_the_manifest_has_wrong(fields, problem, write_bank):
    folder = write_bank()
    change_camera(folder, **fields)
    (found,) = maintenance.verify(folder)
    assert re.fullmatch(problem, found)


def test_verify_goes_on_after_a_damaged_camera(write_bank):
    folder = write_bank()
    bank = Bank.open(folder)
    info = bank.manifest.cameras["camera 1"]
    path = os.path.join(folder, bank.manifest.shard_names[info.shard])
    with open(path, "r+b") as file:
        file.seek(info.segments[0].offset + info.segments[0].bytes - 10)
        file.write(b"\xff")
    change_camera(folder, images=1)
    (found,) = maintenance.verify(folder)
    assert "'camera 1'" in found and "checksum" in found
    os.remove(path)
    assert "is missing" in maintenance.verify(folder)[0]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_delete_by_camera_and_time_removes_the_bytes(compression, write_bank, make_entries):
    cameras = {f"camera {i}": make_entries(seed=i, undated=3) for i in range(6)}
    folder = write_bank(cameras, num_shards=4, compression=compression)
    before = contents(folder)
    bank = Bank.open(folder)
    first, last = START + 10 * 700, START + 20 * 700
    camera = bank.camera("camera 2")
    entries = camera.stored()
    doomed = entries.dated & (entries.seconds >= first) & (entries.seconds <= last)
    assert doomed.sum() == 22
    if compression == "none":
        assert all(row.tobytes() in all_bytes(folder) for row in entries.features)
    maintenance.delete(folder, cameras=["camera 2", "nowhere"], first=first, last=last)
    after = contents(folder)
    assert rewritten(before, after) == {
        bank.manifest.shard_names[bank.manifest.cameras["camera 2"].shard]
    }
    if compression == "none":
        for row, gone in zip(entries.features, doomed, strict=True):
            assert (row.tobytes() in all_bytes(folder)) != gone
    left = Bank.open(folder)
    np.testing.assert_array_equal(
        left.camera("camera 2").stored().features, entries.features[~doomed]
    )
    assert left.manifest.cameras["camera 2"].dropped == {"deleted": 22}
    assert left.manifest.cameras["camera 2"].undated == 6
    assert maintenance.verify(folder) == []


def test_deleting_twice_changes_nothing_the_second_time(write_bank):
    folder = write_bank()
    maintenance.delete(folder, last=START + 5000)
    before = contents(folder)
    maintenance.delete(folder, last=START + 5000)
    assert contents(folder) == before


def test_delete_of_whole_cameras_removes_their_names(write_bank):
    folder = write_bank()
    maintenance.delete(folder, cameras=["camera 0", "camera 3"])
    assert Bank.open(folder).cameras == ["camera 1", "camera 2", "camera 4"]
    assert b"camera 3" not in all_bytes(folder)
    maintenance.delete(folder, cameras=[f"camera {i}" for i in range(5)])
    assert Bank.open(folder).cameras == []
    assert maintenance.verify(folder) == []


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ({"first": START + 30 * 700}, 60),
        ({"first": START + 30 * 700, "undated": True}, 54),
        ({"undated": True}, 74),
        ({"last": START + 30 * 700}, 24),
        ({"cameras": ["camera 1"], "undated": True, "first": START + 10**9}, 74),
    ],
)
def test_undated_entries_go_only_when_named(bounds, left, write_bank):
    folder = write_bank()
    maintenance.delete(folder, **bounds)
    assert len(Bank.open(folder).camera("camera 1")) == left


def test_delete_without_saying_what_is_refused(write_bank):
    with pytest.raises(ValueError, match="say which cameras or which time"):
        maintenance.delete(write_bank())


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_prune_keeps_what_the_policy_says_bit_for_bit(dtype, write_bank, make_entries):
    cameras = {"large": make_entries(), "small": make_entries(images=4)}
    folder = write_bank(cameras, num_shards=8, dtype=dtype)
    before, stored = contents(folder), Bank.open(folder).camera("large").stored()
    maintenance.prune(folder, CameraOptions(max_entries=20, policy="newest"))
    after = Bank.open(folder)
    found = after.camera("large").stored()
    np.testing.assert_array_equal(found.features, stored.features[54:74])
    if dtype == "int8":
        np.testing.assert_array_equal(found.scales, stored.scales[54:74])
    assert after.manifest.cameras["large"].dropped == {"over_budget": 60}
    assert len(rewritten(before, contents(folder))) == 1
    assert maintenance.verify(folder) == []


def test_prune_diverse_equals_curation_before_writing(write_bank, make_entries):
    options = CameraOptions(max_entries=30, policy="diverse")
    entries = make_entries(step=7000)
    folder = write_bank({"a": entries}, dtype="float32")
    maintenance.prune(folder, options)
    expected, dropped = curate(entries, options)
    other = write_bank({"a": expected}, dtype="float32", folder="b", dropped={"a": dropped})
    assert all_bytes(folder) == all_bytes(other)


def test_merge_is_the_bank_of_all_entries(write_bank, make_entries):
    whole = make_entries(images=40, per_image=2)
    early, late = whole.take(slice(0, 50)), whole.take(slice(40, 80))  # share 5 images
    first = write_bank({"a": early, "b": whole}, folder="first")
    second = write_bank({"a": late, "c": late}, folder="second")
    target = os.path.join(os.path.dirname(first), "merged")
    maintenance.merge([first, second], target)
    merged = Bank.open(target)
    expected = write_bank(
        {"a": whole, "b": whole, "c": late}, folder="all", dropped={"a": {"duplicate": 10}}
    )
    assert [data for data, _ in contents(target).values()] == [
        data for data, _ in contents(expected).values()
    ]
    assert merged.manifest.cameras["a"].dropped == {"duplicate": 10}


def test_banks_of_two_extractors_are_not_merged(write_bank):
    one, two = write_bank(), write_bank(folder="two", extractor_hash="sha256:99")
    with pytest.raises(ValueError, match="extractor_hash: 'sha256:1234' in .*'sha256:99' in .*two"):
        maintenance.merge([one, two], one)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_merge_may_convert_banks_of_several_dtypes(write_bank, make_entries, dtype):
    entries = make_entries(images=20)
    one = write_bank({"a": entries}, dtype="float32")
    two = write_bank({"b": entries}, dtype="float16", folder="two")
    with pytest.raises(ValueError, match="dtype: 'float32' in .*'float16' in .*two"):
        maintenance.merge([one, two], one)
    target = os.path.join(os.path.dirname(two), "merged")
    maintenance.merge([one, two], target, dtype=dtype)
    merged = Bank.open(target)
    assert merged.info.dtype == dtype
    tolerance = {"float32": 0, "bfloat16": 2**-8, "int8": 1 / 250}[dtype]
    wanted = Bank.open(one).camera("a").stored().float_features()
    found = merged.camera("a").stored().float_features()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    np.testing.assert_array_equal(merged.camera("a").boxes, Bank.open(one).camera("a").boxes)


def test_coverage_counts_entries_by_day(write_bank, make_entries):
    entries = make_entries(images=5, per_image=2, undated=1, step=40_000)
    bank = Bank.open(write_bank({"a": entries}))
    # 12:26:40 on the 13th is image 0, undated; then every 11:06:40 hours.
    expected = {"2020-09-13": 2, "2020-09-14": 4, "2020-09-15": 2, "undated": 2}
    assert maintenance.coverage(bank) == {"a": expected}


def test_summary_is_plain_values(write_bank):
    found = maintenance.summary(Bank.open(write_bank(dropped={"camera 2": {"stride": 4}})))
    assert json.loads(json.dumps(found)) == found
    assert found["entries"] == 400 and found["dropped"] == {"stride": 4}
    assert found["by_camera"]["camera 2"]["first"] == "2020-09-13 13:01:40"


def test_nearest_entries_by_cosine(write_bank, monkeypatch):
    monkeypatch.setattr(maintenance, "_CHUNK", 7)
    bank = Bank.open(write_bank(dtype="float32"))
    query = bank.camera("camera 3").features.read(np.array([11]))[0] * 5
    found = maintenance.nearest(bank, query, 6)
    alike = []
    for camera in bank:
        rows = camera.stored().features.astype(np.float64)
        cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
        alike += [(-cosine, camera.name, i) for i, cosine in enumerate(cosines)]
    expected = sorted(alike)[:6]
    assert [(row["camera"], row["index"]) for row in found] == [(c, i) for _, c, i in expected]
    assert (found[0]["camera"], found[0]["index"]) == ("camera 3", 11)
    similar = [-a for a, _, _ in expected]
    np.testing.assert_allclose([row["similarity"] for row in found], similar, rtol=1e-5)
    only = maintenance.nearest(bank, query, 2, cameras=["camera 1"])
    assert {row["camera"] for row in only} == {"camera 1"}
    with pytest.raises(ValueError, match="feature: must be"):
        maintenance.nearest(bank, query[:5], 1)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_large_camera_is_never_in_memory_as_a_whole(
    dtype, write_bank, make_entries, monkeypatch, tmp_path
):
    """Whatever rewrites a bank reads features in pieces, and writes what it wrote with all."""
    halves = [make_entries(5000, 1, seed=i, prefix=f"half {i}", depth=4) for i in range(2)]
    banks = [write_bank({"cam": half}, f"{i}", dtype=dtype) for i, half in enumerate(halves)]
    together = make_entries(5000, 1, seed=0, prefix="half 0", depth=4)
    whole = write_bank({"cam": concatenate([together, halves[1]])}, "whole", dtype=dtype)
    most, array = [], features.Gathered.__array__

    def counted(self, *args, **options):
        most.append(len(self))
        return array(self, *args, **options)

    monkeypatch.setattr(features.Gathered, "__array__", counted)
    maintenance.merge(banks, str(tmp_path / "merged"), num_shards=3)
    assert all_bytes(tmp_path / "merged") == all_bytes(whole)
    assert maintenance.verify(str(tmp_path / "merged")) == []
    maintenance.prune(str(tmp_path / "merged"), CameraOptions(max_entries=9000, policy="newest"))
    assert Bank.open(tmp_path / "merged").manifest.totals()["entries"] == 9000
    assert sum(most) >= 2 * 19000 and max(most) <= 4096
