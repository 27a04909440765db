"""Memory Warps as people use it: flow first, a still detector, trained on clips, exported, run."""

import json

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import cli
from context_rcnn.configs import schema
from context_rcnn.data.input import read_examples
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.loading import load_run
from tests.tasks import eagerly
from tests.tasks.test_running import metrics_of


@pytest.fixture(scope="module")
def warps_settings(settings, video_examples):
    """Settings of a detector that steps in milliseconds."""
    changed = json.loads(json.dumps(settings))
    changed["experiment"] = "memnet_tiny"
    task = changed["task"]
    task["model"]["neck"] = {"type": "fgfa", "width": 16, "dilation": 2}
    flow = {"width": 0.0625, "levels": 3}
    warps = {"flow": flow, "training": {"frames": 3}, "clocks": [1, 2]}
    task["temporal"] = {"type": "memory_warps", "memory_warps": warps}
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
def flow_run(tmp_path_factory):
    """A flow network that was not trained, as a run would leave it."""
    from context_rcnn.tasks.flow import FlowNetTask

    tf.keras.utils.set_random_seed(5)
    folder = tmp_path_factory.mktemp("flow")
    small = "task.model.width=0.0625,task.model.levels=3,task.image_size=[64,64]"
    model = FlowNetTask(schema.load_experiment("flow_net_tiny", overrides=small).task).build_model()
    for variable in model.variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.05))
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    return str(folder), [variable.numpy() for variable in model.net.variables]


@pytest.fixture(scope="module")
def still_run(warps_settings, tmp_path_factory):
    """A still detector that was not trained, as a run would leave it."""
    folder = str(tmp_path_factory.mktemp("still"))
    task = DetectionTask(load(warps_settings, temporal={"type": "none"}, init_checkpoint="").task)
    tf.train.Checkpoint(model=task.build_model()).save(f"{folder}/ckpt")
    return folder


@pytest.fixture(scope="module")
def warps_run(warps_settings, still_run, tmp_path_factory):
    """Trained for a step from the still detector, and evaluated."""
    folder = tmp_path_factory.mktemp("warps")
    config = load(warps_settings, init_checkpoint=still_run)
    eagerly.run(config, mode="train_and_eval", model_dir=str(folder))
    return folder


@pytest.mark.whole
def test_it_starts_from_a_still_detector_and_is_measured(warps_run, video_examples):
    metrics = metrics_of(warps_run, 1)
    manifest = json.loads((video_examples / "manifest.json").read_text())
    assert metrics["images"] == manifest["splits"]["val"]["total"]["images"]


@pytest.mark.whole
def test_the_flow_network_comes_from_its_own_run(warps_settings, still_run, flow_run):
    folder, expected = flow_run
    temporal = json.loads(json.dumps(warps_settings["task"]["temporal"]))
    temporal["memory_warps"]["flow"] |= {"init_checkpoint": folder, "train": False}
    task = DetectionTask(load(warps_settings, init_checkpoint=still_run, temporal=temporal).task)
    model = task.build_model()
    task.initialize(model)
    found = model.map_memory.flow_net.variables
    for variable, value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)
    assert not model.map_memory.trainable_variables
    temporal["memory_warps"]["flow"]["width"] = 0.125
    task = DetectionTask(load(warps_settings, init_checkpoint=still_run, temporal=temporal).task)
    with pytest.raises(ValueError, match="memory_warps.flow.init_checkpoint"):
        task.initialize(task.build_model())


def test_clips_go_back_in_steps_of_each_clock(warps_settings):
    task = DetectionTask(load(warps_settings, init_checkpoint="somewhere").task)
    assert task.training_frames().offsets == (-4, -2, -1, 0)
    batch = next(iter(task.build_inputs(task.task_config.train_data)))
    places, there = batch["clip_frames"].numpy(), batch["clip_valid"].numpy()
    assert there[:, -1].all()
    for row, valid in zip(places, there, strict=True):
        expected = row[-1] + np.array([-4, -2, -1, 0])
        np.testing.assert_array_equal(valid, expected >= 0)
        np.testing.assert_array_equal(row, np.where(valid, expected, row[-1]))


