"""Re-identification is trained, evaluated, resumed and loaded as detection is."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml
from official.modeling import optimization

from context_rcnn.configs import schema
from context_rcnn.configs.reid import adam
from context_rcnn.evaluation.embeddings import read_embeddings
from context_rcnn.simulation import simulate_tracklets
from context_rcnn.tasks import loading, reid_evaluator, reid_losses
from context_rcnn.tasks.reid import ReidTask
from context_rcnn.tasks.task import task_class
from tests.tasks import eagerly
from tests.tasks.processes import start_workers


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "mars"
    simulate_tracklets(
        folder,
        people=6,
        test_people=4,
        cameras=2,
        frames=10,
        distractors=2,
        junk=1,
        image_size=(24, 48),
        seed=1,
    )
    return folder


def settings_of(archive, **task):
    values = {
        "experiment": "psta_tiny",
        "task": {
            "model": {
                "image_size": [48, 32],
                "frames": 4,
                "stages": 2,
                "channels": 16,
                "middle": 8,
                "embedding": 4,
                "backbone": {"depth_multiplier": 0.125},
            },
            "train_data": {"input_path": str(archive), "persons": 4, "clips": 2},
            "validation_data": {"input_path": str(archive), "global_batch_size": 8},
        },
        "trainer": {
            "train_steps": 4,
            "steps_per_loop": 2,
            "summary_interval": 2,
            "checkpoint_interval": 2,
            "validation_interval": 4,
        },
    }
    for name, changes in task.items():
        values["task"].setdefault(name, {})
        values["task"][name] = (
            values["task"][name] | changes if isinstance(changes, dict) else changes
        )
    return values


def load(tmp_path, values):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(values))
    return schema.load_experiment(config_files=[str(path)])


@pytest.fixture(scope="module")
def run(archive, tmp_path_factory):
    """A run of four steps, and its folder."""
    folder = tmp_path_factory.mktemp("runs")
    config = load(folder, settings_of(archive))
    return eagerly.run(config, mode="train_and_eval", model_dir=str(folder / "run")), folder / "run"


@pytest.mark.whole
def test_a_run_ranks_its_queries_and_keeps_what_it_found(run):
    output, folder = run
    metrics = json.loads((folder / "evaluation/step-4/metrics.json").read_text())
    assert metrics["queries"] == 8 and metrics["queries_without_a_match"] == 0
    assert metrics["distractors"] == 2 and metrics["left_out"] == 1
    assert metrics["gallery"] == 4 * 2 * 2 + 2 and metrics["queries_in_gallery"]
    assert 0 < output["mAP"] <= 1 and output["Rank-20"] == 1
    assert "mINP" in (folder / "evaluation/step-4/metrics.txt").read_text()
    found = read_embeddings(str(folder / "evaluation/step-4"))
    assert len(found.places("query")) == 8 and found.features.shape[1] == 16


@pytest.mark.whole
def test_a_run_is_loaded_without_its_data(run, tmp_path):
    trained = loading.load_run(str(run[1]))
    assert isinstance(trained.task, ReidTask) and trained.task.num_identities() == 6
    found = trained.model.embed(tf.zeros([1, 4, 48, 32, 3], tf.uint8))
    assert np.isfinite(found).all()


@pytest.mark.slow
def test_the_evaluation_of_a_run_is_repeatable(run, archive, tmp_path):
    output, folder = run
    config = load(tmp_path, settings_of(archive))
    again = eagerly.run(
        config, mode="eval", model_dir=str(tmp_path / "eval"), checkpoint=str(folder)
    )
    assert again["mAP"] == output["mAP"]


@pytest.mark.slow
def test_a_run_resumes(run, archive, tmp_path, capsys):
    shutil.copytree(run[1], tmp_path / "run")
    values = settings_of(archive)
    values["trainer"]["train_steps"] = 6
    eagerly.run(load(tmp_path, values), mode="train", model_dir=str(tmp_path / "run"))
    assert "restored step 4" in (out := capsys.readouterr().out) and "step 6/6" in out


@pytest.mark.whole
def test_a_run_starts_from_the_frames_of_another(run, archive, tmp_path):
    values = settings_of(
        archive,
        init_checkpoint=str(run[1]),
        init_checkpoint_modules="frames",
        model={"structure": "average", "image_size": [96, 32]},
    )
    values["task"]["model"] = settings_of(archive)["task"]["model"] | {"structure": "average"}
    task = ReidTask(load(tmp_path, values).task)
    model = task.build_model()
    task.initialize(model)
    source = loading.load_run(str(run[1]), str(run[1])).model
    for name in ("backbone", "reduction"):
        pairs = zip(getattr(model, name).variables, getattr(source, name).variables, strict=True)
        assert all((one.numpy() == two.numpy()).all() for one, two in pairs)


@pytest.mark.whole
def test_frames_that_cannot_be_read_are_counted_and_named(run, archive, tmp_path, capsys):
    shutil.copytree(archive, tmp_path / "mars")
    broken = sorted((tmp_path / "mars/bbox_test/0007").glob("0007C1T0001*.jpg"))
    for path in broken:  # a whole tracklet, which is a query
        path.write_bytes(b"")
    half = sorted((tmp_path / "mars/bbox_test/0008").glob("0008C1T0001*.jpg"))[0]
    half.write_bytes(b"no image")
    config = load(tmp_path, settings_of(tmp_path / "mars"))
    folder = tmp_path / "eval"
    eagerly.run(config, mode="eval", model_dir=str(folder), checkpoint=str(run[1]))
    metrics = json.loads((folder / "evaluation/step-4/metrics.json").read_text())
    assert metrics["unread_tracklets"] == 1 and metrics["queries"] == 7
    lines = (folder / "evaluation/step-4/failures.jsonl").read_text().splitlines()
    names = {json.loads(line)["file"].rpartition("/")[2] for line in lines}
    assert names >= {half.name, broken[0].name}
    assert "images could not be read" in capsys.readouterr().out
    damage = list(ReidTask.find_damage(config.task))
    assert len(damage) == len(broken) + 2 and "0007C1T0001F001.jpg" in damage[0]


def test_an_identity_without_a_readable_image_ends_the_run_with_its_name(archive, tmp_path):
    shutil.copytree(archive, tmp_path / "mars")
    for path in (tmp_path / "mars/bbox_train/0003").iterdir():
        path.write_bytes(b"")
    task = ReidTask(load(tmp_path, settings_of(tmp_path / "mars")).task)
    with pytest.raises(tf.errors.OpError, match="no image of identity '3' can be read"):
        for _ in zip(range(6), task.build_inputs(task.task_config.train_data), strict=False):
            pass


def test_smoothed_labels_are_as_worked_by_hand():
    zeros = reid_losses.identity_loss(tf.constant([2]), tf.zeros([1, 4]), 0.1)
    np.testing.assert_allclose(zeros, 1.386294, atol=1e-6)
    logits = tf.constant([[np.log(3.0), 0, 0, 0]], tf.float32)
    found = reid_losses.identity_loss(tf.constant([0]), logits, 0.1)
    np.testing.assert_allclose(found, 0.775543, atol=2e-6)


def test_the_loss_is_the_mean_over_the_stages(archive, tmp_path):
    task = ReidTask(load(tmp_path, settings_of(archive)).task)
    rng = np.random.default_rng(0)
    outputs = {
        "logits": rng.normal(size=(4, 3, 5)).astype(np.float32),
        "features": rng.normal(size=(4, 3, 6)).astype(np.float32),
    }
    labels = np.array([0, 0, 3, 3])
    expected = []
    for n in range(3):
        logits, features = outputs["logits"][:, n], outputs["features"][:, n]
        log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        target = np.full((4, 5), 0.02) + 0.9 * np.eye(5)[labels]
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        apart, same = 1 - unit @ unit.T, labels[:, None] == labels
        far, near = np.where(same, apart, -9).max(1), np.where(same, 9, apart).min(1)
        expected.append(-(target * log).sum(1).mean() + np.maximum(far - near + 0.3, 0).mean())
    outputs = {name: tf.constant(value) for name, value in outputs.items()}
    found = task.build_losses(tf.constant(labels), outputs)
    np.testing.assert_allclose(found["total_loss"], np.mean(expected), rtol=1e-5)


def test_weight_decay_is_an_l2_penalty_on_all_weights(archive, tmp_path):
    task = ReidTask(load(tmp_path, settings_of(archive)).task)
    model = task.build_model()
    with tf.GradientTape() as tape:
        penalty = task.weight_penalty(model)
    gradients = tape.gradient(penalty, model.trainable_variables)
    assert any("gamma" in v.name for v in model.trainable_variables)
    for gradient, variable in zip(gradients, model.trainable_variables, strict=True):
        np.testing.assert_allclose(gradient, 5e-4 * variable.numpy(), rtol=1e-6)


def test_the_rate_follows_the_releases_schedule():
    config = adam(3.5e-4, 78)
    factory = optimization.OptimizerFactory(config)
    rate = factory.build_learning_rate()
    for epoch, expected in {
        0: 3.5e-6, 5: 1.7675e-4, 10: 3.5e-4, 69: 3.5e-4, 70: 1.05e-4, 140: 3.15e-5, 210: 9.45e-6,
        310: 2.835e-6, 410: 8.505e-7, 499: 8.505e-7,
    }.items():  # fmt: skip
        np.testing.assert_allclose(rate(epoch * 78), expected, rtol=1e-5, err_msg=str(epoch))
    assert factory.build_optimizer(rate).epsilon == 1e-8


@pytest.mark.parametrize(
    "changes, replicas", [({"persons": 4}, 4), ({"clips": 1}, 1), ({"persons": 5}, 2)]
)
def test_a_replica_needs_clips_to_compare(archive, tmp_path, changes, replicas):
    task = ReidTask(load(tmp_path, settings_of(archive, train_data=changes)).task)
    with pytest.raises(ValueError, match="each replica compares its own clips"):
        task.batches(replicas)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tracklets": {"layout": "market"}}, "task.train_data.input_path: layout of tracklets"),
        ({"train_data": {"input_path": "/nowhere"}}, "task.train_data.input_path: /nowhere is not"),
        ({"train_data": {"input_path": ""}}, "set task.train_data.input_path"),
        ({"model": {"num_identities": 5}}, "num_identities is 5, but .* has 6"),
        ({"train_data": {"persons": 9}}, "persons is 9, but the training data has 6"),
        ({"losses": {"triplet_on": "logits"}}, "task.losses.triplet_on must be one of"),
        ({"evaluation": {"sampling": "all"}}, "task.evaluation.sampling must be one of"),
        ({"train_data": {"sampling": "all"}}, "task.train_data.sampling must be one of"),
        ({"model": {"frames": 6}}, "no multiple of"),
    ],
)
def test_settings_that_do_not_fit_are_named(archive, tmp_path, changes, message):
    values = settings_of(archive)
    for group, fields in changes.items():
        values["task"].setdefault(group, {}).update(fields)
    with pytest.raises(ValueError, match=message):
        task = ReidTask(load(tmp_path, values).task)
        task.batches()
        task.evaluation_clips()
        task.build_model()


def test_clips_are_averaged_before_they_are_normalised_or_after():
    rows = np.array([[3.0, 0], [0, 1], [5, 5], [7, 7]], np.float32)
    tracklet, valid = np.array([0, 0, 1, 2]), np.array([1, 1, 1, 0])
    plain = reid_evaluator.Averages(3)
    plain.add(tracklet, rows, valid)
    np.testing.assert_allclose(plain.means(), [[1.5, 0.5], [5, 5], [0, 0]])
    assert plain.clips.tolist() == [2, 1, 0]
    first = reid_evaluator.Averages(3, normalise_first=True)
    first.add(tracklet, rows, valid)
    np.testing.assert_allclose(first.means()[0], [0.5, 0.5])


def test_batches_are_the_same_for_any_number_of_hosts(archive, tmp_path):
    task = ReidTask(load(tmp_path, settings_of(archive)).task)
    params = task.task_config.train_data

    def first(hosts, host):
        context = tf.distribute.InputContext(hosts, host, hosts)
        return next(iter(task.build_inputs(params, context)))

    whole = first(1, 0)
    halves = [first(2, host) for host in range(2)]
    for name, values in whole.items():
        both = np.concatenate([half[name] for half in halves])
        np.testing.assert_array_equal(both, values, err_msg=name)
    labels = whole["label"].numpy()
    assert (labels[::2] == labels[1::2]).all() and len(set(labels[::2].tolist())) == 4


def test_settings_of_re_identification_find_their_task(archive, tmp_path):
    assert task_class(load(tmp_path, settings_of(archive)).task) is ReidTask


@pytest.mark.slow
def test_training_and_inference_compile(archive, tmp_path, capsys):
    from tpu import compile_check

    values = settings_of(archive)
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(values))
    assert compile_check.main([f"--config_file={path}", "--batch_size=8"]) == 0
    assert capsys.readouterr().out.count("compiled and ran once") == 2


TWO_REPLICAS = """
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from context_rcnn.configs import schema
from context_rcnn.tasks import running

