"""What a TPU would compile, XLA compiles here."""

import json
import pathlib
import subprocess
import sys

import pytest

from tpu import compile_check

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["--experiment=faster_rcnn_c4", "--batch_size=1"],
        ["--experiment=faster_rcnn_fpn", "--params_override=task.model.image_size=[320,320]"],
        [
            "--config_file=configs/serengeti/context_rcnn.yaml",
            "--config_file=configs/table1/st_lt_attention.yaml",
            "--params_override=task.model.image_size=[320,320],task.clip.frames=3",
            "--batch_size=1",
        ],
        [
            "--config_file=configs/imagenet_vid/mega.yaml",
            "--params_override=task.model.image_size=[320,320]",
            "--batch_size=1",
        ],
        [
            "--config_file=configs/imagenet_vid/rfcn_stmn.yaml",
            "--params_override=task.model.image_size=[320,320]",
            "--batch_size=1",
        ],
    ],
    ids=["the paper's detector", "a pyramid", "Context R-CNN with both memories", "MEGA", "R-FCN"],
)
def test_full_size_detectors_compile(argv):
    """In processes of their own: what was compiled, gigabytes of it, stays until a process ends."""
    command = [sys.executable, "-m", "tpu.compile_check", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("compiled and ran once") == 2


@pytest.mark.whole
@pytest.mark.parametrize(
    "temporal", ["context_rcnn", pytest.param("st_spatial", marks=pytest.mark.slow)]
)
def test_small_detectors_that_remember_compile(capsys, temporal):
    override = {
        "task": {
            "model": {
                "image_size": [64, 64],
                "backbone": {"depth_multiplier": 0.125},
                "proposals": {"filters": 8, "pre_nms": 30, "count": 6},
            },
            "temporal": {
                "type": temporal,
                "context_rcnn": {"depth": 8, "short_term": {"window": 3}},
            },
            "memory": {"max_entries": 7},
            "clip": {"frames": 3},
        }
    }
    argv = ["--experiment=context_rcnn_tiny", f"--params_override={json.dumps(override)}"]
    assert compile_check.main(argv) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


@pytest.mark.slow
def test_a_small_detector_of_videos_compiles(capsys):
    override = {
        "task": {
            "model": {
                "image_size": [64, 64],
                "backbone": {"depth_multiplier": 0.125},
                "proposals": {"filters": 8, "pre_nms": 30, "count": 6},
                "boxes": {"hidden": [8]},
            },
            "temporal": {"mega": {"depth": 8, "heads": 2, "local_modules": 2, "local_frames": 3}},
        }
    }
    argv = ["--experiment=mega_tiny", f"--params_override={json.dumps(override)}"]
    assert compile_check.main(argv) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


@pytest.mark.slow
@pytest.mark.parametrize("neck", ["stmn", "fgfa"])
def test_a_small_rfcn_compiles(capsys, neck):
    override = {
        "task": {
            "model": {
                "image_size": [64, 64],
                "backbone": {"depth_multiplier": 0.125},
                "neck": {"type": neck, "channels": 8, "width": 12},
                "proposals": {"filters": 8, "pre_nms": 30, "count": 6},
            }
        }
    }
    argv = ["--experiment=rfcn_tiny", f"--params_override={json.dumps(override)}"]
    assert compile_check.main(argv) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


@pytest.mark.slow
def test_a_small_memory_of_maps_compiles(capsys):
    override = {
        "task": {
            "model": {
                "image_size": [64, 64],
                "backbone": {"depth_multiplier": 0.125},
                "neck": {"channels": 6, "width": 8},
                "proposals": {"filters": 8, "pre_nms": 30, "count": 6},
                "boxes": {"hidden": [8]},
            },
            "temporal": {"stmn": {"channels": 4, "window": 3, "training": {"frames": 3}}},
        }
    }
    argv = ["--experiment=stmn_tiny", f"--params_override={json.dumps(override)}"]
    assert compile_check.main(argv) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


@pytest.mark.slow
def test_a_small_stmn_on_vgg_with_given_proposals_compiles(capsys):
    override = {
        "task": {
            "model": {
                "image_size": [64, 64],
                "backbone": {"kind": "vgg16", "depth_multiplier": 0.03125},
                "neck": {"type": "none"},
                "proposals": {"source": "given", "count": 6},
                "boxes": {"hidden": [8], "hard_examples": "pure"},
            },
            "temporal": {"stmn": {"channels": 8, "window": 3, "stride": 1}},
        }
    }
    argv = ["--experiment=stmn_tiny", f"--params_override={json.dumps(override)}"]
    assert compile_check.main(argv) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


def test_wrong_settings_are_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        compile_check.main(["--experiment=nothing"])
    assert "'nothing' does not exist" in capsys.readouterr().err
