"""Proposals of another detector as a batch has them: the best of each image, in its pixels."""

import tensorflow as tf

PROPOSALS = ("proposals", "proposal_scores", "proposal_valid")
LOWEST = tf.float32.min
"""Score of padding."""


def best_proposals(
    boxes: tf.Tensor, scores: tf.Tensor, shapes: tf.Tensor, count: int
) -> dict[str, tf.Tensor]:
    """The best of each image, padded to a number of them.

    Args:
        boxes: [images, n, 4], y1 x1 y2 x2 as fractions; one without area, or NaN, is padding.
        scores: [images, n].
        shapes: [images, 2], height and width of what is not padding.
        count: number of proposals an image.

    Returns:
        `proposals` float32 [images, count, 4] in pixels, clipped, `proposal_scores` float32
        [images, count], and `proposal_valid` bool, False in padding.
    """
    boxes = tf.clip_by_value(boxes, 0.0, 1.0) * tf.tile(shapes, [1, 2])[:, None]
    valid = tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1) & tf.math.is_finite(scores)
    padding = [[0, 0], [0, count]]
    scores = tf.pad(tf.where(valid, scores, LOWEST), padding, constant_values=LOWEST)
    boxes = tf.pad(tf.where(valid[..., None], boxes, 0.0), [*padding, [0, 0]])
    scores, order = tf.math.top_k(scores, count)
    valid = tf.gather(tf.pad(valid, padding), order, batch_dims=1)
    return {
        "proposals": tf.ensure_shape(tf.gather(boxes, order, batch_dims=1), [None, count, 4]),
        "proposal_scores": tf.where(valid, scores, 0.0),
        "proposal_valid": valid,
    }
