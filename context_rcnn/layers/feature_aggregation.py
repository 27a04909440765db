"""How a memory takes in what a new frame shows: psi of Memory Warps, equations 2 to 4.

    average    half the sum (equation 3): the weight of what was seen n frames ago is 2^-(n+1)
    weights    shares by two small networks, cell by cell (equation 4)
    adaptive   shares by the cosine of embeddings with those of the frame, as in FGFA
    newest     what was seen last, and nothing before: Deep Feature Flow (arXiv 1611.07715)
    adascan    a running mean, in which a frame weighs what a network says (arXiv 1611.08240)

Each is a layer: `(warped, features, weight) -> (memory, weight)`, where `weight`, float32 [batch],
is what the memory weighs so far. Only `adascan` changes it; it begins at 1.
"""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf
import tf_keras

from context_rcnn.layers.chain import Chain

Regularizer: TypeAlias = "tf_keras.regularizers.Regularizer | None"
Updated: TypeAlias = tuple[tf.Tensor, tf.Tensor]


class Average(tf_keras.layers.Layer):
    """Equation 3."""

    def call(self, warped: tf.Tensor, features: tf.Tensor, weight: tf.Tensor) -> Updated:
        return 0.5 * (warped + features), weight


class Newest(tf_keras.layers.Layer):
    """No memory of earlier frames."""

    def call(self, warped: tf.Tensor, features: tf.Tensor, weight: tf.Tensor) -> Updated:
        return features, weight


