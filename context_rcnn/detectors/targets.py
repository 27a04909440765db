"""Who learns from which groundtruth box: matching by IoU, and balanced sampling.

The same two steps serve both stages: anchors in the first, proposals in the second. Everything is
batched with static shapes and explicit validity masks, so padding is never matched, never sampled,
and the whole of it compiles under XLA. (The library's samplers match padded groundtruth under
`force_match`, and multiply by [anchors, anchors] permutation matrices.)
"""

from typing import NamedTuple

import tensorflow as tf
from official.vision.ops import box_ops


class Matches(NamedTuple):
    """For every box, the groundtruth box it overlaps most, and on which side of the thresholds."""

    gt_index: tf.Tensor  # int32 [batch, boxes]
    positive: tf.Tensor  # bool [batch, boxes]
    negative: tf.Tensor  # bool [batch, boxes]


class Samples(NamedTuple):
    """A fixed number of boxes per image to learn from; `valid` is False where there were fewer."""

    index: tf.Tensor  # int32 [batch, samples], into the boxes
    positive: tf.Tensor  # bool [batch, samples]
    valid: tf.Tensor  # bool [batch, samples]


def pairwise_iou(boxes: tf.Tensor, gt_boxes: tf.Tensor) -> tf.Tensor:
    """Returns IoU [batch, boxes, gt] of [batch, boxes, 4] with [batch, gt, 4]."""
    # Coordinate by coordinate: processors are slow where the last dimension is as short as 2 or 4.
    y1, x1, y2, x2 = (part[:, :, None] for part in tf.unstack(boxes, axis=-1))
    gt_y1, gt_x1, gt_y2, gt_x2 = (part[:, None, :] for part in tf.unstack(gt_boxes, axis=-1))
    height = tf.maximum(tf.minimum(y2, gt_y2) - tf.maximum(y1, gt_y1), 0.0)
    width = tf.maximum(tf.minimum(x2, gt_x2) - tf.maximum(x1, gt_x1), 0.0)
    intersection = height * width
    area = tf.maximum(y2 - y1, 0.0) * tf.maximum(x2 - x1, 0.0)
    gt_area = tf.maximum(gt_y2 - gt_y1, 0.0) * tf.maximum(gt_x2 - gt_x1, 0.0)
    return tf.math.divide_no_nan(intersection, area + gt_area - intersection)


def match_boxes(
    boxes: tf.Tensor,
    valid: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_valid: tf.Tensor,
    *,
    positive_iou: float,
    negative_iou: float,
    match_every_gt: bool = False,
) -> Matches:
    """Matches boxes to groundtruth by IoU.

    Args:
        boxes: [batch, boxes, 4].
        valid: bool [batch, boxes]; an invalid box is neither positive nor negative.
        gt_boxes: [batch, gt, 4].
        gt_valid: bool [batch, gt]; padding is False.
        positive_iou: a box is positive from this IoU on.
        negative_iou: a box is negative below this IoU; in between it is left out.
        match_every_gt: also call positive every box that overlaps some groundtruth box as much as
            the best box does (Faster R-CNN's rule i, for the first stage).
    """
    iou = pairwise_iou(boxes, gt_boxes)
    iou = tf.where(valid[:, :, None] & gt_valid[:, None, :], iou, 0.0)
    best = tf.reduce_max(iou, axis=2)
    gt_index = tf.argmax(iou, axis=2, output_type=tf.int32)
    positive = best >= positive_iou
    if match_every_gt:
        best_of_gt = tf.reduce_max(iou, axis=1, keepdims=True)
        is_best = (iou > 0.0) & (iou >= best_of_gt)
        forced = tf.reduce_any(is_best, axis=2)
        # A box that is the best of some groundtruth learns that one, not the one it overlaps most.
        forced_index = tf.argmax(tf.where(is_best, iou, -1.0), axis=2, output_type=tf.int32)
        gt_index = tf.where(forced, forced_index, gt_index)
        positive = positive | forced
    negative = (best < negative_iou) & ~positive
    return Matches(gt_index, positive & valid, negative & valid)


