"""Feature extractors: tf-models-official's ResNets, cut where a two-stage detector needs them."""

import functools

import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import resnet
from official.vision.modeling.decoders import fpn
from official.vision.modeling.layers import nn_blocks

from context_rcnn.layers.grouped_convolution import GroupedConv2D

# The ImageNet statistics that tf-models-official's checkpoints were trained with, in 0..255.
MEAN_RGB = (123.675, 116.28, 103.53)
STDDEV_RGB = (58.395, 57.12, 57.375)


def normalize_images(images: tf.Tensor) -> tf.Tensor:
    """Maps RGB in 0..255 to about zero mean and unit variance, as float32."""
    images = tf.cast(images, tf.float32)
    width = images.shape[-2]
    if width is None:
        return (images - tf.constant(MEAN_RGB)) / tf.constant(STDDEV_RGB)
    # Line by line: processors are slow where the last dimension is as short as 3.
    shape = tf.shape(images)
    lines = tf.reshape(images, tf.concat([shape[:-2], [width * 3]], 0))
    lines = (lines - tf.constant(MEAN_RGB * width)) / tf.constant(STDDEV_RGB * width)
    return tf.ensure_shape(tf.reshape(lines, shape), images.shape)


class Backbone(resnet.ResNet):
    """A ResNet or, with groups, a ResNeXt (arXiv 1611.05431).

    Args:
        groups: groups of the 3x3 convolutions; 1 is a ResNet.
        group_width: channels of a group in conv2; twice as many in each later stage.
        dilate_first_block: whether the first block of a dilated conv5 is dilated, too.
        conv5_stride: stride of conv5 where it does not run on the library's maps.
    """

    _keeps_stride = False  # in conv5
    _dilation = 1  # of conv5

    def __init__(
        self,
        *args,
        groups: int = 1,
        group_width: int = 4,
        dilate_first_block: bool = True,
        conv5_stride: int = 1,
        **kwargs,
    ):
        self._groups, self._group_width = groups, group_width
        self._conv5_stride = conv5_stride
        self._dilate_first_block = dilate_first_block
        super().__init__(*args, **kwargs)

    def _block_group(self, inputs, filters, strides, block_fn, *args, name="block_group", **kwargs):
        block_fn = {nn_blocks.ResidualBlock: ResidualBlock}.get(block_fn, BottleneckBlock)
        if self._groups > 1:
            if block_fn is not BottleneckBlock:
                raise ValueError(
                    f"model.backbone.groups is {self._groups}, but a ResNet of {self._model_id} "
                    "layers has no bottlenecks to cut into groups: choose model_id 50, 101 or 152"
                )
            block_fn = functools.partial(ResNextBlock, self._groups, self._group_width)
        if name == "block_group_l5" and self._keeps_stride:
            strides = self._conv5_stride
            block_fn = dilated(block_fn, self._dilation, self._dilate_first_block)
        return super()._block_group(inputs, filters, strides, block_fn, *args, name=name, **kwargs)


