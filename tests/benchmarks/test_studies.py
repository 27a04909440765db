"""All studies by one command, and what their tables show."""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.studies import __main__ as every
from benchmarks.studies import (
    detectors,
    mega,
    memory_head,
    memory_warps,
    psta,
    psta_ceiling,
    stand_ins,
    stmn,
    study,
    table1,
    videos,
)
from context_rcnn import simulation
from context_rcnn.configs import schema
from context_rcnn.detectors import embedder

ROOT = pathlib.Path(__file__).parents[2]


def test_each_study_has_its_command(tmp_path):
    flags = ["--output_dir", tmp_path, "--seeds=2", "--dry_run", "--only=mega,stmn"]
    command = [sys.executable, "-m", "benchmarks.studies", *flags]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[3:] for line in shown.splitlines()] == [
        [f"benchmarks.studies.{name}", f"--output_dir={tmp_path / name}", "--seeds=2"]
        for name in ("mega", "stmn")
    ]
    modules = (table1, mega, stmn, memory_warps, psta, memory_head)
    assert [f"benchmarks.studies.{name}" for name in every.STUDIES] == [m.__name__ for m in modules]


def test_a_step_that_was_killed_is_done_again(tmp_path):
    """Also where its product was there from the start, as the marker of a simulation."""
    product, code = tmp_path / "marker.json", "import os, pathlib, signal, sys\n"
    code += "path = pathlib.Path(sys.argv[1])\npath.open('a').write('x')\n"
    kill, end = (f"{code}{last}" for last in ("os.kill(os.getpid(), signal.SIGKILL)", ""))
    with pytest.raises(SystemExit, match="failed with status -9"):
        study.run_once(tmp_path, "rows/one", [sys.executable, "-c", kill, product], product)
    assert product.read_text() == "x"
    for _ in range(2):  # The second time there is nothing left to do.
        study.run_once(tmp_path, "rows/one", [sys.executable, "-c", end, product], product)
        assert product.read_text() == "xx"


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


@pytest.mark.parametrize("row", study.chosen(detectors.TABLES, set()).values())
def test_detectors_differ_by_kind_and_by_the_edges_of_bins(row):
    files = [flag.partition("=")[2] for flag in row.flags]
    model = schema.load_experiment(config_files=files, overrides=",".join(row.settings)).task.model
    wanted = {
        "detector": ("rfcn", "exact"),
        "detector_cells": ("rfcn", "cells"),
        "detector_dc5": ("dc5", "cells"),
    }
    assert (model.backbone.kind, model.boxes.bin_edges) == wanted[row.name]


def test_a_calm_row_is_measured_on_videos_of_its_own(monkeypatch, tmp_path):
    ran, trained = [], []
    monkeypatch.setattr(study.Study, "run", lambda self, name, *_: ran.append(name))
    monkeypatch.setattr(
        study.Study, "train", lambda self, name, flags, steps, settings: trained.append(settings)
    )
    args = argparse.Namespace(calm_videos=3, frames="9", bin_edges="cells", rate=0.1, steps=5)
    one = memory_warps.WarpsStudy(tmp_path, 7, args)
    for name in ("memnet", "calm_features_4"):
        one.row(study.chosen(memory_warps.ALL, {name})[name])
    assert ran == ["simulate_calm", "examples_calm"]
    for settings, held_out in zip(trained, ("videos", "calm"), strict=True):
        assert f"task.validation_data.input_path={tmp_path}/{held_out}/val-*" in settings
        assert f"task.train_data.input_path={tmp_path}/videos/train-*" in settings
        assert settings[-1] == "task.model.boxes.bin_edges=cells"


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


