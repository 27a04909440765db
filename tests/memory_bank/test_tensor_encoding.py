"""The tensors' encoding and bins are NumPy's."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.memory_bank import encoding, tensor_encoding
from context_rcnn.memory_bank.window import SPANS, calendar_bin

EDGES = ["1970-01-01", "2000-02-29", "2000-03-01", "2016-12-31T23:59:59", "2100-02-28T23:59:59"]
EDGES += ["2100-03-01", "1999-12-31T23:59:59", "2400-02-29T12:30:00"]


@pytest.fixture
def entries():
    rng = np.random.default_rng(0)
    edges = [int(np.datetime64(text, "s").astype(np.int64)) for text in EDGES]
    seconds = np.concatenate([edges, rng.integers(0, 5_000_000_000, 500)])
    boxes = np.sort(rng.random((len(seconds), 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    return boxes, seconds, rng.random(len(seconds)) < 0.9


def test_the_calendar_is_numpys(entries):
    _, seconds, _ = entries
    ours = tensor_encoding.calendar_fields(tf.constant(seconds))
    for a, b in zip(ours, encoding.calendar_fields(seconds), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("horizon", SPANS)
def test_moments_share_a_bin_as_the_windows_have_it(entries, horizon):
    rng, span = np.random.default_rng(1), SPANS[horizon]
    one = np.repeat(entries[1], 4)
    other = np.maximum(one + rng.integers(-span, span, len(one)), 0)
    a, b = (tensor_encoding.calendar_bin(tf.constant(when), horizon) for when in (one, other))
    bins = [calendar_bin(int(when), horizon) for when in one]
    expected = [first <= when <= last for (first, last), when in zip(bins, other, strict=True)]
    np.testing.assert_array_equal(tf.equal(a, b), expected)
    assert 0 < np.mean(expected) < 1


@pytest.mark.parametrize("variant", encoding.VARIANTS)
@pytest.mark.parametrize("jit", [False, True])
def test_the_nine_floats_are_the_same(entries, variant, jit):
    encode = tf.function(tensor_encoding.encode, jit_compile=jit, autograph=False)
    got = encode(*map(tf.constant, entries), variant)
    np.testing.assert_allclose(got, encoding.encode(*entries, variant), atol=1e-6)


def test_an_unknown_variant_is_refused(entries):
    with pytest.raises(ValueError, match="variant 'own'"):
        tensor_encoding.encode(*map(tf.constant, entries), "own")
