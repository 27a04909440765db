"""Which boxes of other frames a detection of MEGA draws on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from context_rcnn.detectors.two_stage import Answer, find_origin
from context_rcnn.layers.relation import Pool
from context_rcnn.models.streaming import NO_FRAME


class References(NamedTuple):
    """The pools that a keyframe sees in its first stages, each with its number of frames."""

    near: Sequence[tuple[Pool, int]]  # the frames around it, and those of the memory
    anywhere: tuple[Pool, int]  # their `frames` are the steps in which they came


def most_attended(
    answer: Answer, watch: Mapping[str, tf.Tensor], references: References, top: int
) -> dict[str, tf.Tensor]:
    """The boxes that each detection draws on most.

    A detection's weights are those of the proposal that became it. Heads and stages are averaged;
    a stage that saw nothing does not count. Stages behind the first see fewer boxes of each frame,
    the best of the same.

    Args:
        answer: detections of the keyframe.
        watch: weights [rows, heads, proposals, references] by stage.
        references: what the stages saw.
        top: largest number of boxes a detection.

    Returns:
        [rows, detections, top, ...], best first: `attention_weight`, 0 where there are no more;
        `attention_box` in pixels; `attention_anywhere`, whether its frame is one from anywhere; and
        `attention_frame` int32, the number of its frame in the video, or, from anywhere, the step
        in which it was given. NO_FRAME stands for none.
    """
    near, (far, places) = references
    frames = [count for _, count in near]
    rooms = [pool.valid.shape[1] // count for pool, count in near]
    shares = []
    for stage, weights in watch.items():
        weights = tf.reduce_mean(weights, axis=1)
        if stage.startswith("global"):
            parts = [tf.zeros([*_head(weights), sum(pool.valid.shape[1] for pool, _ in near)])]
            parts.append(weights if places else weights[..., :0])
        else:
            boxes = weights.shape[2] // sum(frames)
            sizes = [count * boxes for count in frames]
            pieces = tf.split(weights, sizes, axis=2)
            parts = [_widen(*piece) for piece in zip(pieces, frames, rooms, strict=True)]
            parts.append(tf.zeros([*_head(weights), far.valid.shape[1] if places else 0]))
        shares.append(tf.concat(parts, axis=2))
    total = tf.add_n(shares)
    seeing = tf.add_n([tf.sign(tf.reduce_sum(part, axis=2, keepdims=True)) for part in shares])
    weights = tf.math.divide_no_nan(total, seeing)

    pools = [pool for pool, _ in near] + [far] * bool(places)
    numbers = tf.concat([tf.where(pool.valid, pool.frames, NO_FRAME) for pool in pools], axis=1)
    edges = tf.concat([pool.boxes for pool in pools], axis=1)
    weights = tf.gather(weights, find_origin(answer), batch_dims=1)
    weight, index = tf.math.top_k(weights, min(top, weights.shape[2]))
    there = (answer.detections["detection_scores"] >= 0)[..., None]
    return {
        "attention_weight": tf.where(there, weight, 0.0),
        "attention_frame": tf.where(there, tf.gather(numbers, index, batch_dims=1), NO_FRAME),
        "attention_box": tf.gather(edges, index, batch_dims=1),
        "attention_anywhere": index >= sum(pool.valid.shape[1] for pool, _ in near),
    }


def _widen(weights: tf.Tensor, frames: int, room: int) -> tf.Tensor:
    """Weights of the first boxes of each frame, [..., frames * boxes] to [..., frames * room]."""
    rows, asking = _head(weights)
    boxes = weights.shape[2] // frames
    apart = tf.reshape(weights, [rows, asking, frames, boxes])
    apart = tf.pad(apart, [[0, 0], [0, 0], [0, 0], [0, room - boxes]])
    return tf.reshape(apart, [rows, asking, frames * room])


def _head(weights: tf.Tensor) -> tuple[tf.Tensor, int]:
    return tf.shape(weights)[0], weights.shape[1]
