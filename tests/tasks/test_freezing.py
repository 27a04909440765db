"""Frozen parts stay as they are to the last bit, and the others learn as they would have."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.detectors.freezing import parts_of
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.detection_losses import LOSSES
from tests.tolerance import assert_close


@pytest.fixture(scope="module")
def params(settings, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    params = schema.load_experiment(config_files=[str(path)]).task
    params.init_checkpoint = "not loaded here"
    return params


def build(params, seed=0, **changes):
    params = params.replace(**changes)
    task = DetectionTask(params)
    tf_keras.utils.set_random_seed(seed)
    return task, task.build_model()


@pytest.fixture(scope="module")
def batch(params):
    for inputs in DetectionTask(params).build_inputs(params.train_data):
        if inputs["box_valid"].numpy().any(axis=1).sum() >= 3:
            return inputs


def train(task, model, batch):
    """The variables that a few steps move, by identity."""
    optimizer = tf_keras.optimizers.SGD(0.05, momentum=0.9)
    before = [variable.numpy() for variable in model.variables]
    for _ in range(2):
        task.train_step(batch, model, optimizer)
    learned = [*model.trainable_variables]
    assert len(optimizer.variables) == len(learned) + 1  # momenta, and the number of steps
    return {
        id(variable)
        for old, variable in zip(before, model.variables, strict=True)
        if np.any(old != variable.numpy())
    }


def variables_up_to(model, level):
    """Of the ResNet, from the images to this level."""
    resnet = model.checkpoint_items["backbone"]
    return tf_keras.Model(resnet.input, resnet.output[level]).variables


def test_conv1_and_res2_stay_and_all_others_learn(params, batch):
    task, model = build(params, freeze=["conv1", "res2"])
    moved = train(task, model, batch)
    frozen = {id(variable) for variable in variables_up_to(model, "2")}
    assert frozen and not frozen & moved
    assert {id(v) for v in model.variables if id(v) not in frozen} == moved
    assert not frozen & {id(v) for v in model.trainable_variables}


def test_of_a_frozen_detector_only_the_predictor_learns(params, batch):
    task, model = build(params, freeze=["backbone", "first_stage", "box_head"])
    moved = train(task, model, batch)
    assert moved == {id(v) for v in model.box_predictor.variables}
    gradients, values = task.gradients(batch, model, tf_keras.optimizers.SGD())
    assert len(gradients) == len(model.box_predictor.variables)
    # What cannot teach is not computed, and the predictor's kernels have no weight decay.
    assert set(values) == {"classes", "boxes", "weight_penalty", "total_loss"}
    assert float(values["weight_penalty"]) == 0.0
    assert {metric.name for metric in task.build_metrics()} == {*values} - {"total_loss"}


def test_what_is_not_frozen_learns_the_same(params, batch):
    """As in a detector all of which learns, with the same statistics in its batch norms."""
    found = []
    for changes in (
        {"freeze": ["backbone", "first_stage", "box_head"]},
        {"model": {"backbone": {"freeze_batch_norm": True}}},
    ):
        task, model = build(params, **changes)
        tf.random.set_seed(0)  # of the samples that are drawn
        gradients, values = task.gradients(batch, model, tf_keras.optimizers.SGD())
        by_variable = dict(zip(map(id, model.trainable_variables), gradients, strict=True))
        found.append(
            [by_variable[id(v)] for v in model.box_predictor.variables]
            + [values["classes"], values["boxes"]]
        )
    for a, b in zip(*found, strict=True):
        assert_close(a, b, 1e-5)


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_frozen_batch_norms_are_those_of_the_first_stage_too(params, kind):
    backbone = {"kind": kind, "freeze_batch_norm": True, "fpn_filters": 16}
    hidden = [] if kind == "c4" else [16]
    model = {"backbone": backbone, "boxes": {"hidden": hidden}, "image_size": [64, 128]}
    task, model = build(params, model=model)
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 128, 3)).astype(np.uint8)
    batch = task.dummy_inputs(2) | {"image": tf.constant(noise)}
    norms = [
        layer for layer in model.submodules if isinstance(layer, tf_keras.layers.BatchNormalization)
    ]
    assert any(layer in model.rpn_head.submodules for layer in norms)
    moved = train(task, model, batch)
    assert not moved & {id(v) for layer in norms for v in layer.variables}
    assert moved & {id(v) for v in model.rpn_head.variables}


def test_names_that_are_not_there_are_refused_with_those_that_are(params):
    with pytest.raises(ValueError, match="this detector has no res6, memory; .* conv1"):
        build(params, freeze=["res6", "memory", "conv1"])
    with pytest.raises(ValueError, match="no task.init_checkpoint"):
        build(params, freeze=["conv1"], init_checkpoint="")
    with pytest.raises(ValueError, match="leaves nothing that learns"):
        build(params, freeze=["backbone", "first_stage", "box_head", "predictor"])


@pytest.mark.parametrize("kind", ["c4", "dc5", "fpn", "slim_c4"])
def test_groups_of_a_resnet_are_all_of_it_and_nothing_twice(params, kind):
    model_id, hidden = (50 if kind == "slim_c4" else 10), ([16] if kind == "fpn" else [])
    backbone = {"kind": kind, "model_id": model_id, "fpn_filters": 16}
    model = {"backbone": backbone, "boxes": {"hidden": hidden}, "image_size": [64, 128]}
    _, model = build(params, model=model)
    parts = parts_of(model)
    groups = [parts[name] for name in ("conv1", "res2", "res3", "res4", "res5")]
    found = [id(v) for layers in groups for layer in layers for v in layer.variables]
    networks = model.checkpoint_items.values()
    assert sorted(found) == sorted({id(v) for network in networks for v in network.variables})
    assert ("pyramid" in parts) == (kind == "fpn") and "memory" not in parts
    assert set(LOSSES) == {metric.name for metric in DetectionTask(params).build_metrics()} - {
        "weight_penalty"
    }
