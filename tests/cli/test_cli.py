"""The command as people type it."""

import dataclasses
import json
import re

import pytest
from PIL import Image

from context_rcnn import cli, extras
from context_rcnn.simulation.arguments import shown
from context_rcnn.simulation.settings import (
    CameraTrapSettings,
    TrackletSettings,
    TrafficSettings,
    VideoSettings,
)
from tests.cli import hostile_folder


def run(capsys, *argv):
    try:
        status = cli.main([str(a) for a in argv])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_arguments_it_teaches(capsys):
    status, out, _ = run(capsys)
    assert status == 2
    for verb in ("simulate", "validate", "examples", "doctor"):
        assert verb in out


@pytest.mark.parametrize("verb", ["simulate", "validate", "demo", "doctor"])
def test_every_verb_has_help(capsys, verb):
    status, out, _ = run(capsys, verb, "--help")
    assert status == 0 and "usage: context-rcnn" in out


def test_help_of_training_explains_its_flags(capsys):
    """They are absl's, which would explain the program that runs it."""
    status, out, _ = run(capsys, "train", "--help")
    assert status == 0 and "context-rcnn train --mode=eval" in out
    for flag in ("--model_dir: Folder of the run", "--params_override: Settings", "--tpu_name"):
        assert flag in out


def test_simulate_then_validate(capsys, tmp_path):
    status, out, _ = run(
        capsys, "simulate", "camera-traps", tmp_path / "a", "--cameras=2", "--days=2", "--seed=4"
    )
    assert status == 0
    frames = json.loads(out)["frames"]
    listed = json.loads((tmp_path / "a" / "camera_traps.json").read_text())["images"]
    assert frames == len(listed) > 0
    archive = [f"--input_json={tmp_path}/a/camera_traps.json", f"--image_root={tmp_path}/a/images"]
    status, out, _ = run(capsys, "validate", *archive, f"--json={tmp_path}/report.json")
    assert status == 0 and f"{frames} of {frames} images can be used" in out
    assert json.loads((tmp_path / "report.json").read_text())["images_usable"] == frames


def test_every_setting_of_a_simulation_has_a_flag(capsys, tmp_path):
    status, out, _ = run(
        capsys, "simulate", "videos", tmp_path / "a", "--videos=1", "--frames=3-4", "--cell=6",
        "--image_size=96x72", "--scales=flicker", "--never_shown=", "--flow_distances=1,-1",
    )  # fmt: skip
    settings = json.loads((tmp_path / "a" / "simulation.json").read_text())["parameters"]
    assert status == 0 and json.loads(out)["frames"] in (3, 4)
    given = {"frames": [3, 4], "cell": 6.0, "scales": ["flicker"], "never_shown": [],
             "flow_distances": [1, -1], "image_size": [96, 72]}  # fmt: skip
    assert {name: settings[name] for name in given} == given
    assert list((tmp_path / "a").rglob("000000_000001.flo"))
    for kind in ("camera-traps", "traffic", "videos", "tracklets"):
        _, text, _ = run(capsys, "simulate", kind, "--help")
        text = " ".join(text.split())
        settings = {"camera-traps": CameraTrapSettings, "traffic": TrafficSettings,
                    "videos": VideoSettings, "tracklets": TrackletSettings}[kind]  # fmt: skip
        for field in dataclasses.fields(settings):
            assert f"--{field.name}" in text and len(field.metadata["help"]) > 8
            if field.default is not False:
                assert f"(default: {shown(field)})" in text


def test_validate_names_what_is_damaged(capsys, tmp_path):
    (tmp_path / "cam").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "cam" / "good.jpg")
    (tmp_path / "cam" / "bad.jpg").write_bytes(b"\xff\xd8\xff no")
    (tmp_path / "cam" / ".hidden").write_bytes(b"")
    status, out, _ = run(
        capsys, "validate", f"--input_folder={tmp_path}", f"--json={tmp_path}/report.txt"
    )
    assert status == 0
    assert "1 of 2 images can be used; 1 cannot" in out and "unreadable" in out
    assert "  cam/bad.jpg: unreadable: not an image file" in out
    assert "WARNING: the split by cameras is lopsided (train 1;" in out
    failed = json.loads((tmp_path / "report.txt").read_text())["failed"]
    assert {f["file"]: f["reason"] for f in failed} == {
        "cam/bad.jpg": "unreadable",
        "cam/.hidden": "hidden",
    }


