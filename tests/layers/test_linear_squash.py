"""BN* by hand, against NumPy, and its gradient against finite differences of NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.linear_squash import linear_squash
from tests.layers.stmm_loops import squash
from tests.tolerance import FLOAT

VARIANTS = ["paper", "released"]


def of_row(values, **options):
    """BN* of one image whose cells lie in a row."""
    return linear_squash(tf.reshape(tf.constant(values, tf.float32), [1, 1, -1, 1]), **options)[
        0, 0, :, 0
    ].numpy()


@pytest.mark.parametrize(
    "values, variant, expected",
    [
        # mean 1.5, deviation 1.118034: upper 4.854102
        ([0, 1, 2, 3], "paper", [0, 0.206011, 0.412023, 0.618034]),
        # of the positive ones mean 2, deviation 1: upper 5
        ([0, 1, 2, 3], "released", [0, 0.2, 0.4, 0.6]),
        # mean 4 / 3, deviation 1.885618: upper 6.990188
        ([0, 0, 4], "paper", [0, 0, 0.572231]),
        # one positive element has no deviation: upper 1
        ([0, 0, 4], "released", [0, 0, 1]),
        ([0, 0, 0.5], "released", [0, 0, 0.5]),
        ([2, 2, 2, 2], "paper", [1, 1, 1, 1]),
        ([2, 2, 2, 2], "released", [1, 1, 1, 1]),
        # mean 1, deviation 9.949874: upper 30.849623
        ([0] * 99 + [100], "paper", [0] * 99 + [1]),
        ([0] * 99 + [30], "paper", [0] * 99 + [1]),
        ([0, 0], "paper", [0, 0]),
        ([0, 0], "released", [0, 0]),
    ],
)
def test_by_hand(values, variant, expected):
    np.testing.assert_allclose(of_row(values, variant=variant), expected, rtol=0, atol=1e-6)


def test_the_upper_bound_lies_so_many_deviations_above_the_mean():
    """Of 99 zeros and a 100 the mean is 1, and the deviation the root of 99."""
    found = of_row([0] * 99 + [100], deviations=30.0)[-1]
    assert found == pytest.approx(100 / (1 + 30 * 99**0.5), rel=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_image_has_its_own_statistics(variant):
    x = np.random.default_rng(1).exponential(size=(3, 4, 5, 2)).astype(np.float32)
    x[1] *= 100.0
    x[x < 0.3] = 0.0
    found = linear_squash(tf.constant(x), variant=variant).numpy()
    for image, values in zip(found, x, strict=True):
        np.testing.assert_allclose(image, squash(values, variant), rtol=10 * FLOAT, atol=FLOAT)
    assert (found >= 0).all() and (found <= 1).all() and (found == 1).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_outside_of_the_image_do_not_count(variant):
    rng = np.random.default_rng(2)
    x = rng.exponential(size=(1, 4, 5, 2)).astype(np.float32)
    inside = np.zeros((1, 4, 5), bool)
    inside[:, :3, :4] = True
    found = linear_squash(tf.constant(x), tf.constant(inside), variant=variant)[0].numpy()
    np.testing.assert_allclose(
        found, squash(x[0], variant, inside=inside[0]), rtol=10 * FLOAT, atol=FLOAT
    )
    x[~inside] = 1e6
    again = linear_squash(tf.constant(x), tf.constant(inside), variant=variant)[0].numpy()
    np.testing.assert_array_equal(again[inside[0]], found[inside[0]])


def gradients(x, upstream, variant):
    """By TensorFlow."""
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(linear_squash(x, variant=variant) * tf.constant(upstream, tf.float32))
    return tape.gradient(loss, x).numpy()


def test_gradients_flow_through_the_statistics():
    rng = np.random.default_rng(3)
    x, upstream = rng.exponential(size=(1, 3, 3, 2)), rng.normal(size=(1, 3, 3, 2))
    expected = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        ends = [(squash(x[0] + s * step[0]) * upstream[0]).sum() for s in (1, -1)]
        expected[place] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(gradients(x, upstream, "paper"), expected, rtol=1e-4, atol=1e-5)


def test_as_released_statistics_are_constants():
    rng = np.random.default_rng(4)
    x, upstream = rng.exponential(size=(1, 3, 3, 2)), rng.normal(size=(1, 3, 3, 2))
    positive = x[x > 0]
    upper = positive.mean() + 3 * positive.std(ddof=1)
    assert (x < upper).all()
    found = gradients(x, upstream, "released")
    np.testing.assert_allclose(found, upstream / upper, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_gradients_are_finite_where_nothing_differs(variant, value):
    x = np.full((1, 2, 2, 1), value)
    assert np.isfinite(gradients(x, np.ones_like(x), variant)).all()
