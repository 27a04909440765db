"""BN* of STMN (arXiv 1712.06317, section 3.2, figure 3): squashes activations into 0..1.

    S(x; mu, sigma) = min(x / (mu + K sigma), 1)    x >= 0

The statistics are those of one image's map, over its cells and channels, so that no image depends
on its neighbours in the batch, and no running statistics have to be kept for each time step. The
paper speaks of "the batch", and does not say what it consists of.

    variant: paper      mean and deviation (of n) of all elements; gradients flow through both
    variant: released   of the positive elements only (deviation of n - 1), taken as constants; 1 is
                        the upper bound where there are fewer than two
"""

from typing import Literal

import tensorflow as tf

Variant = Literal["paper", "released"]
VARIANTS: tuple[Variant, ...] = ("paper", "released")


def linear_squash(
    x: tf.Tensor,
    inside: tf.Tensor | None = None,
    *,
    deviations: float = 3.0,
    variant: Variant = "paper",
) -> tf.Tensor:
    """Maps 0 .. mu + K sigma onto 0..1; what is larger becomes 1, and zeros stay zeros.

    Args:
        x: [batch, height, width, channels], none below 0.
        inside: bool [batch, height, width], cells that count in the statistics; all by default.
        deviations: K.
        variant: `paper` or `released`.

    Returns:
        float32, the shape of `x`.
    """
    x = tf.cast(x, tf.float32)
    counts = tf.ones_like(x, tf.bool)
    if inside is not None:
        counts &= inside[..., None]
    if variant == "released":
        upper = _upper(tf.stop_gradient(x), counts & (x > 0.0), deviations, lost=1)
    else:
        upper = _upper(x, counts, deviations, lost=0)
    positive = upper > 0.0
    squashed = tf.minimum(x / tf.where(positive, upper, 1.0), 1.0)
    return tf.where(positive, squashed, 0.0)


def _upper(x: tf.Tensor, counts: tf.Tensor, deviations: float, lost: int) -> tf.Tensor:
    """mu + K sigma of the elements that count, [batch, 1, 1, 1].

    Args:
        x, counts: elements, and which of them count.
        deviations: K.
        lost: degrees of freedom that the deviation loses; with any, fewer than two elements have
            the upper bound 1.
    """
    axes = [1, 2, 3]
    weights = tf.cast(counts, tf.float32)
    number = tf.reduce_sum(weights, axes, keepdims=True)
    mean = tf.reduce_sum(x * weights, axes, keepdims=True) / tf.maximum(number, 1.0)
    squares = tf.reduce_sum(weights * tf.square(x - mean), axes, keepdims=True)
    variance = squares / tf.maximum(number - lost, 1.0)
    # The root has no gradient at 0.
    spread = variance > 0.0
    deviation = tf.where(spread, tf.sqrt(tf.where(spread, variance, 1.0)), 0.0)
    upper = mean + deviations * deviation
    return tf.where(number < 2.0, 1.0, upper) if lost else upper
