"""Choosing k of n."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.memory_bank import sampling


def naive_farthest_points(features, keep):
    """Greedy k-center, one row and one pair at a time."""

    def alike(a, b):
        return round(float(np.dot(a, b)) * 1e5)

    rows = [row / (np.linalg.norm(row) or 1) for row in features.astype(np.float64)]
    mean = np.mean(rows, axis=0)
    chosen = [max(range(len(rows)), key=lambda i: (alike(rows[i], mean), -i))]
    while len(chosen) < keep:
        others = [i for i in range(len(rows)) if i not in chosen]
        nearest = {i: max(alike(rows[i], rows[j]) for j in chosen) for i in others}
        chosen.append(min(others, key=lambda i: (nearest[i], i)))
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("keep", [1, 2, 7, 30])
def test_farthest_points_equal_a_naive_loop(seed, keep, monkeypatch):
    features = np.random.default_rng(seed).normal(size=[40, 6])
    expected = naive_farthest_points(features, keep)
    assert list(sampling.farthest_points(features, keep)) == expected
    monkeypatch.setattr(sampling, "_MAX_AT_ONCE", 0)
    assert list(sampling.farthest_points(features, keep)) == expected


@pytest.mark.parametrize("at_once", [0, 4096])
def test_equal_rows_tie_to_the_first(at_once, monkeypatch):
    monkeypatch.setattr(sampling, "_MAX_AT_ONCE", at_once)
    distinct = np.random.default_rng(3).normal(size=[5, 33]).astype(np.float32)
    features = distinct[np.arange(35) % 5]
    assert list(sampling.farthest_points(features, 5)) == [0, 1, 2, 3, 4]
    # When nothing is left but copies, the first of them come.
    assert list(sampling.farthest_points(features, 7)) == [0, 1, 2, 3, 4, 5, 6]


def test_farthest_points_do_not_see_the_length_of_features():
    features = np.random.default_rng(0).normal(size=[30, 5])
    lengths = np.random.default_rng(1).uniform(0.1, 9, [30, 1])
    np.testing.assert_array_equal(
        sampling.farthest_points(features, 8), sampling.farthest_points(features * lengths, 8)
    )


def test_rows_of_zeros_are_no_trouble():
    features = np.array([[0.0, 0], [1, 0], [0, 1], [0, 0]])
    assert list(sampling.farthest_points(features, 3)) == naive_farthest_points(features, 3)


def test_a_rare_thing_is_kept_among_many_alike():
    features = np.ones([100, 4]) + np.random.default_rng(0).normal(size=[100, 4]) * 0.01
    features[63] = [-1, 1, -1, 1]
    assert 63 in sampling.farthest_points(features, 2)


@given(st.integers(0, 60), st.integers(1, 60))
def test_uniform_takes_the_middles_of_equal_parts(count, keep):
    found = list(sampling.uniform(count, keep))
    if keep >= count:
        assert found == list(range(count))
    else:
        assert found == [int((i + 0.5) * count / keep + 1e-9) for i in range(keep)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 60))
def test_budget_is_used_up_and_shared_as_evenly_as_can_be(sizes, budget):
    shares = sampling.share_budget(np.array(sizes), budget)
    assert sum(shares) == min(budget, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    cut = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    if cut:  # who was cut has no less than anybody else, but for the rest of the division
        assert min(cut) >= max(shares) - 1


def test_the_rest_of_a_budget_is_spread_over_time():
    assert list(sampling.share_budget(np.full(10, 5), 2)) == [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
