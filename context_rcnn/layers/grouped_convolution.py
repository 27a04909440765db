"""A convolution whose groups of channels do not see each other (ResNeXt, arXiv 1611.05431)."""

import tensorflow as tf
import tf_keras


class GroupedConv2D(tf_keras.layers.Conv2D):
    """Keras's, without the compiler that Keras puts around it.

    Keras compiles grouped convolutions with XLA wherever they are, whose gradients on CPUs take a
    hundred times as long as TensorFlow's. The operation is the same, and a step that is compiled as
    a whole compiles it, too.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.nn.conv2d(
            inputs,
            tf.cast(self.kernel, inputs.dtype),
            strides=self.strides,
            padding=self.padding.upper(),
            dilations=self.dilation_rate,
        )
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.cast(self.bias, outputs.dtype))
        return outputs if self.activation is None else self.activation(outputs)
