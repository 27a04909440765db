"""S3D's separable 3D convolutions (Rethinking Spatiotemporal Feature Learning, arXiv 1712.04851).

A k x k x k convolution becomes 1 x k x k in space, then k x 1 x 1 in time, each with batch norm and
ReLU; Inception blocks are made of these; S3D-G has a gate after each convolution in time.

All layers take frames [clips, frames, height, width, channels] and say which of them are there,
bool [clips, frames]. What is not there comes out as zeros, and counts nowhere: not in a
convolution, not in a maximum or a mean, not in batch statistics. A clip with absent frames at its
ends is the same as a shorter clip.
"""

from typing import Any

import tensorflow as tf
import tf_keras

from context_rcnn.layers.masked_batch_norm import MaskedBatchNorm


class ConvNorm(tf_keras.layers.Layer):
    """A convolution in space (1 x k x k) or in time (k x 1 x 1), batch norm and ReLU.

    Args:
        filters: channels of the output.
        space: side of the kernel in space.
        time: length of the kernel in time; one of the two must be 1.
        regularizer: regularizer of the kernel.
        norm_momentum, norm_epsilon, sync_batch_norm: settings of the batch norm.
    """

    def __init__(
        self,
        filters: int,
        *,
        space: int = 1,
        time: int = 1,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        sync_batch_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if space > 1 and time > 1:
            raise ValueError(f"space or time must be 1, got {space} and {time}")
        self._time = time
        self._conv = tf_keras.layers.Conv2D(
            filters,
            (time, 1) if time > 1 else space,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=regularizer,
            name="conv",
        )
        self._norm = MaskedBatchNorm(norm_momentum, norm_epsilon, sync_batch_norm, name="norm")

    def call(self, frames: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns [clips, frames, height, width, filters]."""
        frames = _fill(frames, valid, 0.0)
        view = _in_time if self._time > 1 else _in_space
        frames = view(self._conv, frames)
        pixels = tf.broadcast_to(valid[:, :, None, None], tf.shape(frames)[:-1])
        return _fill(tf.nn.relu(self._norm(frames, pixels, training=training)), valid, 0.0)


class FeatureGate(tf_keras.layers.Layer):
    """S3D-G's feature gating: Y = sigmoid(W mean(X) + b) * X, the mean over space and time."""

    def build(self, input_shape):
        self._dense = tf_keras.layers.Dense(input_shape[-1], activation="sigmoid", name="dense")
        super().build(input_shape)

    def call(self, frames: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Returns the frames with their channels weighted, alike in all frames of a clip."""
        of_frames = tf.reduce_mean(_fill(frames, valid, 0.0), axis=[2, 3])
        there = tf.reduce_sum(tf.cast(valid, of_frames.dtype), axis=1, keepdims=True)
        mean = tf.math.divide_no_nan(tf.reduce_sum(of_frames, axis=1), there)
        return self._dense(mean)[:, None, None, None, :] * frames


class SeparableConv3D(tf_keras.layers.Layer):
    """A k x k x k convolution, taken apart: in space, then in time.

    Args:
        filters: channels of the output, and between the two.
        kernel: k.
        gating: weight the channels after it, as S3D-G does.
        **options: of the two `ConvNorm`.
    """

    def __init__(
        self, filters: int, kernel: int = 3, *, gating: bool = False, name=None, **options
    ):
        super().__init__(name=name)
        self._spatial = ConvNorm(filters, space=kernel, name="spatial", **options)
        self._temporal = ConvNorm(filters, time=kernel, name="temporal", **options)
        self._gate = FeatureGate(name="gate") if gating else None

    def call(self, frames: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns [clips, frames, height, width, filters]."""
        frames = self._spatial(frames, valid, training=training)
        frames = self._temporal(frames, valid, training=training)
        return self._gate(frames, valid) if self._gate else frames


class SeparableInception(tf_keras.layers.Layer):
    """An Inception block of S3D: four branches side by side, their channels one after the other.

        1x1x1  |  1x1x1, separable 3x3x3  |  1x1x1, separable 3x3x3  |  max 3x3x3, 1x1x1

    The widths are those of S3D's last block, Mixed_5c, in proportion to the output's depth: with
    1024 channels 384, 192 to 384, 48 to 128, and 128.

    Args:
        filters: channels of the output, a multiple of 8.
        gating: weight the channels after each convolution in time, as S3D-G does.
        **options: of each `ConvNorm`.
    """

    def __init__(self, filters: int, *, gating: bool = False, name=None, **options):
        super().__init__(name=name)
        if filters < 8 or filters % 8:
            raise ValueError(f"filters must be a multiple of 8, got {filters}")
        eighth = filters // 8
        self._point = ConvNorm(3 * eighth, name="branch_0", **options)
        self._middle: list[Any] = [
            ConvNorm(max(1, 3 * eighth // 2), name="branch_1_reduce", **options),
            SeparableConv3D(3 * eighth, gating=gating, name="branch_1", **options),
        ]
        self._narrow: list[Any] = [
            ConvNorm(max(1, 3 * eighth // 8), name="branch_2_reduce", **options),
            SeparableConv3D(eighth, gating=gating, name="branch_2", **options),
        ]
        self._pooled = ConvNorm(eighth, name="branch_3", **options)

    def call(self, frames: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns [clips, frames, height, width, filters]."""
        branches = [self._point(frames, valid, training=training)]
        for reduce, convolve in (self._middle, self._narrow):
            reduced = reduce(frames, valid, training=training)
            branches.append(convolve(reduced, valid, training=training))
        highest = max_pool_3d(frames, valid)
        branches.append(self._pooled(highest, valid, training=training))
        return tf.concat(branches, axis=-1)


def max_pool_3d(frames: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """The maximum over 3 x 3 x 3 neighbours that are there; zeros for frames that are not."""
    frames = _fill(frames, valid, frames.dtype.min)
    frames = _in_space(lambda x: tf.nn.max_pool2d(x, 3, 1, "SAME"), frames)
    frames = _in_time(lambda x: tf.nn.max_pool2d(x, [3, 1], 1, "SAME"), frames)
    return _fill(frames, valid, 0.0)


def _fill(frames: tf.Tensor, valid: tf.Tensor, value: float) -> tf.Tensor:
    """Replaces invalid frames by a value; with tf.where, since they may hold NaN."""
    return tf.where(valid[:, :, None, None, None], frames, tf.cast(value, frames.dtype))


def _in_space(function, frames: tf.Tensor) -> tf.Tensor:
    """Applies a function of [n, height, width, channels] to each frame."""
    count, *inside = frames.shape[1:]
    outputs = function(tf.reshape(frames, [-1, *inside]))
    return tf.reshape(outputs, [-1, count, *outputs.shape[1:]])


def _in_time(function, frames: tf.Tensor) -> tf.Tensor:
    """Applies a function of [n, frames, pixels, channels] to each clip."""
    count, height, width, channels = frames.shape[1:]
    outputs = function(tf.reshape(frames, [-1, count, height * width, channels]))
    return tf.reshape(outputs, [-1, count, height, width, outputs.shape[-1]])
