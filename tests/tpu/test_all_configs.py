"""Every file of configs/ is compiled with the command that it opens with."""

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from context_rcnn.tasks import cost
from tpu import all_configs, compile_check

PATHS = sorted(all_configs.CONFIGS.rglob("*.yaml"))


def test_every_file_but_one_says_how_it_is_used():
    without = [path for path in PATHS if all_configs.command_of(path) is None]
    assert [path.relative_to(all_configs.CONFIGS).as_posix() for path in without] == [
        "simulation/clips.yaml"  # a part for use with rows that see several frames
    ]


def test_the_command_that_uses_the_file_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(all_configs, "ROOT", tmp_path)
    path = tmp_path / "configs" / "row.yaml"
    path.parent.mkdir()
    path.write_text(
        "# A row. First a detector, then the row:\n"
        "#   context-rcnn train --experiment=other --model_dir=runs/other\n"
        "#   context-rcnn train --mode=eval --pipeline_config_path=configs/whole.yaml \\\n"
        "#     --config_file=configs/row.yaml --params_override=task.a='b c',task.d=1 \\\n"
        "#     --model_dir=runs/row\n"
        "task:\n  a: b\n"
    )
    command = all_configs.command_of(path)
    assert command.experiment == "" and command.steps == ("inference",)
    assert command.files == ("configs/whole.yaml", "configs/row.yaml")
    assert command.override == "task.a=b c,task.d=1"


def names(pattern):
    return all_configs.CONFIGS / f"{pattern}.yaml"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # Other data alone; other weights to begin with; another judging of the same outputs.
        ("serengeti/faster_rcnn", "cct/faster_rcnn", True),
        ("imagenet_vid/memnet", "memory_warps/flow_untrained", True),
        ("stmn/linked", "stmn/ensemble", True),
        ("imagenet_vid/mega", "mega/base", False),
        ("stmn/window_3", "stmn/window_15", False),
    ],
)
def test_files_share_a_program_where_paths_and_judging_alone_differ(one, other, same):
    programs = [
        all_configs.program_of(all_configs.command_of(names(name))) for name in (one, other)
    ]
    assert (programs[0] == programs[1]) == same


def test_what_was_found_is_not_compiled_again(tmp_path, monkeypatch, capsys):
    results = iter(
        [
            {"training": {"seconds": 1.0, "multiply_adds": 61 * 10**9, "bytes": 3 << 30}},
            {"training": {"error": "Dynamic shapes"}, "inference": {"error": "Dynamic shapes"}},
            {"training": {"needs": "x is no run"}, "inference": {"needs": "x is no run"}},
        ]
    )
    monkeypatch.setattr(all_configs, "_compile", lambda *args: next(results))
    output = str(tmp_path / "found.json")
    first = ["--all", "--only=cct/", f"--output={output}"]
    assert compile_check.main(first) == 1
    out = capsys.readouterr().out
    assert "| cct/context_rcnn | 3.00 | 122 |  |  |" in out
    assert "| cct/faster_rcnn | does not compile: Dynamic shapes |" in out
    assert "1 of 2 files compile." in out and "1 do not: cct/faster_rcnn" in out
    # The same programs of other data sets are there; a second size is compiled anew.
    assert compile_check.main(["--all", "--only=serengeti/", f"--output={output}"]) == 1
    assert " ... " not in capsys.readouterr().out
    again = ["--all", "--only=cct/context", f"--output={output}", "--batch_size=2"]
    assert compile_check.main(again) == 0
    assert "1 need a run that is not here: cct/context_rcnn" in capsys.readouterr().out
    assert len(json.loads(pathlib.Path(output).read_text())) == 3


def test_a_model_beside_a_run_that_is_not_there_is_told_apart(tmp_path, capsys):
    found = tmp_path / "found.json"
    config = all_configs.CONFIGS / "simulation" / "two_speed.yaml"
    assert compile_check.main([f"--config_file={config}", f"--json={found}"]) == 1
    assert "not compiled: task.temporal.two_speed.strong: " in capsys.readouterr().out
    steps = json.loads(found.read_text())
    assert set(steps) == {"training", "inference"}
    assert all("is no run" in step["needs"] for step in steps.values())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--all", "--experiment=mega_tiny"], "--all takes its settings from configs/"),
        (["--experiment=mega_tiny", "--steps=training,serving"], "serving is not one of"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit):
        compile_check.main(flags)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_memory_and_operations_of_a_file_are_told(tmp_path):
    """In a process of its own: XLA says what it lays out only if asked before it begins."""
    output = tmp_path / "found.json"
    command = f"-m tpu.compile_check --all --only=simulation/faster_rcnn --output={output}"
    done = subprocess.run(
        [sys.executable, *shlex.split(command)],
        cwd=all_configs.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "1 of 1 files compile." in done.stdout
    (steps,) = json.loads(output.read_text()).values()
    config = all_configs.settings_of(all_configs.command_of(names("simulation/faster_rcnn")))
    counted = cost.cost_of(config, num_classes=10)
    assert steps["inference"]["multiply_adds"] == sum(counted.products.values()) * counted.images
    # Forward and backward, of fewer boxes; weights and their momentum, and what is in between.
    assert 1 < steps["training"]["multiply_adds"] / steps["inference"]["multiply_adds"] < 3
    assert steps["training"]["bytes"] > 2 * 4 * counted.weights
