"""Layers one after another, without the second graph that Keras makes of its `Sequential`."""

from collections.abc import Iterable

import tensorflow as tf
import tf_keras


class Chain(tf_keras.layers.Layer):
    """Layers one after another.

    `Sequential` also makes a symbolic graph of itself for each shape that it meets.

    Args:
        layers: the layers; those with another behaviour in training are told of it.
    """

    def __init__(self, layers: Iterable[tf_keras.layers.Layer], **kwargs):
        super().__init__(**kwargs)
        self.layers = list(layers)

    def build(self, input_shape) -> None:
        shape = input_shape
        for layer in self.layers:
            if not layer.built:
                with tf.name_scope(layer.name):
                    layer.build(shape)
            shape = layer.compute_output_shape(shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def call(self, inputs, training=None):
        del training  # Keras tells the layers
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs
