"""Batch normalisation whose statistics come from valid rows only."""

import tensorflow as tf
import tf_keras


class MaskedBatchNorm(tf_keras.layers.Layer):
    """Batch normalisation over the rows that a mask marks as valid.

    Padding changes nothing: not the statistics of the batch, not the moving ones, and where no row
    is valid the moving statistics stay as they are. Names of the weights are those of
    `tf_keras.layers.BatchNormalization`, and with all rows valid it computes the same.

    Args:
        momentum: momentum of the moving statistics.
        epsilon: added to variances.
        sync: share the statistics of a batch between replicas.
        initial_gamma: initial value of the scale.
    """

    def __init__(
        self,
        momentum: float = 0.97,
        epsilon: float = 0.001,
        sync: bool = False,
        initial_gamma: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._momentum = momentum
        self._epsilon = epsilon
        self._sync = sync
        self._initial_gamma = initial_gamma

    def build(self, input_shape):
        depth = [input_shape[-1]]
        gamma = tf_keras.initializers.Constant(self._initial_gamma)
        self.gamma = self.add_weight("gamma", depth, tf.float32, gamma)
        self.beta = self.add_weight("beta", depth, tf.float32, "zeros")
        moving = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.moving_mean = self.add_weight("moving_mean", depth, tf.float32, "zeros", **moving)
        self.moving_variance = self.add_weight(
            "moving_variance", depth, tf.float32, "ones", **moving
        )
        super().build(input_shape)

    def call(self, rows: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalises rows [..., depth]; valid [...] is bool. Invalid rows count as zeros."""
        # tf.where rather than a product: an invalid row may hold anything, NaN included.
        rows = tf.where(valid[..., None], tf.cast(rows, tf.float32), 0.0)
        if training and self.trainable:
            mean, variance = self._update(rows, valid)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = tf.math.rsqrt(variance + self._epsilon) * self.gamma
        normal = (rows - mean) * scale + self.beta
        return tf.cast(normal, self.compute_dtype)

    def _update(self, rows: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Statistics of this batch; moves the moving ones towards them."""
        axes = list(range(len(rows.shape) - 1))
        weights = tf.cast(valid, tf.float32)[..., None]
        count = self._total(tf.reduce_sum(weights))
        divisor = tf.maximum(count, 1.0)
        mean = self._total(tf.reduce_sum(rows, axes)) / divisor
        squares = tf.reduce_sum(weights * tf.math.squared_difference(rows, mean), axes)
        variance = self._total(squares) / divisor
        there = count > 0
        variance = tf.where(there, variance, 1.0)
        rate = tf.where(there, 1.0 - self._momentum, 0.0)
        self.moving_mean.assign_sub(rate * (self.moving_mean - mean))
        self.moving_variance.assign_sub(rate * (self.moving_variance - variance))
        return mean, variance

    def _total(self, value: tf.Tensor) -> tf.Tensor:
        """Sum over replicas, if statistics are shared."""
        context = tf.distribute.get_replica_context()
        if not self._sync or context is None or context.num_replicas_in_sync == 1:
            return value
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

    def get_config(self):
        config = {
            "momentum": self._momentum,
            "epsilon": self._epsilon,
            "sync": self._sync,
            "initial_gamma": self._initial_gamma,
        }
        return super().get_config() | config
