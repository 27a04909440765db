"""Frames of clips and clips of batches, against the papers' rules."""

import collections
import itertools

import numpy as np
import pytest

from context_rcnn.data import tracklet_sampling as sampling
from context_rcnn.data.tracklets import DISTRACTOR, JUNK, UNKNOWN, Tracklet

PLAIN = sampling.Augmentation(0.0, 0.0)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("length", [8, 9, 15, 16, 100, 10_000])
def test_restricted_draws_one_frame_of_each_part(length):
    parts = [range(t * length // 8, (t + 1) * length // 8) for t in range(8)]
    generator = rng()
    for _ in range(20):
        drawn = sampling.restricted(length, 8, generator)
        assert all(frame in part for frame, part in zip(drawn, parts, strict=True))
    assert sampling.restricted(length, 8).tolist() == [part[0] for part in parts]


def test_every_frame_of_a_part_is_drawn_some_time():
    generator = rng()
    seen = {int(sampling.restricted(24, 8, generator)[3]) for _ in range(60)}
    assert seen == {9, 10, 11}


@pytest.mark.parametrize("length", [1, 3, 7])
def test_short_tracklets_are_repeated(length):
    looped = list(itertools.islice(itertools.cycle(range(length)), 8))
    assert sampling.restricted(length, 8).tolist() == looped
    assert sampling.first_interval(length, 8).tolist() == looped
    assert sampling.dense(length, 8, 200).tolist() == [looped]
    for function in (sampling.restricted, sampling.interval):
        drawn = function(length, 8, rng())
        assert (np.diff(drawn) >= 0).all() and drawn.max() < length and len(drawn) == 8


@pytest.mark.parametrize(
    "length, stride", [(8, 1), (15, 1), (16, 2), (31, 2), (32, 4), (64, 8), (500, 8)]
)
def test_the_release_draws_from_windows_that_follow_each_other(length, stride):
    generator, starts = rng(), set()
    for _ in range(50):
        drawn = sampling.interval(length, 8, generator)
        assert drawn.min() >= 0 and drawn.max() < length
        # Some start has every frame in a window of its own.
        fits = [
            start
            for start in range(length - 8 * stride + 1)
            if ((drawn - start) // stride).tolist() == list(range(8))
        ]
        assert fits
        starts.update(fits)
    assert length < 500 or len(starts) > 20


@pytest.mark.parametrize("length, stride", [(57, 8), (56, 4), (29, 4), (28, 2), (15, 2), (14, 1)])
def test_the_release_tests_mars_with_the_first_frames(length, stride):
    assert sampling.first_interval(length, 8).tolist() == [stride * t for t in range(8)]


def test_dense_clips_are_interleaved_and_bounded():
    assert sampling.dense(24, 8, 200).tolist() == [list(range(k, 24, 3)) for k in range(3)]
    clips = sampling.dense(10_000, 8, 200)
    assert clips.shape == (200, 8) and clips.max() < 10_000
    assert len(set(clips[:, 0].tolist())) == 200 and clips[-1, 0] > 1200
    assert sampling.dense(26, 8, 1).shape == (1, 8)


def tracklets(count, each):
    return [
        Tracklet(f"{i}-{j}", tuple("abcdefghij"), f"id{i:03}", "c")
        for i in range(count)
        for j in range(each)
    ]


def pk(members, **changes):
    options = {
        "persons": 8,
        "clips": 4,
        "frames": 8,
        "size": (16, 8),
        "sampling": "restricted",
        "augmentation": PLAIN,
        "seed": 5,
    }
    return sampling.PkBatches(members, **(options | changes))


def test_an_epoch_has_each_identity_once_with_four_clips():
    members = tracklets(625, 5)
    batches = pk(members)
    assert batches.steps_per_epoch == 78
    epoch = list(batches.epoch(0))
    assert len(epoch) == 78
    seen = collections.Counter()
    for plan in epoch:
        here = collections.Counter(plan.label.tolist())
        assert set(here.values()) == {4} and len(here) == 8
        assert [members[i].identity for i in plan.tracklet] == [
            batches.names[label] for label in plan.label
        ]
        assert len(set(plan.tracklet.tolist())) == 32  # five tracklets: none is drawn twice
        seen.update(here.keys())
    assert set(seen.values()) == {1} and len(seen) == 624


def test_an_identity_with_few_tracklets_has_some_twice():
    plan = next(pk(tracklets(8, 2)).epoch(0))
    for label in range(8):
        drawn = plan.tracklet[plan.label == label]
        assert len(drawn) == 4 and set(drawn.tolist()) <= {2 * label, 2 * label + 1}


def test_equal_seeds_give_equal_batches_and_epochs_differ():
    def numbers(seed, epoch):
        return next(pk(tracklets(20, 3), seed=seed).epoch(epoch)).numbers.tolist()

    assert numbers(1, 0) == numbers(1, 0)
    assert numbers(1, 0) != numbers(1, 1) != numbers(2, 1)


def test_labels_follow_the_sorted_names_and_nobody_has_none():
    others = [Tracklet("x", ("a",), who, "c") for who in (JUNK, DISTRACTOR, UNKNOWN)]
    batches = pk([*others, *reversed(tracklets(9, 2))])
    assert batches.names == [f"id{i:03}" for i in range(9)]
    assert not {0, 1, 2} & {i for plan in batches.epoch(0) for i in plan.tracklet.tolist()}


def test_too_few_identities_are_an_error():
    with pytest.raises(ValueError, match="persons is 8, but the training data has 7 identities"):
        pk(tracklets(7, 4))


def test_a_rectangle_has_the_area_and_shape_that_were_asked_for():
    generator = rng()
    augmentation = sampling.Augmentation()
    drawn = np.array([augmentation.rectangle((96, 48), generator) for _ in range(2000)])
    erased = drawn[drawn[:, 2] > 0]
    assert 0.45 < len(erased) / len(drawn) < 0.55
    top, left, rows, columns = erased.T
    share = rows * columns / (96 * 48)
    assert share.min() >= 0.02 and share.max() <= 0.4 and share.max() > 0.35
    assert ((top >= 0) & (top + rows <= 96) & (left >= 0) & (left + columns <= 48)).all()
    aspect = rows / columns
    assert aspect.min() > 0.25 and aspect.max() < 4.0


def test_flips_come_as_often_as_asked():
    batches = pk(tracklets(40, 4), augmentation=sampling.Augmentation(0.25, 0.0))
    flips = np.concatenate([plan.flip for e in range(10) for plan in batches.epoch(e)])
    assert 0.2 < flips.mean() < 0.3
