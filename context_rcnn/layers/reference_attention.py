"""Attention of cells by their relations, within a frame (SRA) and between two (TRA), of PSTA.

Wang et al., Pyramid Spatial-Temporal Aggregation for Video-based Person Re-Identification, ICCV
2021, sections 3.2.1 and 3.2.2. Both attentions are factorised into a map and a vector of channels,
so an attention here is a pair of them, a `Reference`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from context_rcnn.layers.chain import Chain

VARIANTS = ("paper", "released")


class Reference(NamedTuple):
    """An attention A = S * C (equations 6 and 13)."""

    space: tf.Tensor  # [batch, height, width, 1], in 0..1
    channel: tf.Tensor  # [batch, 1, 1, channels], in 0..1

    def refine(self, maps: tf.Tensor) -> tf.Tensor:
        """The maps [batch, height, width, channels] weighted by this attention (equation 4)."""
        return maps * self.space * self.channel


def affinities(theta: tf.Tensor, phi: tf.Tensor) -> tf.Tensor:
    """r_ij = theta_i . phi_j of all cells (equation 7), from maps [batch, height, width, depth].

    Returns:
        [batch, N, N] with N = height * width.
    """
    height, width, depth = theta.shape[1:]
    theta, phi = (tf.reshape(part, [-1, height * width, depth]) for part in (theta, phi))
    return tf.matmul(theta, phi, transpose_b=True)


def relation_map(there: tf.Tensor, back: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """What each cell of a map has to do with all cells of another, in both directions.

    The vector of cell i is (r_i1 ... r_iN, r_1i ... r_Ni), as in equations 8 and 14.

    Args:
        there: affinities from the cells of the map to those of the other, [batch, N, N].
        back: affinities from the cells of the other map to those of the map.
        size: height and width of the maps.

    Returns:
        [batch, height, width, 2 N].
    """
    relations = tf.concat([there, tf.transpose(back, [0, 2, 1])], axis=-1)
    return tf.reshape(relations, [-1, *size, relations.shape[-1]])


def conv_block(filters: int, size: int = 1, *, norm: Mapping[str, Any], relu: bool = True) -> Chain:
    """A convolution without bias, batch norm, and ReLU."""
    layers = [
        tf_keras.layers.Conv2D(
            filters, size, padding="same", use_bias=False, kernel_initializer=fan("fan_in")
        ),
        tf_keras.layers.BatchNormalization(**norm),
    ]
    return Chain([*layers, tf_keras.layers.ReLU()] if relu else layers)


def fan(mode: str) -> tf_keras.initializers.Initializer:
    """He's normal initialisation: of convolutions by `fan_in`, of dense layers by `fan_out`."""
    return tf_keras.initializers.VarianceScaling(2.0, mode, "untruncated_normal")


def dense(units: int, activation: str) -> tf_keras.layers.Dense:
    """A dense layer with bias."""
    return tf_keras.layers.Dense(units, activation, kernel_initializer=fan("fan_out"))


class SpatialReference(tf_keras.layers.Layer):
    """SRA: attention to the cells of a frame, from their relations to each other.

    Args:
        channels: channels of the maps.
        embedding: depth of theta, phi, gamma, and of the first dense layer.
        norm: options of all batch norms.
    """

    def __init__(self, channels: int, embedding: int, *, norm: Mapping[str, Any], **kwargs):
        super().__init__(**kwargs)
        self.theta = conv_block(embedding, norm=norm)
        self.phi = conv_block(embedding, norm=norm)
        self.gamma = conv_block(embedding, norm=norm)
        self.space = Chain([conv_block(embedding, norm=norm), conv_block(1, norm=norm, relu=False)])
        self.channel = Chain([dense(embedding, "relu"), dense(channels, "sigmoid")])

    def call(self, maps, beta, training=None) -> Reference:
        """Attention to maps [batch, height, width, channels].

        Args:
            maps: the frames.
            beta: their embedding, [batch, height, width, embedding].
            training: whether batch norms take their statistics from the batch.
        """
        theta, phi = self.theta(maps, training=training), self.phi(maps, training=training)
        own = affinities(theta, phi)
        relations = relation_map(own, own, maps.shape[1:3])
        values = tf.concat([self.gamma(relations, training=training), beta], axis=-1)
        space = tf.sigmoid(self.space(values, training=training))
        channel = self.channel(tf.reduce_mean(maps, axis=[1, 2]))
        return Reference(space, channel[:, None, None, :])


