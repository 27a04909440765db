"""The demo, small: every step as a user would type it."""

import argparse
import json
import pathlib
import re
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
        return cli.main(argv)
    assert module == "context_rcnn.model_main_tf2"
    with flagsaver.flagsaver():
        flags.FLAGS(["main", *argv])
        model_main_tf2.main(["main"])
    return 0


SPEED = {"seconds_to_start": 15.0, "seconds_a_step": 0.24}


def test_the_estimate_is_of_processes_steps_and_images():
    """By hand: 8 starts of 15 s; 1190 steps, 1.3 of them each; 6480 images at .17 steps."""
    args = argparse.Namespace(train_steps=350, context_steps=420, cameras=240, days=30)
    seconds = 8 * 15 + (1190 * 1.3 + 6480 * 0.17) * 0.24
    assert demo.estimate(args, SPEED) == pytest.approx(seconds / 60)
    slow = {name: 3 * value for name, value in SPEED.items()}
    assert demo.estimate(args, slow) == pytest.approx(3 * seconds / 60)


@pytest.mark.parametrize(
    "in_processes",
    [pytest.param(False, marks=pytest.mark.whole), pytest.param(True, marks=pytest.mark.slow)],
    ids=["here", "processes"],
)
def test_a_small_demo_tells_the_whole_story(tmp_path, monkeypatch, capfd, in_processes):
    monkeypatch.chdir(ROOT)
    if not in_processes:
        monkeypatch.setattr(demo, "run_command", run_here)
        monkeypatch.setattr(demo, "measure_speed", lambda config: SPEED)
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
    (minutes,) = re.findall(r"The demo takes about (\d+) minutes on this machine", printed)
    assert in_processes or minutes == "2"  # nearly all of it starting


def test_a_step_that_fails_ends_the_demo_with_its_status(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demo, "measure_speed", lambda config: None)
    assert demo.main([f"--output_dir={tmp_path}/demo", "--cameras=0"]) == 2
    printed = capfd.readouterr().out
    assert "The demo stops here" in printed and "takes about" not in printed
