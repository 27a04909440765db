"""`make lint` and the hooks of pre-commit check the same."""

import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).parents[1]


def test_hooks_run_what_make_lint_runs():
    recipe = re.search(r"^lint: install\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.M)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == commands
    # No program is downloaded, and all files are checked, not only those of the commit.
    assert all(hook["language"] == "system" for hook in local["hooks"])
    assert not any(hook["pass_filenames"] for hook in local["hooks"])
