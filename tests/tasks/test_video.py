"""MEGA as people train and evaluate it: on clips of videos, then frame by frame."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml

from context_rcnn.cli import main
from context_rcnn.configs import schema
from context_rcnn.data.examples import parse_example
from context_rcnn.models.streaming import Frame
from context_rcnn.tasks import running
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.loading import load_run
from tests.tasks.processes import assert_two_learn_what_one_does, start_workers
from tests.tasks.test_running import metrics_of


@pytest.fixture(scope="module")
def video_settings(settings, video_examples, tmp_path_factory):
    """File with the settings of a MEGA that steps in milliseconds."""
    changed = json.loads(json.dumps(settings))
    changed["experiment"] = "mega_tiny"
    task = changed["task"]
    task["model"]["backbone"]["depth_multiplier"] = 0.25
    task["model"]["boxes"] = {"samples": 8, "hidden": [16]}
    task["temporal"] = {
        "mega": {
            "depth": 16,
            "heads": 2,
            "local_modules": 2,
            "local_frames": 3,
            "memory_frames": 2,
            "global_frames": 2,
            "reference_boxes": 6,
            "kept_boxes": 3,
        }
    }
    task["train_data"] |= {"input_path": f"{video_examples}/train-*", "global_batch_size": 2}
    task["validation_data"] = {"input_path": f"{video_examples}/val-*", "global_batch_size": 2}
    changed["trainer"] |= {"train_steps": 2, "validation_interval": 2}
    path = tmp_path_factory.mktemp("video_settings") / "settings.yaml"
    path.write_text(yaml.safe_dump(changed))
    return path


@pytest.fixture(scope="module")
def video_run(video_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("video_run")
    config = schema.load_experiment(config_files=[str(video_settings)])
    running.run(config, mode="train_and_eval", model_dir=str(folder))
    return folder


def detections_of(folder, step=2):
    """Scores of the detections by image id of COCO."""
    found = {}
    path = folder / "evaluation" / f"step-{step}" / "detections_coco.json"
    for detection in json.loads(path.read_text()):
        found.setdefault(detection["image_id"], []).append(detection["score"])
    return {image: sorted(scores) for image, scores in found.items()}


@pytest.mark.whole
def test_every_frame_is_measured_by_the_speed_of_what_it_shows(video_run, video_examples):
    metrics = metrics_of(video_run, 2)
    manifest = json.loads((video_examples / "manifest.json").read_text())
    assert metrics["images"] == manifest["splits"]["val"]["total"]["images"] > 4
    assert metrics["by_speed"]["all"]["boxes"] == metrics["boxes"]
    assert sum(row["boxes"] for row in metrics["by_evidence"].values()) == metrics["boxes"]
    text = (video_run / "evaluation" / "step-2" / "metrics.txt").read_text()
    assert "speed" in text and "evidence" in text


@pytest.mark.whole
def test_an_evaluation_finds_what_the_stream_finds_in_each_video_alone(video_run, video_examples):
    """Videos side by side, one after the other, of different lengths: each is as if alone."""
    trained = load_run(str(video_run))
    task = DetectionTask(trained.config.task)
    to_image = task.image_input(trained.config.task.validation_data).frame
    videos = {}
    for file in sorted(video_examples.glob("val-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(file)):
            example = parse_example(record)
            videos.setdefault(example["camera"].numpy(), []).append(example)
    assert len(videos) >= 2
    stream = trained.task.stream()
    step = tf.function(stream.step, autograph=False)
    evaluated = detections_of(video_run)
    truth = json.loads((video_run / "evaluation" / "step-2" / "groundtruth_coco.json").read_text())
    ids = {image["file_name"]: image["id"] for image in truth["images"]}
    compared = 0
    seed = tf.cast(trained.config.task.temporal.get().seed, tf.int64)
    for examples in videos.values():
        frames = [to_image(example) for example in examples]
        name = tf.strings.join([examples[0][key] for key in ("camera", "seq_id", "image_id")], "\n")
        number = tf.strings.to_hash_bucket_fast(name, 2**63 - 1)
        lots = tf.random.stateless_uniform([len(frames)], seed=tf.stack([seed, number]))
        order = np.argsort(lots.numpy(), kind="stable")
        state = stream.initial_state(1)
        for t in range(len(frames) + stream.latency):
            there = t < len(frames)
            new = frames[min(t, len(frames) - 1)]
            other = frames[order[min(t, len(frames) - 1)]]
            row, valid = number[None], tf.constant([there])
            elsewhere = Frame(other["image"][None], other["image_shape"][None], row, valid)
            frame = Frame(new["image"][None], new["image_shape"][None], row, valid)
            frame = frame._replace(ended=~valid, elsewhere=elsewhere)
            found, state = step(frame, state)
            if t >= stream.latency:
                image_id = examples[t - stream.latency]["image_id"].numpy().decode()
                scores = found["detection_scores"][0].numpy()
                scores = sorted(scores[scores >= 0].tolist())
                np.testing.assert_allclose(
                    scores, evaluated.get(ids[image_id], []), rtol=1e-5, atol=1e-4
                )
                compared += len(scores)
    assert compared > 20


@pytest.mark.whole
def test_explanations_say_which_boxes_the_evaluated_detections_draw_on(video_run, tmp_path):
    """Local frames 1 apart, the memory's one or two before them; weights add up to one."""
    flags = ["--count=2", "--top=1000", "--min_score=0", "--min_weight=0"]
    output = tmp_path / "explained.jsonl"
    assert main(["explain", f"--model_dir={video_run}", f"--output={output}", *flags]) == 0
    truth = json.loads((video_run / "evaluation" / "step-2" / "groundtruth_coco.json").read_text())
    ids = {image["file_name"]: image["id"] for image in truth["images"]}
    evaluated, kinds = detections_of(video_run), set()
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 8 and len({line["image_id"] for line in lines}) == 8
    for line in lines:
        scores = sorted(found["score"] for found in line["detections"])
        np.testing.assert_allclose(scores, evaluated[ids[line["image_id"]]], atol=2e-4)
        for found in line["detections"]:
            assert sum(entry["weight"] for entry in found["attention"]) == pytest.approx(
                1, abs=0.01
            )
            for entry in found["attention"]:
                kinds.add("anywhere" if entry["anywhere"] else entry["frames_apart"])
                assert entry["image_id"] in ids
    assert kinds == {"anywhere", -3, -2, -1, 0, 1}


