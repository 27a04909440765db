"""VGG-16 (arXiv 1409.1556) as Fast and Faster R-CNN use it: without its last pooling, stride 16.

Layers are conv1/1 to conv5/3. Port 1 lies before conv5/3, whose place STMN's memory takes. The box
head has the dense layers fc6 and fc7.
"""

from collections.abc import Mapping

import h5py
import numpy as np
import tensorflow as tf
import tf_keras

from context_rcnn.detectors.backbones import MEAN_RGB, STDDEV_RGB
from context_rcnn.detectors.necks import Neck
from context_rcnn.detectors.slim import CAFFE_MEAN_RGB

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions
_LAST = (5, 3)


def build_vgg16(
    depth_multiplier: float = 1.0,
    regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> tuple[tf_keras.Model, Neck, tf_keras.Model]:
    """The network in two: images to {"5": conv5/2}, and a neck with conv5/3; and as one.

    Args:
        depth_multiplier: scales the channels.
        regularizer: regularizer of the kernels.
    """
    images = tf_keras.Input([None, None, 3])
    # Batches arrive as tf-models-official's ResNets want them; Caffe's weights want BGR.
    x = images * tf.constant(STDDEV_RGB) + (tf.constant(MEAN_RGB) - tf.constant(CAFFE_MEAN_RGB))
    x = x[..., ::-1]
    for block, (channels, convolutions) in enumerate(_BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            conv = tf_keras.layers.Conv2D(
                max(1, round(channels * depth_multiplier)),
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                kernel_regularizer=regularizer,
                name=f"conv{block}/{number}",
            )
            if (block, number) == _LAST:
                trunk = tf_keras.Model(images, {"5": x}, name="trunk")
            x = conv(x)
        if block < len(_BLOCKS):
            x = tf_keras.layers.MaxPool2D(2, name=f"pool{block}")(x)
    neck = Neck(swapped=conv, first_stage="same", name="neck")
    return trunk, neck, tf_keras.Model(images, x, name="vgg16")


def load_h5(path: str, field: str, layers: Mapping[str, tf_keras.layers.Layer]) -> None:
    """Takes the weights of layers from a file of tf_keras.applications.

    Args:
        path: path of the file, with the top layers.
        field: the setting that names it, for messages.
        layers: layers by their names in the file, from `h5_layers`.
    """
    with h5py.File(path, "r") as file:
        weights = file.get("model_weights", file)
        missing = [name for name in layers if name not in weights]
        if missing:
            hint = "; take the file with the top layers" if "fc1" in missing else ""
            raise ValueError(f"{field}: {path} has no {', '.join(missing)}{hint}")
        for name, layer in layers.items():
            group = weights[name]
            values = [np.asarray(group[part]) for part in group.attrs["weight_names"]]
            expected = [tuple(w.shape) for w in layer.weights]
            if [value.shape for value in values] != expected:
                found = [value.shape for value in values]
                raise ValueError(f"{field}: {name} of {path} is {found}, expected {expected}")
            layer.set_weights(values)


def h5_layers(detector: tf_keras.Model) -> dict[str, tf_keras.layers.Layer]:
    """The layers of a detector by the names that tf_keras.applications gives them."""
    found = {}
    for layer in detector.checkpoint_items["backbone"].layers:
        if layer.weights:
            block, number = layer.name.removeprefix("conv").split("/")
            found[f"block{block}_conv{number}"] = layer
    names = ("fc1", "fc2")
    return found | dict(zip(names, detector.box_head.dense, strict=False))
