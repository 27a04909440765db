"""MatchTrans of STMN (arXiv 1712.06317, section 3.3): a memory moved along with what it is of.

A cell of a map is compared with the (2k + 1)^2 cells around it in the map of the frame before. The
affinities, divided by their sum, are the coefficients by which the memory's cells are averaged:

    Gamma(x, y, i, j) = F_t(x, y) F_{t-1}(x + i, y + j) / sum of the same over i, j in -k..k
    M'(x, y)          = sum over i, j of Gamma(x, y, i, j) M(x + i, y + j)

    variant: paper      affinities are dot products, and gradients flow into both maps
    variant: released   cosines, those below 0 left out; gradients flow into the memory alone

Both average nearly all of the neighbourhood where features of neighbours are alike, and products
favour cells whose features are long. `sharpness`, which neither has, takes cosines to its power:
the cells that are most alike then have most of the weight.

Features have to be at least 0, as they are behind a ReLU. Cells beyond the edge, or outside of the
image, take no part. A cell without any affinity takes over what the memory has in its place.

Both functions go through the shifts one by one: nothing has a size of all cells times all cells,
nor of (2k + 1)^2 times the channels, not even for the gradients.
"""

from collections.abc import Iterator

import tensorflow as tf

from context_rcnn.layers.linear_squash import Variant


def match_coefficients(
    now: tf.Tensor,
    before: tf.Tensor,
    inside: tf.Tensor | None = None,
    *,
    reach: int = 2,
    variant: Variant = "paper",
    sharpness: float = 0.0,
) -> tf.Tensor:
    """Gamma, float32 [batch, height, width, (2 reach + 1)^2], rows of the neighbourhood first.

    Args:
        now: F_t, [batch, height, width, depth].
        before: F_{t-1}, the same shape.
        inside: bool [batch, height, width], cells of `before` that take part; all by default.
        reach: k.
        variant: `paper` or `released`.
        sharpness: power of the cosines; 0 for the variant's own affinities.
    """
    now, before = tf.cast(now, tf.float32), tf.cast(before, tf.float32)
    if inside is not None:
        before = tf.where(inside[..., None], before, 0.0)
    if variant == "released":
        now, before = tf.stop_gradient(now), tf.stop_gradient(before)
    if variant == "released" or sharpness:
        affinity = tf.nn.relu(_correlate(_unit(now), _unit(before), reach))
    else:
        affinity = _correlate(now, before, reach)
    if sharpness:
        # Next to the largest, so that none is too small for float32: it drops out of the shares.
        largest = tf.stop_gradient(tf.reduce_max(affinity, axis=-1, keepdims=True))
        affinity = tf.math.divide_no_nan(affinity, largest) ** sharpness
    total = tf.reduce_sum(affinity, axis=-1, keepdims=True)
    known = total > 0.0
    shares = affinity / tf.where(known, total, 1.0)
    return tf.where(known, shares, stay(reach))


def transform(memory: tf.Tensor, coefficients: tf.Tensor) -> tf.Tensor:
    """M', [batch, height, width, channels], of a memory and the coefficients of its cells."""
    return _blend(coefficients, memory)


def stay(reach: int) -> tf.Tensor:
    """The coefficients of a cell that takes over what is in its place, [(2 reach + 1)^2]."""
    count = (2 * reach + 1) ** 2
    return tf.one_hot(count // 2, count)


def _correlate(now: tf.Tensor, before: tf.Tensor, reach: int) -> tf.Tensor:
    """Dot products of each cell with the cells around it in another map; 0 beyond the edge."""

    @tf.custom_gradient
    def products(now, before):
        def gradient(upstream):
            return _blend(upstream, before), _blend(_seen_from_there(upstream), now)

        shifts = [tf.reduce_sum(now * shifted, axis=-1) for shifted in _neighbours(before, reach)]
        return tf.stack(shifts, axis=-1), gradient

    return products(now, before)


@tf.custom_gradient
def _blend(weights: tf.Tensor, cells: tf.Tensor):
    """Sums of the cells around each, weighted; 0 beyond the edge."""
    reach = _reach(weights)
    shares = tf.cast(weights, cells.dtype)

    def gradient(upstream):
        of_weights = tf.cast(_correlate(upstream, cells, reach), weights.dtype)
        return of_weights, _blend(_seen_from_there(shares), upstream)

    shifts = [shares[..., i, None] * shifted for i, shifted in enumerate(_neighbours(cells, reach))]
    return tf.add_n(shifts), gradient


def _seen_from_there(weights: tf.Tensor) -> tf.Tensor:
    """Of each cell the weights that its neighbours have for it, in the order of neighbours."""
    count = weights.shape[-1]
    shifted = _neighbours(weights, _reach(weights))
    return tf.stack([part[..., count - 1 - i] for i, part in enumerate(shifted)], axis=-1)


def _neighbours(cells: tf.Tensor, reach: int) -> Iterator[tf.Tensor]:
    """A map [batch, height, width, ...] shifted by -reach..reach rows and columns; 0 beyond it."""
    height, width = cells.shape[1:3]
    around = tf.pad(cells, [[0, 0], [reach, reach], [reach, reach], [0, 0]])
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            yield around[:, i : i + height, j : j + width]


def _reach(weights: tf.Tensor) -> int:
    """k, from the size of a neighbourhood."""
    return (round(weights.shape[-1] ** 0.5) - 1) // 2


def _unit(features: tf.Tensor) -> tf.Tensor:
    """Features of length 1; zeros stay zeros."""
    squares = tf.reduce_sum(tf.square(features), axis=-1, keepdims=True)
    there = squares > 0.0
    return tf.where(there, features * tf.math.rsqrt(tf.where(there, squares, 1.0)), 0.0)
