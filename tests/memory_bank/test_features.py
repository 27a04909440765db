"""Storage dtypes."""

import numpy as np
import pytest

from context_rcnn.memory_bank.features import (
    Gathered,
    StoredFeatures,
    first_not_finite,
    quantise,
    storage_dtype,
)


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", 0), ("float16", 1e-3), ("bfloat16", 4e-3), ("int8", 2e-2)]
)
def test_error_of_each_entry_is_bounded(dtype, bound):
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.uniform(-2, 2, [200, 1])
    features = (np.abs(random.normal(size=[200, 256])) * sizes).astype(np.float32)
    values, scales = quantise(features, dtype)
    assert values.dtype == storage_dtype(dtype)
    read = StoredFeatures([values], scales).read(np.arange(200))
    errors = np.linalg.norm(read - features, axis=1) / np.linalg.norm(features, axis=1)
    assert errors.max() <= bound


def test_int8_keeps_the_largest_element_and_zeros():
    values, scales = quantise(np.array([[0, -2.54, 1.27], [0, 0, 0]], np.float32), "int8")
    np.testing.assert_array_equal(values, [[0, -127, 64], [0, 0, 0]])
    np.testing.assert_allclose(scales, [0.02, 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_reading_across_blocks_equals_indexing(dtype):
    random = np.random.default_rng(1)
    features = random.normal(size=[300, 8]).astype(np.float32)
    values, scales = quantise(features, dtype)
    blocks = StoredFeatures([values[:100], values[100:130], values[130:]], scales)
    whole = StoredFeatures([values], scales).read(np.arange(300))
    for indices in (
        np.arange(90, 140),
        np.array([0, 99, 100, 129, 130, 299]),
        np.sort(random.choice(300, 170, replace=False)),
        np.array([128]),
        np.arange(0),
    ):
        np.testing.assert_array_equal(blocks.read(indices), whole[indices])
        stored, stored_scales = blocks.stored(indices)
        np.testing.assert_array_equal(stored.view(np.uint8), values[indices].view(np.uint8))
        if scales is not None:
            np.testing.assert_array_equal(stored_scales, scales[indices])


def test_reading_into_part_of_a_wider_array_leaves_the_rest():
    values = np.arange(12, dtype=np.float16).reshape(4, 3)
    out = np.full([2, 5], -1, np.float32)
    StoredFeatures([values], None).read(np.array([1, 3]), out[:, :3])
    np.testing.assert_array_equal(out, [[3, 4, 5, -1, -1], [9, 10, 11, -1, -1]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_found(bad):
    features = np.zeros([200, 4], np.float16)
    assert first_not_finite(features) is None
    features[170, 2] = features[131, 3] = bad
    assert first_not_finite(features) == 131


def test_unknown_dtype_is_named():
    with pytest.raises(ValueError, match="dtype 'fp16': must be one of float32, float16"):
        storage_dtype("fp16")


def test_every_finite_float16_is_read_as_numpy_reads_it():
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = np.resize(halves[np.isfinite(halves)], [4 * 31, 512])
    read = StoredFeatures([halves], None).read(np.arange(len(halves)))
    np.testing.assert_array_equal(read, halves.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(read), np.signbit(halves))


def test_tiny_numbers_are_stored_as_zero_in_float16():
    smallest = 2.0**-14
    values, _ = quantise(np.array([[smallest, smallest / 2, -smallest / 4, 0.0]]), "float16")
    np.testing.assert_array_equal(values, [[smallest, 0, 0, 0]])
    assert not np.signbit(values[0, 1:]).any()


def test_threads_of_tensorflow_read_what_others_read():
    import tensorflow as tf

    features = np.random.default_rng(0).normal(size=[70, 40]) * 2.0 ** -np.arange(40)
    values, _ = quantise(features, "float16")

    def read():
        return StoredFeatures([values], None).read(np.arange(70))

    dataset = tf.data.Dataset.range(2).map(
        lambda _: tf.numpy_function(read, [], tf.float32), num_parallel_calls=2
    )
    for found in dataset:
        np.testing.assert_array_equal(found, read())


def test_gathered_rows_are_those_of_the_arrays_together():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=[n, 3]).astype(np.float16) for n in (4, 0, 7, 1)]
    whole, order = np.concatenate(blocks), rng.permutation(12)
    gathered = Gathered(blocks)
    assert gathered.shape == (12, 3) and len(gathered) == 12 and gathered.dtype == np.float16
    np.testing.assert_array_equal(gathered, whole)
    np.testing.assert_array_equal(gathered[order], whole[order])
    np.testing.assert_array_equal(gathered[order][2:5], whole[order][2:5])
    np.testing.assert_array_equal(gathered[whole[:, 0] > 0], whole[whole[:, 0] > 0])
    assert np.asarray(gathered[order], np.float32).dtype == np.float32
    joined = Gathered.joined([gathered[order], blocks[2], gathered[:0], gathered[3:5]])
    expected = np.concatenate([whole[order], blocks[2], whole[3:5]])
    np.testing.assert_array_equal(joined, expected)
    read = StoredFeatures([joined], None).read(np.array([0, 5, 6, 14, 20]))
    np.testing.assert_array_equal(read, expected[[0, 5, 6, 14, 20]].astype(np.float32))
