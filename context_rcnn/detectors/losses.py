"""The four losses of a two-stage detector.

Each is a mean over images of a sum over that image's valid samples, divided by their number. An
image's loss therefore does not depend on its neighbours, nor on how a batch is split over replicas.
"""

import tensorflow as tf


def huber(error: tf.Tensor, delta: float) -> tf.Tensor:
    """Smooth L1 of the last axis, summed: quadratic within `delta`, linear beyond, slope 1."""
    absolute = tf.abs(error)
    quadratic = tf.minimum(absolute, delta)
    return tf.reduce_sum(0.5 * quadratic**2 / delta + (absolute - quadratic), axis=-1)


def mean_over_images(loss: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Mean over images of the mean over valid samples; [batch, samples] each."""
    valid = tf.cast(valid, loss.dtype)
    # tf.where rather than a product: an invalid sample may hold anything, NaN included.
    loss = tf.where(valid > 0, loss, 0.0)
    return tf.reduce_mean(
        tf.reduce_sum(loss, axis=1) / tf.maximum(tf.reduce_sum(valid, axis=1), 1.0)
    )


def objectness_loss(logits: tf.Tensor, objectness: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """First stage: is there an object at this anchor? All [batch, samples]."""
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=objectness, logits=logits)
    return mean_over_images(loss, valid)


def class_loss(logits: tf.Tensor, classes: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Second stage: which class (0 is background) has this proposal?

    Args:
        logits: [batch, samples, 1 + classes].
        classes: int [batch, samples].
        valid: bool [batch, samples].
    """
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits)
    return mean_over_images(loss, valid)


def box_loss(
    offsets: tf.Tensor,
    target_offsets: tf.Tensor,
    positive: tf.Tensor,
    valid: tf.Tensor,
    delta: float,
) -> tf.Tensor:
    """Either stage: how far are the offsets [batch, samples, 4] from their targets?

    Only positives pay, but the sum is divided by all valid samples, so that the weight of the box
    loss against the class loss does not swing with the number of objects.
    """
    loss = huber(offsets - target_offsets, delta)
    return mean_over_images(tf.where(positive, loss, 0.0), valid)