@pytest.fixture(scope="module")
def exported(warps_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export = ["export", f"--model_dir={warps_run}", f"--output_dir={folder}/model"]
    assert cli.main(export) == 0
    return folder / "model"


@pytest.fixture(scope="module")
def clips(video_examples, tmp_path_factory):
    """Two videos as folders of frames."""
    files = sorted(map(str, video_examples.glob("val-*.tfrecord")))
    frames = list(read_examples(files, None).as_numpy_iterator())
    root = tmp_path_factory.mktemp("clips")
    names = list(dict.fromkeys(row["seq_id"] for row in frames))[:2]
    for number, name in enumerate(names):
        folder = root / f"video{number}"
        folder.mkdir()
        for i, row in enumerate(row for row in frames if row["seq_id"] == name):
            (folder / f"{i:06d}.jpg").write_bytes(row["image_bytes"])
    return root


def found_by(model, clips, output, *flags):
    argv = ["videos", str(clips), "--model", str(model), "--threshold", "0", "-o", str(output)]
    assert cli.main([*argv, *flags]) == 0
    document = json.loads(output.read_text())
    return {
        entry["file"]: sorted((d["conf"], *d["bbox"]) for d in entry["detections"])
        for entry in document["images"]
    }


@pytest.mark.slow
def test_its_export_detects_sparingly_in_videos(exported, clips, tmp_path):
    """`--evidence_every` and `--anticipate` give what the model's own functions give."""
    from context_rcnn.export.exported import ExportedModel

    whole = found_by(exported, clips, tmp_path / "whole.json", "--batch_size=2")
    every = ("--evidence_every=2", "--batch_size=2")
    sparing = found_by(exported, clips, tmp_path / "sparing.json", *every)
    foretold = found_by(exported, clips, tmp_path / "foretold.json", "--anticipate=2")
    assert set(whole) == set(sparing) == set(foretold)
    model = ExportedModel(exported)
    for video in ("video0", "video1"):
        files = sorted((clips / video).iterdir())
        state, ahead = model.initial_state(1), []
        blind = model.initial_state(1)
        for t, path in enumerate(files):
            given = [path.read_bytes()], np.array([3]), np.array([True])
            outputs, state = model.step(*given, state)
            move = model.propagate if t % 2 else model.step
            spared, blind = move(*given, blind)
            coming = model.anticipate(np.array([2]), state)
            assert coming["frame"][0] == t + 2
            ahead.append(coming)
            name = f"{video}/{path.name}"
            for found, expected in (
                (whole[name], outputs),
                (sparing[name], spared),
                (foretold[name], ahead[t - 2] if t >= 2 else None),
            ):
                scores = [] if expected is None else expected["scores"][0]
                kept = sorted(score for score in scores if score >= 0.005)
                np.testing.assert_allclose([one[0] for one in found], kept, atol=2e-3)


@pytest.mark.slow
def test_a_model_without_flow_cannot_spare_a_look(warps_settings, clips, tmp_path, capsys):
    config = load(warps_settings, temporal={"type": "none"}, init_checkpoint="")
    eagerly.run(config, mode="train", model_dir=f"{tmp_path}/run")
    export = ["export", f"--model_dir={tmp_path}/run", f"--output_dir={tmp_path}/still"]
    assert cli.main(export) == 0
    argv = ["videos", str(clips), "--model", f"{tmp_path}/still", "--anticipate=1"]
    assert cli.main([*argv, "-o", str(tmp_path / "found.json")]) == 2
    assert "no memory that is moved by flow" in capsys.readouterr().err


@pytest.fixture(scope="module")
def two_speed_run(warps_settings, still_run, warps_run, tmp_path_factory):
    """A fast detector that learns beside the trained one for a step."""
    folder = tmp_path_factory.mktemp("two_speed")
    temporal = {
        "type": "two_speed",
        "two_speed": {"strong": str(warps_run), "every": 2, "delay": 1},
    }
    config = load(warps_settings, init_checkpoint=still_run, temporal=temporal)
    eagerly.run(config, mode="train_and_eval", model_dir=str(folder))
    return folder


@pytest.mark.slow
def test_a_fast_detector_learns_beside_a_strong_one_that_stays(two_speed_run, warps_run):
    trained, strong = load_run(str(two_speed_run)), load_run(str(warps_run))
    within = trained.model.map_memory.strong

    def as_arrays(variables):  # in an order that does not depend on which of them learn
        arrays = [variable.numpy() for variable in variables]
        return sorted(arrays, key=lambda a: (a.shape, float(a.astype(np.float64).sum())))

    both = map(as_arrays, (within.variables, strong.model.variables))
    for found, expected in zip(*both, strict=True):
        np.testing.assert_array_equal(found, expected)
    learning = {id(variable) for variable in trained.model.trainable_variables}
    assert learning and not learning & {id(variable) for variable in within.variables}
    # It needs the strong one's run no more: its settings and weights are in this one.
    assert trained.config.task.temporal.two_speed.memory.clocks == [1, 2]
    assert metrics_of(two_speed_run, 1)["images"] > 0


@pytest.mark.slow
def test_both_detectors_are_one_export_that_runs_at_two_speeds(
    two_speed_run, clips, tmp_path, capsys
):
    """Late by a fixed number of frames, equal runs are equal; with threads each frame has one."""
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.videos.two_speed import TwoSpeedRunner

    export = ["export", f"--model_dir={two_speed_run}", f"--output_dir={tmp_path}/model"]
    assert cli.main(export) == 0
    once, again = (found_by(tmp_path / "model", clips, tmp_path / f"{n}.json") for n in "ab")
    assert once == again
    threads = found_by(tmp_path / "model", clips, tmp_path / "threads.json", "--two_speed")
    assert set(threads) == set(once)

    # In turns, the two parts give what the model does as one: it looks at every second frame, is
    # late by one, and propagates between, so frames right behind a look are alike.
    model = ExportedModel(tmp_path / "model")
    files = sorted((clips / "video0").iterdir())[:2]
    with TwoSpeedRunner(model, delay=1) as runner:
        state = runner.initial_state(1)
        for path in files:
            given = [path.read_bytes()], np.array([3]), np.array([True])
            nothing = {"ended": np.array([False]), "elsewhere": None, "elsewhere_valid": None}
            found, state = runner.step(*given, state, **nothing)
            scores = sorted(score for score in found["scores"][0] if score >= 0.005)
            kept = [one[0] for one in once[f"video0/{path.name}"]]
            np.testing.assert_allclose(kept, scores, atol=2e-3)
    argv = ["watch", "--two_speed", "nowhere.mp4", "--model", f"{tmp_path}/model"]
    capsys.readouterr()
    assert cli.main(argv) == 2
    assert "nowhere.mp4 is no video file" in capsys.readouterr().err


@pytest.mark.slow
def test_its_whole_training_step_compiles(warps_settings, still_run):
    import tf_keras

    for name, more in (("memory_warps", {"aggregation": "weights"}), ("fgfa", {})):
        settings = {"flow": {"width": 0.0625, "levels": 3}, **more}
        temporal = {"type": name, name: settings}
        config = load(warps_settings, init_checkpoint=still_run, temporal=temporal)
        task = DetectionTask(config.task, jit_compile=True)
        model = task.build_model()
        optimizer = tf_keras.optimizers.SGD(0.001)
        values = task.train_step(task.dummy_inputs(2), model, optimizer)
        assert np.isfinite(values["total_loss"])