class PixelWeights(tf_keras.layers.Layer):
    """Equation 4. Its last kernels are zero at first, so that it starts as the average.

    Args:
        channels: channels of the 1x1 and of the 3x3 convolution of each network.
        regularizer: regularizer of the kernels.
    """

    def __init__(
        self, channels: tuple[int, int] = (256, 16), regularizer: Regularizer = None, **kwargs
    ):
        super().__init__(**kwargs)
        self._of_memory = _small_network("of_memory", channels, regularizer)
        self._of_features = _small_network("of_features", channels, regularizer)

    def build(self, input_shape):
        self._of_memory.build(input_shape)
        self._of_features.build(input_shape)
        super().build(input_shape)

    def shares(self, warped: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """alpha^M and alpha^F, [batch, height, width, 2]."""
        logits = tf.concat([self._of_memory(warped), self._of_features(features)], axis=-1)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    def call(self, warped: tf.Tensor, features: tf.Tensor, weight: tf.Tensor) -> Updated:
        shares = tf.cast(self.shares(warped, features), features.dtype)
        return shares[..., :1] * warped + shares[..., 1:] * features, weight


class AdaptiveWeights(tf_keras.layers.Layer):
    """FGFA's: softmax over frames of the cosines of embeddings, cell by cell.

    Args:
        channels: channels of its 1x1, 3x3 and 1x1 convolutions.
        regularizer: regularizer of the kernels.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (512, 512, 2048),
        regularizer: Regularizer = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes, last = (1, 3, 1), len(channels) - 1
        if len(channels) != len(sizes):
            raise ValueError(f"embedding has {len(sizes)} layers, got channels {list(channels)}")
        self.depth = channels[-1]
        self.embed = Chain(
            [
                tf_keras.layers.Conv2D(
                    count,
                    size,
                    padding="same",
                    activation="relu" if i < last else None,
                    kernel_initializer="he_normal",
                    kernel_regularizer=regularizer,
                    name=f"embed{i + 1}",
                )
                for i, (count, size) in enumerate(zip(channels, sizes, strict=True))
            ],
            name="embedding",
        )

    def build(self, input_shape):
        self.embed.build(input_shape)
        super().build(input_shape)

    def call(self, warped: tf.Tensor, features: tf.Tensor, weight: tf.Tensor) -> Updated:
        maps = tf.stack([warped, features], axis=1)
        embedded = tf.stack([self.embed(warped), self.embed(features)], axis=1)
        return weighted(maps, embedded, embedded[:, 1]), weight


def frame_weights(
    embedded: tf.Tensor, reference: tf.Tensor, there: tf.Tensor | None = None
) -> tf.Tensor:
    """FGFA's weights of frames, float32 [batch, frames, height, width].

    Args:
        embedded: embeddings of the frames, moved to it, [batch, frames, height, width, d].
        reference: embedding of the reference, [batch, height, width, d].
        there: bool [batch, frames], frames that take part; all by default.
    """
    unit = _unit(tf.cast(embedded, tf.float32))
    cosines = tf.reduce_sum(unit * _unit(tf.cast(reference, tf.float32))[:, None], axis=-1)
    if there is not None:
        cosines = tf.where(there[:, :, None, None], cosines, -1e9)
    return tf.nn.softmax(cosines, axis=1)


def weighted(
    maps: tf.Tensor,
    embedded: tf.Tensor,
    reference: tf.Tensor,
    there: tf.Tensor | None = None,
) -> tf.Tensor:
    """The mean of maps [batch, frames, height, width, channels] by `frame_weights`."""
    shares = tf.cast(frame_weights(embedded, reference, there), maps.dtype)[..., None]
    if there is not None:
        maps = tf.where(there[:, :, None, None, None], maps, 0.0)
    return tf.reduce_sum(shares * maps, axis=1)


class AdaScan(tf_keras.layers.Layer):
    """A running mean; what a new frame weighs, 0..1, follows from how it differs from the memory.

    Args:
        channels: units of its hidden layers.
        limit: largest weight of a memory, so that it forgets; 0 for none.
        regularizer: regularizer of the kernels.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (256, 64),
        limit: float = 0.0,
        regularizer: Regularizer = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._limit = limit
        dense = tf_keras.layers.Dense
        hidden = [
            dense(count, "tanh", kernel_regularizer=regularizer, name=f"hidden{i + 1}")
            for i, count in enumerate(channels)
        ]
        last = dense(1, "sigmoid", kernel_initializer="zeros", name="importance")
        self._network = Chain([*hidden, last], name="importance")

    def build(self, input_shape):
        self._network.build([None, input_shape[-1]])
        super().build(input_shape)

    def importance(self, warped: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """What the new frame weighs, float32 [batch]."""
        different = tf.reduce_mean(features - warped, axis=[1, 2])
        return tf.cast(self._network(different), tf.float32)[:, 0]

    def call(self, warped: tf.Tensor, features: tf.Tensor, weight: tf.Tensor) -> Updated:
        new = self.importance(warped, features)
        if self._limit:
            weight = tf.minimum(weight, self._limit)
        total = weight + new
        share = tf.cast(new / total, features.dtype)[:, None, None, None]
        return (1.0 - share) * warped + share * features, total


AGGREGATIONS: dict[str, Callable[..., tf_keras.layers.Layer]] = {
    "average": lambda regularizer, **options: Average(name="average"),
    "weights": lambda regularizer, **options: PixelWeights(
        tuple(options["channels"]), regularizer, name="weights"
    ),
    "adaptive": lambda regularizer, **options: AdaptiveWeights(
        tuple(options["embedding"]), regularizer, name="adaptive"
    ),
    "newest": lambda regularizer, **options: Newest(name="newest"),
    "adascan": lambda regularizer, **options: AdaScan(
        limit=options["weight_limit"], regularizer=regularizer, name="adascan"
    ),
}


def _small_network(name: str, channels: tuple[int, int], regularizer: Regularizer) -> Chain:
    first, second = channels
    conv = tf_keras.layers.Conv2D
    options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    return Chain(
        [
            conv(first, 1, kernel_regularizer=regularizer, name="reduce", **options),
            conv(second, 3, kernel_regularizer=regularizer, name="around", **options),
            conv(1, 1, kernel_initializer="zeros", name="logit"),
        ],
        name=name,
    )


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    """Vectors of length 1; zeros stay zeros."""
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    there = squares > 0.0
    return tf.where(there, vectors * tf.math.rsqrt(tf.where(there, squares, 1.0)), 0.0)