def test_an_archive_without_a_usable_image_is_a_failure(capsys, tmp_path):
    (tmp_path / "cam").mkdir()
    (tmp_path / "cam" / "bad.jpg").write_bytes(b"")
    status, out, _ = run(capsys, "validate", f"--input_folder={tmp_path}")
    assert status == 1 and "empty_file" in out


def test_validate_reads_examples(capsys, tmp_path):
    import tensorflow as tf

    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    status, out, _ = run(capsys, "validate", f"--examples={path}")
    assert status == 1 and f"{path}: record 0" in out and "1 files, 1 problems" in out


def test_validate_names_damaged_pictures_in_examples(capfd, tmp_path):
    """What libjpeg writes on stderr is said of its record, and other words come through."""
    import tensorflow as tf

    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, data in (("a", hostile_folder.jpeg()), ("b", hostile_folder.damaged())):
            example = tf.train.Example()
            for key, value in (("image/encoded", data), ("image/source_id", name.encode())):
                example.features.feature[key].bytes_list.value.append(value)
            writer.write(example.SerializeToString())
    status, out, err = run(capfd, "validate", f"--examples={path}")
    assert status == 1 and "1 files, 1 problems" in out and "Corrupt" not in err
    assert re.search(rf"{path}: record 1: Corrupt JPEG data: .+", out)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["simulate", "camera-traps", "OUT", "--cameras=0"], "cameras"),
        (["simulate", "camera-traps", "OUT", "--image_size=big"], "expected WIDTHxHEIGHT"),
        (["simulate"], "KIND"),
        (["validate", "--nope"], "unknown arguments: --nope"),
        (["validate"], "exactly one of"),
        (["validate", "--input_json=/nowhere.json", "--image_root=/"], "/nowhere.json"),
        (["validate", "--examples=/nowhere*"], "no file matches '/nowhere*'"),
        (["fly"], "invalid choice: 'fly'"),
    ],
)
def test_mistakes_end_in_a_sentence(capsys, tmp_path, argv, message):
    argv = [str(tmp_path / "out") if a == "OUT" else a for a in argv]
    status, _, err = run(capsys, *argv)
    assert status == 2 and message in err and "Traceback" not in err


def test_doctor_finds_this_installation_well(capsys):
    status, out, _ = run(capsys, "doctor")
    assert status == 0, out
    assert "All is well." in out and "tf-models-official loads" in out
    assert "/device:CPU:0 works" in out


def test_doctor_says_what_of_the_core_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(extras.CORE, "no-such-package", "nothing")
    status, out, _ = run(capsys, "doctor")
    assert status == 1
    assert "PROBLEM: no-such-package is missing: pip install context-rcnn" in out


def test_a_missing_extra_is_no_problem(capsys, monkeypatch):
    absent = extras.Extra("nothing", {"no_such_module": "no-such-package", "pytest": "pytest"})
    monkeypatch.setitem(extras.EXTRAS, "train", absent)
    status, out, _ = run(capsys, "doctor")
    assert status == 0 and "All is well." in out and "tf-models-official loads" not in out
    assert 'nothing: partly installed; pip install "context-rcnn[train]"' in out
    assert "ruff" in out and "test       the tests of a checkout: pytest" in out


def test_a_fault_of_ours_is_not_taken_for_a_missing_extra(monkeypatch):
    from context_rcnn import simulation

    def broken(**options):
        raise ModuleNotFoundError("No module named 'context_rcnn.nowhere'", name="context_rcnn")

    monkeypatch.setattr(simulation, "simulate_videos", broken)
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        cli.main(["simulate", "videos", "out"])
