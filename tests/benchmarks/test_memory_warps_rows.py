"""The rows of Memory Warps: each file says how it is run, and each row of the study can be made."""

import pathlib
import re
import shlex

import pytest
import yaml

from benchmarks.studies import memory_warps as rows_of
from benchmarks.studies import study
from context_rcnn.configs import schema
from context_rcnn.models import temporal

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ("memory_warps", "flying_chairs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / "configs" / folder).glob("*.yaml"))
ROWS = study.chosen(rows_of.ALL, set())


def command_of(path):
    """The command of a file's first lines, without its comment marks."""
    lines = [line[1:] for line in path.read_text().splitlines() if line.startswith("#")]
    return re.search(r"context-rcnn train .*", " ".join(lines).replace("\\", ""))[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_a_row_by_the_command_in_it(path):
    words = shlex.split(command_of(path))
    files = [word.partition("=")[2] for word in words if "config" in word and "=" in word]
    assert str(path.relative_to(ROOT)) in files
    config = schema.load_experiment(config_files=[str(ROOT / file) for file in files])
    assert yaml.safe_load(path.read_text()) and config.task.init_checkpoint is not None


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_study_can_be_made(name):
    row = ROWS[name]
    files = [flag.partition("=")[2] for flag in row.flags]
    config = schema.load_experiment(config_files=files, overrides=",".join(row.settings))
    made = temporal.make(config.task.temporal)
    if config.task.temporal.type in ("memory_warps", "fgfa"):
        assert made.training_frames(config.task.clip, 0).frames > 1
    for other in (row.weights, row.strong, row.start.removeprefix("rows/")):
        assert not other or other in ("detector", *rows_of.STILLS) or other in ROWS