class _NarrowShortcut(tf_keras.layers.Layer):
    """A residual block of the library whose shortcut is safe for few channels.

    The gradient of a strided 1x1 convolution with less than 16 channels writes behind its memory
    where oneDNN has AVX-512 and the batch is odd (seen in TensorFlow 2.20).
    """

    def build(self, input_shape):
        super().build(input_shape)
        if self._use_projection and self._strides > 1 and input_shape[-1] < 16:
            self._shortcut.convolution_op = self._of_every_nth_pixel

    def _of_every_nth_pixel(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        picked = inputs[:, :: self._strides, :: self._strides]
        return tf.nn.conv2d(picked, kernel, strides=1, padding="VALID")


class ResidualBlock(_NarrowShortcut, nn_blocks.ResidualBlock):
    """The block of ResNets of up to 34 layers."""


class BottleneckBlock(_NarrowShortcut, nn_blocks.BottleneckBlock):
    """The block of deeper ResNets."""


class ResNextBlock(BottleneckBlock):
    """A bottleneck whose 3x3 convolution has groups, and as many channels as these want.

    Args:
        groups: number of groups.
        group_width: channels of a group where the block has 64 filters.
        **kwargs: of the library's block.
    """

    def __init__(self, groups: int, group_width: int, **kwargs):
        super().__init__(**kwargs)
        self._groups = groups
        self._width = groups * max(1, group_width * kwargs["filters"] // 64)

    def build(self, input_shape):
        super().build(input_shape)
        options = {
            "use_bias": False,
            "kernel_initializer": self._kernel_initializer,
            "kernel_regularizer": self._kernel_regularizer,
        }
        self._conv1 = tf_keras.layers.Conv2D(self._width, 1, **options)
        self._conv2 = GroupedConv2D(
            self._width,
            3,
            strides=self._strides,
            dilation_rate=self._dilation_rate,
            padding="same",
            groups=self._groups,
            **options,
        )


class ResNetC4(Backbone):
    """A ResNet whose last block group keeps the stride of conv4, to run on RoI crops.

    The layers and their order are those of the classification network, so its checkpoints load.
    """

    _keeps_stride = True

    def trunk(self) -> tf_keras.Model:
        """conv1 to conv4, as a model from images to {"4": map of stride 16}."""
        return tf_keras.Model(self.input, {"4": self.output["4"]}, name="trunk")

    def conv5(self) -> tf_keras.Model:
        """conv5, as a model from crops [n, 7, 7, conv4] to features [n, 7, 7, conv5], or 4x4."""
        return tf_keras.Model(self.output["4"], self.output["5"], name="conv5")


class ResNetDc5(ResNetC4):
    """A ResNet whose last block group keeps the stride of conv4 and sees as far by dilation.

    It runs on the whole map.
    """

    _dilation = 2

    def maps(self) -> tf_keras.Model:
        """As a model from images to {"4": map, "5": map}, both of stride 16."""
        return tf_keras.Model(self.input, {k: self.output[k] for k in "45"}, name="dilated")

    def cut_behind(self, stage: str) -> tuple[tf_keras.Model, tf_keras.Model | None]:
        """The same in two, for a memory between them: images to maps, and its map to later maps.

        Args:
            stage: last stage of the first part; behind conv5 there is no second.
        """
        level = STAGES.get(stage)
        if level is None:
            raise ValueError(
                f"model.backbone.port_behind must be one of {', '.join(STAGES)}, got {stage!r}"
            )
        if level == "5":
            return self.maps(), None
        first = tf_keras.Model(self.input, {level: self.output[level]}, name="first_stages")
        later = {k: self.output[k] for k in "45" if k > level}
        return first, tf_keras.Model(self.output[level], later, name="last_stages")


KINDS = {"c4": ResNetC4, "dc5": ResNetDc5, "fpn": Backbone, "rfcn": ResNetDc5}
STAGES = {"conv3": "3", "conv4": "4", "conv5": "5"}


def dilated(block_fn, rate: int, first: bool = True):
    """A constructor of the same residual blocks, whose 3x3 convolutions are dilated.

    Args:
        block_fn: the constructor.
        rate: distance of the cells that a convolution sees.
        first: whether the first block of the group, the one with a projection, is dilated too.
    """

    def make(**kwargs):
        if kwargs["use_projection"] and not first:
            return block_fn(**kwargs)
        if block_fn is ResidualBlock:
            return _DilatedResidualBlock(rate, **kwargs)
        return block_fn(dilation_rate=rate, **kwargs)

    return make if rate > 1 else block_fn


class _DilatedResidualBlock(ResidualBlock):
    """The library dilates bottleneck blocks only."""

    def __init__(self, rate: int, **kwargs):
        super().__init__(**kwargs)
        self._rate = rate

    def build(self, input_shape):
        super().build(input_shape)
        for conv in (self._conv1, self._conv2):
            conv.dilation_rate = (self._rate, self._rate)


def build_resnet(
    model_id: int,
    *,
    kind: str,
    depth_multiplier: float = 1.0,
    freeze_batch_norm: bool = False,
    sync_batch_norm: bool = False,
    norm_momentum: float = 0.99,
    norm_epsilon: float = 0.001,
    dilate_first_block: bool = True,
    groups: int = 1,
    group_width: int = 4,
    conv5_stride: int = 1,
    regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> Backbone:
    """Builds a ResNet of any depth tf-models-official knows (10, 18, 26, 34, 50, 101, 152, ...).

    Args:
        model_id: the depth.
        kind: kind of the detector, one of `KINDS`.
        depth_multiplier: scales the channels; small ones make toy models.
        freeze_batch_norm: whether training also uses the moving statistics, for fine-tuning.
        sync_batch_norm: whether replicas share batch statistics.
        norm_momentum: momentum of the moving statistics.
        norm_epsilon: added to variances.
        dilate_first_block, groups, group_width, conv5_stride: see `Backbone`.
        regularizer: regularizer of the kernels.
    """
    if model_id not in resnet.RESNET_SPECS:
        raise ValueError(
            f"backbone.model_id {model_id} is unknown; choose one of {sorted(resnet.RESNET_SPECS)}"
        )
    return KINDS[kind](
        model_id,
        input_specs=tf_keras.layers.InputSpec(shape=[None, None, None, 3]),
        depth_multiplier=depth_multiplier,
        use_sync_bn=sync_batch_norm,
        bn_trainable=not freeze_batch_norm,
        norm_momentum=norm_momentum,
        norm_epsilon=norm_epsilon,
        kernel_regularizer=regularizer,
        groups=groups,
        group_width=group_width,
        dilate_first_block=dilate_first_block,
        conv5_stride=conv5_stride,
    )


def build_fpn(
    backbone: resnet.ResNet,
    *,
    min_level: int,
    max_level: int,
    filters: int,
    regularizer: tf_keras.regularizers.Regularizer | None = None,
    norm_momentum: float = 0.99,
    sync_batch_norm: bool = False,
) -> tf_keras.Model:
    """Builds a feature pyramid on a ResNet's {"2".."5"} outputs."""
    return fpn.FPN(
        input_specs=backbone.output_specs,
        min_level=min_level,
        max_level=max_level,
        num_filters=filters,
        use_sync_bn=sync_batch_norm,
        norm_momentum=norm_momentum,
        kernel_regularizer=regularizer,
    )


def l2(weight_decay: float) -> tf_keras.regularizers.Regularizer | None:
    """The Keras penalty whose gradient is `weight_decay * kernel`."""
    return tf_keras.regularizers.L2(weight_decay / 2) if weight_decay else None