config = schema.load_experiment(config_files=[sys.argv[1]])
strategy = tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
running.run(config, mode="train_and_eval", model_dir=sys.argv[2], strategy=strategy)
"""


@pytest.mark.slow
def test_two_workers_learn_and_find_what_two_replicas_of_one_process_do(
    archive, tmp_path, start_main
):
    """The first step is compared: later ones enlarge what the order of additions changes."""
    values = settings_of(archive)
    values["trainer"] |= {"train_steps": 2, "validation_interval": 2, "steps_per_loop": 1}
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(values))
    flags = [f"--pipeline_config_path={path}", f"--model_dir={tmp_path}/two"]
    workers = start_workers(start_main, *flags)
    root = str(pathlib.Path(__file__).parents[2])
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": root}
    one = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS, str(path), f"{tmp_path}/one"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert one.returncode == 0, one.stderr[-3000:]
    outputs = [worker.communicate(timeout=900)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs[0][-3000:]
    found = {run: read_embeddings(f"{tmp_path}/{run}/evaluation/step-2") for run in ("one", "two")}
    assert [t.name for t in found["one"].tracklets] == [t.name for t in found["two"].tracklets]
    apart = np.abs(found["one"].features - found["two"].features).max()
    assert apart < 1e-2 * np.abs(found["one"].features).max()
