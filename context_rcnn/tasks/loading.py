"""A trained detector, from the folder of its run or from settings and a checkpoint."""

import copy
import os
from typing import NamedTuple

import tensorflow as tf

from context_rcnn.configs import detection as configs
from context_rcnn.configs import schema
from context_rcnn.data import label_map
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.models.build import entry_size
from context_rcnn.tasks import checkpoints
from context_rcnn.tasks.detection import DetectionTask


class Trained(NamedTuple):
    """A detector with all that is known of it."""

    config: configs.Experiment
    class_names: dict[int, str]
    model: TwoStageDetector


def load_run(model_dir: str, checkpoint: str = "") -> Trained:
    """The detector of a training run.

    Args:
        model_dir: folder of the run, with its `params.yaml`.
        checkpoint: by default the best checkpoint of the run, or else the latest.
    """
    params = os.path.join(model_dir, "params.yaml")
    if not tf.io.gfile.exists(params):
        raise ValueError(f"{model_dir} is not the folder of a run: there is no {params}")
    config = schema.load_experiment(config_files=[params])
    return load_trained(config, model_dir, checkpoint)


def load_trained(config: configs.Experiment, model_dir: str, checkpoint: str = "") -> Trained:
    """The detector of these settings, with weights from a folder of checkpoints, or from one."""
    path = checkpoints.of_run(model_dir, config.trainer.best_checkpoint_export_subdir, checkpoint)
    settings = copy.deepcopy(config.task)
    if entry_size(settings.temporal):
        # All that the model has to know of its bank; the bank itself may be gone.
        settings.memory.bank = ""
    classes = os.path.join(model_dir, label_map.FILE_NAME)
    if tf.io.gfile.exists(classes) and not (
        settings.label_map and tf.io.gfile.exists(settings.label_map)
    ):
        settings.label_map = classes  # the run's own; its data may be gone, too
    task = DetectionTask(settings)
    model = task.build_model()
    checkpoints.restore(path, "--checkpoint", model=model)
    return Trained(config, task.class_names, model)
