"""R-FCN through the task: a training step, evaluation, and the exported model."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.export import export as export_lib
from context_rcnn.export.exported import ExportedModel
from context_rcnn.export.extractor import prepare_images
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.loading import Trained
from tests.tolerance import PIXELS, SCORES

NECK = {"type": "stmn", "channels": 8, "width": 12, "dilation": 2}


@pytest.fixture(scope="module")
def load(settings, tmp_path_factory):
    """Settings of a tiny detector with changes to its model."""
    folder = tmp_path_factory.mktemp("settings")

    def load(experiment, **task):
        path = folder / "settings.yaml"
        path.write_text(yaml.safe_dump({**settings, "experiment": experiment}))
        return schema.load_experiment(
            config_files=[str(path)], overrides=json.dumps({"task": task})
        )

    return load


def step(task):
    """One training step of a new model; the model, the losses, and which variables have moved."""
    tf_keras.utils.set_random_seed(0)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    batch = next(iter(task.build_inputs(task.task_config.train_data)))
    values = task.train_step(batch, model, optimizer)
    moved = {
        id(v): not np.array_equal(a, v)
        for a, v in zip(before, model.trainable_variables, strict=True)
    }
    return model, {name: float(value) for name, value in values.items()}, moved


@pytest.fixture(scope="module")
def rfcn(load):
    config = load("rfcn_tiny", model={"neck": NECK})
    task = DetectionTask(config.task)
    return config, task, *step(task)


def test_every_part_of_an_rfcn_learns(rfcn):
    _, _, model, values, moved = rfcn
    assert np.isfinite(list(values.values())).all()
    assert np.mean(list(moved.values())) > 0.9
    own = [*model.neck.trainable_variables, *model.box_head.trainable_variables]
    assert len(own) == 12 and all(moved[id(v)] for v in own)


def test_an_rfcn_is_evaluated(rfcn):
    config, task, model, _, _ = rfcn
    state = None
    for inputs in task.build_inputs(config.task.validation_data):
        state = task.aggregate_logs(state, task.validation_step(inputs, model))
    assert 0.0 <= task.reduce_aggregated_logs(state)["mAP@.5"] <= 1.0


def test_an_exported_rfcn_detects_what_the_trained_one_does(rfcn, tmp_path):
    config, task, model, _, _ = rfcn
    export_lib.export_trained(Trained(config, task, model), str(tmp_path / "model"))
    rng = np.random.default_rng(0)
    encoded = [
        tf.io.encode_png(rng.integers(0, 255, (h, w, 3)).astype(np.uint8)).numpy()
        for h, w in ((64, 96), (50, 80))
    ]
    images, shapes = prepare_images(
        tf.constant(encoded), (64, 96), config.task.model.keep_aspect_ratio
    )
    expected = model(images, shapes, training=False)
    found = ExportedModel(str(tmp_path / "model")).detect(encoded)
    scale = np.tile(shapes, 2)[:, None]
    boxes = expected["detection_boxes"]
    np.testing.assert_allclose(found["scores"], expected["detection_scores"], rtol=0, atol=SCORES)
    np.testing.assert_allclose(found["boxes"] * scale, boxes, rtol=0, atol=PIXELS)
    assert (found["scores"] > 0).any()
