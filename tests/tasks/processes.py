"""Several processes on loopback, as several machines."""

import socket

import numpy as np
import tensorflow as tf
import yaml

from context_rcnn.configs import schema
from context_rcnn.tasks.detection import DetectionTask


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_workers(start_main, *flags):
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        start_main(
            "--num_workers=2",
            *flags,
            tf_config={"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}},
        )
        for i in range(2)
    ]


def assert_two_learn_what_one_does(config_path, start_main, folder, port):
    """The same global batches, on loopback: the same weights after a few steps."""
    model = DetectionTask(
        schema.load_experiment(config_files=[str(config_path)]).task
    ).build_model()
    tf.train.Checkpoint(model=model).save(f"{folder}/start/ckpt")
    # Nothing may be drawn by lot, nor depend on which boxes fill up an image's samples.
    overrides = {
        "task": {
            "init_checkpoint": f"{folder}/start",
            "init_checkpoint_modules": "all",
            "model": {
                "backbone": {"freeze_batch_norm": True},
                "boxes": {"samples": 40, "positive_fraction": 1.0},
                "proposals": {"anchor_samples": 400, "anchor_positive_fraction": 1.0},
            },
            "train_data": {"max_boxes": 30},
        },
        "trainer": {"train_steps": 6},  # the rate warms up from zero
    }
    extra = folder / "extra.yaml"
    extra.write_text(yaml.safe_dump(overrides))
    flags = [f"--pipeline_config_path={config_path}", f"--config_file={extra}", "--mode=train"]
    workers = [start_main(*flags, f"--model_dir={folder}/one")]
    workers += start_workers(start_main, *flags, f"--model_dir={folder}/two")
    outputs = [worker.communicate(timeout=900)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], outputs[1][-3000:]
    one, two, start = (
        tf.train.load_checkpoint(f"{folder}/{run}") for run in ("one", "two", "start")
    )
    names = set.intersection(*(set(run.get_variable_to_shape_map()) for run in (one, two, start)))
    names = sorted(name for name in names if name.startswith("model/"))
    assert any(port in name for name in names)
    one, two, start = (
        np.concatenate([run.get_tensor(name).ravel() for name in names])
        for run in (one, two, start)
    )
    moved = np.abs(one - start).max()
    assert moved > 1e-3
    assert np.abs(one - two).max() < 0.02 * moved
