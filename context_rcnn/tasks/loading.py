"""A trained model, from the folder of its run or from settings and a checkpoint."""

import os
from typing import Any, NamedTuple

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.configs import schema
from context_rcnn.detectors import checkpoints
from context_rcnn.tasks.task import task_class


class Trained(NamedTuple):
    """A model with all that is known of it.

    Attributes:
        config: the settings.
        task: its task.
        model: the model, with its weights.
        folder: folder of the run, "" if it has none.
        checkpoint: checkpoint of the weights, "" if they come from none.
    """

    config: configs.Experiment
    task: Any
    model: Any
    folder: str = ""
    checkpoint: str = ""


def load_run(model_dir: str, checkpoint: str = "") -> Trained:
    """The model of a training run.

    Args:
        model_dir: folder of the run, with its `params.yaml`.
        checkpoint: checkpoint to load; by default the best of the run, or else the latest.
    """
    params = os.path.join(model_dir, "params.yaml")
    if not tf.io.gfile.exists(params):
        raise ValueError(f"{model_dir} is not the folder of a run: there is no {params}")
    config = schema.load_experiment(config_files=[params])
    return load_trained(config, model_dir, checkpoint)


def load_trained(config: configs.Experiment, model_dir: str, checkpoint: str = "") -> Trained:
    """The model of these settings, with weights from a folder of checkpoints, or from one."""
    path = checkpoints.of_run(model_dir, config.trainer.best_checkpoint_export_subdir, checkpoint)
    task = task_class(config.task).of_run(config.task, model_dir)
    model = task.build_model()
    checkpoints.restore(path, "--checkpoint", model=model)
    return Trained(config, task, model, model_dir, path)
