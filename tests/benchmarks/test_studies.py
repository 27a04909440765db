"""All studies by one command, and what their tables show."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.studies import __main__ as every
from benchmarks.studies import mega, memory_warps, psta, psta_ceiling, stmn, study, table1, videos
from context_rcnn.configs import schema

ROOT = pathlib.Path(__file__).parents[2]


def test_each_study_has_its_command(tmp_path):
    flags = ["--output_dir", tmp_path, "--seeds=2", "--dry_run", "--only=mega,stmn"]
    command = [sys.executable, "-m", "benchmarks.studies", *flags]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[3:] for line in shown.splitlines()] == [
        [f"benchmarks.studies.{name}", f"--output_dir={tmp_path / name}", "--seeds=2"]
        for name in ("mega", "stmn")
    ]
    modules = (table1, mega, stmn, memory_warps, psta)
    assert [f"benchmarks.studies.{name}" for name in every.STUDIES] == [m.__name__ for m in modules]


@pytest.mark.parametrize("drops", [1, 2])
def test_the_rate_drops_as_often_as_the_experiment_has_values(drops, tmp_path):
    command = study.train_command(tmp_path, [], 90, seed=3, settings=["a=1"], drops=drops)
    overrides = command[-1].split("=", 1)[1]
    wanted = {1: "[60]", 2: "[60,80]"}[drops]
    assert f"{study.RATE}.boundaries={wanted},a=1" in overrides and "trainer.seed=3" in overrides


@pytest.mark.parametrize(
    "kind, file",
    [
        (mega.MegaStudy, "mega.yaml"),
        (stmn.StmnStudy, "stmn.yaml"),
        (memory_warps.WarpsStudy, "memnet.yaml"),
    ],
)
def test_each_study_drops_the_rate_as_its_experiment_does(kind, file):
    config = schema.load_experiment(config_files=[str(ROOT / "configs/simulation" / file)])
    rates = config.trainer.optimizer_config.learning_rate.stepwise.values
    assert len(rates) == kind.drops + 1


def test_measures_of_videos_are_percentages_or_nothing():
    metrics = {
        "by_speed": {"slow": {"mAP@.5": 0.5}, "fast": {"mAP@.5": None}},
        "by_evidence": {"seen elsewhere": {"right": 0.25}},
    }
    found = {name: measure(metrics) for name, measure in videos.measures().items()}
    assert found == {
        "slow": 50.0,
        "medium": None,
        "fast": None,
        "clear boxes right": None,
        "hidden, seen elsewhere": 25.0,
        "hidden throughout": None,
    }
    empty = {"by_speed": None, "by_evidence": None}
    assert not any(measure(empty) for measure in videos.measures().values())


def test_the_ceiling_of_tracklets_averages_what_shows_the_person():
    """Two frames of two cells: the person in the left one, and then somebody before all of it."""
    maps = np.array([[[[2.0], [10.0]]], [[[100.0], [100.0]]]])
    person, hidden = np.zeros([4, 8], np.uint8), np.full([4, 8], 2, np.uint8)
    person[:, :4] = 1
    found = psta_ceiling.averages_of(maps, [person, hidden])
    assert {name: value.item() for name, value in found.items()} == {
        "all frames": 53.0,
        "clear frames": 6.0,
        "clear cells": 2.0,
    }
    found = psta_ceiling.averages_of(maps, [hidden, hidden])
    assert {value.item() for value in found.values()} == {53.0}
