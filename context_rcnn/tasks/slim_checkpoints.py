"""Checkpoints of the Object Detection API's TensorFlow 1 models: their weights in our detectors.

What it calls                                            is here
FirstStageFeatureExtractor/resnet_v1_N/...               the backbone, of kind slim_c4
Conv, FirstStageBoxPredictor/...                         the first stage's head
AttentionBlock/fully_connected{,_1,_2}, fully_connected  queries, keys, values, output
SecondStageFeatureExtractor/resnet_v1_N/block4/...       the second stage's features
SecondStageBoxPredictor/...                              the box predictor
"""

import os
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from context_rcnn.configs import detection as configs
from context_rcnn.configs import schema
from context_rcnn.data import label_map as label_maps
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.layers.context_attention import ContextAttention
from context_rcnn.tasks.detection import DetectionTask

# What a checkpoint has besides weights.
_NOT_WEIGHTS = re.compile(r"global_step|.*/(Momentum|RMSProp|Adam)(_1)?|.*_power")
_AVERAGE = "/ExponentialMovingAverage"
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_BOX_SCALES = np.float32([10, 10, 5, 5])  # the first stage's offsets are multiplied by them


class _Source:
    """Weights by name, and which of them were taken; a ValueError names what is missing."""

    def __init__(self, path: str):
        try:
            self._reader = tf.train.load_checkpoint(path)
        except (ValueError, tf.errors.OpError) as error:
            raise ValueError(f"--checkpoint {path}: {error}") from None
        self._path = path
        self._shapes = self._reader.get_variable_to_shape_map()
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def take(self, name: str) -> np.ndarray:
        """A weight, its moving average if there is one."""
        if name not in self._shapes:
            raise ValueError(f"--checkpoint {self._path}: there is no variable {name}")
        self._taken |= {name, name + _AVERAGE}
        averaged = name + _AVERAGE if name + _AVERAGE in self._shapes else name
        return self._reader.get_tensor(averaged)

    def find(self, pattern: str) -> list[str]:
        """Names that match, sorted."""
        return sorted(filter(re.compile(pattern).fullmatch, self._shapes))

    def left(self) -> list[str]:
        """Names of weights that nobody took."""
        names = self._shapes.keys() - self._taken
        return sorted(name for name in names if not _NOT_WEIGHTS.fullmatch(name))


def convert(
    checkpoint: str, pipeline_config: str, label_map: str, model_dir: str, overrides: str = ""
) -> list[str]:
    """Makes the folder of a run of a model of the Object Detection API.

    Args:
        checkpoint: prefix of its checkpoint, `.../model.ckpt`.
        pipeline_config: its `pipeline.config`.
        label_map: its classes.
        model_dir: folder to write; it must not hold a run.
        overrides: settings in place of the config's, as `schema.load_experiment` takes them.

    Returns:
        Names in the checkpoint that have no place here, and were left out.

    Raises:
        ValueError: If weights are missing or do not fit; it names them.
    """
    if tf.io.gfile.exists(os.path.join(model_dir, "params.yaml")):
        raise ValueError(f"--model_dir {model_dir}: there is a run in it")
    source = _Source(checkpoint)
    config = schema.load_experiment("", [pipeline_config], overrides)
    task, backbone = config.task, config.task.model.backbone
    if backbone.kind != "c4":
        raise ValueError(f"{pipeline_config}: only models without a pyramid can be converted")
    backbone.kind, backbone.norm_epsilon, backbone.norm_momentum = "slim_c4", 1e-5, 0.997
    task.label_map = label_map
    task.init_checkpoint, task.init_checkpoint_modules = os.path.abspath(model_dir), "all"
    classes = source.take("SecondStageBoxPredictor/ClassPredictor/biases").shape[0] - 1
    names = label_maps.read_label_map(label_map)
    if max(names.values()) != classes:
        raise ValueError(
            f"--label_map {label_map} has ids up to {max(names.values())}, but the checkpoint has "
            f"{classes} classes"
        )
    task.model.num_classes = classes
    if task.temporal.type == "context_rcnn":
        _fit_context(task.temporal.context_rcnn, source)
    converted = DetectionTask(task, model_dir)
    model = converted.build_model()
    fill(model, source, task.model)
    tf.io.gfile.makedirs(model_dir)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model), model_dir, 1, checkpoint_name="ckpt"
    )
    manager.save(checkpoint_number=0)
    converted.save_label_map()
    # A run's own label map is found beside it, wherever the folder goes.
    task.label_map = os.path.join(model_dir, label_maps.FILE_NAME)
    schema.save_experiment(config, os.path.join(model_dir, "params.yaml"))
    return source.left()


def _fit_context(context: configs.ContextRcnn, source: _Source) -> None:
    """Settings of the attention that the shapes of its weights tell, and the config does not."""
    _, key, _, output = _attention_names(source)
    length, context.depth = source.take(f"{key}/weights").shape
    context.long_term.entry_size = int(length)
    context.long_term.top_k = context.long_term.top_k or 1
    context.norm_order = "dense_first"
    features = source.take("SecondStageBoxPredictor/ClassPredictor/weights").shape[0]
    # Its first release added the context to crops, whatever the config says, a later one does not.
    added_to = source.take(f"{output}/weights").shape[1]
    context.position = "features" if added_to == features else "crops"


