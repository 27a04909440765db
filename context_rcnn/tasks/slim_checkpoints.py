"""Checkpoints of the Object Detection API's TensorFlow 1 models: their weights in our detectors.

What it calls                                            is here
FirstStageFeatureExtractor/resnet_v1_N/...               the backbone, of kind slim_c4
Conv, FirstStageBoxPredictor/...                         the first stage's head
AttentionBlock.../fully_connected..., fully_connected... queries, keys, values, outputs
SecondStageFeatureExtractor/resnet_v1_N/block4/...       the second stage's features
SecondStageBoxPredictor/...                              the box predictor
"""

import os
import re

import numpy as np
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs import schema
from context_rcnn.data import label_map as label_maps
from context_rcnn.detectors.slim_weights import BATCH_NORM, Source, assign
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.models.temporal import make
from context_rcnn.tasks.detection import DetectionTask

_BOX_SCALES = np.array(
    [10, 10, 5, 5], np.float32
)  # the first stage's offsets are multiplied by them


def convert(
    checkpoint: str, pipeline_config: str, label_map: str, model_dir: str, overrides: str = ""
) -> list[str]:
    """Makes the folder of a run of a model of the Object Detection API.

    Args:
        checkpoint: prefix of its checkpoint, `.../model.ckpt`.
        pipeline_config: `pipeline.config` of the model.
        label_map: label map of the model.
        model_dir: folder to write; it must not hold a run.
        overrides: settings in place of the config's, as `schema.load_experiment` takes them.

    Returns:
        Names in the checkpoint that have no place here, and were left out.

    Raises:
        ValueError: If weights are missing or do not fit; it names them.
    """
    if tf.io.gfile.exists(os.path.join(model_dir, "params.yaml")):
        raise ValueError(f"--model_dir {model_dir}: there is a run in it")
    source = Source(checkpoint)
    config = schema.load_experiment("", [pipeline_config], overrides)
    task, backbone = config.task, config.task.model.backbone
    if backbone.kind != "c4":
        raise ValueError(f"{pipeline_config}: only models without a pyramid can be converted")
    backbone.kind, backbone.norm_epsilon, backbone.norm_momentum = "slim_c4", 1e-5, 0.997
    _suppress_as_there(task.model)
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
    temporal = make(task.temporal, task.memory).of_slim(source)
    task.temporal = configs.Temporal.with_settings(task.temporal.type, temporal.settings)
    converted = DetectionTask(task, model_dir)
    model = converted.build_model()
    fill(model, source, task.model)
    temporal.fill_from_slim(model, source)
    tf.io.gfile.makedirs(model_dir)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model), model_dir, 1, checkpoint_name="ckpt"
    )
    manager.save(checkpoint_number=0)
    converted.save_run_files()
    # A run's own label map is found beside it, wherever the folder goes.
    task.label_map = os.path.join(model_dir, label_maps.FILE_NAME)
    schema.save_experiment(config, os.path.join(model_dir, "params.yaml"))
    return source.left()


def _suppress_as_there(model: configs.FasterRcnn) -> None:
    """Anchors are clipped and boxes are not, until suppression is over."""
    model.proposals.clip_anchors = True
    model.proposals.suppress_unclipped = True
    model.proposals.pre_nms = 0
    model.detections.suppress_unclipped = True


def fill(model: TwoStageDetector, source: Source, config: configs.FasterRcnn) -> None:
    """Assigns all weights of a detector of kind slim_c4."""
    resnet = f"resnet_v1_{config.backbone.model_id}"
    parts = model.checkpoint_items
    _fill_resnet(parts["trunk"], f"FirstStageFeatureExtractor/{resnet}", source)
    _fill_resnet(parts["conv5"], f"SecondStageFeatureExtractor/{resnet}", source)
    _fill_first_stage(model.rpn_head, source, config.anchors)
    scope = "SecondStageBoxPredictor"
    class_head, box_head = model.box_predictor.heads
    assign(class_head, _weights(source, f"{scope}/ClassPredictor"), f"{scope}/ClassPredictor")
    boxes = [
        _offsets_by_class(values, config.num_classes)
        for values in _weights(source, f"{scope}/BoxEncodingPredictor")
    ]
    assign(box_head, boxes, f"{scope}/BoxEncodingPredictor")


def _fill_resnet(part: tf_keras.Model, scope: str, source: Source) -> None:
    for layer in part.layers:
        name = f"{scope}/{layer.name}"
        name = re.sub(r"(unit_\d+)/", r"\1/bottleneck_v1/", name)
        if isinstance(layer, tf_keras.layers.Conv2D):
            assign(layer, [source.take(f"{name}/weights")], name)
        elif isinstance(layer, tf_keras.layers.BatchNormalization):
            assign(layer, [source.take(f"{name}/{part}") for part in BATCH_NORM], name)


def _fill_first_stage(
    head: tf_keras.layers.Layer, source: Source, anchors: configs.Anchors
) -> None:
    """There, all scales of a ratio come one after the other; here, all ratios of a scale."""
    scales, ratios = len(anchors.scales), len(anchors.aspect_ratios)
    order = np.arange(scales * ratios).reshape(ratios, scales).T.ravel()
    assign(head.conv, _weights(source, "Conv"), "Conv")
    name = "FirstStageBoxPredictor/ClassPredictor"
    pairs = [_by_anchor(values, len(order), name) for values in _weights(source, name)]
    # A softmax of background and object is a sigmoid of their difference.
    assign(head.objectness, [(x[..., 1] - x[..., 0])[..., order] for x in pairs], name)
    name = "FirstStageBoxPredictor/BoxEncodingPredictor"
    offsets = [_by_anchor(values, len(order), name) for values in _weights(source, name)]
    offsets = [(x / _BOX_SCALES)[..., order, :] for x in offsets]
    assign(head.offsets, [x.reshape(*x.shape[:-2], -1) for x in offsets], name)


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


def _weights(source: Source, scope: str) -> list[np.ndarray]:
    return [source.take(f"{scope}/weights"), source.take(f"{scope}/biases")]
