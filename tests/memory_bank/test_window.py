"""The window, against one written as the text reads: entry by entry."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_rcnn.memory_bank import sampling
from context_rcnn.memory_bank.window import (
    POLICIES,
    SPANS,
    Timeline,
    WindowOptions,
    calendar_bin,
    window,
)

EPOCH = datetime.datetime(1970, 1, 1)
HORIZONS = (*SPANS, "any")
START = 1_600_000_000


def timeline_of(entries):
    """A timeline of (seconds or None, image id) pairs, sorted as in a bank."""
    ordered = sorted(entries, key=lambda e: (e[0] is None, e[0] or 0, e[1]))
    ids = np.empty(len(ordered), object)
    ids[:] = [image for _, image in ordered]
    seconds = np.array([time or 0 for time, _ in ordered], np.int64)
    dated = np.array([time is not None for time, _ in ordered], bool)
    return Timeline(seconds, dated, ids), ordered


def same_bin(a, b, horizon):
    def fields(seconds):
        r = EPOCH + datetime.timedelta(seconds=seconds)
        return {
            "minute": (r.year, r.month, r.day, r.hour, r.minute),
            "hour": (r.year, r.month, r.day, r.hour),
            "day": (r.year, r.month, r.day),
            "week": (r.year, r.month, r.day // 7),
            "month": (r.year, r.month),
        }[horizon]

    return fields(a) == fields(b)


def belongs(time, image, seconds, image_id, options):
    """Whether an entry is in the window, as the module's text says."""
    if image == image_id and not options.include_keyframe:
        return False
    if seconds is None:
        return options.horizon == "any" and not options.causal
    if time is None:
        return options.horizon == "any" and not options.causal
    if options.causal:
        past = (time, image) < (seconds, image_id)
        if not (past or (options.include_keyframe and (time, image) == (seconds, image_id))):
            return False
    if options.horizon == "any":
        return True
    if options.calendar:
        return same_bin(time, seconds, options.horizon)
    span = SPANS[options.horizon]
    return seconds - time <= span if options.causal else 2 * abs(time - seconds) <= span