TRUTH = {
    "categories": [{"id": i, "name": name} for i, name in enumerate(("empty", "ass", "zebra"))],
    "images": [
        {"id": "a", "file_name": "north/a.jpg", "location": "north", "width": 100, "height": 50},
        {"id": "b", "file_name": "south/b.jpg", "location": "south", "width": 100, "height": 50},
    ],
    "annotations": [
        {"id": "1", "image_id": "a", "category_id": 1, "bbox": [0, 0, 20, 20], "ambiguous": False},
        {"id": "2", "image_id": "a", "category_id": 2, "bbox": [40, 0, 20, 20], "ambiguous": True},
        {"id": "3", "image_id": "a", "category_id": 2, "bbox": [70, 0, 20, 20], "ambiguous": True},
        {"id": "4", "image_id": "b", "category_id": 0},
    ],
}


def test_named_boxes_are_held_against_the_truth_of_the_cameras_kept_apart():
    def found(label, conf, x):
        return {"category": label, "conf": conf, "bbox": [x / 100, 0.0, 0.2, 0.4]}

    results = {
        "detection_categories": {"1": "zebra", "2": "ass"},
        "images": [
            {"file": "north/a.jpg", "detections": [found("2", 0.9, 0), found("2", 0.8, 42)]},
            {"file": "south/b.jpg", "detections": [found("1", 0.9, 0)]},
        ],
    }
    metrics = memory_head.measure(TRUTH, results, {"north"})
    assert metrics["found"] == pytest.approx(2 / 3)
    shows, hidden = (metrics[name] for name in memory_head.RIGHT)
    assert (shows, hidden) == (1.0, 0.0)
    assert metrics["mAP@.5"] == pytest.approx(0.5), "asses all, zebras none"
    with_south = memory_head.measure(TRUTH, results, {"north", "south"})
    assert with_south["mAP@.5"] == metrics["mAP@.5"], "zebras stay at none"


