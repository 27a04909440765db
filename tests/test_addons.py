"""What stands in for tensorflow-addons computes what it computes."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import addons

# Labels of a batch: several of each, one alone among others, all the same, all different.
BATCHES = [
    [0, 0, 1, 1, 2, 2, 0, 1],
    [3, 3, 3, 3, 3, 7, 3, 3],
    [4, 4, 4, 4, 4, 4, 4, 4],
    [0, 1, 2, 3, 4, 5, 6, 7],
]
cases = pytest.mark.parametrize(
    "labels, margin, soft",
    [(labels, *rule) for labels in BATCHES for rule in ((1.0, False), (0.2, False), (1.0, True))],
)


def embeddings(seed=0, depth=5):
    """Rows near each other, so that some losses are zero and some are not; two rows are equal.

    They are multiples of 1/64, whose squares and products float32 adds exactly: the distance of the
    equal rows is 0, and not what rounding leaves.
    """
    rows = np.round(np.random.default_rng(seed).normal(size=(8, depth)) * 0.3 * 64) / 64
    rows[3] = rows[2]
    return rows.astype(np.float32)


def value_and_gradient(function, rows, *args):
    rows = tf.constant(rows)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = function(rows, *args)
    return loss.numpy(), tape.gradient(loss, rows).numpy()


@cases
def test_the_stand_in_equals_a_loop_over_rows(labels, margin, soft):
    rows = embeddings()
    distances = [[float(np.linalg.norm(a - b)) for b in rows.astype(float)] for a in rows]
    losses = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        positives = [distances[i][j] for j in others if labels[j] == label]
        negatives = [distances[i][j] for j in others if labels[j] != label]
        apart = max(positives, default=0) - min(negatives, default=max(distances[i]))
        losses.append(np.log1p(np.exp(apart)) if soft else max(apart + margin, 0))
    found = addons._triplet_hard_loss(tf.constant(labels), rows, margin, soft)
    np.testing.assert_allclose(found, np.mean(losses), rtol=0, atol=1e-6)


@cases
def test_the_stand_in_and_its_gradients_equal_the_librarys(labels, margin, soft):
    library = addons.load()
    if library is None:
        pytest.skip("tensorflow-addons is not installed")
    labels = tf.constant(labels)
    for seed in range(5):
        expected = value_and_gradient(
            lambda rows: library.losses.triplet_hard_loss(labels, rows, margin=margin, soft=soft),
            embeddings(seed),
        )
        found = value_and_gradient(
            lambda rows: addons._triplet_hard_loss(labels, rows, margin, soft), embeddings(seed)
        )
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("installed", [True, False])
def test_the_loss_works_with_and_without_the_library(installed, monkeypatch):
    if not installed:
        monkeypatch.setattr(addons, "load", lambda: None)
    labels, rows = tf.constant(BATCHES[0]), embeddings()
    for soft in (False, True):
        found = addons.triplet_hard_loss(labels, rows, margin=0.2, soft=soft)
        expected = addons._triplet_hard_loss(labels, rows, 0.2, soft)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_half_precision_is_computed_in_single():
    rows = tf.cast(embeddings(), tf.float16)
    labels = tf.constant(BATCHES[0])
    found = addons._triplet_hard_loss(labels, rows, 1.0, False)
    assert found.dtype == tf.float16
    exact = addons._triplet_hard_loss(labels, tf.cast(rows, tf.float32), 1.0, False)
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_the_stand_in_compiles():
    labels, rows = tf.constant(BATCHES[0]), embeddings()
    compiled = tf.function(addons._triplet_hard_loss, jit_compile=True, autograph=False)
    np.testing.assert_allclose(
        compiled(labels, rows, 1.0, False),
        addons._triplet_hard_loss(labels, rows, 1.0, False),
        atol=1e-6,
    )


def test_the_angular_triplet_loss_is_as_worked_by_hand():
    """Hinges of .5, .66, .66 and .5; the length of a row makes no difference."""
    rows = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    labels = tf.constant([0, 0, 1, 1])
    for scale in (1.0, 3.0):
        for loss in (addons.triplet_hard_loss, plain_angular):
            found = loss(labels, rows * scale, margin=0.3, distance="angular")
            np.testing.assert_allclose(found, 0.58, atol=1e-6)


def test_a_batch_of_one_identity_has_a_finite_loss():
    rows = embeddings()
    for loss in (addons.triplet_hard_loss, plain_angular):
        assert np.isfinite(loss(tf.zeros([8], tf.int32), rows, margin=0.3, distance="angular"))


def plain_angular(labels, rows, *, margin, distance):
    return addons._triplet_hard_loss(labels, rows, margin, False, distance)


@pytest.mark.parametrize("labels", BATCHES[:2])
def test_the_angular_stand_in_equals_the_librarys(labels):
    if addons.load() is None:
        pytest.skip("tensorflow-addons is not installed")
    found = plain_angular(tf.constant(labels), embeddings(), margin=0.3, distance="angular")
    options = {"margin": 0.3, "distance": "angular"}
    expected = addons.triplet_hard_loss(tf.constant(labels), embeddings(), **options)
    np.testing.assert_allclose(found, expected, atol=1e-6)
