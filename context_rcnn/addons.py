"""The only door to tensorflow-addons, and what stands in where it is not installed.

The library is at its end of life: it has no wheels for Python 3.12 or Windows, and its import looks
for `keras.src.engine`, which Keras 3 no longer has and `tf_keras.src.engine` can stand in for.
"""

import functools
import importlib
import importlib.util
import sys
import types
import warnings

import tensorflow as tf


@functools.cache
def load() -> types.ModuleType | None:
    """Returns the module `tensorflow_addons`, or None where it is not installed."""
    if importlib.util.find_spec("tensorflow_addons") is None:
        return None
    import tf_keras.src.engine

    name = "keras.src.engine"
    if name not in sys.modules:
        importlib.import_module("keras.src")
        sys.modules[name] = tf_keras.src.engine
    try:
        with warnings.catch_warnings():
            # It warns, at length, of its end of life and of every TensorFlow after 2.15.
            warnings.simplefilter("ignore")
            return importlib.import_module("tensorflow_addons")
    except ImportError:
        return None


def triplet_hard_loss(
    labels: tf.Tensor,
    embeddings: tf.Tensor,
    *,
    margin: float = 1.0,
    soft: bool = False,
    distance: str = "L2",
) -> tf.Tensor:
    """Triplet loss of the hardest positive and the hardest negative of each row of a batch.

    A row without a positive has the smallest distance in its place, which is 0, and one without a
    negative the distance to the row farthest from it.

    Args:
        labels: [batch] integers; rows with the same label are positives of each other.
        embeddings: [batch, depth] floats.
        margin: distance by which the hardest negative should be farther away than the hardest
            positive.
        soft: log(1 + exp(positive - negative)) in place of max(positive - negative + margin, 0).
        distance: `L2`, Euclidean, or `angular`, 1 - cosine.

    Returns:
        The mean over the batch, a scalar.
    """
    library = load()
    if library is not None:
        return library.losses.triplet_hard_loss(
            labels, embeddings, margin=margin, soft=soft, distance_metric=distance
        )
    return _triplet_hard_loss(labels, embeddings, margin, soft, distance)


def _triplet_hard_loss(
    labels, embeddings, margin: float, soft: bool, distance: str = "L2"
) -> tf.Tensor:
    """`triplet_hard_loss` without the library."""
    embeddings = tf.convert_to_tensor(embeddings)
    exact = tf.cast(embeddings, tf.float32)
    distances = _angles(exact) if distance == "angular" else _distances(exact)
    same = tf.equal(labels[:, None], labels[None, :])
    positive = tf.reduce_max(tf.where(same, distances, 0.0), axis=1)  # a row is 0 from itself
    farthest = tf.reduce_max(distances, axis=1, keepdims=True)
    negative = tf.reduce_min(tf.where(same, farthest, distances), axis=1)
    apart = positive - negative
    losses = tf.nn.softplus(apart) if soft else tf.maximum(apart + margin, 0.0)
    return tf.cast(tf.reduce_mean(losses), embeddings.dtype)


def _distances(embeddings: tf.Tensor) -> tf.Tensor:
    """Euclidean distances [batch, batch], with a gradient of 0 where they are 0."""
    squares = tf.reduce_sum(tf.square(embeddings), axis=1)
    products = tf.matmul(embeddings, embeddings, transpose_b=True)
    squared = squares[:, None] + squares[None, :] - 2 * products
    squared = tf.linalg.set_diag(squared, tf.zeros_like(squares))
    apart = squared > 0
    return tf.where(apart, tf.sqrt(tf.where(apart, squared, 1.0)), 0.0)


def _angles(embeddings: tf.Tensor) -> tf.Tensor:
    """1 - cosine of all pairs, [batch, batch], 0 of a row and itself."""
    unit = tf.math.l2_normalize(embeddings, axis=1)
    apart = tf.maximum(1.0 - tf.matmul(unit, unit, transpose_b=True), 0.0)
    return tf.linalg.set_diag(apart, tf.zeros_like(apart[0]))
