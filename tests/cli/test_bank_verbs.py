"""`context-rcnn bank` as people type it."""

import json

import numpy as np
import pytest

from context_rcnn import cli
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.writer import BankWriter

DAY = 86400
START = 1_600_000_000 - 1_600_000_000 % DAY  # a midnight, 2020-09-13


def write_bank(folder, cameras=("north", "south"), extractor="x-1", ids="im"):
    rng = np.random.default_rng(0)
    with BankWriter(str(folder), BankInfo(extractor, "detections", 4, "float32"), 2) as writer:
        for camera in cameras:
            entries = Entries.make(
                image_ids=[f"{ids}{i}" for i in range(6)],
                seconds=[START + DAY * i for i in range(5)] + [None],
                boxes=np.tile([0.1, 0.2, 0.3, 0.4], (6, 1)),
                features=rng.normal(size=(6, 4)),
            )
            writer.add(camera, entries, {"not_top_k": 7})
    return str(folder)


def run(capsys, *argv):
    try:
        status = cli.main(["bank", *map(str, argv)])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_inspect_says_what_is_in_it(capsys, tmp_path):
    folder = write_bank(tmp_path / "bank")
    status, out, _ = run(capsys, "inspect", folder, "--days", f"--plot={tmp_path}/days.png")
    assert status == 0
    assert "12 entries of 12 images and 2 cameras" in out and "not_top_k 14" in out
    assert "2020-09-13  1" in out and "undated  1" in out
    assert (tmp_path / "days.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = run(capsys, "inspect", folder, "--json")
    assert json.loads(out)["by_camera"]["north"]["last"] == "2020-09-17 00:00:00"


def test_nearest_finds_the_entry_itself_first(capsys, tmp_path):
    folder = write_bank(tmp_path / "bank")
    status, out, _ = run(capsys, "nearest", folder, "--camera=north", "--image_id=im2", "--count=3")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and len(rows) == 3
    assert rows[0]["image_id"] == "im2" and rows[0]["similarity"] == pytest.approx(1, abs=1e-6)
    status, _, err = run(capsys, "nearest", folder, "--camera=north", "--image_id=im9")
    assert status == 2 and "no entry of image 'im9'" in err


def test_delete_removes_the_time_that_was_asked_for(capsys, tmp_path):
    folder = write_bank(tmp_path / "bank")
    status, out, _ = run(
        capsys,
        *("delete", folder, "--camera=north", "--first=2020-09-14", "--last=2020-09-15 23:59:59"),
    )
    assert status == 0 and "10 entries of 2 cameras" in out
    assert "deleted 2 of 6 entries of camera north" in out and "south" not in out
    bank = Bank.open(folder)
    assert bank.camera("north").image_ids.tolist() == ["im0", "im3", "im4", "im5"]
    assert len(bank.camera("south")) == 6


def test_delete_fails_when_nothing_matches(capsys, tmp_path):
    folder = write_bank(tmp_path / "bank")
    before = {path.name: path.read_bytes() for path in (tmp_path / "bank").iterdir()}
    status, _, err = run(capsys, "delete", folder, "--camera=south", "--camera=nroth")
    assert status == 2 and "no camera 'nroth'" in err and "did you mean 'north'" in err
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "bank").iterdir()}
    status, out, _ = run(capsys, "delete", folder, "--camera=north", "--first=2021-01-01")
    assert status == 1 and "nothing matches" in out
    assert run(capsys, "delete", folder, "--camera=north")[0] == 0
    assert run(capsys, "delete", folder, "--camera=north")[0] == 2


@pytest.mark.parametrize("flags", [[], ["--first=yesterday"], ["--camera=north", "--first="]])
def test_delete_without_a_clear_order_deletes_nothing(capsys, tmp_path, flags):
    folder = write_bank(tmp_path / "bank")
    status, _, err = run(capsys, "delete", folder, *flags)
    assert status == 2 and "error" in err
    assert Bank.open(folder).manifest.totals()["entries"] == 12


def test_prune_merge_verify_and_recover(capsys, tmp_path):
    one = write_bank(tmp_path / "one")
    two = write_bank(tmp_path / "two", cameras=("south", "west"), ids="other")
    assert run(capsys, "merge", tmp_path / "both", one, two)[0] == 0
    bank = Bank.open(tmp_path / "both")
    assert {name: len(bank.camera(name)) for name in bank.cameras} == {
        "north": 6,
        "south": 12,
        "west": 6,
    }
    assert run(capsys, "prune", tmp_path / "both", "--max_entries=4")[0] == 0
    assert Bank.open(tmp_path / "both").manifest.totals()["entries"] == 12
    assert run(capsys, "verify", tmp_path / "both") == (0, "0 problems\n", "")
    assert "no change to finish" in run(capsys, "recover", tmp_path / "both")[1]
    (tmp_path / "both" / "bank-00000-of-00002.tfrecord").write_bytes(b"")
    assert run(capsys, "verify", tmp_path / "both")[0] == 1


def test_banks_of_two_extractors_do_not_merge(capsys, tmp_path):
    one, two = write_bank(tmp_path / "one"), write_bank(tmp_path / "two", extractor="x-2")
    status, _, err = run(capsys, "merge", tmp_path / "both", one, two)
    assert status == 2 and "'x-1'" in err and "'x-2'" in err


def test_a_folder_without_a_bank_is_named(capsys, tmp_path):
    status, _, err = run(capsys, "inspect", tmp_path)
    assert status == 2 and str(tmp_path) in err and "Traceback" not in err


def test_a_bank_goes_to_the_old_tools_examples_and_comes_back(capsys, tmp_path):
    import tensorflow as tf

    folder = write_bank(tmp_path / "bank")
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for i in range(6):
            example = tf.train.Example()
            for key, value in (("source_id", f"im{i}"), ("location", "north")):
                example.features.feature[f"image/{key}"].bytes_list.value.append(value.encode())
            writer.write(example.SerializeToString())
    status, out, _ = run(
        capsys,
        *("export", folder, f"--examples={tmp_path}/x.tfrecord", "--kind=embedding"),
        f"--output_dir={tmp_path}/old",
    )
    assert status == 0 and "images 6, entries 6" in out
    status, out, _ = run(
        capsys, "import", tmp_path / "back", f"--examples={tmp_path}/old", "--extractor_hash=x-1"
    )
    assert status == 0 and "6 entries of 1 cameras" in out and "images 6" in out
    bank, back = Bank.open(folder), Bank.open(tmp_path / "back", "x-1")
    assert back.camera("north").image_ids.tolist() == bank.camera("north").image_ids.tolist()


def test_copy_puts_the_same_bank_elsewhere(capsys, tmp_path):
    folder = write_bank(tmp_path / "bank")
    write_bank(tmp_path / "copy", cameras=("old",))
    status, out, _ = run(capsys, "copy", folder, tmp_path / "copy")
    assert status == 0 and "12 entries of 2 cameras" in out

    def content(place):
        return {path.name: path.read_bytes() for path in place.iterdir()}

    assert content(tmp_path / "copy") == content(tmp_path / "bank")
