"""A memory bank switched on from the settings reaches the ports of the detector."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from context_rcnn.configs import schema
from context_rcnn.data import input as input_lib
from context_rcnn.data.examples import parse_example
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.join import MemoryJoin
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.window import WindowOptions
from context_rcnn.memory_bank.writer import BankWriter
from context_rcnn.tasks.detection import DetectionTask

DEPTH, ROOM = 6, 12


@pytest.fixture(scope="module")
def rows(examples_dir):
    files = sorted(map(str, examples_dir.glob("*.tfrecord")))
    dataset = tf.data.TFRecordDataset(files).map(parse_example)
    return {
        int(input_lib.image_key(tf.constant(row["image_id"]))): row
        for row in dataset.as_numpy_iterator()
    }


@pytest.fixture(scope="module")
def config(settings, rows, tmp_path_factory):
    """Settings with a bank of random features of every image, but for one camera."""
    folder = tmp_path_factory.mktemp("memory")
    cameras = sorted({row["camera"].decode() for row in rows.values()})
    rng = np.random.default_rng(0)
    with BankWriter(str(folder / "bank"), BankInfo("x", "detections", DEPTH, "float32"), 2) as bank:
        for camera in cameras[1:]:
            members = [row for row in rows.values() if row["camera"].decode() == camera]
            left = rng.uniform(0, 0.5, (len(members), 2))
            bank.add(
                camera,
                Entries.make(
                    image_ids=[row["image_id"].decode() for row in members],
                    seconds=[int(row["seconds"]) for row in members],
                    boxes=np.concatenate([left, left + 0.3], axis=1),
                    features=rng.normal(size=(len(members), DEPTH)),
                ),
            )
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    overrides = f"task.memory.bank={folder}/bank,task.memory.max_entries={ROOM}"
    return schema.load_experiment(config_files=[str(path)], overrides=overrides), cameras


def test_every_row_has_the_window_of_its_own_camera_mirrored_with_its_image(config, rows):
    config, cameras = config
    task = DetectionTask(config.task)
    join = MemoryJoin(config.task.memory.bank, WindowOptions("month"), max_entries=ROOM)
    plain = input_lib.ImageInput(tuple(config.task.model.image_size), False, 100)
    mirrored = {False: 0, True: 0}
    for batch in task.build_inputs(config.task.train_data).take(8).as_numpy_iterator():
        for i, key in enumerate(batch["key"]):
            row = rows[int(key)]
            upright = plain.image({k: tf.constant(v) for k, v in row.items()}, tf.constant(False))[
                "image"
            ].numpy()
            flip = not np.array_equal(batch["image"][i], upright)
            mirrored[flip] += 1
            expected = join.read(
                row["camera"].decode(), int(row["seconds"]), row["image_id"].decode(), flip
            )
            np.testing.assert_array_equal(
                batch["context_features"][i], expected["context_features"]
            )
            size = int(expected["context_size"])
            assert batch["context_valid"][i].sum() == size
            assert (size == 0) == (row["camera"].decode() == cameras[0])
    assert min(mirrored.values()) > 3


def test_the_ports_get_the_memory_in_training_and_in_evaluation(config):
    config, _ = config
    seen = []

    class Listens(tf_keras.layers.Layer):
        def call(self, features, *, proposals=None, memory=None, training=None):
            seen.append((training, memory["context_features"].shape))
            return features

    task = DetectionTask(config.task.replace(temporal={"type": "context_rcnn"}))
    model = task.build_model()
    model.box_memory = Listens()
    batch = next(iter(task.build_inputs(config.task.train_data)))
    task.gradients(batch, model, tf_keras.optimizers.SGD())
    task.validation_step(batch, model)
    assert seen == [(True, (4, ROOM, DEPTH + 9)), (False, (4, ROOM, DEPTH + 9))]


def test_evaluation_fills_up_with_empty_memories_and_says_what_was_missing(config, capsys):
    config, _ = config
    task = DetectionTask(config.task)
    batches = list(task.build_inputs(config.task.validation_data).as_numpy_iterator())
    padding = ~np.concatenate([batch["valid"] for batch in batches])
    valid = np.concatenate([batch["context_valid"] for batch in batches])
    assert padding.any() and not valid[padding].any()
    # The detector without memory takes no entries, though they are there.
    assert batches[0].keys() >= {"context_features", "context_valid", "context_size"}
    assert task.memory_of(batches[0], 1).keys() == {"clip_valid"}


def test_a_bank_that_is_not_there_is_named(config):
    config, _ = config
    params = schema.load_experiment("faster_rcnn_tiny").task
    params.override(config.task.as_dict())
    params.memory.bank = "/nowhere/bank"
    task = DetectionTask(params)
    with pytest.raises(ValueError, match="/nowhere/bank"):
        task.build_inputs(params.train_data)
    params.memory.bank, params.memory.horizon = config.task.memory.bank, "year"
    with pytest.raises(ValueError, match="horizon 'year'"):
        DetectionTask(params).build_inputs(params.train_data)
