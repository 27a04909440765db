"""The memory of CONTRIBUTING.md is trained, evaluated, exported and run; no file knows of it."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.data.input import read_examples
from context_rcnn.tasks.loading import load_run
from tests import recipe
from tests.tasks import eagerly

recipe.register()


@pytest.fixture(scope="module")
def run_folder(settings, video_examples, tmp_path_factory):
    """A run that has trained on clips and was evaluated by its stream."""
    task = settings["task"] | {
        "temporal": {"type": recipe.NAME, recipe.NAME: {"frames": 2}},
        "clip": {"frames": 3},
        "train_data": {"input_path": f"{video_examples}/train-*", "global_batch_size": 2},
        "validation_data": {"input_path": f"{video_examples}/val-*", "global_batch_size": 2},
        "evaluation": {"images": 0},
    }
    once = ("train_steps", "steps_per_loop", "validation_interval", "checkpoint_interval")
    trainer = settings["trainer"] | dict.fromkeys(once, 1)
    overrides = json.dumps({"task": task, "trainer": trainer})
    config = schema.load_experiment("faster_rcnn_tiny", overrides=overrides)
    folder = str(tmp_path_factory.mktemp("recipe_run"))
    eagerly.run(config, mode="train_and_eval", model_dir=folder)
    return folder


def scores_of(rows):
    """The scores that say something, sorted; of two decimals more than results keep."""
    return sorted(round(float(score), 3) for score in rows if score >= 0.01)


def test_it_is_short():
    assert len(recipe.source().splitlines()) < 100


@pytest.mark.whole
def test_it_is_trained_and_evaluated_video_by_video(run_folder, video_examples):
    with open(f"{run_folder}/evaluation/step-1/metrics.json") as file:
        metrics = json.load(file)
    manifest = json.loads((video_examples / "manifest.json").read_text())
    assert metrics["images"] == manifest["splits"]["val"]["total"]["images"]
    # It is kept in the settings of the run, and read back.
    assert load_run(run_folder).task.temporal.settings.frames == 2


@pytest.fixture(scope="module")
def spread_run(run_folder, tmp_path_factory):
    """The same run, with weights that are large enough for detections to differ."""
    folder = tmp_path_factory.mktemp("spread")
    for name in ("params.yaml", "label_map.pbtxt"):
        shutil.copy(f"{run_folder}/{name}", folder / name)
    model = load_run(run_folder).model
    for variable in model.trainable_variables:
        if any(part in variable.name for part in ("rpn-", "classes/kernel", "boxes/kernel")):
            variable.assign(tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.1))
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    return str(folder)


@pytest.mark.whole
def test_its_export_runs_on_a_folder_of_videos(spread_run, video_examples, tmp_path, capsys):
    """Each frame's detections are those of the mean of its map and the one before it."""
    assert cli.main(["export", f"--model_dir={spread_run}", f"--output_dir={tmp_path}/model"]) == 0
    files = sorted(map(str, video_examples.glob("val-*.tfrecord")))
    frames = list(read_examples(files, None).as_numpy_iterator())
    first = frames[0]["seq_id"]
    video = [row["image_bytes"] for row in frames if row["seq_id"] == first][:4]
    assert len(video) == 4
    folder = tmp_path / "clips" / "one"
    folder.mkdir(parents=True)
    for i, encoded in enumerate(video):
        (folder / f"{i:06d}.jpg").write_bytes(encoded)
    argv = ["videos", str(tmp_path / "clips"), "--model", str(tmp_path / "model")]
    assert cli.main([*argv, "-o", str(tmp_path / "found.json")]) == 0
    document = json.loads((tmp_path / "found.json").read_text())
    found = {
        entry["file"].rsplit("/", 1)[-1]: scores_of(d["conf"] for d in entry["detections"])
        for entry in document["images"]
    }
    assert len(found) == 4

    trained = load_run(spread_run)
    detector, to_image = trained.model, trained.task.image_input(trained.config.task.train_data)
    before, alone_differs = None, False
    for i in range(len(video)):
        shape = tf.constant([[64.0, 96.0]])
        pixels = tf.io.decode_jpeg((folder / f"{i:06d}.jpg").read_bytes(), channels=3)
        resized = tf.image.resize(pixels, to_image.image_size, antialias=True)
        resized = tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)[None]
        seen = detector.look(resized, shape, port=lambda maps, **_: maps)
        (level,), now = seen.maps, next(iter(seen.maps.values()))
        mean = now if before is None else (now + before) / 2.0
        averaged = detector.look(resized, shape, port=lambda *_, m={level: mean}, **__: m)
        expected = detector.answer(averaged).detections["detection_scores"][0]
        np.testing.assert_allclose(found[f"{i:06d}.jpg"], scores_of(expected), atol=2e-3)
        alone = scores_of(detector.answer(seen).detections["detection_scores"][0])
        alone_differs |= alone != scores_of(expected)
        before = now
    assert alone_differs, "the memory makes no difference"