class TemporalReference(tf_keras.layers.Layer):
    """TRA: attention to the cells of two frames, from the relations between the two.

    `paper` embeds the maps before their means, and takes the channels of both frames from one pair
    of dense layers. `released` embeds the means, runs the dense layers once for each frame with the
    frame's own vector first, and mixes the embeddings beta of both frames into one.

    Args:
        channels: channels of the maps.
        embedding: depth of theta, phi, gamma, and of the dense layers between.
        variant: `paper` or `released`.
        norm: options of all batch norms.
    """

    def __init__(
        self, channels: int, embedding: int, *, variant: str, norm: Mapping[str, Any], **kwargs
    ):
        super().__init__(**kwargs)
        self.paper = variant == "paper"
        self.theta = conv_block(embedding, norm=norm)
        self.phi = conv_block(embedding, norm=norm)
        self.gamma = conv_block(embedding, norm=norm)
        head = [conv_block(1, norm=norm, relu=False)]
        if self.paper:
            head = [conv_block(embedding, norm=norm), *head]
        else:
            self.mix = conv_block(embedding, norm=norm)
        self.space = Chain(head)
        self.embed = tf_keras.layers.Dense(
            embedding, "relu", use_bias=False, kernel_initializer=fan("fan_in")
        )
        outputs = 2 * channels if self.paper else channels
        self.channel = Chain([dense(embedding, "relu"), dense(outputs, "sigmoid")])

    def call(self, ours, theirs, our_beta, their_beta, training=None):
        """Attention to two maps [batch, height, width, channels], each seen from the other.

        Args:
            ours: frames t.
            theirs: their neighbours, t + 1.
            our_beta: embedding of the first, [batch, height, width, embedding].
            their_beta: embedding of the second.
            training: whether batch norms take their statistics from the batch.

        Returns:
            The `Reference` of the first and that of the second.
        """
        both = tf.concat([ours, theirs], axis=0)
        theta, phi = self.theta(both, training=training), self.phi(both, training=training)
        (our_theta, their_theta), (our_phi, their_phi) = (tf.split(x, 2) for x in (theta, phi))
        there, back = affinities(our_theta, their_phi), affinities(their_theta, our_phi)
        size = ours.shape[1:3]
        relations = [relation_map(there, back, size), relation_map(back, there, size)]
        relations = tf.concat(relations, axis=0)
        beta = tf.concat([our_beta, their_beta], axis=0)
        if not self.paper:
            other = tf.concat([their_beta, our_beta], axis=0)
            beta = self.mix(tf.concat([beta, other], axis=-1), training=training)
        values = tf.concat([self.gamma(relations, training=training), beta], axis=-1)
        our_space, their_space = tf.split(tf.sigmoid(self.space(values, training=training)), 2)
        our_channel, their_channel = (
            channel[:, None, None, :] for channel in self._channels(ours, theirs)
        )
        return Reference(our_space, our_channel), Reference(their_space, their_channel)

    def _channels(self, ours, theirs):
        """Attention to the channels of both frames, [batch, channels] each (equation 17)."""
        if self.paper:
            vectors = [tf.reduce_mean(self.embed(maps), axis=[1, 2]) for maps in (ours, theirs)]
            return tf.split(self.channel(tf.concat(vectors, axis=-1)), 2, axis=-1)
        first, second = (self.embed(tf.reduce_mean(maps, axis=[1, 2])) for maps in (ours, theirs))
        both = (tf.concat([first, second], axis=-1), tf.concat([second, first], axis=-1))
        return [self.channel(vector) for vector in both]
