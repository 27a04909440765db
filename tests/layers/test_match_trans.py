"""MatchTrans by hand, by known shifts, and against loops, with gradients by finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.match_trans import match_coefficients, stay, transform
from tests.layers.stmm_loops import gamma, moved
from tests.tolerance import FLOAT

VARIANTS = ["paper", "released"]


def align(now, before, memory, **options):
    """M' of single maps."""
    now, before, memory = (tf.constant(part[None], tf.float32) for part in (now, before, memory))
    return transform(memory, match_coefficients(now, before, **options))[0].numpy()


def test_by_hand():
    """A static scene is not left alone: both cells get the same mean."""
    now, memory = np.array([[[1.0], [3.0]]]), np.array([[[0.2], [1.8]]])
    found = match_coefficients(tf.constant(now[None], tf.float32), tf.constant(now[None]))
    window = found.numpy()[0, 0].reshape(2, 5, 5)
    np.testing.assert_allclose(window[0, 2, 2:4], [0.25, 0.75], rtol=FLOAT)
    np.testing.assert_allclose(window[1, 2, 1:3], [0.25, 0.75], rtol=FLOAT)
    np.testing.assert_allclose(align(now, now, memory)[0, :, 0], [1.4, 1.4], rtol=FLOAT)
    released = align(now, now, memory, variant="released")
    np.testing.assert_allclose(released[0, :, 0], [1.0, 1.0], rtol=FLOAT)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sharpness_by_hand(variant):
    """Cosines of 1 and .8: the bright cell beside gets .64 of 1.64 at 2, and .8^64 of it at 64."""
    now = np.array([[[1.0, 0.0], [8.0, 6.0]]])
    for sharpness, other in ((1, 0.8), (2, 0.64), (64, 0.8**64)):
        given = tf.constant(now[None], tf.float32)
        found = match_coefficients(given, given, variant=variant, sharpness=sharpness)
        window = found.numpy()[0, 0].reshape(2, 5, 5)
        expected = np.array([1.0, other]) / (1.0 + other)
        apart = 10 * FLOAT * sharpness  # a power multiplies what a cosine is off by
        np.testing.assert_allclose(window[0, 2, 2:4], expected, rtol=apart)
        np.testing.assert_allclose(window[1, 2, 1:3], expected[::-1], rtol=apart)


def test_hardly_alike_cells_are_told_apart_at_any_sharpness():
    """Cosines of .1 and .05 to the power of 64 are nothing in float32; their quotient is 2^64."""
    now, before = np.zeros((1, 1, 3)), np.zeros((1, 2, 3))
    now[0, 0, 0] = 1.0
    before[0] = [[0.1, 0.99**0.5, 0.0], [0.05, 0.0, 0.9975**0.5]]
    now = np.concatenate([now, now], axis=1)
    memory = np.array([[[3.0], [5.0]]])
    np.testing.assert_allclose(align(now, before, memory, sharpness=64)[0, :, 0], 3.0, rtol=FLOAT)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shift", [(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)])
def test_a_known_shift_is_followed_exactly(shift, variant):
    """Cells that are told apart by one-hot features: the memory goes where they went, up to k."""
    size = 6
    before = np.eye(size * size).reshape(size, size, -1)
    memory = np.random.default_rng(1).normal(size=(size, size, 2)).astype(np.float32)
    now, expected = np.zeros_like(before), memory.copy()
    for y in range(size):
        for x in range(size):
            v, u = y + shift[0], x + shift[1]
            if 0 <= v < size and 0 <= u < size:
                now[y, x] = before[v, u]
                if max(map(abs, shift)) <= 2:
                    expected[y, x] = memory[v, u]
    np.testing.assert_array_equal(align(now, before, memory, variant=variant), expected)


@pytest.fixture(scope="module")
def maps():
    """Two maps with black cells, a memory, and which cells are inside."""
    rng = np.random.default_rng(2)
    now, before = (np.maximum(rng.normal(0.3, 1.0, (5, 6, 4)), 0) for _ in range(2))
    now[1, 1] = before[3, 4] = 0.0
    inside = np.ones((5, 6), bool)
    inside[4], inside[:, 5] = False, False
    return now, before, rng.normal(size=(5, 6, 3)), inside


