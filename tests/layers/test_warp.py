"""Warps by hand, against loops and tensorflow-addons; flows put together, foretold and splatted."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import addons
from context_rcnn.layers.warp import BORDERS, compose, extrapolate, seen_through, splat, warp
from tests.tolerance import FLOAT


def flows(height, width, dy, dx):
    return tf.tile(tf.constant([[[[dy, dx]]]], tf.float32), [1, height, width, 1])


def sampled(maps, flow, border):
    """Bilinear sampling of [height, width, channels] at grid + flow, cell by cell."""
    height, width, _ = maps.shape

    def at(row, column):
        if border == "clamp":
            return maps[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        return maps[row, column] if 0 <= row < height and 0 <= column < width else 0.0

    out = np.zeros_like(maps)
    for i in range(height):
        for j in range(width):
            y, x = i + flow[i, j, 0], j + flow[i, j, 1]
            if border == "clamp":
                y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
            row, column = int(np.floor(y)), int(np.floor(x))
            for down in (0, 1):
                for right in (0, 1):
                    share = (y - row if down else 1 - y + row) * (
                        x - column if right else 1 - x + column
                    )
                    out[i, j] += share * at(row + down, column + right)
    return out


@pytest.mark.parametrize(
    "dx, border, expected",
    [
        (-0.5, "zero", [0.5, 1.5, 2.5, 3.5]),
        (-0.5, "clamp", [1, 1.5, 2.5, 3.5]),
        (1.0, "zero", [2, 3, 4, 0]),
        (1.0, "clamp", [2, 3, 4, 4]),
    ],
)
def test_a_row_by_hand(dx, border, expected):
    row = tf.constant([1.0, 2.0, 3.0, 4.0])[None, None, :, None]
    found = warp(row, flows(1, 4, 0.0, dx), border)
    np.testing.assert_array_equal(found[0, 0, :, 0], np.float32(expected))


@pytest.mark.parametrize(
    "border, expected",
    [
        ("zero", [[1.25, 2.25, 1.375], [4.25, 5.25, 2.875], [4.875, 5.625, 3]]),
        ("clamp", [[1.25, 2.25, 2.75], [4.25, 5.25, 5.75], [6.5, 7.5, 8]]),
    ],
)
def test_a_map_by_hand(border, expected):
    """Down by a quarter and right by a half: rows come first in a flow."""
    maps = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
    found = warp(maps, flows(3, 3, 0.25, 0.5), border)
    np.testing.assert_array_equal(found[0, ..., 0], np.float32(expected))


@pytest.mark.parametrize("border", BORDERS)
def test_equals_loops_far_beyond_the_edge_too(border):
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    flow = rng.normal(0, 4, (2, 5, 6, 2)).astype(np.float32)
    flow[0, 0, 0], flow[1, 2, 3] = (1e6, -1e6), (-1e9, 0)
    found = warp(tf.constant(maps), tf.constant(flow), border)
    for one, expected in zip(found, zip(maps, flow, strict=True), strict=True):
        np.testing.assert_allclose(one, sampled(*expected, border), rtol=0, atol=10 * FLOAT)


def test_equals_tensorflow_addons_whose_flow_points_the_other_way():
    library = addons.load()
    if library is None:
        pytest.skip("tensorflow-addons is not installed")
    rng = np.random.default_rng(2)
    maps = tf.constant(rng.normal(size=(2, 7, 8, 5)).astype(np.float32))
    places = rng.uniform([0.1, 0.1], [5.9, 6.9], (2, 7, 8, 2))
    grid = np.stack(np.mgrid[:7, :8], axis=-1)
    flow = tf.constant((places - grid).astype(np.float32))
    for border in BORDERS:
        expected = library.image.dense_image_warp(maps, -flow)
        np.testing.assert_allclose(warp(maps, flow, border), expected, rtol=0, atol=10 * FLOAT)


@pytest.mark.parametrize("border", BORDERS)
def test_gradients_are_those_of_finite_differences(border):
    """A bilinear map is linear in each place between two cells, so large steps do."""
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    # No place within a step of a cell's middle, where the slope changes.
    flow = (rng.integers(-3, 4, (1, 4, 5, 2)) + rng.uniform(0.1, 0.9, (1, 4, 5, 2))).astype("f4")
    upstream = rng.normal(size=maps.shape).astype(np.float32)

    def total(maps, flow):
        return float(np.sum(upstream * warp(tf.constant(maps), tf.constant(flow), border)))

    parts = [tf.constant(maps), tf.constant(flow)]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        loss = tf.reduce_sum(upstream * warp(*parts, border))
    step = np.float32(1 / 32)
    for which, gradient in enumerate(tape.gradient(loss, parts)):
        expected = np.zeros_like(gradient.numpy())
        for place in np.ndindex(expected.shape):
            ends = []
            for sign in (1, -1):
                values = [maps.copy(), flow.copy()]
                values[which][place] += sign * step
                ends.append(total(*values))
            expected[place] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-3)


def test_what_was_outside_is_known():
    np.testing.assert_array_equal(
        seen_through(flows(1, 4, 0.0, -1.5))[0, 0, :, 0], np.float32([0, 0.5, 1, 1])
    )


def test_flows_over_two_frames_are_added_where_they_lead():
    """D_(t,t-2)(q) = D_(t,t-1)(q) + D_(t-1,t-2)(q + D_(t,t-1)(q)), by loops."""
    rng = np.random.default_rng(4)
    flow, earlier = rng.normal(0, 2, (2, 1, 4, 5, 2)).astype(np.float32)
    found = compose(tf.constant(flow), tf.constant(earlier))[0]
    np.testing.assert_allclose(
        found, flow[0] + sampled(earlier[0], flow[0], "clamp"), rtol=0, atol=20 * FLOAT
    )
    # Through a map, one long warp is two short ones where nothing leaves it.
    still = tf.constant(rng.normal(size=(1, 6, 6, 1)).astype(np.float32))
    one, two = flows(6, 6, 1.0, 0.0), flows(6, 6, 0.0, 2.0)
    np.testing.assert_allclose(
        warp(still, compose(one, two), "clamp"), warp(warp(still, two, "clamp"), one, "clamp")
    )


def moving_point(place, count=2):
    """Flows of a row of cells that all move as p(t): D_(0,-1) and D_(-1,-2)."""
    return (flows(1, 40, 0.0, place(-1 - i) - place(-i)) for i in range(count))


@pytest.mark.parametrize("ahead, expected", [(1, -1.5), (2, -4.0), (4, -12.0)])
def test_a_constant_acceleration_goes_on(ahead, expected):
    """p(t) = t + t^2/2: what is n frames ahead came from p(0), p(n) - p(0) away."""

    def place(t):
        return t + t * t / 2

    assert expected == place(0) - place(ahead)
    now, before = moving_point(place)
    for placement in ("splat", "stay"):
        found = extrapolate(now, before, ahead, placement)[0, 0, 16:30]
        np.testing.assert_allclose(found, np.tile([[0, expected]], (14, 1)), rtol=0, atol=1e-5)


def test_rows_of_a_batch_are_foretold_by_different_times():
    flow = tf.concat([flows(1, 4, 0.0, 0.5)] * 2, axis=0)
    found = extrapolate(flow, flow, tf.constant([1, 3]), "stay")
    np.testing.assert_allclose(found[:, 0, 0, 1], [0.5, 1.5], rtol=FLOAT)


def test_a_fast_square_is_found_where_it_will_be():
    """It moves three cells on a still ground: its own vectors lie elsewhere by then.

    Where it was, and was before, there is ground again.
    """
    flow, memory = np.zeros((1, 6, 12, 2), np.float32), np.zeros((1, 6, 12, 1), np.float32)
    flow[0, 2:4, 4:6, 1] = -3
    earlier = np.zeros_like(flow)
    earlier[0, 2:4, 1:3, 1] = -3
    memory[0, 2:4, 4:6] = 1
    expected = np.zeros_like(memory)
    expected[0, 2:4, 7:9] = 1
    splatted = extrapolate(tf.constant(flow), tf.constant(earlier), 1, "splat")
    np.testing.assert_array_equal(warp(tf.constant(memory), splatted), expected)
    stays = extrapolate(tf.constant(flow), tf.constant(earlier), 1, "stay")
    assert not np.asarray(warp(tf.constant(memory), stays))[0, 2:4, 7:9].any()


def test_a_pan_is_the_same_splatted_or_not():
    flow = flows(5, 9, -0.4, 1.3)
    found, holes = splat(flow)
    np.testing.assert_allclose(found, flow, rtol=0, atol=10 * FLOAT)
    assert np.asarray(holes)[0, :, -1].all() and not np.asarray(holes)[0, 1:-1, 1:-2].any()


def test_of_several_the_longer_vector_wins_and_holes_keep_theirs():
    flow = np.zeros((2, 1, 6, 2), np.float32)
    flow[0, 0, 1, 1], flow[0, 0, 2, 1] = -3.0, -2.0  # both go to cell 4
    flow[1, 0, 0, 1] = -2.5  # half into 2, half into 3
    found, holes = splat(tf.constant(flow))
    np.testing.assert_array_equal(found[0, 0, :, 1], np.float32([0, -3, -2, 0, -3, 0]))
    np.testing.assert_array_equal(holes[0, 0], [False, True, True, False, False, False])
    np.testing.assert_array_equal(found[1, 0, :, 1], np.float32([-2.5, 0, -2.5, -2.5, 0, 0]))


def test_all_of_it_compiles_and_learns_in_half_precision():
    flow = flows(4, 5, 0.3, -0.6)
    maps = tf.random.stateless_normal([1, 4, 5, 2], [1, 2])

    @tf.function(jit_compile=True, autograph=False)
    def compiled(maps, flow):
        with tf.GradientTape() as tape:
            tape.watch(flow)
            moved = warp(maps, compose(flow, extrapolate(flow, flow, 2)))
            loss = tf.reduce_sum(moved * moved)
        return moved, tape.gradient(loss, flow)

    moved, gradient = compiled(maps, flow)
    expected = warp(maps, compose(flow, extrapolate(flow, flow, 2)))
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-5)
    assert np.abs(gradient).max() > 0
    short = warp(tf.cast(maps, tf.bfloat16), flow)
    assert short.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(short, tf.float32), warp(maps, flow), rtol=0, atol=0.05)