def sample_balanced(
    positive: tf.Tensor, negative: tf.Tensor, *, samples: int | None, positive_fraction: float
) -> Samples:
    """Draws up to `samples` boxes per image, at most `positive_fraction` of them positive.

    Args:
        positive: bool [batch, boxes].
        negative: bool [batch, boxes].
        samples: number of samples to draw; None for all boxes.
        positive_fraction: upper bound of the share of positives; negatives fill the rest.
    """
    boxes = positive.shape[1]
    samples = boxes if samples is None else min(samples, boxes)
    lot = tf.random.uniform(tf.shape(positive))
    max_positives = max(int(samples * positive_fraction), 1)
    positive_lot, positive_index = tf.math.top_k(tf.where(positive, lot, -1.0), max_positives)
    negative_lot, negative_index = tf.math.top_k(tf.where(negative, lot, -1.0), samples)
    # Drawn positives come first (lots in 2..3), then negatives (0..1); what is left is padding.
    drawn = tf.concat([tf.where(positive_lot >= 0, positive_lot + 2, -1.0), negative_lot], axis=1)
    index = tf.concat([positive_index, negative_index], axis=1)
    drawn, order = tf.math.top_k(drawn, samples)
    return Samples(
        index=tf.gather(index, order, batch_dims=1), positive=drawn >= 2.0, valid=drawn >= 0.0
    )


class AnchorTargets(NamedTuple):
    """What the sampled anchors of an image should say."""

    index: tf.Tensor  # int32 [batch, samples], into the flattened anchors
    objectness: tf.Tensor  # float [batch, samples], 1 on an object, 0 beside
    box_offsets: tf.Tensor  # float [batch, samples, 4]
    valid: tf.Tensor  # bool [batch, samples]


def anchor_targets(
    anchors: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_valid: tf.Tensor,
    *,
    samples: int,
    positive_fraction: float,
    positive_iou: float,
    negative_iou: float,
) -> AnchorTargets:
    """Assigns first-stage targets to a balanced sample of the anchors [anchors, 4]."""
    batch = tf.shape(gt_boxes)[0]
    anchors = tf.broadcast_to(anchors[None], [batch, anchors.shape[0], 4])
    matches = match_boxes(
        anchors,
        tf.ones(tf.shape(anchors)[:2], tf.bool),
        gt_boxes,
        gt_valid,
        positive_iou=positive_iou,
        negative_iou=negative_iou,
        match_every_gt=True,
    )
    sample = sample_balanced(
        matches.positive, matches.negative, samples=samples, positive_fraction=positive_fraction
    )
    gt_index = tf.gather(matches.gt_index, sample.index, batch_dims=1)
    offsets = box_ops.encode_boxes(
        tf.gather(gt_boxes, gt_index, batch_dims=1),
        tf.gather(anchors, sample.index, batch_dims=1),
    )
    positive = sample.positive[..., None]
    return AnchorTargets(
        index=sample.index,
        objectness=tf.cast(sample.positive, tf.float32),
        box_offsets=tf.where(positive, offsets, 0.0),
        valid=sample.valid,
    )


class ProposalTargets(NamedTuple):
    """The sampled proposals of an image and what the second stage should say of them."""

    boxes: tf.Tensor  # float [batch, samples, 4]
    valid: tf.Tensor  # bool [batch, samples]
    classes: tf.Tensor  # int32 [batch, samples], 0 is background
    box_offsets: tf.Tensor  # float [batch, samples, 4]


def proposal_targets(
    boxes: tf.Tensor,
    valid: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor,
    gt_valid: tf.Tensor,
    *,
    samples: int | None,
    positive_fraction: float,
    positive_iou: float,
    box_weights: list[float],
) -> ProposalTargets:
    """Samples proposals, with the groundtruth boxes among them, and assigns their targets.

    Where an image has fewer valid proposals than `samples`, the valid ones are repeated with
    `valid` False: they pay no loss, and the batch norms behind see real proposals, never padding.
    """
    boxes = tf.concat([boxes, gt_boxes], axis=1)
    valid = tf.concat([valid, gt_valid], axis=1)
    matches = match_boxes(
        boxes, valid, gt_boxes, gt_valid, positive_iou=positive_iou, negative_iou=positive_iou
    )
    sample = sample_balanced(
        matches.positive, matches.negative, samples=samples, positive_fraction=positive_fraction
    )
    valid_count = tf.reduce_sum(tf.cast(sample.valid, tf.int32), axis=1, keepdims=True)
    repeated = tf.range(sample.index.shape[1])[None] % tf.maximum(valid_count, 1)
    sample = Samples(
        index=tf.gather(sample.index, repeated, batch_dims=1),
        positive=sample.positive,
        valid=sample.valid,
    )
    gt_index = tf.gather(matches.gt_index, sample.index, batch_dims=1)
    boxes = tf.gather(boxes, sample.index, batch_dims=1)
    offsets = box_ops.encode_boxes(
        tf.gather(gt_boxes, gt_index, batch_dims=1), boxes, weights=list(box_weights)
    )
    classes = tf.cast(tf.gather(gt_classes, gt_index, batch_dims=1), tf.int32)
    return ProposalTargets(
        boxes=boxes,
        valid=sample.valid,
        classes=tf.where(sample.positive, classes, 0),
        box_offsets=tf.where(sample.positive[..., None], offsets, 0.0),
    )
