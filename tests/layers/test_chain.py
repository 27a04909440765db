import numpy as np
import tensorflow as tf
import tf_keras

from context_rcnn.layers.chain import Chain
from tests.tolerance import assert_close


def test_layers_follow_one_another():
    """By hand: (1, -2) and (1, 1) are (2, -1), by ReLU (2, 0), and by (3, 4) 6."""
    first = tf_keras.layers.Dense(
        2, "relu", kernel_initializer="identity", bias_initializer="ones", name="first"
    )
    last = tf_keras.layers.Dense(1, use_bias=False, name="last")
    chain = Chain([first, last], name="both")
    chain.build([None, 2])
    assert [variable.name for variable in chain.variables] == [
        "first/kernel:0",
        "first/bias:0",
        "last/kernel:0",
    ]
    assert chain.compute_output_shape([7, 2]) == tf.TensorShape([7, 1])
    last.kernel.assign([[3.0], [4.0]])
    assert_close(chain(tf.constant([[1.0, -2.0]])), [[6.0]], 1e-6)


def test_all_layers_are_told_of_training_chains_of_chains_too():
    norm = tf_keras.layers.BatchNormalization(momentum=0.5)
    chain = Chain([Chain([tf_keras.layers.ReLU(), norm])])
    x = tf.constant(np.float32([[2.0], [4.0]]))
    chain(x)
    chain(x, training=False)
    assert_close(norm.moving_mean, [0.0], 1e-6)
    assert_close(chain(x, training=True), [[-1.0], [1.0]], 2e-3)  # the variance is 1, epsilon .001
    assert_close(norm.moving_mean, [1.5], 1e-6)


def test_weights_are_restored(tmp_path):
    def make():
        chain = Chain([tf_keras.layers.Dense(3), tf_keras.layers.Dense(2)])
        chain.build([None, 4])
        return chain

    first, second = make(), make()
    path = tf.train.Checkpoint(chain=first).write(str(tmp_path / "weights"))
    tf.train.Checkpoint(chain=second).read(path).assert_consumed()
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(first.trainable_weights) == 4
