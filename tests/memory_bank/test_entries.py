"""The entries of a camera in memory."""

import dataclasses

import numpy as np
import pytest

from context_rcnn.memory_bank.entries import Entries


def make(images, seconds, ranks=None):
    count = len(images)
    return Entries.make(
        image_ids=images,
        seconds=seconds,
        boxes=np.zeros([count, 4]),
        features=np.arange(count, dtype=np.float32)[:, np.newaxis],
        ranks=ranks,
    )


def test_time_order_is_second_then_image_then_rank_then_undated():
    entries = make(
        ["b", "a", "b", "late", "no date 2", "no date 1"],
        [5, 5, 5, 9, None, None],
        [1, 0, 0, 0, 0, 0],
    ).in_time_order()
    assert list(entries.image_ids) == ["a", "b", "b", "late", "no date 1", "no date 2"]
    assert list(entries.ranks) == [0, 0, 1, 0, 0, 0]
    assert list(entries.features[:, 0]) == [1, 2, 0, 3, 5, 4]
    assert list(entries.dated) == [True] * 4 + [False] * 2


def test_entries_without_ranks_are_counted_within_their_image():
    assert list(make(["a", "b", "a", "a", "b"], [1, 2, 1, 1, 2]).ranks) == [0, 0, 1, 2, 1]


@pytest.mark.parametrize("times", [[1, 2, 3], [1, 1, None], [7, 3, 3]])
def test_an_image_with_two_times_is_named(times):
    with pytest.raises(ValueError, match="image 'twice' has two times"):
        make(["twice", "other", "twice"], times).in_time_order()


def test_a_rank_that_comes_twice_is_named():
    with pytest.raises(ValueError, match="image 'x' has a rank twice"):
        make(["x", "y", "x"], [1, 2, 1], [3, 0, 3]).in_time_order()


def test_a_column_of_another_length_is_named():
    entries = make(["a", "b"], [1, 2])
    with pytest.raises(ValueError, match="scores: 1 rows for 2 entries"):
        dataclasses.replace(entries, scores=entries.scores[:1]).check_lengths()


def test_features_in_storage_dtype_pass_unchanged(make_entries):
    stored = make_entries().stored_as("int8")
    assert stored.stored_as("int8") is stored
    np.testing.assert_array_equal(
        stored.stored_as("float32").features,
        stored.features.astype(np.float32) * stored.scales[:, np.newaxis],
    )
