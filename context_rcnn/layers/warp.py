"""Maps moved by flow (Memory Warps, equation 1), flows put together, flows foretold.

Everywhere a flow [batch, height, width, 2] is (dy, dx) in cells of its own grid, and points from a
cell of the newer frame to where that was in the older one. So `warp(older, flow)` is the older map
as the newer frame sees it, sampled at grid + flow. (tensorflow-addons samples at grid - flow, and
MXNet's channels are x, y.)

    border: zero     nothing is beyond the edge: a cell half outside keeps half of its value
    border: clamp    beyond the edge the outermost cells go on

Shapes are static but for the batch; positions are float32 whatever the type of the maps.
"""

from typing import Literal

import tensorflow as tf

Border = Literal["zero", "clamp"]
BORDERS: tuple[Border, ...] = ("zero", "clamp")
Placement = Literal["splat", "stay"]
PLACEMENTS: tuple[Placement, ...] = ("splat", "stay")
_LEAST = 0.25
"""Share of a cell that a splat must cover: the largest of four shares is never less."""
_ALIKE = 0.5
"""Cells by which vectors of one thing differ at most, in one cell."""


def warp(maps: tf.Tensor, flow: tf.Tensor, border: Border = "zero") -> tf.Tensor:
    """The older maps as the newer frame sees them (equation 1), bilinear.

    Gradients flow to the maps and to the flow.

    Args:
        maps: [batch, height, width, channels] of the older frame.
        flow: [batch, height, width, 2], see above.
        border: `zero` or `clamp`.
    """
    height, width, channels = maps.shape[1:]
    y, x = places_of(flow)
    # One cell beyond the edge there is nothing, and further out nothing changes.
    out = 1.0 if border == "zero" else 0.0
    corners = []
    for place, size in ((y, height), (x, width)):
        place = tf.clip_by_value(place, -out, size - 1.0 + out)
        low = tf.floor(tf.stop_gradient(place))
        share, low = place - low, tf.cast(low, tf.int32)
        corners.append(((low, 1.0 - share), (low + 1, share)))
    cells = tf.reshape(maps, [-1, height * width, channels])
    total = None
    for row, of_row in corners[0]:
        for column, of_column in corners[1]:
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = tf.where(inside, of_row * of_column, 0.0)
            row_in, column_in = (
                tf.clip_by_value(row, 0, height - 1),
                tf.clip_by_value(column, 0, width - 1),
            )
            index = tf.reshape(row_in * width + column_in, [-1, height * width])
            there = tf.reshape(tf.gather(cells, index, batch_dims=1), [-1, *maps.shape[1:]])
            part = tf.cast(weight, maps.dtype)[..., None] * there
            total = part if total is None else total + part
    return total


def seen_through(flow: tf.Tensor) -> tf.Tensor:
    """How much of each cell was in the older frame, float32 [batch, height, width, 1] in 0..1."""
    return warp(tf.ones_like(flow[..., :1]), flow, "zero")


def compose(flow: tf.Tensor, earlier: tf.Tensor) -> tf.Tensor:
    """The flow over several frames, of the flow to the last one and that from there on.

    D_(t,t-n)(q) = D_(t,t-1)(q) + D_(t-1,t-n)(q + D_(t,t-1)(q)). Beyond the edge the flow of the
    outermost cells goes on.

    Args:
        flow: D_(t,t-1).
        earlier: D_(t-1,t-n).
    """
    return flow + warp(earlier, flow, "clamp")


def extrapolate(
    flow: tf.Tensor, earlier: tf.Tensor, ahead: tf.Tensor | int, placement: Placement = "splat"
) -> tf.Tensor:
    """The flow from a coming frame back to the newest one, at constant acceleration (section 4.3).

    The acceleration of a cell is the difference of its two displacements, the earlier one sampled
    where the cell was then. Over n frames that makes n d1 + n (n + 1) / 2 (d1 - d0).

    Args:
        flow: D_(t,t-1).
        earlier: D_(t-1,t-2).
        ahead: n, a number or one for each row.
        placement: `splat` puts each vector where its cell will be, `stay` leaves it where it is.
    """
    n = tf.reshape(tf.cast(ahead, flow.dtype), [-1, 1, 1, 1])
    change = flow - warp(earlier, flow, "clamp")
    total = n * flow + 0.5 * n * (n + 1.0) * change
    return splat(total, n * flow)[0] if placement == "splat" else total


def splat(flow: tf.Tensor, elsewhere: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Vectors that belong to cells of the newer of two frames, put where these cells will be.

    A cell sends its vector d to its own place minus d, into the four cells there (those of which it
    covers a quarter or more). Where several things come together, the one that moves farthest wins:
    it is in front of what stands still. Where nothing comes, the place has a vector of its own.

    Args:
        flow: total flow of each cell of the newest frame, back from the coming frame.
        elsewhere: vectors of places to which nothing comes; by default those of `flow`. What a
            moving thing has just uncovered has a wrong acceleration: sampled where the ground was,
            the earlier flow is that of the thing. So `extrapolate` gives those without it.

    Returns:
        The flow on the grid of the coming frame, and bool [batch, height, width], where nothing
        comes.
    """
    elsewhere = flow if elsewhere is None else elsewhere
    height, width = flow.shape[1:3]
    cells = height * width
    rows = tf.shape(flow)[0]
    y, x = places_of(-flow)
    y, x = tf.clip_by_value(y, -2.0, height + 1.0), tf.clip_by_value(x, -2.0, width + 1.0)
    length = tf.norm(tf.stop_gradient(flow), axis=-1)
    low_y, low_x = tf.floor(tf.stop_gradient(y)), tf.floor(tf.stop_gradient(x))
    weights, targets = [], []
    first = tf.range(rows)[:, None, None] * cells
    nowhere = rows * cells
    for down in (0.0, 1.0):
        for right in (0.0, 1.0):
            row, column = low_y + down, low_x + right
            weight = (1.0 - tf.abs(y - row)) * (1.0 - tf.abs(x - column))
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            inside &= weight >= _LEAST
            target = first + tf.cast(row * width + column, tf.int32)
            targets.append(tf.where(inside, target, nowhere))
            weights.append(tf.where(inside, weight, 0.0))
    target = tf.reshape(tf.stack(targets, axis=-1), [-1])
    weight = tf.reshape(tf.stack(weights, axis=-1), [-1])
    lengths = tf.reshape(tf.stack([length] * 4, axis=-1), [-1])
    vectors = tf.reshape(tf.stack([flow] * 4, axis=-2), [-1, 2])
    longest = tf.math.unsorted_segment_max(lengths, target, nowhere + 1)
    weight *= tf.cast(lengths >= tf.gather(longest, target) - _ALIKE, weight.dtype)
    total = tf.math.unsorted_segment_sum(weight[:, None] * vectors, target, nowhere + 1)[:-1]
    share = tf.math.unsorted_segment_sum(weight, target, nowhere + 1)[:-1]
    share = tf.reshape(share, [-1, height, width])
    holes = share == 0.0
    total = tf.reshape(total, [-1, height, width, 2]) / tf.where(holes, 1.0, share)[..., None]
    return tf.where(holes[..., None], elsewhere, total), holes


def places_of(flow: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows and columns that a flow points to, float32 [batch, height, width]."""
    height, width = flow.shape[1:3]
    flow = tf.cast(flow, tf.float32)
    rows = tf.range(height, dtype=tf.float32)[:, None]
    columns = tf.range(width, dtype=tf.float32)[None]
    return rows + flow[..., 0], columns + flow[..., 1]
