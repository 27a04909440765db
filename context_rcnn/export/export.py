"""From a training run to a model that needs TensorFlow alone, in the Object Detection API's layout.

    EXPORT/saved_model/      what the model can be asked: `signatures`
    EXPORT/checkpoint/       ckpt-0, the weights alone
    EXPORT/params.yaml       the experiment
    EXPORT/label_map.pbtxt
    EXPORT/model.json        what the model is; also inside the SavedModel

A model with long-term memory carries its frozen extractor, so that what fills its memory is always
what it was trained with.
"""

import json
import logging
import os
from typing import Any

import tensorflow as tf

import context_rcnn
from context_rcnn.configs import detection as configs
from context_rcnn.configs import schema
from context_rcnn.data import label_map
from context_rcnn.export import detection_api
from context_rcnn.export.exported import DESCRIPTION, FORMAT, FORMAT_VERSION, SAVED_MODEL
from context_rcnn.export.extractor import fingerprint, load_extractor
from context_rcnn.export.signatures import ServedDetector
from context_rcnn.memory_bank import encoding
from context_rcnn.models.build import build_stream, stream_needs
from context_rcnn.tasks.loading import Trained, load_run

_LOG = logging.getLogger(__name__)


def export_run(
    model_dir: str, output_dir: str, *, checkpoint: str = "", **options: Any
) -> dict[str, Any]:
    """Exports the detector of a training run; returns its description.

    Args:
        model_dir: folder of the run.
        output_dir: to write to.
        checkpoint: by default the best checkpoint of the run, or else the latest.
        **options: of `serve`.
    """
    return export_trained(load_run(model_dir, checkpoint), output_dir, **options)


def export_trained(trained: Trained, output_dir: str, **options: Any) -> dict[str, Any]:
    """Exports a detector that is loaded already; see `export_run`."""
    served = serve(trained, **options)
    _write(output_dir, served, trained)
    return served.describe()


def serve(
    trained: Trained,
    *,
    extractor: str = "",
    input_type: str = "image_tensor",
    use_side_inputs: bool | None = None,
    side_input_shapes: str = "",
    side_input_types: str = "",
    side_input_names: str = "",
) -> ServedDetector:
    """What is exported.

    Args:
        trained: the detector.
        extractor: folder of the extractor that made the bank it was trained with.
        input_type: of `serving_default`, one of `detection_api.INPUT_TYPES`.
        use_side_inputs: whether `serving_default` takes a memory; None if the detector has one.
        side_input_shapes, side_input_types, side_input_names: as the Object Detection API's flags
            have them; sizes that are given are fixed.
    """
    task = trained.config.task
    if input_type not in detection_api.INPUT_TYPES:
        raise ValueError(
            f"--input_type must be one of {', '.join(detection_api.INPUT_TYPES)}, got "
            f"{input_type!r}"
        )
    _check_temporal(task.temporal)
    memory = _describe_memory(task)
    flags = (side_input_shapes, side_input_types, side_input_names)
    side_inputs = _side_inputs(memory, input_type, use_side_inputs, flags)
    frozen, made_by = None, None
    if extractor:
        frozen, made_by = _load_extractor(extractor, task.temporal)
    elif memory:
        _LOG.warning(
            "no --extractor: the model can be asked neither extract nor step (its memory bank was "
            "made by extractor %s)",
            task.temporal.get().long_term.extractor or "unknown",
        )
    return ServedDetector(
        trained.model,
        _describe(trained, input_type, memory, made_by),
        offset_weights=task.model.boxes.offset_weights,
        input_type=input_type,
        side_inputs=side_inputs,
        extractor=frozen,
        stream=_stream_settings(task.temporal, memory, frozen),
        video=build_stream(trained.model, task.temporal),
    )


def _write(folder: str, served: ServedDetector, trained: Trained) -> None:
    path = os.path.join(folder, DESCRIPTION)
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)  # what stands there is no model until all of it is written
    saved_model = os.path.join(folder, SAVED_MODEL)
    tf.saved_model.save(served, saved_model, signatures=served.functions())
    checkpoint = tf.train.Checkpoint(model=trained.model)
    manager = tf.train.CheckpointManager(checkpoint, os.path.join(folder, "checkpoint"), 1)
    manager.save(checkpoint_number=0)
    schema.save_experiment(trained.config, os.path.join(folder, "params.yaml"))
    classes = {name: number for number, name in trained.class_names.items()}
    with tf.io.gfile.GFile(os.path.join(folder, label_map.FILE_NAME), "w") as file:
        file.write(label_map.format_label_map(classes))
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(served.describe(), file, indent=1)


