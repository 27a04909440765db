"""STMN as people use it: from a still detector, trained on sequences, evaluated, exported, run."""

import json

import numpy as np
import pytest
import tensorflow as tf
import yaml

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.data.input import read_examples
from context_rcnn.models.streaming import Frame
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.loading import load_run
from tests.tasks import eagerly
from tests.tasks.processes import assert_two_learn_what_one_does
from tests.tasks.test_running import metrics_of


@pytest.fixture(scope="module")
def stmn_settings(settings, video_examples):
    """Settings of a still detector with a neck that steps in milliseconds."""
    changed = json.loads(json.dumps(settings))
    changed["experiment"] = "stmn_tiny"
    task = changed["task"]
    task["model"]["neck"] = {"type": "stmn", "channels": 8, "width": 16, "dilation": 2}
    task["model"]["boxes"] = {"samples": 8, "hidden": [16]}
    stmn = {"channels": 8, "reach": 1, "window": 3, "stride": 1, "merge": "centre"}
    stmn["training"] = {"frames": 3, "stride": 1}
    task["temporal"] = {"type": "stmn", "stmn": stmn}
    task["train_data"] |= {"input_path": f"{video_examples}/train-*", "global_batch_size": 2}
    task["validation_data"] = {"input_path": f"{video_examples}/val-*", "global_batch_size": 2}
    task["evaluation"] = {"images": 0}
    once = ("train_steps", "steps_per_loop", "validation_interval", "checkpoint_interval")
    changed["trainer"] |= dict.fromkeys(once, 1)
    return changed


def load(settings, **task):
    overrides = json.dumps({"task": settings["task"] | task, "trainer": settings["trainer"]})
    return schema.load_experiment(settings["experiment"], overrides=overrides)


@pytest.fixture(scope="module")
def still_run(stmn_settings, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("still"))
    config = load(stmn_settings, temporal={"type": "none"}, init_checkpoint="")
    eagerly.run(config, mode="train", model_dir=folder)
    return folder


@pytest.fixture(scope="module")
def stmn_run(stmn_settings, still_run, tmp_path_factory):
    """Trained for a step from the still detector, and evaluated."""
    folder = tmp_path_factory.mktemp("stmn")
    config = load(stmn_settings, init_checkpoint=still_run)
    eagerly.run(config, mode="train_and_eval", model_dir=str(folder))
    return folder


@pytest.mark.slow
def test_it_starts_from_a_still_detector_and_is_measured(stmn_run, video_examples):
    metrics = metrics_of(stmn_run, 1)
    manifest = json.loads((video_examples / "manifest.json").read_text())
    assert metrics["images"] == manifest["splits"]["val"]["total"]["images"]
    assert metrics["by_speed"]["all"]["boxes"] == metrics["boxes"]


@pytest.mark.whole
def test_every_frame_of_a_sequence_teaches(stmn_settings, still_run):
    task = DetectionTask(load(stmn_settings, init_checkpoint=still_run).task)
    batch = next(iter(task.build_inputs(task.task_config.train_data)))
    assert batch["image"].shape[0] == 6 and batch["clip_valid"].shape == [2, 3]
    flat = tf.reshape(batch["clip_valid"], [-1])
    np.testing.assert_array_equal(batch["valid"], flat)
    places = batch["clip_frames"].numpy()
    assert (np.diff(places, axis=1)[batch["clip_valid"].numpy()[:, 1:]] == 1).all()


