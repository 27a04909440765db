"""The weights that a detector starts from: `task.init_checkpoint`."""

import tf_keras

from context_rcnn import configs
from context_rcnn.detectors import checkpoints, vgg
from context_rcnn.models.temporal import TemporalModel

FIELD = "task.init_checkpoint"


def load_start(
    params: configs.DetectionTask, temporal: TemporalModel, model: tf_keras.Model
) -> None:
    """Loads the parts that `init_checkpoint_modules` names.

    Args:
        params: settings of the task.
        temporal: the memory, which knows what it takes of a still-image detector.
        model: the detector.
    """
    path = checkpoints.find_checkpoint(params.init_checkpoint, FIELD)
    if path.endswith(".h5"):
        _load_h5(params, model, path)
    elif params.init_checkpoint_modules == "backbone":
        checkpoints.restore(path, FIELD, **model.checkpoint_items)
    elif params.init_checkpoint_modules == "detector":
        temporal.warm_start(model, path, FIELD)
    elif params.init_checkpoint_modules == "all":
        checkpoints.restore(path, FIELD, model=model)
    else:
        raise ValueError(
            "task.init_checkpoint_modules must be backbone, detector or all, got "
            f"{params.init_checkpoint_modules!r}"
        )


def _load_h5(params: configs.DetectionTask, model: tf_keras.Model, path: str) -> None:
    """Takes ImageNet weights in the format of tf_keras.applications."""
    kind, modules = params.model.backbone.kind, params.init_checkpoint_modules
    if kind != "vgg16" or modules != "backbone":
        raise ValueError(
            f"{FIELD}: {path} can be the backbone of vgg16 only; here model.backbone.kind is "
            f"{kind} and init_checkpoint_modules {modules}"
        )
    vgg.load_h5(path, FIELD, vgg.h5_layers(model))