TWO_DEVICES = """
import sys
import context_rcnn
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from context_rcnn.configs import schema
from context_rcnn.tasks import running
settings, checkpoint, folder = sys.argv[1:]
config = schema.load_experiment(config_files=[settings])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
running.run(config, mode="eval", model_dir=folder, checkpoint=checkpoint, strategy=strategy)
"""


def assert_same_detections(found, expected):
    assert sorted(found) == sorted(expected)
    for image, scores in expected.items():
        np.testing.assert_allclose(found[image], scores, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_two_devices_evaluate_as_one_does(video_run, video_settings, tmp_path):
    """Each has videos, and a state, of its own."""
    result = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, video_settings, video_run, tmp_path / "two"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert_same_detections(detections_of(tmp_path / "two"), detections_of(video_run))


@pytest.mark.slow
def test_two_workers_evaluate_as_one_does(video_run, video_settings, start_main, tmp_path):
    """What one process measures on a checkpoint, two measure. (That they measure what they have
    just trained is not the same: until it is saved, each has batch norm statistics of its own.)"""
    flags = [f"--pipeline_config_path={video_settings}", f"--model_dir={tmp_path}"]
    flags += [f"--checkpoint_dir={video_run}", "--mode=eval"]
    workers = start_workers(start_main, *flags)
    outputs = [worker.communicate(timeout=600)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs[1][-3000:]
    assert "were not run" not in outputs[0]
    assert metrics_of(tmp_path, 2)["images"] == metrics_of(video_run, 2)["images"]
    assert_same_detections(detections_of(tmp_path), detections_of(video_run))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(video_settings, start_main, tmp_path):
    assert_two_learn_what_one_does(video_settings, start_main, tmp_path, "box_memory")
