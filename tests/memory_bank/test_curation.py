"""What is stored."""

import numpy as np
import pytest

from context_rcnn.memory_bank import curation, sampling
from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions, curate, select_boxes
from context_rcnn.memory_bank.entries import Entries

SCORES = np.array([0.2, 0.9, 0.05, 0.6, 0.9, 0.4])


@pytest.mark.parametrize(
    ("options", "kept", "dropped"),
    [
        ({}, [1], {"not_top_k": 5}),
        ({"top_k": 3}, [1, 4, 3], {"not_top_k": 3}),
        ({"top_k": 8}, [1, 4, 3, 5, 0, 2], {}),
        ({"top_k": 1, "bottom_k": 2}, [1, 0, 2], {"not_top_k": 3}),
        ({"top_k": 4, "bottom_k": 9}, [1, 4, 3, 5, 0, 2], {}),
        ({"top_k": 8, "score_threshold": 0.5}, [1, 4, 3], {"below_score": 3}),
        ({"top_k": 2, "score_threshold": 0.5}, [1, 4], {"not_top_k": 1, "below_score": 3}),
        (
            {"top_k": 2, "bottom_k": 1, "score_threshold": 0.5},
            [1, 4, 2],
            {"not_top_k": 1, "below_score": 2},
        ),
        ({"top_k": 2, "score_threshold": 0.95}, [1], {"below_score": 5}),
        ({"score_threshold": 0.95, "keep_empty": False}, [], {"empty_frame": 6}),
        ({"positives_only": True}, [1], {"not_top_k": 5}),
        ({"positives_only": True, "positive_score": 0.91}, [], {"not_positive": 6}),
    ],
)
def test_boxes_of_a_frame(options, kept, dropped):
    found, counts = select_boxes(SCORES, FrameOptions(**options))
    assert list(found) == kept
    assert dict(counts) == dropped
    assert len(found) + sum(counts.values()) == len(SCORES)


def test_a_frame_without_any_box_is_counted():
    found, counts = select_boxes(np.zeros(0), FrameOptions())
    assert (len(found), dict(counts)) == (0, {"frame_without_boxes": 1})


def test_stride_counts_frames_not_entries(make_entries):
    entries = make_entries(images=7, per_image=3, undated=2)
    kept, dropped = curate(entries, CameraOptions(stride=3))
    # In time order: images 2 to 6, then the undated 0 and 1.
    assert list(kept.image_ids[::3]) == ["image-00002", "image-00005", "image-00001"]
    assert dict(dropped) == {"stride": 12}


def test_newest_drops_undated_first(make_entries):
    entries = make_entries(images=10, per_image=1, undated=3)
    kept, dropped = curate(entries, CameraOptions(max_entries=4, policy="newest"))
    assert list(kept.image_ids) == [f"image-{i:05d}" for i in (6, 7, 8, 9)]
    assert dict(dropped) == {"over_budget": 6}
    kept, _ = curate(entries, CameraOptions(max_entries=8, policy="newest"))
    assert list(kept.image_ids) == [f"image-{i:05d}" for i in (3, 4, 5, 6, 7, 8, 9, 0)]


def test_uniform_is_evenly_spaced(make_entries):
    entries = make_entries(images=9, per_image=1, undated=0)
    kept, _ = curate(entries, CameraOptions(max_entries=3, policy="uniform"))
    assert list(kept.image_ids) == ["image-00001", "image-00004", "image-00007"]


def test_diverse_shares_the_budget_over_days_and_spreads_in_each(make_entries):
    """Equal to choosing day by day, with entries given in any order."""
    entries = make_entries(images=60, per_image=2, undated=4, step=8000, seed=2)
    shuffled = entries.take(np.random.default_rng(0).permutation(len(entries)))
    kept, dropped = curate(shuffled, CameraOptions(max_entries=31, policy="diverse"))
    ordered = entries.in_time_order()
    days = np.where(ordered.dated, ordered.seconds // 86400, -1)
    _, first = np.unique(days, return_index=True)
    members = [np.flatnonzero(days == days[start]) for start in np.sort(first)]
    shares = sampling.share_budget([len(day) for day in members], 31)
    expected = []
    for day, share in zip(members, shares, strict=True):
        if share == 0:
            continue
        expected += list(day[sampling.farthest_points(ordered.features[day], share)])
    np.testing.assert_array_equal(kept.features, ordered.features[expected])
    assert dict(dropped) == {"over_budget": 120 - 31}


def test_long_stretches_are_cut_so_that_memory_is_bounded(make_entries, monkeypatch):
    monkeypatch.setattr(curation, "_MAX_BIN", 10)
    asked = []
    entries = make_entries(images=35, per_image=1, undated=0, step=1).in_time_order()

    def features(indices):
        asked.append(len(indices))
        return entries.features[indices]

    options = CameraOptions(max_entries=20)
    kept = curation.within_budget(entries.seconds, entries.dated, features, options)
    assert len(kept) == 20
    assert np.all(np.diff(kept) > 0)
    assert sum(asked) == 35 and max(asked) <= 10


def test_nothing_is_dropped_within_the_budget(make_entries):
    entries = make_entries(images=5, per_image=1)
    kept, dropped = curate(entries, CameraOptions(max_entries=5))
    assert len(kept) == 5 and not dropped


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "best"}, "policy 'best'"),
        ({"stride": 0}, "stride 0"),
        ({"max_entries": 0}, "max"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CameraOptions(**options)


def test_a_frame_keeps_one_box_at_least_to_choose_from():
    with pytest.raises(ValueError, match="top_k 0 must be positive"):
        FrameOptions(top_k=0)


def test_a_diverse_budget_keeps_more_of_the_month_than_the_newest():
    """Thirty days at one camera: a rock that is seen every hour, a herd that floods the last days,
    and twelve animals that come by once or twice each, earlier in the month."""
    random = np.random.default_rng(3)
    kinds = random.normal(size=[14, 64])  # the rock, the herd, twelve visitors
    seen = [(hour * 3600, 0) for hour in range(30 * 24)]
    seen += [(int(t), 1) for t in random.uniform(27 * 86400, 30 * 86400, 600)]
    visits = [1, 2] * 6
    for visitor, times in enumerate(visits):
        seen += [(int(t), 2 + visitor) for t in random.uniform(0, 27 * 86400, times)]
    seconds, kind = np.array(sorted(seen)).T
    entries = Entries.make(
        image_ids=[f"im{i:05}" for i in range(len(seconds))],
        seconds=seconds,
        boxes=np.zeros([len(seconds), 4]),
        features=kinds[kind] + 0.3 * random.normal(size=[len(kind), 64]),
        classes=kind,
    )
    found = {}
    for policy in ("newest", "uniform", "diverse"):
        kept, _ = curate(entries, CameraOptions(max_entries=120, policy=policy))
        assert len(kept) == 120
        found[policy] = (len(set(kept.seconds // 86400)), len(set(kept.classes)))
    assert found["newest"][0] <= 3 and found["newest"][1] == 2
    assert found["uniform"][1] < 14
    assert found["diverse"] == (30, 14)  # every day, and everyone
