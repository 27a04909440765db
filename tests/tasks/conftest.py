"""A small archive, written by the real pipeline, and settings that train on it in seconds."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def examples_dir(once):
    """TFRecords of four simulated cameras: three to train on, one to evaluate on."""

    def make(folder):
        from beam_pipelines import create_examples
        from context_rcnn.simulation.camera_traps import simulate_camera_traps

        simulate_camera_traps(folder / "sim", cameras=4, days=6, seed=2)
        create_examples.main(
            [
                f"--input_json={folder}/sim/camera_traps.json",
                f"--image_root={folder}/sim/images",
                f"--splits_file={folder}/sim/splits.json",
                f"--output_dir={folder}/examples",
                "--num_shards=2",
            ]
        )

    return once("archive", make) / "examples"


@pytest.fixture(scope="session")
def video_examples(once):
    """TFRecords of eight simulated videos."""

    def make(folder):
        from beam_pipelines import create_examples
        from context_rcnn.simulation import simulate_videos

        simulate_videos(folder / "vid", videos=8, frames=6, seed=1)
        create_examples.main(
            [
                f"--imagenet_vid_root={folder}/vid",
                f"--output_dir={folder}/examples",
                "--num_shards=2",
            ]
        )

    return once("videos", make) / "examples"


@pytest.fixture(scope="session")
def settings(examples_dir):
    """Settings, as YAML would give them, of a detector that steps in milliseconds."""
    return {
        "experiment": "faster_rcnn_tiny",
        "task": {
            "model": {
                "image_size": [64, 96],
                "backbone": {"depth_multiplier": 0.125},
                "proposals": {"filters": 16, "pre_nms": 50, "count": 10, "anchor_samples": 16},
                "boxes": {"samples": 8},
                "detections": {"count": 10},
            },
            "train_data": {
                "input_path": f"{examples_dir}/train-*.tfrecord",
                "global_batch_size": 4,
            },
            "validation_data": {
                "input_path": f"{examples_dir}/val-*.tfrecord",
                "global_batch_size": 4,
                "sample_1_of_n": 4,
            },
            "evaluation": {"images": 4},
        },
        "trainer": {
            "train_steps": 6,
            "steps_per_loop": 2,
            "summary_interval": 2,
            "checkpoint_interval": 2,
            "validation_interval": 6,
        },
    }


@pytest.fixture
def config_file(settings, tmp_path):
    """The settings in a file."""
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def start_main():
    """Starts `model_main_tf2` in a process of its own and returns it."""

    def start(*flags, tf_config=None, **environment):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment}
        if tf_config:
            environment["TF_CONFIG"] = json.dumps(tf_config)
        return subprocess.Popen(
            [sys.executable, "-m", "context_rcnn.model_main_tf2", *map(str, flags)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
