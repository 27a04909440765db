"""The detection task: steps that learn, checkpoints that load whole or not at all."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.models import temporal
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.detection_losses import LOSSES


@pytest.fixture(scope="module")
def config(settings, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return schema.load_experiment(config_files=[str(path)])


@pytest.fixture(scope="module")
def task(config):
    return DetectionTask(config.task)


@pytest.fixture(scope="module")
def batch(task):
    """A batch with boxes in it."""
    for inputs in task.build_inputs(task.task_config.train_data):
        if inputs["box_valid"].numpy().any(axis=1).sum() >= 3:
            return inputs


def build(task, seed=0):
    tf_keras.utils.set_random_seed(seed)
    return task.build_model()


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "XLA"]
)
def test_steps_on_one_batch_lower_every_loss(config, batch, jit_compile):
    task = DetectionTask(config.task, jit_compile=jit_compile)
    model = build(task)
    optimizer = tf_keras.optimizers.SGD(0.05, momentum=0.9)
    optimizer.build(model.trainable_variables)
    step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer), autograph=False)
    history = [{k: float(v) for k, v in step(batch).items()} for _ in range(60)]
    early, late = history[:3], history[-10:]

    def mean(rows, name):
        return np.mean([row[name] for row in rows])

    assert mean(late, "objectness") < 0.5 * mean(early, "objectness")
    assert mean(late, "classes") < 0.5 * mean(early, "classes")
    assert mean(late, "total_loss") < 0.6 * mean(early, "total_loss")


@pytest.mark.slow  # that it compiles, tests/tpu holds of a detector with a memory
def test_the_whole_training_step_compiles(config, batch):
    """Not only forward and backward: the update of the weights as well."""
    task = DetectionTask(config.task)
    model = build(task)
    optimizer = tf_keras.optimizers.SGD(0.05, momentum=0.9)
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    step = tf.function(
        lambda inputs: task.train_step(inputs, model, optimizer), jit_compile=True, autograph=False
    )
    values = step(batch)
    assert np.isfinite(float(values["total_loss"]))
    moved = [
        np.abs(a - v.numpy()).max() > 0
        for a, v in zip(before, model.trainable_variables, strict=True)
    ]
    assert np.mean(moved) > 0.9


def test_the_total_is_the_weighted_sum(config, task, batch):
    model = build(task)
    _, values = task.gradients(batch, model, tf_keras.optimizers.SGD())
    weights = config.task.losses
    expected = sum(getattr(weights, name) * float(values[name]) for name in LOSSES)
    kernels = [
        v
        for v in model.trainable_variables
        if "kernel" in v.name
        and not v.name.startswith(("box_predictor", "classes", "boxes"))
        and "box_predictor" not in v.name
    ]
    penalty = 0.5 * weights.weight_decay * sum(float(tf.reduce_sum(k**2)) for k in kernels)
    assert float(values["weight_penalty"]) == pytest.approx(penalty, rel=1e-4)
    assert float(values["total_loss"]) == pytest.approx(expected + penalty, rel=1e-5)


def test_every_variable_gets_a_gradient(task, batch):
    model = build(task)
    gradients, _ = task.gradients(batch, model, tf_keras.optimizers.SGD())
    without = [
        v.name for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None
    ]
    assert not without


def test_padding_images_do_not_count_in_an_evaluation(task, batch):
    from context_rcnn.evaluation import coco

    model = build(task)
    inputs = dict(batch, valid=tf.constant([True, False, True, True]))
    state = task.aggregate_logs(None, task.validation_step(inputs, model))
    detections, bar = state
    bar.close()
    assert isinstance(detections, coco.Detections)
    assert set(detections) == {int(k) for k in batch["key"].numpy()[[0, 2, 3]]}
    boxes = np.concatenate([row[0] for row in detections.values()])
    assert boxes.min() >= 0 and boxes.max() <= 1 + 1e-6


def save_backbone(task, path, seed=7):
    model = build(task, seed)
    # As tf-models-official saves its ImageNet classification models.
    return model, tf.train.Checkpoint(**model.checkpoint_items).write(str(path))


def with_checkpoint(config, path, modules="backbone", **changes):
    params = schema.load_experiment("faster_rcnn_tiny").task
    params.override(config.task.as_dict())
    params.init_checkpoint, params.init_checkpoint_modules = str(path), modules
    for name, value in changes.items():
        setattr(params.model.backbone, name, value)
    return DetectionTask(params)


def test_a_backbone_checkpoint_fills_trunk_and_conv5(config, task, tmp_path):
    source, path = save_backbone(task, tmp_path / "imagenet")
    task = with_checkpoint(config, path)
    model = build(task, seed=1)
    task.initialize(model)
    for a, b in zip(
        source.checkpoint_items["backbone"].variables,
        model.checkpoint_items["backbone"].variables,
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    # What the detector runs are those same variables, second stage included.
    assert model.box_head._conv5.variables[0] is not None
    shared = {id(v) for v in model.checkpoint_items["backbone"].variables}
    assert all(id(v) in shared for v in model.backbone.variables + model.box_head._conv5.variables)


def test_a_checkpoint_that_fills_only_part_is_refused_with_names(config, task, tmp_path):
    model = build(task)
    half = tf_keras.Sequential([model.checkpoint_items["backbone"].layers[1]])
    path = tf.train.Checkpoint(backbone=half).write(str(tmp_path / "half"))
    task = with_checkpoint(config, path)
    with pytest.raises(ValueError, match=r"fills only part of backbone: \d+ of \d+ .* such as .*"):
        task.initialize(build(task))


def test_a_checkpoint_of_another_width_is_refused(config, task, tmp_path):
    _, path = save_backbone(task, tmp_path / "narrow")
    wide = with_checkpoint(config, path, depth_multiplier=0.25)
    with pytest.raises(ValueError, match="does not fit this model"):
        wide.initialize(build(wide))


def test_a_checkpoint_that_is_not_there_is_named(config):
    task = with_checkpoint(config, "/nowhere/model.ckpt")
    with pytest.raises(ValueError, match=r"task.init_checkpoint: .*'/nowhere/model.ckpt'"):
        task.initialize(build(task))
    task = with_checkpoint(config, "/nowhere/model.ckpt", modules="heads")
    with pytest.raises(ValueError, match="task.init_checkpoint"):
        task.initialize(build(task))


def test_a_whole_detector_can_be_the_start(config, task, tmp_path):
    source = build(task, seed=3)
    path = tf.train.Checkpoint(model=source).write(str(tmp_path / "detector"))
    task = with_checkpoint(config, path, modules="all")
    model = build(task, seed=4)
    task.initialize(model)
    for a, b in zip(source.variables, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_class_count_that_contradicts_the_label_map_is_refused(config):
    params = schema.load_experiment("faster_rcnn_tiny").task
    params.override(config.task.as_dict())
    params.model.num_classes = 99
    with pytest.raises(
        ValueError, match="num_classes is 99, but .*label_map.pbtxt has ids up to 8"
    ):
        DetectionTask(params)


def test_a_batch_that_replicas_cannot_share_is_refused(task):
    context = tf.distribute.InputContext(num_replicas_in_sync=3)
    with pytest.raises(ValueError, match="global_batch_size 4 is not a multiple of the 3 replicas"):
        task.build_inputs(task.task_config.train_data, context)


def test_freezing_what_was_never_learned_is_refused(config):
    task = with_checkpoint(config, "", freeze_batch_norm=True)
    with pytest.raises(ValueError, match="freeze_batch_norm .* no task.init_checkpoint"):
        task.build_model()


def test_frozen_batch_norms_keep_their_statistics(config, task, batch, tmp_path):
    _, path = save_backbone(task, tmp_path / "imagenet")
    task = with_checkpoint(config, path, freeze_batch_norm=True)
    model = build(task)
    task.initialize(model)
    backbone = model.checkpoint_items["backbone"]
    before = [v.numpy() for v in backbone.variables if "moving" in v.name]
    task.gradients(batch, model, tf_keras.optimizers.SGD())
    after = [v.numpy() for v in backbone.variables if "moving" in v.name]
    assert before
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


class WithoutStream(temporal.TemporalModel):
    """Asks to be evaluated frame by frame, and has nothing that does it."""

    def evaluation_window(self, clip):
        return None


def test_a_memory_that_nothing_evaluates_is_refused(config):
    unbuilt = DetectionTask(config.task)
    unbuilt.temporal = WithoutStream(settings=None)
    with pytest.raises(ValueError, match="WithoutStream has neither .* nor a stream"):
        unbuilt.start_evaluation(None)
