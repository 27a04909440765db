"""FlowNetS (arXiv 1504.06852) as FGFA and Memory Warps use it: flow between two images, in cells.

    half image      2x2 mean, pixels / 255, the two images one behind the other; each pair less
                    its mean colour, in units of its spread, without which learning from nothing
                    hardly begins
    contraction     strided convolutions; at full width to 1024 channels at stride 64
    expansion       a prediction at each level, finer level by finer level

Trained alone, it predicts flow at five levels, in pixels / 20 (`predictions`). Within a detector
the last prediction is made at the stride of the maps: the channels behind it are averaged to that
stride first. There the unit has a factor: 20 (the unit of training) x 2 (half images) / stride.

At full width it has 38,676,514 weights. `width` scales its channels and `levels` leaves out the
coarsest ones, for small images.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

UNIT = 20.0
"""Pixels that a prediction of 1 stands for."""
SLOPE = 0.1
_LEAST_SPREAD = 0.01
_FIRST = ((64, 7), (128, 5))
_LATER = (256, 512, 512, 1024)  # of levels 3 to 6
_UP = (64, 128, 256, 512)  # of the expansion to levels 2 to 5
LEVELS = (3, 4, 5, 6)


class FlowNetS(tf_keras.layers.Layer):
    """The network.

    Args:
        width: factor on the channels.
        levels: number of times that the image is halved, 6 as in the paper.
        regularizer: regularizer of all kernels.
    """

    def __init__(
        self,
        width: float = 1.0,
        levels: int = 6,
        *,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if levels not in LEVELS:
            raise ValueError(f"levels must be one of {LEVELS}, got {levels}")
        if width <= 0:
            raise ValueError(f"width must be positive, got {width}")
        self.levels = levels
        self._regularizer = regularizer
        channels = [max(1, round(width * n)) for n in (*(n for n, _ in _FIRST), *_LATER)]
        up = [max(1, round(width * n)) for n in _UP]
        sizes = [size for _, size in _FIRST] + [5, 3, 3, 3]
        self._down = []
        for level in range(1, levels + 1):
            layers = [self._conv(f"conv{level}", channels[level - 1], sizes[level - 1], 2)]
            if level > len(_FIRST):
                layers.append(self._conv(f"conv{level}_1", channels[level - 1], 3, 1))
            self._down.append(layers)
        self._predict = [self._prediction(f"predict{level}") for level in range(2, levels + 1)]
        self._flow_up = [self._deconv(f"flow_up{level}", 2) for level in range(2, levels)]
        self._up = [self._deconv(f"up{level}", up[level - 2]) for level in range(2, levels)]

    def build(self, input_shape):
        size = (128, 128)
        features = [6]
        for layers in self._down:
            depth = features[-1]
            for layer in layers:
                layer.build([None, *size, depth])
                depth = layer.filters
            features.append(depth)
        depth = features[-1]
        for level in range(self.levels, 1, -1):
            self._predict[level - 2].build([None, *size, depth])
            if level > 2:
                self._up[level - 3].build([None, *size, depth])
                self._flow_up[level - 3].build([None, *size, 2])
                depth = features[level - 1] + self._up[level - 3].filters + 2
        super().build(input_shape)

    def call(self, now: tf.Tensor, before: tf.Tensor, stride: int = 16) -> tf.Tensor:
        """Flow on the grid of maps of images twice as large, (dy, dx) in its cells.

        Args:
            now, before: half images from `half`, [batch, height, width, 3].
            stride: stride of the maps, 8 or 16.

        Returns:
            float32 [batch, rows, columns, 2], from the cells of `now` into `before`.
        """
        if stride not in (8, 16):
            raise ValueError(f"flow is predicted for maps of stride 8 or 16, not {stride}")
        last = self._expand(now, before)[0]
        if stride == 16:
            last = tf.nn.avg_pool2d(last, 2, 2, "SAME")
        predicted = tf.cast(self._predict[0](last), tf.float32)
        return predicted * (UNIT * 2.0 / stride)

    def predictions(self, now: tf.Tensor, before: tf.Tensor) -> list[tf.Tensor]:
        """Flow at all levels, finest first, (dy, dx) in pixels of these images / `UNIT`.

        Args:
            now, before: images in 0..1, [batch, height, width, 3], not halved here.
        """
        last, coarser = self._expand(now, before)
        return [tf.cast(self._predict[0](last), tf.float32), *coarser]

    def _expand(self, now: tf.Tensor, before: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """What the finest prediction is made of, and the coarser predictions, finest first."""
        x = _standard(now, before)
        maps = []
        for layers in self._down:
            for layer in layers:
                x = tf.nn.leaky_relu(_convolve(layer, x), SLOPE)
            maps.append(x)
        coarser: list[tf.Tensor] = []
        for level in range(self.levels, 2, -1):
            flow = self._predict[level - 2](x)
            coarser.insert(0, tf.cast(flow, tf.float32))
            skip = maps[level - 2]
            height, width = skip.shape[1:3]
            up = tf.nn.leaky_relu(self._up[level - 3](x), SLOPE)[:, :height, :width]
            x = tf.concat([skip, up, self._flow_up[level - 3](flow)[:, :height, :width]], axis=-1)
        return x, coarser

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "kernel_initializer": tf_keras.initializers.VarianceScaling(2.0 / (1.0 + SLOPE**2)),
            "kernel_regularizer": self._regularizer,
        }

    def _conv(self, name: str, filters: int, size: int, stride: int) -> tf_keras.layers.Conv2D:
        return tf_keras.layers.Conv2D(filters, size, stride, name=name, **self._options)

    def _deconv(self, name: str, filters: int) -> tf_keras.layers.Conv2DTranspose:
        return tf_keras.layers.Conv2DTranspose(
            filters, 4, 2, padding="same", name=name, **self._options
        )

    def _prediction(self, name: str) -> tf_keras.layers.Conv2D:
        return tf_keras.layers.Conv2D(2, 3, padding="same", name=name, **self._options)


def half(images: tf.Tensor) -> tf.Tensor:
    """Images [batch, height, width, 3] in 0..255 at half their size, in 0..1."""
    return tf.nn.avg_pool2d(tf.cast(images, tf.float32), 2, 2, "SAME") / 255.0


def half_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Height and width of what `half` returns."""
    height, width = (-(-side // 2) for side in image_size)
    return height, width


def _standard(now: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """Both images behind each other, less the mean colour of the pair, in units of its spread."""
    both = tf.stack([now, before], axis=1)
    both -= tf.reduce_mean(both, axis=[1, 2, 3], keepdims=True)
    spread = tf.sqrt(tf.reduce_mean(tf.square(both), axis=[1, 2, 3, 4]) + _LEAST_SPREAD**2)
    both /= spread[:, None, None, None, None]
    return tf.concat([both[:, 0], both[:, 1]], axis=-1)


def _convolve(layer: tf_keras.layers.Conv2D, x: tf.Tensor) -> tf.Tensor:
    """A convolution padded alike on both sides, as in the original, also where it strides."""
    pad = layer.kernel_size[0] // 2
    return layer(tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]))
