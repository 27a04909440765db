"""Flow networks as people use them: simulated pairs, trained, measured, and within a memory."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.layers.flow_net import UNIT
from context_rcnn.simulation import simulate_flow_pairs
from context_rcnn.tasks import running
from context_rcnn.tasks.flow import FlowNetTask, pooled, visible
from context_rcnn.tasks.loading import load_run


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    simulate_flow_pairs(
        folder, videos=4, frames=10, pairs=6, image_size=(64, 64), cell=8.0, seed=1, species=2
    )
    return folder


def settings_of(pairs, *more):
    data = f"task.train_data.input_path={pairs},task.validation_data.input_path={pairs}"
    steps = ["train_steps", "steps_per_loop", "validation_interval", "checkpoint_interval"]
    small = [
        "task.image_size=[64,64]",
        "task.model.width=0.0625",
        "task.model.levels=3",
        "task.train_data.global_batch_size=4",
        "task.validation_data.global_batch_size=4",
        *[f"trainer.{name}=2" for name in steps],
    ]
    return ",".join([data, *small, *more])


def load(pairs, *more):
    return schema.load_experiment("flow_net_tiny", overrides=settings_of(pairs, *more))


@pytest.fixture(scope="module")
def flow_run(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    running.run(load(pairs), mode="train_and_eval", model_dir=str(folder))
    return folder


def test_it_is_trained_and_measured_beside_no_flow(flow_run, pairs):
    metrics = json.loads((flow_run / "evaluation" / "step-2" / "metrics.json").read_text())
    assert metrics["pairs"] == 6
    flows = [np.fromfile(pairs / "data" / f"{i + 1:05d}_flow.flo", "<f4")[3:] for i in range(6)]
    lengths = [np.hypot(*flow.reshape(-1, 2).T).mean() for flow in flows]
    np.testing.assert_allclose(metrics["zero_flow_error"], np.mean(lengths), rtol=1e-5)
    trained = load_run(str(flow_run))
    errors = []
    for i, flow in enumerate(flows):
        now, before = (
            np.asarray(Image.open(pairs / "data" / f"{i + 1:05d}_img{k}.ppm"), np.float32)[None]
            / 255
            for k in (1, 2)
        )
        predicted = trained.model.net(tf.constant(now), tf.constant(before), 16)[0].numpy()
        # Cells of 8 pixels of a pair, whose vectors are columns and rows in the file.
        known = flow.reshape(8, 8, 8, 8, 2).mean((1, 3))[..., ::-1] / 8
        errors.append(np.linalg.norm(predicted - known, axis=-1).mean())
    np.testing.assert_allclose(metrics["end_point_error_cells"], np.mean(errors), rtol=1e-4)


def test_the_loss_is_the_distance_at_every_level():
    """Against sums over pixels in NumPy: coarse levels weigh as FlowNet's do."""
    config = schema.load_experiment("flow_net_tiny", overrides="task.model.levels=3").task
    task = FlowNetTask(config)
    rng = np.random.default_rng(1)
    flow = rng.normal(0, 5, (2, 16, 16, 2)).astype(np.float32)
    predicted = [rng.normal(size=(2, n, n, 2)).astype(np.float32) for n in (4, 2)]
    found = task.build_losses({"flow": flow}, [tf.constant(p) for p in predicted])
    expected = 0.0
    for p, weight in zip(predicted, (0.005, 0.01), strict=True):
        n = p.shape[1]
        known = flow.reshape(2, n, 16 // n, n, 16 // n, 2).mean((2, 4)) / UNIT
        expected += weight * np.linalg.norm(p - known, axis=-1).sum() / 2
    np.testing.assert_allclose(found["flow_loss"], expected, rtol=1e-5)


def test_a_pixel_that_does_not_come_back_is_hidden():
    flow, back = np.zeros((2, 1, 3, 4, 2), np.float32)
    flow[..., 1], back[..., 1] = 1.0, -1.0
    back[0, 1, 2, 1] = 3.0
    found = visible(tf.constant(flow), tf.constant(back), 0.2)[0]
    expected = np.ones((3, 4))
    expected[1, 1] = 0  # it leads to the cell whose flow leads elsewhere
    np.testing.assert_array_equal(found, expected)


def test_true_flow_costs_less_than_none_by_looks_alone(pairs):
    task = FlowNetTask(load(pairs, "task.losses.kind=photometric").task)
    rng = np.random.default_rng(2)
    wide = rng.uniform(size=(1, 8, 10, 3)).repeat(8, 1).repeat(8, 2).astype(np.float32)
    now, before = wide[:, :, 8:72], wide[:, :, :64]  # cells of before lie to the right
    losses = {}
    for name, right in (("true", 8.0), ("none", 0.0), ("wrong", -8.0)):
        there = [tf.zeros([1, n, n, 2]) + [0.0, right / UNIT] for n in (16, 8)]
        back = [-part for part in there]
        labels = {"now": tf.constant(now), "before": tf.constant(before)}
        losses[name] = float(task.photometric_losses(labels, there, back)["flow_loss"])
    assert losses["true"] < 0.5 * losses["none"] and losses["none"] < losses["wrong"] * 1.2


def test_pooled_is_the_mean_of_equal_parts():
    maps = np.arange(2 * 8 * 8).reshape(1, 8, 8, 2).astype(np.float32)
    expected = maps.reshape(1, 2, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(pooled(tf.constant(maps), (2, 2)), expected)


def test_by_looks_it_learns_from_pairs_and_from_videos(pairs, video_examples, tmp_path):
    """From examples of videos, two frames apart, without any .flo file."""
    kind = "task.losses.kind=photometric"
    task = FlowNetTask(load(pairs, kind).task)
    model = task.build_model()
    config = load(
        pairs,
        kind,
        f"task.train_data.input_path='{video_examples}/train-*'",
        "task.train_data.distance=2",
    ).task
    config.train_data.image_size, config.train_data.shift = [48, 32], 4
    batch = next(iter(FlowNetTask(config).build_inputs(config.train_data)))
    assert batch["now"].shape == [4, 48, 32, 3] and float(tf.reduce_max(batch["now"])) <= 1.0
    assert float(tf.reduce_mean(tf.abs(batch["now"] - batch["before"]))) > 1e-3
    gradients, values = task.gradients(batch, model)
    assert np.isfinite(values["total_loss"]) and all(g is not None for g in gradients)


def test_a_training_step_compiles(pairs):
    import tf_keras

    for kind in ("supervised", "photometric"):
        config = load(pairs, f"task.losses.kind={kind}").task
        task = FlowNetTask(config, jit_compile=True)
        model = task.build_model()
        optimizer = tf_keras.optimizers.SGD(0.001)
        before = [v.numpy() for v in model.trainable_variables]
        values = task.train_step(task.dummy_inputs(2), model, optimizer)
        assert np.isfinite(values["total_loss"])
        changed = [
            np.abs(a - b).max() > 0 for a, b in zip(before, model.trainable_variables, strict=True)
        ]
        assert np.mean(changed) > 0.8


def test_what_cannot_be_trained_with_is_named(pairs, video_examples, tmp_path):
    cases = [
        ("task.losses.kind=guess", "task.losses.kind must be one of supervised, photometric"),
        ("task.losses.weights=[0.1]", "task.losses.weights has 1 numbers, the network predicts at"),
        (
            "task.train_data.input_path=''",
            "task.train_data.input_path: no file|task.train_data.inp",
        ),
        (f"task.train_data.input_path='{video_examples}/train-*'", "no folder of pairs"),
        ("task.train_data.image_size=[96,64]", r"is 64x64 pixels, smaller than image_size \[96, "),
        ("task.train_data.shift=-1", "task.train_data.shift must not be negative, got -1"),
        ("task.train_data.image_size=[64]", "train_data.image_size must be a height and a width"),
        (
            "task.losses.kind=photometric,task.train_data.image_size=[96,64],"
            f"task.train_data.input_path='{video_examples}/train-*'",
            r"train_data.image_size \[96, 64\] is larger than the frames",
        ),
    ]
    for override, message in cases:
        with pytest.raises(ValueError, match=message):
            task = FlowNetTask(load(pairs, override).task)
            task.build_inputs(task.task_config.train_data)


def test_the_simulator_writes_pairs_from_the_command_line(tmp_path, capsys):
    argv = ["simulate", "flow", str(tmp_path / "pairs"), "--videos=2", "--frames=6", "--pairs=2"]
    assert cli.main([*argv, "--flow_distances=-1,2", "--image_size=64x64"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["pairs"] == 4 and set(summary["mean_motion"]) == {"-1", "2"}
