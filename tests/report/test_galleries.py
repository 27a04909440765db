"""Words and places of what a page shows."""

import random

import pytest

from context_rcnn.report import galleries, text
from context_rcnn.report.explanations import Detection, Keyframe, Memory

DAY = 86400


def memories(*seconds):
    return [Memory("m", s, (0.1, 0.1, 0.2, 0.2), 0.1 * (i + 1)) for i, s in enumerate(seconds)]


def test_a_timeline_is_to_scale_and_ends_at_ticks():
    line = galleries.timeline(memories(-9 * DAY, -2 * DAY, 3 * DAY, None))
    labels = [tick["label"] for tick in line["ticks"]]
    assert labels == ["−10 d", "−8 d", "−6 d", "−4 d", "−2 d", "now", "+2 d", "+4 d"]
    at = [stem["x"] for stem in line["stems"]]
    # 14 days on 96 percent, from 2 on.
    assert at == pytest.approx([2 + 96 * days / 14 for days in (1, 8, 13)], abs=1e-3)
    assert line["zero"] == pytest.approx(2 + 96 * 10 / 14, abs=1e-3)
    assert [stem["height"] for stem in line["stems"]] == pytest.approx(
        [100 / 3, 200 / 3, 100], abs=0.01
    )


@pytest.mark.parametrize(
    "seconds", [[0], [-1], [59], [-40 * 365 * DAY, 40 * 365 * DAY], [-5 * DAY]]
)
def test_every_stem_lies_on_the_line(seconds):
    line = galleries.timeline(memories(*seconds))
    assert all(2 <= place["x"] <= 98 for place in [*line["stems"], *line["ticks"]])
    assert 2 <= line["zero"] <= 98 and len(line["ticks"]) <= 10


def test_undated_memories_have_no_timeline():
    assert galleries.timeline(memories(None, None)) is None


def test_frames_without_a_clock_are_counted_in_frames():
    seen = [Memory("m", None, (0.1, 0.1, 0.2, 0.2), 0.5, frames) for frames in (-9, 0, 3)]
    line = galleries.timeline(seen)
    assert [tick["label"] for tick in line["ticks"]] == [
        "−10",
        "−8",
        "−6",
        "−4",
        "−2",
        "now",
        "+2",
        "+4",
    ]
    assert line["words"] == "3 attended memories from 9 frames before to 3 frames after"
    detection = Detection((0, 0, 1, 1), "zebra", 0.5, tuple(seen))
    panel = galleries.panel(Keyframe("k", "", None, (detection,)), "", [])
    assert [row["apart"] for row in panel["rows"]] == [
        "9 frames before",
        "the same frame",
        "3 frames after",
    ]
    assert panel["undated"] == 0


def test_keyframes_are_drawn_by_seed_and_from_all_classes():
    def keyframe(i, name, attention):
        return Keyframe(f"{name}{i}", "", None, (Detection((0, 0, 1, 1), name, 0.5, attention),))

    some = tuple(memories(0))
    frames = [keyframe(i, "common", some) for i in range(50)]
    frames += [keyframe(0, "rare", some), keyframe(0, "blind", ()), Keyframe("n", "", None, ())]
    random.Random(5).shuffle(frames)
    chosen = galleries.choose_keyframes(frames, 4, seed=1)
    assert sorted(k.detections[0].class_name for k in chosen) == ["common"] * 3 + ["rare"]
    assert chosen == galleries.choose_keyframes(frames, 4, seed=1)
    assert chosen != galleries.choose_keyframes(frames, 4, seed=2)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "the same moment"),
        (-1, "1 second before"),
        (3600, "1 hour after"),
        (-90 * 60, "1.5 hours before"),
        (2 * DAY, "2 days after"),
        (None, "time unknown"),
    ],
)
def test_times_apart_in_words(seconds, words):
    assert text.apart(seconds) == words


def test_numbers_have_a_real_minus_and_zero_has_no_sign():
    assert text.signed(-0.0151) == "\N{MINUS SIGN}0.015" and text.signed(0.0151) == "+0.015"
    assert text.signed(0.0001) == text.signed(-0.0001) == "0.000"
    assert text.number(12345.6, 1) == "12,345.6" and text.number(None) == "\N{EN DASH}"


def test_names_become_one_line_of_bounded_length():
    assert text.clean("a\nb\x00c\u202ed\ud800") == "a b\N{REPLACEMENT CHARACTER}c" + (
        "\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}"
    )
    long = text.clean("<" * 5000)
    assert len(long) <= 120 and "\N{HORIZONTAL ELLIPSIS}" in long


def test_boxes_stay_inside_of_the_picture():
    box = galleries.box((-0.5, 0.2, 1.5, 0.2), "memory")
    assert (box["x"], box["width"]) == (0, 100) and box["height"] > 0
