"""Parts of a detector by name, and freezing them: they keep what they have learned.

    backbone     from images to maps
    neck         convolutions behind the backbone, on both sides of port 1
    pyramid      on those maps (`fpn`)
    first_stage  objectness and offsets of the anchors
    box_head     from crops to box features; with `c4` that is res5
    predictor    scores and offsets of the boxes
    memory       both ports
    conv1, res2, res3, res4, res5   the stem and the block groups of a ResNet, wherever they are
    conv1, conv2, ..., conv5        the blocks of a VGG-16

A frozen batch norm uses its moving statistics, also in training, and does not move them.
"""

import re
from collections.abc import Iterable, Sequence

import tensorflow as tf
import tf_keras

from context_rcnn.detectors.two_stage import TwoStageDetector

Layers = list[tf_keras.layers.Layer]


def parts_of(detector: TwoStageDetector) -> dict[str, Layers]:
    """The parts that this detector has, those with variables, by name."""
    neck = detector.neck
    parts: dict[str, Layers] = {
        "backbone": [detector.backbone, *([neck.rest] if neck and neck.rest else [])],
        "neck": neck.convolutions if neck else [],
        "pyramid": [detector.decoder] if detector.decoder else [],
        "first_stage": [detector.rpn_head] if detector.rpn_head else [],
        "box_head": [detector.box_head],
        "predictor": [detector.box_predictor],
        "memory": [detector.map_memory, detector.box_memory],
    }
    for network in getattr(detector, "checkpoint_items", {}).values():
        for name, layers in _groups(network.layers).items():
            parts[name] = parts.get(name, []) + layers
    return {name: layers for name, layers in parts.items() if any(x.variables for x in layers)}


def freeze(detector: TwoStageDetector, names: Sequence[str], field: str) -> None:
    """Freezes parts of a detector whose variables are made.

    Args:
        detector: detector to change.
        names: names of parts.
        field: the setting that names them, for messages.
    """
    if not names:
        return
    parts = parts_of(detector)
    unknown = [name for name in names if name not in parts]
    if unknown:
        raise ValueError(
            f"{field}: this detector has no {', '.join(unknown)}; its parts are {', '.join(parts)}"
        )
    for name in names:
        for layer in parts[name]:
            layer.trainable = False
    if not detector.trainable_variables:
        raise ValueError(f"{field} leaves nothing that learns: {', '.join(names)}")


def freeze_batch_norms(detector: TwoStageDetector) -> None:
    """Freezes all batch norms but those of a memory, which nobody has trained yet."""
    for name, layers in parts_of(detector).items():
        if name != "memory":
            for layer in _inside(layers):
                if isinstance(layer, tf_keras.layers.BatchNormalization):
                    layer.trainable = False


def first_stage_learns(detector: TwoStageDetector) -> bool:
    """Whether the losses of the first stage have anything to teach."""
    if detector.rpn_head is None:
        return False
    before = (detector.backbone, detector.decoder, detector.map_memory, detector.neck)
    learning = (*before, detector.rpn_head)
    return any(part.trainable_variables for part in learning if part is not None)


def penalties(detector: TwoStageDetector) -> list[tf.Tensor]:
    """The penalties of the weights that learn; those of frozen weights would be constants."""
    alone = [layer for layer in _inside([detector]) if not any(_inside([layer]))]
    return [loss for layer in alone if layer.trainable for loss in layer.losses]


def _inside(layers: Iterable[tf_keras.layers.Layer]) -> Layers:
    """All layers within these, each once."""
    found = {
        id(module): module
        for layer in layers
        for module in layer.submodules
        if isinstance(module, tf_keras.layers.Layer)
    }
    return list(found.values())


def _groups(layers: Layers) -> dict[str, Layers]:
    """The stem and the block groups of a network, from its layers in order."""
    groups: dict[str, Layers] = {}
    waiting: Layers = []
    for layer in layers:
        # `slim` and `vgg` name their scopes.
        if scope := re.match(r"(conv\d|block(\d))(/|$)", layer.name):
            name = f"res{int(scope[2]) + 1}" if scope[2] else scope[1]
            groups.setdefault(name, []).append(layer)
            continue
        waiting.append(layer)
        if end := re.fullmatch(r"block_group_l(\d)", layer.name):
            blocks = [layer for layer in waiting if any(_inside([layer]))]
            if not groups:
                groups["conv1"] = [layer for layer in waiting if layer not in blocks]
            groups[f"res{end[1]}"] = blocks
            waiting = []
    return groups
