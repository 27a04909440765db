"""Boxes that go on with the flow within them (section 5.2), the baseline of moving features."""

import tensorflow as tf


def move_boxes(boxes: tf.Tensor, flow: tf.Tensor, stride: int) -> tf.Tensor:
    """Boxes of one frame in the next one.

    A box moves by the mean of the flow over the cells whose middle lies in it, or of the cell
    nearest to its middle where there is none. The flow leads back, so the box goes against it.

    Args:
        boxes: [batch, boxes, 4], y1 x1 y2 x2 in pixels.
        flow: D_(t,t-1), [batch, height, width, 2] in cells.
        stride: pixels of a cell.
    """
    inside = []
    for axis, cells in enumerate(flow.shape[1:3]):
        middles = (tf.range(cells, dtype=tf.float32) + 0.5) * stride
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        within = (middles >= low) & (middles < high)
        distance = tf.abs(middles - 0.5 * (low + high))
        nearest = tf.one_hot(tf.argmin(distance, axis=-1), cells, on_value=True, off_value=False)
        any_within = tf.reduce_any(within, axis=-1, keepdims=True)
        inside.append(tf.cast(tf.where(any_within, within, nearest), tf.float32))
    rows, columns = inside
    total = tf.einsum("bny,bnx,byxk->bnk", rows, columns, tf.cast(flow, tf.float32))
    count = tf.reduce_sum(rows, axis=-1) * tf.reduce_sum(columns, axis=-1)
    return boxes - tf.tile(stride * total / count[..., None], [1, 1, 2])
