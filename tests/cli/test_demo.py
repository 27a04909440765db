"""The demo, small: every step as a user would type it."""

import json
import pathlib
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from context_rcnn import cli, model_main_tf2
from context_rcnn.cli import demo

ROOT = pathlib.Path(__file__).parents[2]


def run_here(command):
    """Runs a command of the demo in this process, where TensorFlow is loaded already."""
    python, dash_m, module, *argv = command
    assert (python, dash_m) == (sys.executable, "-m")
    if module == "context_rcnn.cli":
        return subprocess.CompletedProcess(command, cli.main(argv))
    assert module == "context_rcnn.model_main_tf2"
    with flagsaver.flagsaver():
        flags.FLAGS(["main", *argv])
        model_main_tf2.main(["main"])
    return subprocess.CompletedProcess(command, 0)


@pytest.mark.parametrize(
    "in_processes", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "processes"]
)
def test_a_small_demo_tells_the_whole_story(tmp_path, monkeypatch, capfd, in_processes):
    monkeypatch.chdir(ROOT)
    if not in_processes:
        monkeypatch.setattr(demo.subprocess, "run", run_here)
    folder = tmp_path / "demo"
    argv = [f"--output_dir={folder}", "--cameras=8", "--days=5"]
    assert demo.main([*argv, "--train_steps=4", "--context_steps=4"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    splits = json.loads((folder / "archive" / "splits.json").read_text())["splits"]
    assert set(splits) == {"pretrain", "train", "val"}
    for stage in ("single_frame", "context_rcnn"):
        assert set(metrics[stage]["per_camera"]) == set(splits["val"])
        assert (folder / stage / "contact_sheet.png").stat().st_size > 1000
    # The memory knows nothing of the cameras its extractor was trained on.
    bank = json.loads((folder / "bank" / "manifest.json").read_text())
    assert set(bank["cameras"]) == {*splits["train"], *splits["val"]}
    page = (folder / "report" / "index.html").read_text()
    assert "Simulated cameras that remember" in page
    printed = capfd.readouterr().out
    assert "=== Train Context R-CNN" in printed and "Done in" in printed


def test_a_step_that_fails_ends_the_demo_with_its_status(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    assert demo.main([f"--output_dir={tmp_path}/demo", "--cameras=0"]) == 2
    assert "The demo stops here" in capfd.readouterr().out
