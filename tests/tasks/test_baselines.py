"""The baselines of Context R-CNN's table 1(d), switched on by settings alone."""

import json
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.data import examples
from context_rcnn.data import input as input_lib
from context_rcnn.data.clips import ClipOptions, read_clips
from context_rcnn.tasks.detection import DetectionTask


@pytest.fixture(scope="module")
def load(settings, tmp_path_factory):
    """Settings with overrides, as the command line gives them."""
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return lambda overrides: schema.load_experiment(config_files=[str(path)], overrides=overrides)


@pytest.mark.whole
@pytest.mark.parametrize("kind", ["st_spatial", pytest.param("s3d", marks=pytest.mark.slow)])
def test_a_baseline_trains_and_is_evaluated(load, kind):
    config = load(
        f"task.temporal.type={kind},task.clip.frames=4,task.train_data.global_batch_size=2,"
        "task.validation_data.sample_1_of_n=16"
    )
    task = DetectionTask(config.task)
    tf_keras.utils.set_random_seed(0)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    batch = next(iter(task.build_inputs(config.task.train_data)))
    assert batch["image"].shape[0] == 8 and batch["clip_valid"].shape == (2, 4)
    values = task.train_step(batch, model, optimizer)
    assert np.isfinite(float(values["total_loss"]))
    moved = [
        not np.array_equal(a, v) for a, v in zip(before, model.trainable_variables, strict=True)
    ]
    assert np.mean(moved) > 0.9

    state = None
    for inputs in task.build_inputs(config.task.validation_data):
        assert inputs["clip_valid"].shape == (4, 3)  # windows, whatever the clips learned from
        state = task.aggregate_logs(state, task.validation_step(inputs, model))
    metrics = task.reduce_aggregated_logs(state)
    assert 0.0 <= metrics["mAP@.5"] <= 1.0
    assert set(state[0]) == {image.key for image in task.evaluation_images()}


@pytest.mark.parametrize("kind", ["st_spatial", "s3d"])
def test_clips_that_are_shorter_than_the_window_are_refused(load, kind):
    config = load(f"task.temporal.type={kind}")
    with pytest.raises(ValueError, match=f"fewer than the 3 frames of the window of {kind}"):
        DetectionTask(config.task).build_inputs(config.task.train_data)


def test_evaluation_images_know_their_neighbours_as_clips_do(load):
    config = load("task.validation_data.sample_1_of_n=1")
    task = DetectionTask(config.task)
    images = task.evaluation_images()
    at = {(image.camera, image.burst, image.place): image.id for image in images}
    assert len(at) == len(images)
    ids = {image.id: image for image in images}
    compared = 0
    for file in input_lib.find_files(config.task.validation_data.input_path):
        for records, valid in read_clips(file, ClipOptions(3)):
            clip = [examples.parse_example(r)["image_id"].numpy().decode() for r in records]
            key = ids.get(clip[1])
            if key is None:
                continue
            for distance, name, there in zip((-1, 0, 1), clip, valid.numpy(), strict=True):
                if there and name not in ids:
                    continue  # Not labelled, so not evaluated.
                found = at.get((key.camera, key.burst, key.place + distance))
                assert found == (name if there else None)
                compared += there and distance != 0
    assert compared > 50