def _describe(
    trained: Trained,
    input_type: str,
    memory: dict[str, Any] | None,
    extractor: dict[str, Any] | None,
) -> dict[str, Any]:
    """model.json."""
    config, class_names, model = trained
    temporal = config.task.temporal
    makes_detections = {
        "classes": {str(number): name for number, name in sorted(class_names.items())},
        "image_size": list(config.task.model.image_size),
        "keep_aspect_ratio": config.task.model.keep_aspect_ratio,
        "detections": config.task.model.detections.as_dict(),
    }
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": config.name,
        "version": context_rcnn.__version__,
        "hash": fingerprint(model, makes_detections),
        "input_type": input_type,
        **makes_detections,
        "memory": memory,
        "extractor": extractor,
        "short_term_window": (
            temporal.get().short_term.window if temporal.type == "context_rcnn" else 0
        ),
        "video": needs._asdict() if (needs := stream_needs(temporal)) else None,
    }


def _describe_memory(task: configs.DetectionTask) -> dict[str, Any] | None:
    """What has to be known of the bank and its windows, to use them as in training."""
    if task.temporal.type != "context_rcnn" or not task.temporal.get().long_term.enabled:
        return None
    memory, temporal = task.memory, task.temporal.get()
    return {
        "entry_size": temporal.long_term.entry_size,
        "depth": temporal.depth,
        "blocks": temporal.long_term.heads * temporal.long_term.layers,
        "encoding_variant": memory.variant,
        "horizon": memory.horizon,
        "calendar": memory.calendar,
        "causal": memory.causal,
        "include_keyframe": memory.include_keyframe,
        "policy": memory.policy,
        "max_entries": memory.max_entries,
        "top_k": temporal.long_term.top_k or None,
    }


def _check_temporal(temporal: configs.Temporal) -> None:
    if temporal.type in ("st_spatial", "s3d"):
        raise ValueError(
            f"{temporal.type} looks at {temporal.get().window} frames at once, and exported models "
            "are asked about single images or frame by frame: it cannot be exported"
        )


def _side_inputs(
    memory: dict[str, Any] | None, input_type: str, wanted: bool | None, flags: tuple[str, str, str]
) -> list[tf.TensorSpec]:
    """What `serving_default` takes besides the images."""
    if wanted and not memory:
        raise ValueError("--use_side_inputs: this detector attends to no memory bank")
    if any(flags) and not wanted:
        raise ValueError("--side_input_shapes, _types and _names need --use_side_inputs")
    if any(flags) and input_type == "tf_example":
        raise ValueError(
            "--side_input_shapes, _types and _names: with --input_type=tf_example the memory is "
            "read from the examples"
        )
    if not memory or wanted is False or input_type == "tf_example":
        return []
    return detection_api.side_input_specs(memory["entry_size"], *flags)


def _load_extractor(folder: str, temporal: configs.Temporal) -> tuple[Any, dict[str, Any]]:
    """The extractor, if it is the one that made the bank."""
    if temporal.type != "context_rcnn" or not temporal.get().long_term.enabled:
        raise ValueError(f"--extractor {folder}: this detector attends to no memory bank")
    long_term = temporal.get().long_term
    module, description = load_extractor(folder)
    if long_term.extractor and description["hash"] != long_term.extractor:
        raise ValueError(
            f"--extractor {folder} has the hash {description['hash']}, but the detector was "
            f"trained with a bank made by {long_term.extractor}"
        )
    if description["depth"] + encoding.SIZE != long_term.entry_size:
        raise ValueError(
            f"--extractor {folder} gives features of length {description['depth']}, which make "
            f"entries of {description['depth'] + encoding.SIZE}; the detector attends to entries "
            f"of {long_term.entry_size}"
        )
    return module, description


def _stream_settings(
    temporal: configs.Temporal, memory: dict[str, Any] | None, extractor: Any
) -> dict[str, Any] | None:
    """Settings of `step`, None where there can be none."""
    if temporal.type != "context_rcnn" or (memory and extractor is None):
        return None
    if not memory:
        return {}
    return {
        "capacity": memory["max_entries"],
        "top_k": memory["top_k"] or 1,
        "horizon": memory["horizon"],
        "calendar": memory["calendar"],
        "include_keyframe": memory["include_keyframe"],
        "variant": memory["encoding_variant"],
    }