def fill(model: TwoStageDetector, source: _Source, config: configs.FasterRcnn) -> None:
    """Assigns all weights of a detector of kind slim_c4."""
    resnet = f"resnet_v1_{config.backbone.model_id}"
    parts = model.checkpoint_items
    _fill_resnet(parts["trunk"], f"FirstStageFeatureExtractor/{resnet}", source)
    _fill_resnet(parts["conv5"], f"SecondStageFeatureExtractor/{resnet}", source)
    _fill_first_stage(model.rpn_head, source, config.anchors)
    scope = "SecondStageBoxPredictor"
    class_head, box_head = model.box_predictor.heads
    _assign(class_head, _weights(source, f"{scope}/ClassPredictor"), f"{scope}/ClassPredictor")
    boxes = [
        _offsets_by_class(values, config.num_classes)
        for values in _weights(source, f"{scope}/BoxEncodingPredictor")
    ]
    _assign(box_head, boxes, f"{scope}/BoxEncodingPredictor")
    for block in _blocks(model):
        for name, projection in zip(_attention_names(source), block.projections, strict=True):
            dense, norm = projection.parts
            _assign(dense, [source.take(f"{name}/weights")], name)
            moments = [source.take(f"{name}/BatchNorm/{part}") for part in _BATCH_NORM]
            _assign(norm, moments, f"{name}/BatchNorm")


def _fill_resnet(part: tf_keras.Model, scope: str, source: _Source) -> None:
    for layer in part.layers:
        name = f"{scope}/{layer.name}"
        name = re.sub(r"(unit_\d+)/", r"\1/bottleneck_v1/", name)
        if isinstance(layer, tf_keras.layers.Conv2D):
            _assign(layer, [source.take(f"{name}/weights")], name)
        elif isinstance(layer, tf_keras.layers.BatchNormalization):
            _assign(layer, [source.take(f"{name}/{part}") for part in _BATCH_NORM], name)


def _fill_first_stage(
    head: tf_keras.layers.Layer, source: _Source, anchors: configs.Anchors
) -> None:
    """There, all scales of a ratio come one after the other; here, all ratios of a scale."""
    scales, ratios = len(anchors.scales), len(anchors.aspect_ratios)
    order = np.arange(scales * ratios).reshape(ratios, scales).T.ravel()
    _assign(head.conv, _weights(source, "Conv"), "Conv")
    name = "FirstStageBoxPredictor/ClassPredictor"
    pairs = [_by_anchor(values, len(order), name) for values in _weights(source, name)]
    # A softmax of background and object is a sigmoid of their difference.
    _assign(head.objectness, [(x[..., 1] - x[..., 0])[..., order] for x in pairs], name)
    name = "FirstStageBoxPredictor/BoxEncodingPredictor"
    offsets = [_by_anchor(values, len(order), name) for values in _weights(source, name)]
    offsets = [(x / _BOX_SCALES)[..., order, :] for x in offsets]
    _assign(head.offsets, [x.reshape(*x.shape[:-2], -1) for x in offsets], name)


def _by_anchor(values: np.ndarray, anchors: int, name: str) -> np.ndarray:
    """[..., anchors * depth] to [..., anchors, depth]."""
    if values.shape[-1] % anchors:
        raise ValueError(f"{name}: {values.shape[-1]} outputs are not of {anchors} anchors")
    return values.reshape(*values.shape[:-1], anchors, -1)


def _offsets_by_class(values: np.ndarray, classes: int) -> np.ndarray:
    """Offsets of all classes, or the one that they share, behind those of the background."""
    if values.shape[-1] == 4:
        values = np.tile(values, classes)
    return np.concatenate([np.zeros([*values.shape[:-1], 4], values.dtype), values], axis=-1)


def _attention_names(source: _Source) -> list[str]:
    """Scopes of queries, keys, values and output."""
    inside = source.find(r"(.*/)?AttentionBlock/fully_connected(_\d)?/weights")
    outside = [
        name
        for name in source.find(r"(.*/)?fully_connected/weights")
        if "AttentionBlock/" not in name
    ]
    if len(inside) != 3 or len(outside) != 1:
        raise ValueError(
            "--checkpoint: one attention block has three projections in AttentionBlock and one "
            f"outside of it; found {inside} and {outside}"
        )
    return [name.removesuffix("/weights") for name in inside + outside]


def _blocks(model: TwoStageDetector) -> Iterator[ContextAttention]:
    port = model.box_memory
    for stack in (getattr(port, "short_term", None), getattr(port, "long_term", None)):
        if stack is not None:
            yield from stack.blocks


def _weights(source: _Source, scope: str) -> list[np.ndarray]:
    return [source.take(f"{scope}/weights"), source.take(f"{scope}/biases")]


def _assign(layer: tf_keras.layers.Layer, values: Sequence[np.ndarray], name: str) -> None:
    wanted, found = [w.shape for w in layer.get_weights()], [v.shape for v in values]
    if wanted != found:
        raise ValueError(f"{name}: the model has weights of {wanted}, the checkpoint {found}")
    layer.set_weights(values)