def test_every_so_many_th_image_stays_in_step_with_the_batches(load):
    config = load("task.validation_data.sample_1_of_n=7")
    task = DetectionTask(config.task)
    batches = task.build_inputs(config.task.validation_data).as_numpy_iterator()
    rows = [(key, valid) for b in batches for key, valid in zip(b["key"], b["valid"], strict=True)]
    images = task.evaluation_images()
    assert [key for key, valid in rows if valid] == [image.key for image in images]
    # They know how far apart they are, whether or not what lies between them is evaluated.
    whole = DetectionTask(load("task.validation_data.sample_1_of_n=1").task).evaluation_images()
    assert [image.place for image in images] == [image.place for image in whole[::7]]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("majority_vote", {"majority_vote": {"score_threshold": 0.3}}),
        ("repeat_detections", {"repeat_detections": {"min_occurrences": 3, "max_area": 1.0}}),
        ("seq_nms", {"seq_nms": {"rescore": "maximum"}}),
    ],
)
def test_detections_are_processed_before_they_are_measured(load, kind, changes, tmp_path, capsys):
    values = {"task": {"evaluation": {"images": 0, "post_processing": {"type": kind, **changes}}}}
    values["task"]["validation_data"] = {"sample_1_of_n": 1 if kind == "seq_nms" else 4}
    config = load(yaml.safe_dump(values))
    task = DetectionTask(config.task, logging_dir=str(tmp_path))
    images = task.evaluation_images()
    # The same box and class in every image, and other classes in every other one.
    state = None
    rng = np.random.default_rng(0)
    for start in range(0, len(images), 4):
        part = images[start : start + 4]
        step = {
            "key": tf.constant([image.key for image in part], tf.int64),
            "valid": tf.ones([len(part)], tf.int32),
            "boxes": tf.constant([[[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]]] * len(part)),
            "scores": tf.constant([[0.9, -1.0]] * len(part)),
            "classes": tf.constant(
                [[rng.integers(1, 4) if kind == "majority_vote" else 1, 0] for _ in part]
            ),
        }
        state = task.aggregate_logs(state, step)
    task.reduce_aggregated_logs(state)
    (folder,) = (tmp_path / "evaluation").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    written = json.loads((folder / "detections_coco.json").read_text())
    found = metrics["post_processing"]
    assert found.pop("type") == kind
    if kind == "repeat_detections":
        cameras = {image.camera for image in images}
        assert found["suspicious_places"] == len(cameras)
        assert found["removed_detections"] == len(images) and not written
        assert "repeat_detections: " in capsys.readouterr().out
    elif kind == "seq_nms":
        lengths = Counter(image.burst for image in images)
        several = [n for n in lengths.values() if n > 1]
        assert found["tubes"] == len(several) > 3 and found["linked_detections"] == sum(several)
        assert found["suppressed_detections"] == 0 and len(written) == len(images)
        assert f"seq_nms: {len(several)} tubes, " in capsys.readouterr().out
    else:
        assert len(written) == len(images)
        assert list(found) == ["detections_with_another_class"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("task.evaluation.post_processing.majority_vote.window=2", "majority_vote.window must be"),
        ("task.evaluation.post_processing.repeat_detections.iou=2", "repeat_detections.iou must"),
        ("task.evaluation.post_processing.seq_nms.rescore=mean", "processing.seq_nms.rescore must"),
        ("task.evaluation.post_processing.seq_nms.link_iou=1", "processing.seq_nms.link_iou must"),
        ("task.evaluation.post_processing.majority_vote.windows=3", "did you mean .*window"),
        ("task.temporal.st_spatial.windows=3", "did you mean task.temporal.st_spatial.window"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_runs(load, overrides, message):
    kinds = ("majority_vote", "repeat_detections", "seq_nms")
    kind = next((kind for kind in kinds if kind in overrides), "none")
    with pytest.raises(ValueError, match=message):
        DetectionTask(load(f"{overrides},task.evaluation.post_processing.type={kind}").task)


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        (
            "task.temporal.type",
            "none, context_rcnn, fgfa, mega, memory_warps, s3d, st_spatial, stmn, two_speed",
        ),
        ("task.evaluation.post_processing.type", "none, majority_vote, repeat_detections, seq_nms"),
        ("trainer.optimizer_config.optimizer.type", "sgd.*adam"),
    ],
)
def test_an_unknown_type_is_named_with_its_field(load, field, choices):
    with pytest.raises(ValueError, match=f"{field} must be one of .*{choices}.*, got 'best'"):
        load(f"{field}=best")
