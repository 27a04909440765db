"""Bilinear crops whose outermost samples lie on the edges of the box, as `tf.image` has them.

On a CPU `tf.image.crop_and_resize` takes a ninth of the time of gathered cells, and no memory but
for the crops. But XLA does not compile it, and its gradient is wrong on several threads: boxes of
one image that overlap add to the same cells at the same time. So there, and for the gradient, crops
are two products of matrices: of weights and rows, and of weights and columns. TFLite has no such
operation either (`by_products`).
"""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.ops import control_flow_util  # what TensorFlow itself decides by

from context_rcnn.layers.cost_estimates import leave_out_cost_estimates

_LARGEST = 64 * 2**20  # bytes of what stands between the two products, for the boxes of one part

_portable = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def by_products() -> Iterator[None]:
    """Functions that are traced within crop by products, which every runtime has."""
    before = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(before)


def crop_and_resize(maps: tf.Tensor, boxes: tf.Tensor, size: int) -> tf.Tensor:
    """Crops of each image at its own boxes.

    Args:
        maps: [batch, height, width, depth].
        boxes: [batch, n, 4], y1 x1 y2 x2 as fractions of the map; 1 is the centre of its last cell.
            They get no gradient.
        size: samples on each side; at least 2.

    Returns:
        [batch, n, size, size, depth]; what lies outside of the map is 0.
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    compiled = control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())

    @tf.custom_gradient
    def crop(maps: tf.Tensor):
        def weights() -> tuple[tf.Tensor, tf.Tensor]:
            _, height, width, _ = maps.shape
            rows = _weights(boxes[..., 0], boxes[..., 2], height, size, maps.dtype)
            return rows, _weights(boxes[..., 1], boxes[..., 3], width, size, maps.dtype)

        everywhere = compiled or _portable.get()
        crops = _product(maps, *weights()) if everywhere else _of_tensorflow(maps, boxes, size)
        return crops, lambda upstream: _gradient(upstream, *weights())

    return crop(maps)


def _of_tensorflow(maps: tf.Tensor, boxes: tf.Tensor, size: int) -> tf.Tensor:
    count, depth = boxes.shape[1], maps.shape[-1]
    if maps.shape[0] is None and not tf.config.list_physical_devices("GPU"):
        leave_out_cost_estimates()
    batch = maps.shape[0] or tf.shape(maps)[0]
    images = tf.repeat(tf.range(batch), count)
    found = tf.cast(maps, tf.float32)  # it knows no bfloat16
    flat = tf.reshape(boxes, [batch * count, 4])
    crops = tf.image.crop_and_resize(found, flat, images, [size, size])
    return tf.cast(tf.reshape(crops, [-1, count, size, size, depth]), maps.dtype)


def _weights(
    first: tf.Tensor, last: tf.Tensor, cells: int, size: int, dtype: tf.DType
) -> tf.Tensor:
    """What each cell along a side contributes to each sample, [batch, n, size, cells]."""
    steps = tf.range(size, dtype=tf.float32) / (size - 1)
    at = (first[..., None] + (last - first)[..., None] * steps) * (cells - 1)
    inside = tf.cast((at >= 0.0) & (at <= cells - 1), tf.float32)
    distance = tf.abs(at[..., None] - tf.range(cells, dtype=tf.float32))
    return tf.cast(tf.nn.relu(1.0 - distance) * inside[..., None], dtype)


def _parts(rows: tf.Tensor, columns: tf.Tensor, depth: int) -> list[slice]:
    """Boxes that are cropped at once."""
    count, size, width = columns.shape[1:]
    at_once = max(1, _LARGEST // (size * width * depth * rows.dtype.size))
    return [slice(start, start + at_once) for start in range(0, count, at_once)]


def _product(maps: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Crops [batch, n, size, size, depth]."""
    _, height, width, depth = maps.shape
    size = rows.shape[2]
    flat = tf.reshape(maps, [-1, height, width * depth])
    crops = []
    for part in _parts(rows, columns, depth):
        count = rows[:, part].shape[1]
        lines = tf.matmul(tf.reshape(rows[:, part], [-1, count * size, height]), flat)
        lines = tf.reshape(lines, [-1, count, size, width, depth])
        crops.append(tf.matmul(columns[:, part, None], lines))
    return tf.concat(crops, axis=1)


def _gradient(upstream: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Of the maps [batch, height, width, depth], from that of the crops."""
    size, height = rows.shape[2:]
    width, depth = columns.shape[3], upstream.shape[-1]
    found = []
    for part in _parts(rows, columns, depth):
        count = rows[:, part].shape[1]
        lines = tf.matmul(columns[:, part, None], upstream[:, part], transpose_a=True)
        lines = tf.reshape(lines, [-1, count * size, width * depth])
        weights = tf.reshape(rows[:, part], [-1, count * size, height])
        found.append(tf.matmul(weights, lines, transpose_a=True))
    return tf.reshape(tf.add_n(found), [-1, height, width, depth])
