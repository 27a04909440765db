"""Boxes of a map before suppression."""

import tensorflow as tf

from context_rcnn.detectors.two_stage import Proposals, Seen, TwoStageDetector

FED_BACK = 0.05
"""Score from which a box is fed back as a proposal, as in the released code."""


def scored_boxes(
    detector: TwoStageDetector, seen: Seen, rounds: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes [batch, n, classes, 4] and scores [batch, n, classes] of all rounds.

    Args:
        detector: the detector.
        seen: the result of `look`.
        rounds: number of rounds. Each but the first takes the boxes of the one before as proposals:
            of each proposal the box of its best class, where that has a score of `FED_BACK` or
            more. The boxes of all rounds count.
    """
    found = []
    for i in range(rounds):
        boxes, scores = detector.candidates(seen, training=False)
        found.append((boxes, scores))
        if i < rounds - 1:
            best = tf.argmax(scores, axis=-1, output_type=tf.int32)
            again = tf.gather(boxes, best, batch_dims=2)
            top = tf.reduce_max(scores, axis=-1)
            sides = again[..., 2:] - again[..., :2]
            valid = (top >= FED_BACK) & tf.reduce_all(sides > 0.0, axis=-1)
            seen = seen._replace(proposals=Proposals(again, top, valid))
    all_boxes, all_scores = zip(*found, strict=True)
    return tf.concat(all_boxes, axis=1), tf.concat(all_scores, axis=1)


def best_boxes(boxes: tf.Tensor, scores: tf.Tensor, count: int) -> dict[str, tf.Tensor]:
    """The best pairs of a box and a class.

    Args:
        boxes, scores: from `scored_boxes`.
        count: number of pairs.

    Returns:
        `boxes` [batch, count, 4], `scores` [batch, count] and `labels` int32 [batch, count], the
        classes from 0. Where there are fewer pairs, the score is 0.
    """
    n, classes = scores.shape[1:]
    flat = tf.reshape(scores, [-1, n * classes])
    top, index = tf.math.top_k(flat, min(count, n * classes))
    at = tf.gather(tf.reshape(boxes, [-1, n * classes, 4]), index, batch_dims=1)
    padding = [[0, 0], [0, count - top.shape[1]]]
    return {
        "boxes": tf.pad(at, [*padding, [0, 0]]),
        "scores": tf.pad(top, padding),
        "labels": tf.pad(index % classes, padding),
    }
