"""Losses of re-identification (equation 18 of PSTA), of one stage."""

import tensorflow as tf
import tf_keras

from context_rcnn import addons


def identity_loss(labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Cross entropy with smoothed labels, the mean over the clips.

    Args:
        labels: [clips], numbers of identities.
        logits: float32 [clips, identities].
        label_smoothing: share of the target that is spread over all identities.
    """
    targets = tf.one_hot(labels, logits.shape[-1])
    values = tf_keras.losses.categorical_crossentropy(
        targets, logits, from_logits=True, label_smoothing=label_smoothing
    )
    return tf.reduce_mean(values)


def batch_hard_triplet(labels: tf.Tensor, features: tf.Tensor, margin: float) -> tf.Tensor:
    """Hinge of each clip's farthest clip of the same identity and its nearest of another one.

    Distances are 1 - cosine, which the release's - cosine equals in the hinge.
    """
    return addons.triplet_hard_loss(labels, features, margin=margin, distance="angular")
