"""Position-sensitive pooling of boxes (R-FCN, arXiv 1605.06409, equation 1)."""

import tensorflow as tf

BINS = 7
"""Rows and columns of a box's bins."""
_LEAST_AREA = 1e-3  # of a bin, in cells; sums of a map have six digits


def position_sensitive_pool(
    maps: tf.Tensor, boxes: tf.Tensor, *, stride: int, bins: int = BINS, exact: bool = False
) -> tf.Tensor:
    """Means of the cells in each bin of each box; every bin has maps of its own.

    Corners are rounded to pixels, and a box ends with the pixel after its last corner. A bin begins
    with the cell that its first edge lies in and ends with the cell that its last edge lies in, so
    neighbours overlap. A bin without a cell inside the map is 0.

    The edges are whole numbers throughout, so that no processor rounds them to another cell. With
    `exact`, nothing is rounded: a cell counts by its share that lies in the bin, so that boxes
    within a cell of each other differ; a bin of less than a thousandth of a cell tends to the mean
    of its map, since its own would be rounding alone. Sums come from a summed-area
    table, a few values a bin, whatever the size of the boxes.

    Args:
        maps: [batch, height, width, bins * bins * channels], bin after bin, row by row.
        boxes: [batch, boxes, 4], y1 x1 y2 x2 in pixels of the image; no gradient flows into them.
        stride: pixels of a cell.
        bins: rows and columns of bins.
        exact: whether bins end where the box says, rather than with whole cells.

    Returns:
        float32 [batch, boxes, bins, bins, channels].
    """
    height, width = maps.shape[1:3]
    channels = maps.shape[3] // (bins * bins)
    if channels * bins * bins != maps.shape[3]:
        raise ValueError(f"{maps.shape[3]} channels are not of {bins} x {bins} bins")
    maps = tf.cast(maps, tf.float32)
    # Small sums lose less: a constant is taken out of the table and put back into the means.
    middle = tf.stop_gradient(tf.reduce_mean(maps, axis=[1, 2], keepdims=True))
    table = tf.cumsum(tf.cumsum(maps - middle, axis=1), axis=2)
    table = tf.pad(table, [[0, 0], [1, 0], [1, 0], [0, 0]])
    table = tf.reshape(table, [-1, (height + 1) * (width + 1) * bins * bins, channels])

    edges = _exact_edges if exact else _edges
    top, bottom = edges(boxes[..., 0], boxes[..., 2], height, stride, bins)
    left, right = edges(boxes[..., 1], boxes[..., 3], width, stride, bins)
    number = tf.reshape(tf.range(bins * bins), [bins, bins])

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        """Sums of the cells above and left of these edges, [batch, boxes, bins, bins, channels]."""
        cell = row[..., :, None] * (width + 1) + column[..., None, :]
        return tf.gather(table, cell * bins * bins + number, batch_dims=1)

    def within(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        """The same for edges within cells, between those of the cells around."""
        r, c = (
            tf.minimum(tf.cast(edge, tf.int32), size - 1)
            for edge, size in ((row, height), (column, width))
        )
        down = (row - tf.cast(r, tf.float32))[..., :, None, None]
        right = (column - tf.cast(c, tf.float32))[..., None, :, None]
        above = (1 - right) * at(r, c) + right * at(r, c + 1)
        below = (1 - right) * at(r + 1, c) + right * at(r + 1, c + 1)
        return (1 - down) * above + down * below

    up_to = within if exact else at
    sums = up_to(bottom, right) - up_to(top, right) - up_to(bottom, left) + up_to(top, left)
    area = (bottom - top)[..., :, None] * (right - left)[..., None, :]
    area = tf.cast(area, tf.float32)[..., None]
    least = _LEAST_AREA if exact else 1.0
    middle = tf.reshape(middle, [-1, 1, bins, bins, channels])
    return tf.where(area > 0, sums / tf.maximum(area, least) + middle, 0.0)


def _edges(
    first: tf.Tensor, last: tf.Tensor, cells: int, stride: int, bins: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """First cell of each bin along one axis, and the cell after its last, [..., bins].

    A length of a tenth of a cell is the least: all is counted in tenths of a pixel, times `bins`.
    """
    start = 10 * _pixel(first)
    length = tf.maximum(10 * (_pixel(last) + 1) - start, stride)
    bin_number = tf.range(bins)
    begin = bin_number * length[..., None] + bins * start[..., None]
    end = begin + length[..., None]
    unit = 10 * bins * stride
    begin, end = begin // unit, -(-end // unit)
    begin, end = (tf.clip_by_value(edge, 0, cells) for edge in (begin, end))
    return begin, tf.maximum(begin, end)


def _exact_edges(
    first: tf.Tensor, last: tf.Tensor, cells: int, stride: int, bins: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """First and last edge of each bin along one axis, in cells of the map, float32 [..., bins]."""
    first, last = (tf.stop_gradient(tf.cast(c, tf.float32)) / stride for c in (first, last))
    side = tf.maximum(last - first, 0.1)[..., None] / bins
    number = tf.range(bins, dtype=tf.float32)
    begin = first[..., None] + number * side
    begin, end = (tf.clip_by_value(edge, 0.0, float(cells)) for edge in (begin, begin + side))
    return begin, end


def _pixel(coordinate: tf.Tensor) -> tf.Tensor:
    """The nearest whole pixel, halves upwards."""
    return tf.cast(tf.floor(tf.stop_gradient(tf.cast(coordinate, tf.float32)) + 0.5), tf.int32)
