"""What streams have in common: what they need, rows that stay as they are, and queues."""

from typing import NamedTuple

import tensorflow as tf


class StreamNeeds(NamedTuple):
    """What a stream is to be given.

    Attributes:
        delay: frames that a keyframe waits for those after it.
        anywhere: whether frames from anywhere in the video come with each step.
        seed: of their order.
    """

    delay: int = 0
    anywhere: bool = False
    seed: int = 0


def like(mask: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Adds axes of one to a mask until it has those of a tensor."""
    return mask[(..., *[None] * (len(tensor.shape) - len(mask.shape)))]


def where_rows(rows: tf.Tensor, value: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """tf.where by a mask of the first axes, [batch] or [batch, frames], of tensors."""
    return tf.where(like(rows, other), value, other)


def push(queue: tf.Tensor, newest: tf.Tensor) -> tf.Tensor:
    """Appends to a queue [batch, frames, ...] and drops the first."""
    return tf.concat([queue[:, 1:], newest[:, None]], axis=1)
