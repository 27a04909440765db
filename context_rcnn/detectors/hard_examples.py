"""Online hard example mining: the second stage learns from the boxes it is most wrong about.

    pure      of all proposals those of highest loss, without near copies of each other (Shrivastava
              et al., arXiv 1604.03540)
    balanced  of candidates drawn as usual some positives at random and the negatives of highest
              loss (as the authors of STMN released it)

All boxes are looked at, and gradients flow through the chosen ones alone.
"""

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors import losses, suppression
from context_rcnn.detectors.targets import ProposalTargets

MODES = ("none", "pure", "balanced")


def candidates(config: configs.Boxes) -> tuple[int | None, float]:
    """How many proposals of an image are looked at (None for all), and the share of positives."""
    if config.hard_examples == "none":
        return config.samples, config.positive_fraction
    if config.hard_examples == "pure":
        return None, 1.0
    if config.hard_examples != "balanced":
        raise ValueError(
            f"model.boxes.hard_examples must be one of {', '.join(MODES)}, got "
            f"{config.hard_examples!r}"
        )
    if config.candidates < config.samples:
        raise ValueError(
            f"model.boxes.candidates is {config.candidates}, fewer than the {config.samples} "
            "samples to choose of them"
        )
    return config.candidates, config.positive_fraction


def choose(config: configs.Boxes, drawn: ProposalTargets, loss: tf.Tensor) -> ProposalTargets:
    """The same boxes, of which only the chosen ones are `valid`.

    Args:
        config: the second stage, which has hard examples.
        drawn: the boxes that were looked at.
        loss: loss of each, [batch, boxes].
    """
    loss = tf.stop_gradient(loss)
    if config.hard_examples == "pure":
        chosen = hardest(drawn.boxes, loss, drawn.valid, config.samples, config.hard_nms_iou)
    else:
        positives = max(int(config.samples * config.positive_fraction), 1)
        chosen = balanced(drawn.classes > 0, loss, drawn.valid, config.samples, positives)
    return drawn._replace(valid=chosen)


def box_losses(
    logits: tf.Tensor, offsets: tf.Tensor, drawn: ProposalTargets, weights: configs.Losses
) -> tf.Tensor:
    """The loss of each box, [batch, boxes]: of its class, and of its place if it is positive.

    Args:
        logits: [batch, boxes, 1 + classes].
        offsets: those of the box's own class, [batch, boxes, 4].
        drawn: what the boxes should say.
        weights: weights of the losses.
    """
    of_class = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=drawn.classes, logits=logits)
    of_place = losses.huber(offsets - drawn.box_offsets, weights.box_delta)
    of_place = tf.where(drawn.classes > 0, of_place, 0.0)
    return weights.classes * of_class + weights.boxes * of_place


def hardest(
    boxes: tf.Tensor, loss: tf.Tensor, valid: tf.Tensor, count: int, iou_threshold: float
) -> tf.Tensor:
    """The `count` boxes of highest loss that no harder one overlaps, bool [batch, boxes]."""
    order = tf.argsort(tf.where(valid, loss, -1.0), axis=1, direction="DESCENDING", stable=True)
    ranked = tf.gather(boxes, order, batch_dims=1)
    kept = tf.gather(valid, order, batch_dims=1)
    if iou_threshold < 1.0:
        kept = suppression.suppress(ranked, kept, iou_threshold)
    kept &= tf.cumsum(tf.cast(kept, tf.int32), axis=1) <= count
    return tf.gather(kept, tf.argsort(order, axis=1), batch_dims=1)


def balanced(
    positive: tf.Tensor, loss: tf.Tensor, valid: tf.Tensor, count: int, positives: int
) -> tf.Tensor:
    """Up to `positives` positives at random, and the hardest negatives up to `count`.

    Returns:
        bool [batch, boxes].
    """
    lot = tf.random.uniform(tf.shape(loss))
    positive, negative = positive & valid, ~positive & valid
    chosen = positive & (_rank(tf.where(positive, lot, -1.0)) < positives)
    left = count - tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1, keepdims=True)
    return chosen | (negative & (_rank(tf.where(negative, loss, -1.0)) < left))


def _rank(values: tf.Tensor) -> tf.Tensor:
    """Place of each value among those of its row, from 0 for the largest."""
    order = tf.argsort(values, axis=1, direction="DESCENDING", stable=True)
    return tf.argsort(order, axis=1)
