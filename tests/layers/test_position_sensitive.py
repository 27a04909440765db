"""Position-sensitive pooling against a loop in exact fractions, and cases worked by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.position_sensitive import position_sensitive_pool
from tests.tolerance import assert_close

# 4x4 cells of 16 pixels, numbered row by row; two by two bins that all look at the same numbers.
CELLS = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
# Of four boxes: the whole map; a single cell; one whose bins share cells; a point in cell 5.
BY_HAND = {
    (0, 0, 63, 63): [[2.5, 4.5], [10.5, 12.5]],
    (0, 0, 15, 15): [[0, 0], [0, 0]],
    (8, 8, 40, 40): [[2.5, 3.5], [6.5, 7.5]],
    (16, 16, 16, 16): [[5, 5], [5, 5]],
    # Beyond the map, and half beyond it.
    (70, 70, 90, 90): [[0, 0], [0, 0]],
    (32, 48, 95, 111): [[13, 0], [0, 0]],
}


@pytest.mark.parametrize("box", BY_HAND)
def test_bins_by_hand(box):
    found = position_sensitive_pool(
        np.tile(CELLS, [1, 1, 1, 4]), np.float32([[box]]), stride=16, bins=2
    )
    np.testing.assert_allclose(found[0, 0, :, :, 0], BY_HAND[box], rtol=0, atol=1e-5)


def test_each_bin_has_maps_of_its_own():
    """Bin b of class c is channel b * classes + c."""
    maps = np.tile(np.arange(49 * 3, dtype=np.float32), [1, 2, 2, 1])
    found = position_sensitive_pool(maps, np.float32([[[0, 0, 31, 31]]]), stride=16)
    expected = np.arange(49 * 3).reshape(7, 7, 3)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)


def loop_cells(box, cells, stride, bins):
    """Rows and columns of every bin, in exact fractions, as the released code says it."""
    start = [Fraction(math.floor(c + 0.5), stride) for c in box[:2]]
    end = [Fraction(math.floor(c + 0.5) + 1, stride) for c in box[2:]]
    of_axis = []
    for first, last, size in zip(start, end, cells, strict=True):
        side = max(last - first, Fraction(1, 10)) / bins
        edges = [
            (math.floor(b * side + first), math.ceil((b + 1) * side + first)) for b in range(bins)
        ]
        of_axis.append([range(max(0, a), max(0, min(size, z))) for a, z in edges])
    return of_axis


def loop_pool(maps, boxes, stride, bins):
    """NumPy, cell by cell; and how much each cell counts in each bin, for the gradient."""
    height, width, depth = maps.shape[1:]
    channels = depth // bins**2
    out = np.zeros([*boxes.shape[:2], bins, bins, channels])
    shares = np.zeros([*out.shape[:4], height, width])
    for i, n in np.ndindex(*boxes.shape[:2]):
        rows, columns = loop_cells(boxes[i, n].tolist(), (height, width), stride, bins)
        for p, q in np.ndindex(bins, bins):
            cells = [(y, x) for y in rows[p] for x in columns[q]]
            first = (p * bins + q) * channels
            for y, x in cells:
                shares[i, n, p, q, y, x] = 1 / len(cells)
                out[i, n, p, q] += maps[i, y, x, first : first + channels] / len(cells)
    return out, shares


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    corner = rng.uniform(-20, 150, (2, 12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 90, (2, 12, 2))], 2).astype(np.float32)
    # Large values of one sign are where sums over the map would lose most.
    maps = (rng.normal(size=(2, 9, 10, 49 * 2)) + 30).astype(np.float32)
    return maps, boxes


def test_pooling_equals_the_loop(case):
    maps, boxes = case
    expected, _ = loop_pool(maps, boxes, 16, 7)
    found = position_sensitive_pool(maps, boxes, stride=16)
    assert (expected == 0).any() and (expected != 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0)


def test_gradients_are_the_shares_of_the_cells(case):
    maps, boxes = tf.constant(case[0]), tf.constant(case[1])
    weights = tf.random.stateless_normal([2, 12, 7, 7, 2], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch([maps, boxes])
        loss = tf.reduce_sum(position_sensitive_pool(maps, boxes, stride=16) * weights)
    to_maps, to_boxes = tape.gradient(loss, [maps, boxes])
    _, shares = loop_pool(case[0], case[1], 16, 7)
    expected = np.einsum("inpqyx,inpqc->iyxpqc", shares, weights.numpy())
    assert_close(to_maps, expected.reshape(maps.shape), share=1e-5)
    assert to_boxes is None


@pytest.mark.parametrize("exact", [False, True])
def test_no_box_sees_another_and_xla_computes_the_same(case, exact):
    maps, boxes = case
    options = {"stride": 16, "exact": exact}
    pool = tf.function(
        lambda m, b: position_sensitive_pool(m, b, **options), jit_compile=True, autograph=False
    )
    together = position_sensitive_pool(maps, boxes, **options)
    limit = {"rtol": 0, "atol": 1e-3} if exact else {"rtol": 1e-5, "atol": 0}
    np.testing.assert_allclose(pool(maps, boxes), together, **limit)
    alone = position_sensitive_pool(maps[:1], boxes[:1, 3:4], **options)
    np.testing.assert_allclose(alone, together[:1, 3:4], **limit)


def test_channels_that_are_not_of_bins_are_refused():
    with pytest.raises(ValueError, match="50 channels are not of 7 x 7 bins"):
        position_sensitive_pool(tf.zeros([1, 2, 2, 50]), tf.zeros([1, 1, 4]), stride=16)


def exact_shares(first, last, size, stride, bins):
    """How much of each cell along an axis lies in each bin, [bins, size]."""
    side = max((last - first) / stride, 0.1) / bins
    shares = np.zeros([bins, size])
    for b, cell in np.ndindex(bins, size):
        begin = first / stride + b * side
        shares[b, cell] = max(0, min(begin + side, cell + 1) - max(begin, cell))
    return shares


def test_exact_bins_by_hand():
    """Half of cell 5, and all of cell 6: (5 + 2 * 6) / 3; and a bin beyond the map."""
    boxes = np.float32([[(16, 24, 32, 48), (16, 24, 32, 40), (32, 80, 48, 96)]])
    found = position_sensitive_pool(CELLS, boxes, stride=16, bins=1, exact=True)
    np.testing.assert_allclose(found[0, :, 0, 0, 0], [17 / 3, 5.5, 0], rtol=1e-5)


def test_a_sliver_of_a_bin_tends_to_the_mean_of_its_map():
    """A tenth of the least area has a tenth of the way from the mean, 7.5, to cell 0."""
    box = np.float32([[(-160 + 0.0016, 0, 0.0016, 16)]])  # .0001 of a row of one cell
    found = position_sensitive_pool(CELLS, box, stride=16, bins=1, exact=True)
    np.testing.assert_allclose(found[0, 0, 0, 0, 0], 7.5 - 0.75, atol=0.05)


def test_exact_pooling_equals_the_loop_and_so_does_its_gradient(case):
    maps, boxes = case
    height, width, channels = *maps.shape[1:3], maps.shape[3] // 49
    expected = np.zeros([*boxes.shape[:2], 7, 7, channels])
    counts = np.zeros_like(maps, np.float64)
    for i, n in np.ndindex(*boxes.shape[:2]):
        top, left, bottom, right = boxes[i, n].astype(np.float64)
        rows = exact_shares(top, bottom, height, 16, 7)
        columns = exact_shares(left, right, width, 16, 7)
        for p, q in np.ndindex(7, 7):
            share = rows[p][:, None] * columns[q]
            assert share.sum() == 0 or share.sum() > 1e-3
            if share.sum() > 0:
                first = (p * 7 + q) * channels
                part = slice(first, first + channels)
                share = (share / share.sum())[..., None]
                expected[i, n, p, q] = (share * maps[i, ..., part]).sum((0, 1))
                counts[i, ..., part] += share
    tensor = tf.constant(maps)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        found = position_sensitive_pool(tensor, boxes, stride=16, exact=True)
    large = np.abs(expected) > 0
    assert large.any() and not large.all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(tape.gradient(found, tensor), counts, rtol=0, atol=1e-3)
