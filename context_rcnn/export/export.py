"""From a training run to a model that needs TensorFlow alone, in the Object Detection API's layout.

    EXPORT/saved_model/      what the model can be asked: `signatures`
    EXPORT/checkpoint/       ckpt-0, the weights alone
    EXPORT/params.yaml       the experiment
    EXPORT/label_map.pbtxt
    EXPORT/model_card.json   its card, and model_card.md, the same for people: `card`
    EXPORT/model.json        what the model is; also inside the SavedModel

A model with long-term memory carries its frozen extractor, so that what fills its memory is always
what it was trained with.
"""

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

import context_rcnn
from context_rcnn import configs
from context_rcnn.configs import schema
from context_rcnn.data import label_map
from context_rcnn.export import card, detection_api
from context_rcnn.export.exported import DESCRIPTION, FORMAT, FORMAT_VERSION, SAVED_MODEL
from context_rcnn.export.extractor import fingerprint, load_extractor
from context_rcnn.export.functions import save
from context_rcnn.export.reid import export_reid
from context_rcnn.export.signatures import ServedDetector
from context_rcnn.export.steps import looks_apart
from context_rcnn.layers import crop_and_resize
from context_rcnn.memory_bank import encoding
from context_rcnn.models.streaming import Extract, Frame, Stream
from context_rcnn.models.temporal import TemporalModel
from context_rcnn.tasks import features as task_features
from context_rcnn.tasks.loading import Trained, load_run
from context_rcnn.tasks.reid import ReidTask

_LOG = logging.getLogger(__name__)


def export_run(
    model_dir: str, output_dir: str, *, checkpoint: str = "", told: str = "", **options: Any
) -> dict[str, Any]:
    """Exports the model of a training run; returns its description.

    Args:
        model_dir: folder of the run.
        output_dir: folder to write.
        checkpoint: checkpoint to export; by default the best of the run, or else the latest.
        told: file with what a person says of the model, for its card; see `card.read_told`.
        **options: of `serve`, and `portable`, whether what follows the resizing of images is made
            of operations that TFLite has, too.
    """
    card.read_told(told)  # what is wrong in it is said before the model is loaded
    trained = load_run(model_dir, checkpoint)
    if isinstance(trained.task, ReidTask):
        _refuse_options(options)
        return export_reid(trained, output_dir, told=told)
    return export_trained(trained, output_dir, told=told, **options)


def _refuse_options(options: Mapping[str, Any]) -> None:
    """Options of detectors, where they differ from their defaults."""
    defaults = {"input_type": "image_tensor"}
    given = [name for name, value in options.items() if value and value != defaults.get(name)]
    if given:
        raise ValueError(f"--{given[0]}: a model of re-identification has no such option")