def test_timelapse_labels_have_species_and_no_boxes(tmp_path):
    dated = [image | {"datetime": "2020-01-01 00:00:00"} for image in TRUTH["images"]]
    memory_head.write_timelapse(TRUTH | {"images": dated}, tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text().splitlines()[1:] == [
        "a.jpg,north,2020-01-01 00:00:00,ass; zebra",
        "b.jpg,south,2020-01-01 00:00:00,",
    ]


@pytest.mark.slow
def test_the_stand_in_for_a_known_network_is_an_embedder(tmp_path):
    """Crops of boxes, as many as the archive has, and a SavedModel that `--embedder` takes."""
    archive = tmp_path / "archive"
    simulation.simulate_camera_traps(
        str(archive), cameras=2, days=8, species=6, triggers_per_day=2, empty_fraction=0.2
    )
    labels = json.loads((archive / "camera_traps.json").read_text())["annotations"]
    boxes = sum("bbox" in label for label in labels)
    crops, species = stand_ins.read_crops(archive, seed=0)
    assert crops.shape == (boxes, stand_ins.SIZE, stand_ins.SIZE, 3) and crops.dtype == np.uint8
    assert memory_head.kept_apart(archive) < {"cam_00", "cam_01"}
    assert species.shape == (boxes,) and species.min() == 0
    stand_ins.train(archive, tmp_path / "network", epochs=1, seed=0)
    function, crop = embedder.load_embedder(str(tmp_path / "network"))
    assert crop.shape[1:] == crops.shape[1:]
    (vectors,) = function(**{crop.name: crops[:2].astype(np.float32)}).values()
    assert vectors.shape == (2, stand_ins.DEPTH)


def test_rows_on_bursts_learn_on_what_one_detector_sees(tmp_path, monkeypatch):
    """And the banks hold the cameras of the rows, but not those of the detector."""
    commands = {}

    def run_once(folder, name, command, product):
        commands[name] = [str(part) for part in command]
        product.parent.mkdir(parents=True, exist_ok=True)
        product.write_text("{}")

    monkeypatch.setattr(study, "run_once", run_once)
    parts = dict(detector_steps=9, steps=5, cameras=2, days=1, finished=False, rate=0.01)
    bursts = table1.BurstStudy(tmp_path, "bursts", 3, argparse.Namespace(**parts))
    archive = tmp_path / "bursts-3" / "archive"
    archive.mkdir(parents=True)
    (archive / "splits.json").write_text("{}")
    only = {"single_frame", "lt_attention", "st_attention", "lt_attention-eight_boxes"}
    results = table1.run_study(bursts, table1.LEARNED, only, elsewhere=None)
    assert set(results) == only
    for bank, folder, boxes in (("one_box", "extractor", 1), ("eight_boxes", "extractor_8", 8)):
        assert f"--extractor={bursts.folder}/{folder}" in commands[f"bank_{bank}"]
        assert f"--max_boxes={boxes}" in commands[folder]
    assert "--top_k=8" in commands["bank_eight_boxes"]
    detector = " ".join(commands["detector"])
    assert "task.learn_on" not in detector and "examples/pretrain-*" in detector
    assert {"--clear_in_burst=0.4", "--herd=2"} <= set(commands["simulate"])
    assert f"--examples={bursts.folder}/examples/[tv]*-*" in commands["features"]
    (of_bank,) = [part for part in commands["bank_one_box"] if part.startswith("--examples=")]
    assert "pretrain" not in of_bank
    for name in only:
        row = " ".join(commands[f"rows/{name}"])
        assert "task.learn_on=features" in row and f"task.features={bursts.folder}/store" in row
        assert ("clips.yaml" in row) == (name == "st_attention")
        bank = {"lt_attention": "one_box", "lt_attention-eight_boxes": "eight_boxes"}.get(name)
        assert f"task.memory.bank={f'{bursts.folder}/bank_{bank}' if bank else ''}," in row


def test_each_kind_of_cameras_has_tables_of_its_own():
    """Those that were not run leave the page as it is."""
    metrics = {"mAP@.5": 0.5, "AR@1": 0.25, "false_positives_per_1000_empty_images": {}}
    rows = {"single_frame": metrics, "lt_attention": metrics | {"mAP@.5": 0.6}}
    texts = table1.as_markdown({"camera-traps": [], "traffic": [rows], "bursts": [{}]})
    assert list(texts) == ["traffic"]
    assert "| top 1 box | 60.0 | +10.0 | 25.0 | - | 1 | 40.5 / 29.3 |" in texts["traffic"]
    page = study.DOCS.read_text()
    for kind in ("camera-traps", "traffic", "bursts"):
        assert page.count(f"<!-- {kind} tables: begin -->") == 1
        assert page.count(f"<!-- {kind} tables: end -->") == 1


def test_rows_that_change_maps_are_not_learned_on_features():
    learned = {row.config for rows in table1.LEARNED.values() for row in rows}
    assert {"st_attention", "sf_attention", "st_lt_attention", "horizon_minute"} <= learned
    assert not {"s3d", "st_spatial", "majority_vote"} & learned


def settings_of(*flags: str) -> argparse.Namespace:
    return study.parser_of("A study.", "tables").parse_args(list(flags))


def test_what_is_kept_grows_by_seeds_and_rows(tmp_path):
    """Also where they are run on other machines, in other folders."""
    first = {0: {"still": {"mAP@.5": 0.4, "per_class": {}}}}
    assert study.keep("one", settings_of(), first, tmp_path) == [{"still": {"mAP@.5": 0.4}}]
    more = {1: {"still": {"mAP@.5": 0.6}}, 0: {"memory": {"mAP@.5": 0.5}}}
    elsewhere = settings_of("--output_dir=elsewhere", "--first_seed=1", "--only=memory")
    assert study.keep("one", elsewhere, more, tmp_path) == [
        {"still": {"mAP@.5": 0.4}, "memory": {"mAP@.5": 0.5}},
        {"still": {"mAP@.5": 0.6}},
    ]


def test_what_was_measured_with_other_settings_is_replaced(tmp_path):
    study.keep("one", settings_of("--steps=5"), {0: {"still": {"mAP@.5": 0.4}}}, tmp_path)
    found = {1: {"still": {"mAP@.5": 0.3}}}
    assert study.keep("one", settings_of("--steps=6"), found, tmp_path) == [found[1]]
    assert "0.4" not in (tmp_path / "one.json").read_text()