def cut(positions, entries, seconds, policy, limit, features):
    """The policies, by sorting and counting."""
    if len(positions) <= limit:
        return positions
    dated = [i for i in positions if entries[i][0] is not None]
    undated = [i for i in positions if entries[i][0] is None]
    pool, keep, fixed = (
        (dated, limit, []) if len(dated) > limit else (undated, limit - len(dated), dated)
    )
    if policy == "newest":
        chosen = pool[len(pool) - keep :]
    elif policy == "nearest" and seconds is not None and pool is dated:
        chosen = sorted(pool, key=lambda i: (abs(entries[i][0] - seconds), i))[:keep]
    elif policy == "diverse":
        thinned = [pool[i] for i in sampling.uniform(len(pool), max(keep, min(2 * keep, 4096)))]
        chosen = [thinned[i] for i in sampling.farthest_points(features[thinned], keep)]
    else:
        chosen = [pool[int((2 * k + 1) * len(pool) // (2 * keep))] for k in range(keep)]
    return fixed + sorted(chosen)


def near_edges():
    """Seconds that fall on the edges of horizons, tie, or lie anywhere."""
    spans = [0, 1, 30, 31, 60, 61, 1800, 1801, 3600, 43200, 43201, 86400, 302400, 302401]
    spans += [604800, 1296000, 1296001, 2592000, 2592001]
    edges = st.sampled_from(spans).flatmap(lambda span: st.sampled_from([span, -span]))
    return st.one_of(edges, st.integers(-4_000_000, 4_000_000)).map(lambda offset: START + offset)


@st.composite
def cameras(draw):
    images = draw(
        st.dictionaries(
            st.text("abcé", min_size=1, max_size=2),
            near_edges() | st.none(),
            min_size=0,
            max_size=14,
        )
    )
    entries = [
        (time, name) for name, time in images.items() for _ in range(draw(st.integers(1, 3)))
    ]
    own = draw(st.sampled_from(sorted(images)) if images and draw(st.booleans()) else st.just("bb"))
    seconds = (
        images[own] if own in images and draw(st.booleans()) else draw(near_edges() | st.none())
    )
    return entries, seconds, own


@settings(max_examples=400)
@given(
    cameras(),
    st.builds(
        WindowOptions,
        horizon=st.sampled_from([*HORIZONS, "any", "any"]),
        calendar=st.booleans(),
        causal=st.booleans(),
        include_keyframe=st.booleans(),
        policy=st.sampled_from(POLICIES),
    ),
    st.integers(1, 12),
)
def test_window_equals_going_through_all_entries(camera, options, limit):
    entries, seconds, image_id = camera
    timeline, ordered = timeline_of(entries)
    features = np.random.default_rng(0).normal(size=[len(ordered), 5])
    found = window(timeline, seconds, image_id, options, limit, lambda i: features[i])
    members = [
        i for i, (time, image) in enumerate(ordered)
        if belongs(time, image, seconds, image_id, options)
    ]  # fmt: skip
    expected = cut(members, ordered, seconds, options.policy, limit, features)
    assert list(found) == expected


@pytest.mark.parametrize(("horizon", "half"), [(name, span // 2) for name, span in SPANS.items()])
def test_both_ends_of_the_horizon_are_in(horizon, half):
    offsets = [-half - 1, -half, 0, half, half + 1]
    timeline, _ = timeline_of([(START + offset, f"{offset}") for offset in offsets])
    found = window(timeline, START, "key", WindowOptions(horizon), 9)
    assert list(found) == [1, 2, 3]


def test_calendar_month_sees_one_side_at_its_edge():
    first = calendar_of(2021, 3, 1)
    timeline, _ = timeline_of([(first - 1, "february"), (first, "a"), (first + 9, "b")])
    assert list(window(timeline, first, "a", WindowOptions("month", calendar=True), 9)) == [1, 2]
    assert list(window(timeline, first, "a", WindowOptions("month"), 9)) == [0, 1, 2]


def calendar_of(*reading):
    return (datetime.datetime(*reading) - EPOCH) // datetime.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [(1, 1, 6), (6, 1, 6), (7, 7, 13), (27, 21, 27), (28, 28, 31), (31, 28, 31)],
)
def test_calendar_weeks_by_hand(day, first, last):
    start, stop = calendar_bin(calendar_of(2022, 12, day, 17, 30), "week")
    assert start == calendar_of(2022, 12, first)
    assert stop == calendar_of(2022, 12, last, 23, 59, 59)


def test_calendar_knows_leap_years():
    assert calendar_bin(calendar_of(2024, 2, 10), "month")[1] == calendar_of(
        2024, 2, 29, 23, 59, 59
    )
    assert calendar_bin(calendar_of(2023, 2, 28), "week")[1] == calendar_of(2023, 2, 28, 23, 59, 59)


def test_a_causal_window_never_holds_what_comes_later():
    timeline, _ = timeline_of([(START, "a"), (START, "b"), (START, "c"), (START + 1, "aa")])
    past = WindowOptions("day", causal=True, include_keyframe=False)
    assert list(window(timeline, START, "b", past, 9)) == [0]
    with_own = WindowOptions("day", causal=True)
    assert list(window(timeline, START, "b", with_own, 9)) == [0, 1]


def test_undated_entries_are_cut_first():
    entries = [(START + i, f"{i}") for i in range(3)] + [(None, f"u{i}") for i in range(6)]
    timeline, _ = timeline_of(entries)
    everything = WindowOptions("any", policy="newest")
    assert list(window(timeline, START, "1", everything, 5)) == [0, 1, 2, 7, 8]
    assert list(window(timeline, START, "1", everything, 2)) == [1, 2]
    assert list(window(timeline, None, "1", WindowOptions("any"), 4)) == [0, 1, 2, 6]


def test_of_many_entries_equally_near_the_first_come():
    timeline, _ = timeline_of([(START + 5 * (i % 2), f"{i:03d}") for i in range(200)])
    found = window(timeline, START, "x", WindowOptions("any", policy="nearest"), 130)
    assert list(found) == list(range(130))


def test_diverse_without_features_is_an_error():
    timeline, _ = timeline_of([(START + i, f"{i}") for i in range(5)])
    with pytest.raises(ValueError, match="needs the features"):
        window(timeline, START, "0", WindowOptions("any", policy="diverse"), 2)


@pytest.mark.parametrize("bad", [{"horizon": "year"}, {"policy": "best"}])
def test_bad_options_are_named(bad):
    (name, value) = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name} '{value}': must be one of"):
        WindowOptions(**bad)
