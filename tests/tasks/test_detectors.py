"""R-FCN through the task: a training step, evaluation, and the exported model."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.detectors.two_stage import Proposals
from context_rcnn.export import export as export_lib
from context_rcnn.export.exported import ExportedModel, GivenImage
from context_rcnn.export.extractor import prepare_images
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.loading import Trained
from tests.tolerance import PIXELS, SCORES, assert_same_bits

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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def fast(settings, tmp_path_factory):
    """Fast R-CNN on VGG-16, and examples whose proposals are near the labels."""
    from beam_pipelines import create_examples
    from context_rcnn.simulation.camera_traps import simulate_camera_traps

    folder = tmp_path_factory.mktemp("proposals")
    simulate_camera_traps(folder / "sim", cameras=2, days=2, seed=2)
    labels = json.loads((folder / "sim/camera_traps.json").read_text())
    rng = np.random.default_rng(0)
    proposals = [
        {
            "image_id": label["image_id"],
            "bbox": (np.array(label["bbox"]) + rng.uniform(0, 5, 4)).tolist(),
            "score": float(rng.random()),
        }
        for label in labels["annotations"]
        if "bbox" in label
        for _ in range(3)
    ]
    path = folder / "proposals.json"
    path.write_text(json.dumps([*proposals, {"image_id": proposals[0]["image_id"]}]))
    create_examples.main(
        [
            f"--input_json={folder}/sim/camera_traps.json",
            f"--image_root={folder}/sim/images",
            f"--proposals_json={path}",
            f"--output_dir={folder}/examples",
            "--num_shards=1",
        ]
    )
    manifest = json.loads((folder / "examples/manifest.json").read_text())
    assert manifest["notes"]["proposals"] == len(proposals)
    assert manifest["notes"]["proposals_that_are_no_boxes"] == 1
    model = {
        "backbone": {"kind": "vgg16", "depth_multiplier": 0.0625},
        "proposals": {"source": "given", "count": 12},
        "boxes": {"hidden": [16, 16], "dropout": 0.5},
    }
    data = {"input_path": f"{folder}/examples/*.tfrecord"}
    overrides = {"model": model, "train_data": data, "validation_data": data}
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    config = schema.load_experiment(
        config_files=[str(path)], overrides=json.dumps({"task": overrides})
    )
    task = DetectionTask(config.task)
    return config, task, *step(task)


@pytest.mark.whole
def test_fast_rcnn_learns_from_examples_with_proposals(fast):
    _, task, model, values, moved = fast
    assert set(values) >= {"classes", "boxes"} and "objectness" not in values
    assert np.isfinite(list(values.values())).all() and values["boxes"] > 0
    assert np.mean(list(moved.values())) > 0.9
    assert not any("rpn" in v.name for v in model.variables)
    state = None
    for inputs in task.build_inputs(task.task_config.validation_data):
        assert inputs["proposals"].shape == (4, 12, 4)
        state = task.aggregate_logs(state, task.validation_step(inputs, model))
    assert 0.0 <= task.reduce_aggregated_logs(state)["mAP@.5"] <= 1.0


@pytest.mark.whole
def test_an_exported_fast_rcnn_detects_in_the_proposals_of_the_request(fast, tmp_path):
    config, task, model, _, _ = fast
    export_lib.export_trained(Trained(config, task, model), str(tmp_path / "model"))
    exported = ExportedModel(str(tmp_path / "model"))
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    encoded = [tf.io.encode_png(image).numpy()]
    boxes = np.float32([[[0.1, 0.2, 0.6, 0.7], [0.0, 0.0, 0.0, 0.0], [0.3, 0.1, 0.9, 0.5]]])
    found = exported.detect_with_proposals(encoded, boxes, np.float32([[0.5, 0.9, 0.75]]))
    exact, pixels = boxes, boxes[:, [2, 0]] * [64, 96, 64, 96]
    padded = tf.constant(np.pad(pixels, [(0, 0), (0, 10), (0, 0)]), tf.float32)
    valid = tf.range(12)[None] < 2
    given = Proposals(padded, tf.cast(valid, tf.float32), valid)
    expected = model(image[None], tf.constant([[64.0, 96.0]]), training=False, given=given)
    np.testing.assert_allclose(found["scores"], expected["detection_scores"], rtol=0, atol=SCORES)
    scale = np.tile([64, 96], 2)
    boxes = expected["detection_boxes"]
    np.testing.assert_allclose(found["boxes"] * scale, boxes, rtol=0, atol=PIXELS)
    assert (found["scores"] > 0).any()
    image = GivenImage(encoded[0], exact[0], np.float32([0.5, 0.9, 0.75]))
    assert_same_bits(exported.detect([image]), found)
    with pytest.raises(ValueError, match="finds no boxes itself.* or ask detect_with_proposals"):
        exported.detect(encoded)
    with pytest.raises(ValueError, match="cannot be exported with --input_type=tf_example"):
        export_lib.serve(Trained(config, task, model), input_type="tf_example")


def test_given_proposals_are_refused_where_frames_come_one_by_one(load):
    overrides = {
        "model": {
            "backbone": {"kind": "dc5"},
            "boxes": {"hidden": [16]},
            "proposals": {"source": "given"},
        },
        "temporal": {"type": "mega", "mega": {"depth": 16, "heads": 2}},
    }
    config = load("faster_rcnn_tiny", **overrides)
    with pytest.raises(ValueError, match="the frames of task.temporal.type mega come without prop"):
        DetectionTask(config.task).build_model()
