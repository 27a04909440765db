"""Context R-CNN from settings to results: trained, evaluated, resumed and explained."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.data.examples import parse_example
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.writer import BankWriter
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.loading import load_run
from tests.tasks import eagerly
from tests.tasks.processes import assert_two_learn_what_one_does

DEPTH = 6


def write_bank(folder, examples_dir, extractor):
    """A bank of random features, one entry an image."""
    rows = {}
    files = sorted(map(str, examples_dir.glob("*.tfrecord")))
    for row in tf.data.TFRecordDataset(files).map(parse_example).as_numpy_iterator():
        rows.setdefault(row["camera"].decode(), []).append(row)
    rng = np.random.default_rng(0)
    with BankWriter(str(folder), BankInfo(extractor, "detections", DEPTH, "float32"), 2) as bank:
        for camera, members in sorted(rows.items()):
            left = rng.uniform(0, 0.5, (len(members), 2))
            bank.add(
                camera,
                Entries.make(
                    image_ids=[row["image_id"].decode() for row in members],
                    seconds=[int(row["seconds"]) for row in members],
                    boxes=np.concatenate([left, left + 0.3], axis=1),
                    features=rng.normal(size=(len(members), DEPTH)),
                ),
            )
    return str(folder)


@pytest.fixture(scope="module")
def bank(examples_dir, tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("memory") / "bank", examples_dir, "first")


@pytest.fixture(scope="module")
def config_path(settings, bank, tmp_path_factory):
    """Settings with long-term and short-term memory, on clips."""
    settings = yaml.safe_load(yaml.safe_dump(settings))
    settings["task"] |= {
        "temporal": {
            "type": "context_rcnn",
            "context_rcnn": {"depth": 8, "short_term": {"window": 3}},
        },
        "clip": {"frames": 4},
        "memory": {"bank": bank, "max_entries": 20},
    }
    settings["task"]["train_data"]["global_batch_size"] = 2
    settings["trainer"] |= {"train_steps": 4, "validation_interval": 4}
    path = tmp_path_factory.mktemp("settings") / "context.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


@pytest.fixture(scope="module")
def trained(config_path, tmp_path_factory):
    """The folder of a short run, and its last scalars."""
    folder = str(tmp_path_factory.mktemp("run"))
    config = schema.load_experiment(config_files=[config_path])
    return folder, eagerly.run(config, mode="train_and_eval", model_dir=folder)


@pytest.mark.whole
def test_it_trains_on_clips_with_memory_and_evaluates_every_keyframe(trained):
    folder, scalars = trained
    assert np.isfinite(scalars["mAP@.5"])
    metrics = json.loads((pathlib.Path(folder) / "evaluation/step-4/metrics.json").read_text())
    task = DetectionTask(schema.load_experiment(config_files=[f"{folder}/params.yaml"]).task)
    assert metrics["images"] == len(task.evaluation_images())


@pytest.mark.whole
def test_a_run_knows_its_memory_and_refuses_another(trained, examples_dir, tmp_path):
    folder, _ = trained
    config = schema.load_experiment(config_files=[f"{folder}/params.yaml"])
    long_term = config.task.temporal.get().long_term
    found = (long_term.entry_size, long_term.extractor, long_term.top_k)
    assert found == (DEPTH + 9, "first", 1)
    config.task.memory.bank = write_bank(tmp_path / "other", examples_dir, "second")
    with pytest.raises(ValueError, match="extractor is first, but the bank .* has second"):
        DetectionTask(config.task)


@pytest.mark.whole
def test_a_run_can_be_used_without_its_data(trained, tmp_path, monkeypatch):
    folder, _ = trained
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    params = yaml.safe_load((moved / "params.yaml").read_text())
    for name in ("train_data", "validation_data"):
        params["task"][name]["input_path"] = "gone/*.tfrecord"
    params["task"]["memory"]["bank"] = "gone"
    (moved / "params.yaml").write_text(yaml.safe_dump(params))
    trained = load_run(str(moved))
    assert (
        trained.task.class_names == load_run(folder).task.class_names
        and len(trained.task.class_names) == 8
    )
    (moved / "label_map.pbtxt").unlink()
    with pytest.raises((ValueError, OSError), match="label_map.pbtxt"):
        load_run(str(moved))


def test_without_a_bank_long_term_memory_is_an_error(config_path):
    config = schema.load_experiment(
        config_files=[config_path], overrides="{task: {memory: {bank: ''}}}"
    )
    with pytest.raises(ValueError, match="set task.memory.bank"):
        DetectionTask(config.task)


def test_clips_shorter_than_the_window_are_an_error(config_path):
    config = schema.load_experiment(
        config_files=[config_path], overrides="{task: {clip: {frames: 2}}}"
    )
    task = DetectionTask(config.task)
    with pytest.raises(ValueError, match="task.clip.frames is 2, fewer than the 3"):
        task.build_inputs(config.task.train_data)


def test_a_still_image_detector_fills_all_but_the_memory(settings, config_path, tmp_path):
    path = tmp_path / "still.yaml"
    path.write_text(yaml.safe_dump(settings))
    still = DetectionTask(schema.load_experiment(config_files=[str(path)]).task).build_model()
    tf.train.Checkpoint(model=still).save(str(tmp_path / "ckpt"))
    config = schema.load_experiment(config_files=[config_path])
    config.task.init_checkpoint = str(tmp_path)
    config.task.init_checkpoint_modules = "detector"
    task = DetectionTask(config.task)
    model = task.build_model()
    before = [v.numpy() for v in model.box_memory.variables]
    task.initialize(model)
    for old, new in zip(before, model.box_memory.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(
        model.box_predictor.variables[0], still.box_predictor.variables[0]
    )
    config.task.init_checkpoint_modules = "all"
    with pytest.raises(ValueError, match="fills only part of model"):
        task.initialize(model)


def test_frames_that_do_not_teach_have_no_part_in_the_losses(config_path):
    config = schema.load_experiment(config_files=[config_path])
    task = DetectionTask(config.task)
    model = task.build_model()
    batch = next(iter(task.build_inputs(config.task.train_data)))
    assert batch["image"].shape[0] == 8 and batch["clip_valid"].shape == (2, 4)
    lines = np.arange(8) % 4 == 1
    some = batch | {"valid": batch["valid"] & lines}
    wrong = some | {
        "classes": tf.where(lines[:, None], batch["classes"], batch["classes"] % 8 + 1),
    }
    optimizer = tf.keras.optimizers.SGD()

    def losses(batch):
        tf.random.set_seed(0)  # of the samples that are drawn
        return task.gradients(batch, model, optimizer)[1]

    a, b = losses(some), losses(wrong)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5)


@pytest.mark.slow
def test_the_command_explains_a_trained_run(trained, bank, tmp_path, capsys):
    folder, _ = trained
    output = tmp_path / "explained.jsonl"
    status = cli.main(
        ["explain", f"--model_dir={folder}", f"--output={output}", "--count=3"]
        + ["--min_score=0", "--min_weight=0", "--top=4"]
    )
    assert status == 0 and "3 keyframes" in capsys.readouterr().out
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 3
    # Of the images that were evaluated, sample_1_of_n of all, so that a report can compare them.
    task = DetectionTask(schema.load_experiment(config_files=[f"{folder}/params.yaml"]).task)
    evaluated = {image.id: len(image.boxes) for image in task.evaluation_images()}
    assert all(evaluated[line["image_id"]] for line in lines)
    bank = Bank.open(bank)
    for line in lines:
        camera = bank.camera(line["camera"])
        for found in line["detections"]:
            weights = [entry["weight"] for entry in found["attention"]]
            assert weights == sorted(weights, reverse=True) and 0 < sum(weights) <= 1.001
            for entry in found["attention"]:
                if not entry["weight"]:
                    continue
                (rows,) = np.nonzero(camera.image_ids == entry["image_id"])
                (row,) = [r for r in rows if np.allclose(camera.boxes[r], entry["box"], atol=1e-4)]
                assert camera.seconds[row] == entry["seconds"]
                assert entry["seconds_apart"] == entry["seconds"] - line["seconds"]
    assert any(found["attention"] for line in lines for found in line["detections"])


@pytest.mark.whole
def test_an_image_that_is_not_there_is_named(trained, bank, tmp_path, capsys):
    folder, _ = trained
    status = cli.main(
        ["explain", f"--model_dir={folder}", f"--output={tmp_path}/x", "--image_id=nobody"]
    )
    assert status == 2 and "nobody" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_learn_what_one_does(config_path, start_main, tmp_path):
    assert_two_learn_what_one_does(config_path, start_main, tmp_path, "box_memory")