@pytest.mark.parametrize("sharpness", [0, 5])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("reach", [0, 1, 2])
def test_equals_loops_over_cells(maps, reach, variant, sharpness):
    now, before, memory, inside = maps
    for part in (None, inside):
        expected = gamma(now, before, reach, variant, part, sharpness)
        given = None if part is None else tf.constant(part[None])
        found = match_coefficients(
            *(tf.constant(x[None], tf.float32) for x in (now, before)),
            given,
            reach=reach,
            variant=variant,
            sharpness=sharpness,
        )
        np.testing.assert_allclose(
            found[0], expected.reshape(5, 6, -1), rtol=10 * FLOAT, atol=FLOAT
        )
        shown = transform(tf.constant(memory[None], tf.float32), found)[0]
        np.testing.assert_allclose(shown, moved(memory, expected), rtol=0, atol=10 * FLOAT)


def finite_differences(function, values):
    """Gradient of a function of one array."""
    out = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        step = np.zeros_like(values)
        step[place] = 1e-6
        out[place] = (function(values + step) - function(values - step)) / 2e-6
    return out


@pytest.mark.parametrize("sharpness", [0, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_those_of_finite_differences(variant, sharpness):
    """Released, only the memory has any."""
    rng = np.random.default_rng(5)
    now, before = (rng.uniform(0.1, 1.0, (3, 4, 2)) for _ in range(2))
    memory, upstream = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 2))
    given = [tf.Variable(x[None], dtype=tf.float32) for x in (now, before, memory)]
    with tf.GradientTape() as tape:
        coefficients = match_coefficients(*given[:2], reach=1, variant=variant, sharpness=sharpness)
        loss = tf.reduce_sum(transform(given[2], coefficients) * upstream.astype(np.float32))
    found = tape.gradient(loss, given)

    def of(now, before, memory):
        shares = gamma(now, before, 1, variant, sharpness=sharpness)
        return (moved(memory, shares) * upstream).sum()

    expected = [
        finite_differences(lambda x: of(x, before, memory), now),
        finite_differences(lambda x: of(now, x, memory), before),
        finite_differences(lambda x: of(now, before, x), memory),
    ]
    np.testing.assert_allclose(found[2][0], expected[2], rtol=1e-4, atol=1e-5)
    if variant == "released":
        assert found[0] is None and found[1] is None
        return
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(one[0], other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sharpness", [0, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_black_cells_have_finite_gradients(variant, sharpness):
    nothing = tf.Variable(tf.zeros([1, 3, 3, 2]))
    memory = tf.Variable(tf.ones([1, 3, 3, 2]))
    with tf.GradientTape() as tape:
        aligned = transform(
            memory, match_coefficients(nothing, nothing, variant=variant, sharpness=sharpness)
        )
        loss = tf.reduce_sum(aligned**2)
    np.testing.assert_array_equal(aligned, memory)
    for gradient in tape.gradient(loss, [nothing, memory]):
        assert gradient is None or np.isfinite(gradient).all()


def test_nothing_grows_with_the_square_of_the_cells():
    """The largest tensor of the compiled gradient is far from cells times cells."""
    size, depth = 24, 8

    @tf.function
    def gradient(now, before, memory):
        with tf.GradientTape() as tape:
            tape.watch([now, before, memory])
            loss = tf.reduce_sum(transform(memory, match_coefficients(now, before)) ** 2)
        return tape.gradient(loss, [now, before, memory])

    given = [tf.random.uniform([1, size, size, depth]) for _ in range(3)]
    graph = gradient.get_concrete_function(*given).graph
    sizes = [
        output.shape.num_elements() or 0
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank is not None
    ]
    assert max(sizes) <= max(25, (1 + 4 / size) ** 2 * depth) * size**2 * 2
    assert max(sizes) < (size * size) ** 2 / 10


def test_a_cell_that_stays_has_all_weight_in_its_place():
    assert stay(2).numpy().tolist() == [0.0] * 12 + [1.0] + [0.0] * 12