@pytest.mark.slow
def test_a_still_detector_without_the_neck_is_refused(stmn_settings, tmp_path):
    model = stmn_settings["task"]["model"] | {"neck": {"type": "none"}}
    config = load(stmn_settings, temporal={"type": "none"}, model=model, init_checkpoint="")
    eagerly.run(config, mode="train", model_dir=str(tmp_path / "bare"))
    config = load(stmn_settings, init_checkpoint=str(tmp_path / "bare"))
    with pytest.raises(
        ValueError, match="task.init_checkpoint: .* has no model/neck/swapped/kernel"
    ):
        eagerly.run(config, mode="train", model_dir=str(tmp_path / "stmn"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", [{}, {"merge": "overlap", "pooled_boxes": 20}, {"directions": "forward"}], ids=str
)
def test_its_export_runs_on_a_folder_of_videos(
    stmn_settings, still_run, stmn_run, video_examples, tmp_path, changed, capsys
):
    """`context-rcnn videos` gives each frame what the trained model's stream gives it."""
    run_folder = stmn_run
    if changed:
        run_folder, temporal = tmp_path / "run", stmn_settings["task"]["temporal"]
        temporal = {"type": "stmn", "stmn": temporal["stmn"] | changed}
        config = load(stmn_settings, temporal=temporal, init_checkpoint=still_run)
        eagerly.run(config, mode="train", model_dir=str(run_folder))
    export = ["export", f"--model_dir={run_folder}", f"--output_dir={tmp_path}/model"]
    assert cli.main(export) == 0
    files = sorted(map(str, video_examples.glob("val-*.tfrecord")))
    frames = list(read_examples(files, None).as_numpy_iterator())
    video = [row["image_bytes"] for row in frames if row["seq_id"] == frames[0]["seq_id"]]
    folder = tmp_path / "clips" / "one"
    folder.mkdir(parents=True)
    for i, encoded in enumerate(video):
        (folder / f"{i:06d}.jpg").write_bytes(encoded)
    argv = ["videos", str(tmp_path / "clips"), "--model", str(tmp_path / "model")]
    assert cli.main([*argv, "--threshold", "0", "-o", str(tmp_path / "found.json")]) == 0
    document = json.loads((tmp_path / "found.json").read_text())
    found = {
        entry["file"].rsplit("/", 1)[-1]: sorted(d["conf"] for d in entry["detections"])
        for entry in document["images"]
    }
    assert len(found) == len(video)

    trained = load_run(str(run_folder))
    stream = trained.task.stream()
    step, state = tf.function(stream.step, autograph=False), stream.initial_state(1)
    size, compared = trained.task.image_input(trained.config.task.train_data).image_size, 0
    for t in range(len(video) + stream.latency):
        there = t < len(video)
        pixels = tf.io.decode_jpeg(video[min(t, len(video) - 1)], channels=3)
        image = tf.image.resize(pixels, size, antialias=True)
        image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)[None]
        shape, valid = tf.constant([list(size)], tf.float32), tf.constant([there])
        frame = Frame(image, shape, tf.constant([1], tf.int64), valid, ended=~valid)
        outputs, state = step(frame, state)
        if t >= stream.latency:
            scores = outputs["detection_scores"][0].numpy()
            scores = np.sort(scores[scores >= 0])
            kept = found[f"{t - stream.latency:06d}.jpg"]
            np.testing.assert_allclose(kept, scores, atol=2e-3)
            compared += len(kept)
    assert compared > len(video)


@pytest.mark.slow
def test_its_memory_can_be_looked_at(stmn_run, video_examples, tmp_path, capsys):
    """`explain` writes what the forward memory holds, and `report` shows it."""
    output = tmp_path / "maps.jsonl"
    argv = ["explain", f"--model_dir={stmn_run}", f"--output={output}", "--count=1"]
    assert cli.main(argv) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 3 and len({line["video"] for line in lines}) == 1
    assert [line["place"] for line in lines] == [0, 1, 2]
    trained = load_run(str(stmn_run))
    by_id = {
        row["image_id"].decode(): row
        for file in sorted(video_examples.glob("val-*.tfrecord"))
        for row in read_examples([str(file)], None).as_numpy_iterator()
    }
    to_row = trained.task.image_input(trained.config.task.train_data)
    images, shapes = [], []
    for line in lines:
        row = to_row.frame({k: tf.constant(v) for k, v in by_id[line["image_id"]].items()})
        images.append(row["image"])
        shapes.append(row["image_shape"])
        assert len(line["objects"]) == len(by_id[line["image_id"]]["boxes"])
    port = trained.model.map_memory
    clip = {"clip_valid": tf.ones([1, 3], tf.bool)}
    seen = trained.model.look(tf.stack(images), tf.stack(shapes), clip, port=lambda m, **_: m)
    assert seen.maps  # the pass itself works on what is shown
    heard = {}
    trained.model.look(
        tf.stack(images), tf.stack(shapes), clip, port=lambda m, **_: heard.update(m) or m
    )
    memories = port.forward(heard["5"][None], clip["clip_valid"])[0]
    for line, memory in zip(lines, memories.numpy(), strict=True):
        expected = np.sqrt((memory**2).sum(-1))
        np.testing.assert_allclose(line["maps"]["aligned"], expected, rtol=1e-3, atol=1e-3)
    assert lines[0]["maps"]["aligned"] == lines[0]["maps"]["not aligned"]
    assert lines[2]["maps"]["aligned"] != lines[2]["maps"]["not aligned"]
    pages = ["report", f"--evaluation={stmn_run}", f"--memory_maps={output}"]
    assert cli.main([*pages, f"--output_dir={tmp_path}/page"]) == 0
    assert "What the memory holds" in (tmp_path / "page" / "index.html").read_text()
    assert len(list((tmp_path / "page" / "images").glob("map-0-*.png"))) == 6


@pytest.mark.slow
def test_two_processes_learn_what_one_does(stmn_settings, start_main, tmp_path):
    path = tmp_path / "settings.yaml"
    changed = json.loads(json.dumps(stmn_settings))
    # At once at full speed, so that two steps move something.
    warmup = {"type": "linear", "linear": {"warmup_steps": 1}}
    changed["trainer"] |= {"train_steps": 3, "validation_interval": 3}
    changed["trainer"]["optimizer_config"] = {"warmup": warmup}
    path.write_text(yaml.safe_dump(changed))
    assert_two_learn_what_one_does(path, start_main, tmp_path, "map_memory")