def export_trained(
    trained: Trained,
    output_dir: str,
    *,
    told: str = "",
    portable: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Exports a detector that is loaded already; see `export_run`."""
    said = card.read_told(told)
    with crop_and_resize.by_products() if portable else contextlib.nullcontext():
        served = serve(trained, **options)
        _write(output_dir, served, trained, said)
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
        input_type: input type of `serving_default`, one of `detection_api.INPUT_TYPES`.
        use_side_inputs: whether `serving_default` takes a memory; None if the detector has one.
        side_input_shapes, side_input_types, side_input_names: as the Object Detection API's flags
            have them; sizes that are given are fixed.
    """
    if input_type not in detection_api.INPUT_TYPES:
        raise ValueError(
            f"--input_type must be one of {', '.join(detection_api.INPUT_TYPES)}, got "
            f"{input_type!r}"
        )
    temporal = trained.task.temporal
    temporal.check_single_images(
        "exported models are asked about single images or frame by frame: it cannot be exported"
    )
    memory = temporal.describe()["memory"]
    given = _given(trained)
    if given and input_type == "tf_example":
        raise ValueError(
            "this detector takes proposals with its images: it cannot be exported with "
            "--input_type=tf_example"
        )
    flags = (side_input_shapes, side_input_types, side_input_names)
    side_inputs = [] if given else _side_inputs(memory, input_type, use_side_inputs, flags)
    frozen, made_by, extract = None, None, None
    if extractor:
        frozen, made_by = _load_extractor(extractor, temporal)
        if bool(given) != bool(made_by.get("given")):
            raise ValueError(
                f"--extractor {extractor}: detector and extractor must both take the boxes of "
                "another detector with an image, or both find their own"
            )
        extract = _extract(frozen, same_images=_same_images(trained.config.task.model, made_by))
    elif memory:
        _LOG.warning(
            "no --extractor: the model can be asked neither extract nor step (its memory bank was "
            "made by extractor %s)",
            temporal.extractor_hash or "unknown",
        )
    stream = None if given and memory else temporal.stream(trained.model, extract)
    if stream is not None and "proposals" in stream.inputs:
        raise ValueError(
            "this detector takes proposals with each frame of a video: it can be trained and "
            "evaluated, but not exported"
        )
    return ServedDetector(
        trained.model,
        _describe(trained, input_type, made_by, stream),
        input_type=input_type,
        side_inputs=side_inputs,
        extractor=frozen,
        temporal=temporal,
        stream=stream,
    )


def _extract(frozen: Any, same_images: bool) -> Extract:
    """The frozen extractor on frames, decoded once if it takes images as the detector does."""

    def extract(frame: Frame) -> Mapping[str, tf.Tensor]:
        if same_images:
            return frozen.extract_from_images(frame.image, frame.shape)
        return frozen.extract(frame.encoded)

    return extract


def _same_images(model: configs.FasterRcnn, extractor: Mapping[str, Any]) -> bool:
    size = list(model.image_size) == list(extractor["image_size"])
    return size and model.keep_aspect_ratio == extractor["keep_aspect_ratio"]


def _write(
    folder: str, served: ServedDetector, trained: Trained, told: Mapping[str, str | None]
) -> None:
    path = os.path.join(folder, DESCRIPTION)
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)  # what stands there is no model until all of it is written
    saved_model = os.path.join(folder, SAVED_MODEL)
    save(served, saved_model, served.functions())
    checkpoint = tf.train.Checkpoint(model=trained.model)
    manager = tf.train.CheckpointManager(checkpoint, os.path.join(folder, "checkpoint"), 1)
    manager.save(checkpoint_number=0)
    schema.save_experiment(trained.config, os.path.join(folder, "params.yaml"))
    classes = {name: number for number, name in trained.task.class_names.items()}
    with tf.io.gfile.GFile(os.path.join(folder, label_map.FILE_NAME), "w") as file:
        file.write(label_map.format_label_map(classes))
    card.write_card(folder, served.describe(), trained, told)
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(served.describe(), file, indent=1)


def _describe(
    trained: Trained,
    input_type: str,
    extractor: dict[str, Any] | None,
    stream: Stream | None,
) -> dict[str, Any]:
    """The content of model.json."""
    config, task, model = trained.config, trained.task, trained.model
    makes_detections = {
        "classes": {str(number): name for number, name in sorted(task.class_names.items())},
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
        "proposals": _given(trained),
        "embedded": _sees_what_fills(trained, extractor),
        **makes_detections,
        **task.temporal.describe(),
        "extractor": extractor,
        "stream": _describe_stream(stream),
    }


def _given(trained: Trained) -> int:
    """Proposals that are given with an image; 0 for a detector that finds its own."""
    proposals = trained.config.task.model.proposals
    return proposals.count if proposals.source == "given" else 0


def _sees_what_fills(trained: Trained, extractor: Mapping[str, Any] | None) -> bool:
    """Whether the extractor returns, of given boxes, the box features that the detector has."""
    if not extractor or not extractor.get("given") or task_features.why_not(trained.model):
        return False
    return task_features.fingerprint(trained.model, trained.config.task.model) == extractor["hash"]


def _describe_stream(stream: Stream | None) -> dict[str, Any] | None:
    if stream is None:
        return None
    told = {"inputs": list(stream.inputs), "latency": stream.latency, "seed": stream.seed}
    for name, method in (("propagates", "propagate"), ("two_speeds", "detect_fast")):
        told |= {name: True} if hasattr(stream, method) else {}
    return told | ({"looks": True} if looks_apart(stream) else {})


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


def _load_extractor(folder: str, temporal: TemporalModel) -> tuple[Any, dict[str, Any]]:
    """The extractor, if it is the one that made the bank."""
    memory, expected = temporal.describe()["memory"], temporal.extractor_hash
    if memory is None:
        raise ValueError(f"--extractor {folder}: this detector attends to no memory bank")
    module, description = load_extractor(folder)
    if expected and description["hash"] != expected:
        raise ValueError(
            f"--extractor {folder} has the hash {description['hash']}, but the detector was "
            f"trained with a bank made by {expected}"
        )
    if description["depth"] + encoding.SIZE != memory["entry_size"]:
        raise ValueError(
            f"--extractor {folder} gives features of length {description['depth']}, which make "
            f"entries of {description['depth'] + encoding.SIZE}; the detector attends to entries "
            f"of {memory['entry_size']}"
        )
    return module, description
