"""The Object Detection API's Faster R-CNN of TensorFlow 1, with its own parts.

Its detectors keep their weights here (`tasks/slim_checkpoints`), so what they compute must be the
same: a ResNet that strides in the last unit of a block and not in the first, Caffe's means, crops
whose outermost samples lie on the edges of the box, anchors centred on the corners of cells.
"""

import functools
from collections.abc import Callable, Mapping

import tensorflow as tf
import tf_keras

from context_rcnn.detectors.backbones import MEAN_RGB, STDDEV_RGB
from context_rcnn.detectors.heads import BoxHead, per_box
from context_rcnn.layers.crop_and_resize import crop_and_resize

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
ANCHOR_CENTRE = 0.0  # of a cell; ours is .5
CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)
_DEPTHS = (64, 128, 256, 512)  # of bottlenecks; units are four times as deep
_LAST_STRIDES = (2, 2, 1, 1)  # of the last unit of each block
_STRIDE = 16
_CROP = 14

Conv = Callable[..., tf.Tensor]


def build_resnet(
    model_id: int,
    *,
    depth_multiplier: float = 1.0,
    freeze_batch_norm: bool = False,
    sync_batch_norm: bool = False,
    norm_momentum: float = 0.997,
    norm_epsilon: float = 1e-5,
    regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> tuple[tf_keras.Model, tf_keras.Model]:
    """The ResNet in two: normalised images to {"4": block3}, and crops [n, 7, 7, depth] to block4.

    Layers have the names of the variables' scopes: `block1/unit_1/conv1`, with `/BatchNorm` behind
    it the batch norm.
    """
    if model_id not in UNITS:
        raise ValueError(f"backbone.model_id {model_id}: slim_c4 has one of {sorted(UNITS)}")
    conv = functools.partial(
        _conv,
        regularizer=regularizer,
        norm={
            "momentum": norm_momentum,
            "epsilon": norm_epsilon,
            "synchronized": sync_batch_norm,
            "trainable": not freeze_batch_norm,
        },
    )
    blocks = list(zip(UNITS[model_id], _DEPTHS, _LAST_STRIDES, strict=True))
    depths = [max(1, round(depth * depth_multiplier)) for depth in _DEPTHS]
    images = tf_keras.Input([None, None, 3])
    # Batches arrive as tf-models-official's ResNets want them.
    shift = tf.constant(MEAN_RGB) - tf.constant(CAFFE_MEAN_RGB)
    x = images * tf.constant(STDDEV_RGB) + shift
    x = conv(x, depths[0], 7, stride=2, name="conv1")
    x = tf_keras.layers.MaxPool2D(3, 2, padding="same", name="pool1")(x)
    for number, (units, _, stride) in enumerate(blocks[:3], start=1):
        x = _block(conv, x, f"block{number}", units, depths[number - 1], stride)
    trunk = tf_keras.Model(images, {"4": x}, name="trunk")
    crops = tf_keras.Input([None, None, x.shape[-1]])
    x = _block(conv, crops, "block4", blocks[3][0], depths[3], stride=1)
    return trunk, tf_keras.Model(crops, x, name="conv5")


def _block(conv: Conv, x: tf.Tensor, name: str, units: int, depth: int, stride: int) -> tf.Tensor:
    for unit in range(1, units + 1):
        last = stride if unit == units else 1
        x = _bottleneck(conv, x, f"{name}/unit_{unit}", depth, last)
    return x


def _bottleneck(conv: Conv, x: tf.Tensor, name: str, depth: int, stride: int) -> tf.Tensor:
    if x.shape[-1] == 4 * depth:
        shortcut = x[:, ::stride, ::stride] if stride > 1 else x
    else:
        shortcut = conv(x, 4 * depth, 1, stride=stride, relu=False, name=f"{name}/shortcut")
    x = conv(x, depth, 1, name=f"{name}/conv1")
    x = conv(x, depth, 3, stride=stride, name=f"{name}/conv2")
    x = conv(x, 4 * depth, 1, relu=False, name=f"{name}/conv3")
    return tf_keras.layers.ReLU(name=f"{name}/out")(x + shortcut)


def _conv(
    x: tf.Tensor,
    filters: int,
    size: int,
    *,
    name: str,
    norm: Mapping,
    regularizer: tf_keras.regularizers.Regularizer | None,
    stride: int = 1,
    relu: bool = True,
) -> tf.Tensor:
    """A convolution that pads both sides alike whatever its stride, and its batch norm."""
    padding = "same"
    if stride > 1 and size > 1:
        x = tf_keras.layers.ZeroPadding2D((size - 1) // 2, name=f"{name}/pad")(x)
        padding = "valid"
    x = tf_keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding,
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=regularizer,
        name=name,
    )(x)
    x = tf_keras.layers.BatchNormalization(name=f"{name}/BatchNorm", **norm)(x)
    return tf_keras.layers.ReLU(name=f"{name}/relu")(x) if relu else x


class SlimRpnHead(tf_keras.layers.Layer):
    """Objectness and offsets of the anchors on the one map, without batch norm.

    Args:
        anchors: number of anchors at each place.
        filters: number of filters of the convolution before the predictions.
        regularizer: regularizer of the kernels.
    """

    def __init__(
        self,
        anchors: int,
        filters: int,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)

        def conv(name: str, filters: int, size: int, activation=None) -> tf_keras.layers.Conv2D:
            return tf_keras.layers.Conv2D(
                filters,
                size,
                padding="same",
                activation=activation,
                kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.01),
                kernel_regularizer=regularizer,
                name=name,
            )

        self.conv = conv("conv", filters, 3, tf.nn.relu6)
        self.objectness = conv("objectness", anchors, 1)
        self.offsets = conv("offsets", anchors * 4, 1)

    def call(self, maps: Mapping[str, tf.Tensor], training: bool | None = None):
        """Returns logits and offsets by level."""
        hidden = {level: self.conv(x) for level, x in maps.items()}
        return (
            {level: self.objectness(x) for level, x in hidden.items()},
            {level: self.offsets(x) for level, x in hidden.items()},
        )


class SlimBoxHead(BoxHead):
    """14x14 crops by `crop_and_resize`, then pooled, then conv5; a memory may be added anywhere."""

    def crop(self, maps: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Returns crops [batch, boxes, 14, 14, channels]."""
        (x,) = maps.values()
        sides = tf.constant([x.shape[1] * _STRIDE, x.shape[2] * _STRIDE] * 2, tf.float32)
        return crop_and_resize(x, tf.cast(boxes, tf.float32) / sides, _CROP)

    def pool(self, crops: tf.Tensor) -> tf.Tensor:
        """Returns crops [batch, boxes, 7, 7, channels]; those that are pooled as they are."""
        return per_box(self._pool, crops) if crops.shape[2] == _CROP else crops

    def call(self, crops: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns box features [batch, boxes, 7, 7, depth]."""
        return super().call(self.pool(crops), training=training)
