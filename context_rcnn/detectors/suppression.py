"""Non-maximum suppression of few boxes, in many classes at once.

The library's works in tiles of 512 boxes, one class after the other: for the 30 to 300 boxes of a
second stage it takes several times as long as the network (docs/results.md), and for 300 of a
first stage more than three times as long as this.
"""

import tensorflow as tf
from official.vision.ops import box_ops, nms

from context_rcnn.detectors.targets import pairwise_iou


def suppress(
    boxes: tf.Tensor, valid: tf.Tensor, iou_threshold: float, labels: tf.Tensor | None = None
) -> tf.Tensor:
    """Greedy suppression: a box is kept if no better kept one overlaps it.

    That rule has one solution, and repeating it on all boxes at once finds it: after k rounds the
    first k boxes are right, and mostly all are after a few.

    Args:
        boxes: [rows, n, 4], best first. Rows know nothing of each other.
        valid: bool [rows, n].
        iou_threshold: an overlap from this on suppresses.
        labels: [rows, n], only boxes of the same label suppress each other.

    Returns:
        Which are kept, bool [rows, n].
    """
    better = tf.linalg.band_part(tf.ones([boxes.shape[1]] * 2, tf.bool), 0, -1)
    better = tf.linalg.set_diag(better, tf.zeros([boxes.shape[1]], tf.bool))
    overlaps = (pairwise_iou(boxes, boxes) >= iou_threshold) & better
    if labels is not None:
        overlaps &= labels[:, :, None] == labels[:, None]
    overlaps = tf.cast(overlaps, tf.float32)

    def again(kept, _):
        # A product counts faster than any logical operation.
        beaten = tf.linalg.matvec(overlaps, tf.cast(kept, tf.float32), transpose_a=True)
        now = valid & (beaten < 0.5)
        return now, tf.reduce_any(now != kept)

    kept, _ = tf.while_loop(lambda _, changed: changed, again, (valid, tf.constant(True)))
    return kept


def best_boxes(
    boxes: tf.Tensor, scores: tf.Tensor, *, iou_threshold: float, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best boxes after suppression, of one class.

    Args:
        boxes: [batch, n, 4], best first.
        scores: [batch, n]; 0 where there is no box.
        iou_threshold: IoU at which a box suppresses a worse one.
        count: boxes per image.

    Returns:
        boxes [batch, count, 4] and scores [batch, count], best first, zeros behind them.
    """
    if boxes.shape[1] > nms.NMS_TILE_SIZE:
        # It takes a box without a positive coordinate for one that is suppressed.
        lowest = tf.reduce_min(boxes, axis=[1, 2], keepdims=True)
        shift = tf.where(lowest < 0.0, 1.0 - lowest, 0.0)
        there = scores[..., None] > 0.0
        found = nms.sorted_non_max_suppression_padded(
            scores, tf.where(there, boxes + shift, 0.0), count, iou_threshold
        )
        scores, boxes = found[0], found[1] - shift
    else:
        kept = suppress(boxes, scores > 0.0, iou_threshold)
        scores, best = tf.math.top_k(tf.where(kept, scores, 0.0), count)
        boxes = tf.gather(boxes, best, batch_dims=1)
    return tf.where(scores[..., None] > 0.0, boxes, 0.0), scores


def best_detections(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    count: int,
    clip_to: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The best boxes of all classes after suppression within each.

    Args:
        boxes: [batch, n, classes, 4].
        scores: [batch, n, classes].
        score_threshold: score that a box must exceed.
        iou_threshold: IoU at which a box suppresses a worse one.
        count: detections per image.
        clip_to: [batch, 2], height and width to which the best `count` boxes of each class are
            clipped after suppression; those that then have no area are left out.

    Returns:
        boxes [batch, count, 4], scores [batch, count] and classes [batch, count] from 0, best
        first, all 0 in padding; and how many there are [batch].
    """
    n, classes = scores.shape[1:]
    by_class = tf.reshape(tf.transpose(scores, [0, 2, 1]), [-1, n])
    by_class, order = tf.math.top_k(by_class, n)
    ranked = tf.reshape(tf.transpose(boxes, [0, 2, 1, 3]), [-1, n, 4])
    ranked = tf.gather(ranked, order, batch_dims=1)
    kept = suppress(ranked, by_class > score_threshold, iou_threshold)
    if clip_to is not None:
        kept &= tf.cumsum(tf.cast(kept, tf.int32), axis=1) <= count
        limits = tf.repeat(tf.cast(clip_to, tf.float32), classes, axis=0)
        ranked = box_ops.clip_boxes(ranked, limits[:, None])
        kept &= tf.reduce_all(ranked[..., 2:] > ranked[..., :2], axis=-1)
    flat = tf.reshape(tf.where(kept, by_class, -1.0), [-1, classes * n])
    top, index = tf.math.top_k(flat, min(count, classes * n))
    there = top >= 0.0
    found = tf.gather(tf.reshape(ranked, [-1, classes * n, 4]), index, batch_dims=1)
    padding = [[0, 0], [0, count - top.shape[1]]]
    return (
        tf.pad(tf.where(there[..., None], found, 0.0), [*padding, [0, 0]]),
        tf.pad(tf.where(there, top, 0.0), padding),
        tf.pad(tf.where(there, index // n, 0), padding),
        tf.reduce_sum(tf.cast(there, tf.int32), axis=1),
    )


def best_labelled(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    labels: tf.Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    count: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The best boxes after suppression within each class, of boxes that have one class each.

    Args:
        boxes: [batch, n, 4].
        scores: [batch, n].
        labels: int32 [batch, n], from 0.
        score_threshold, iou_threshold, count: the same as in `best_detections`.

    Returns:
        The same as `best_detections`.
    """
    scores, order = tf.math.top_k(scores, scores.shape[1])
    boxes, labels = (tf.gather(part, order, batch_dims=1) for part in (boxes, labels))
    kept = suppress(boxes, scores > score_threshold, iou_threshold, labels)
    top, index = tf.math.top_k(tf.where(kept, scores, -1.0), min(count, scores.shape[1]))
    there = top >= 0.0
    boxes, labels = (tf.gather(part, index, batch_dims=1) for part in (boxes, labels))
    padding = [[0, 0], [0, count - top.shape[1]]]
    return (
        tf.pad(tf.where(there[..., None], boxes, 0.0), [*padding, [0, 0]]),
        tf.pad(tf.where(there, top, 0.0), padding),
        tf.pad(tf.where(there, labels, 0), padding),
        tf.reduce_sum(tf.cast(there, tf.int32), axis=1),
    )
