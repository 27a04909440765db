"""Majority vote: who votes, what the votes change, and what they leave alone."""

import itertools

import numpy as np
import pytest

from context_rcnn import configs
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.majority_vote import MajorityVoteOptions, majority_vote
from context_rcnn.evaluation.post_processing import build_post_processing

NOTHING = np.zeros((0, 4)), np.zeros(0, np.int64)


def frame(place, camera="cam", burst="b"):
    key = hash((camera, burst, place))
    return Image(f"{camera}/{burst}/{place}", key, camera, 100, 80, *NOTHING, burst, place)


def detect(*rows):
    """Detections of one image, best first, from (class, score)."""
    rows = sorted(rows, key=lambda row: -row[1])
    boxes = np.linspace(0.1, 0.6, 4 * len(rows)).reshape(-1, 4)
    return boxes, np.array([s for _, s in rows], float), np.array([c for c, _ in rows], np.int64)


def vote(*frames_and_rows, **options):
    """Classes after the vote, frame by frame."""
    frames = [image for image, _ in frames_and_rows]
    detections = Detections({image.key: detect(*rows) for image, rows in frames_and_rows})
    voted, changed = majority_vote(frames, detections, MajorityVoteOptions(**options))
    before = np.concatenate([detections[image.key][2] for image in frames])
    after = np.concatenate([voted[image.key][2] for image in frames])
    assert changed == (before != after).sum()
    for image in frames:
        np.testing.assert_array_equal(voted[image.key][0], detections[image.key][0])
        np.testing.assert_array_equal(voted[image.key][1], detections[image.key][1])
    return [voted[image.key][2].tolist() for image in frames]


def test_the_most_frequent_class_of_the_window_wins():
    rows = [[(1, 0.9)], [(2, 0.95)], [(1, 0.6)]]
    # Only the middle frame sees all three; at the ends one vote stands against one.
    assert vote(*zip(map(frame, range(3)), rows, strict=True)) == [[2], [1], [2]]


def test_detections_below_the_threshold_neither_vote_nor_change():
    assert vote(
        (frame(0), [(1, 0.9), (1, 0.8), (2, 0.49)]),
        (frame(1), [(2, 0.5), (2, 0.3), (2, 0.2)]),
    ) == [[1, 1, 2], [1, 2, 2]]


def test_ties_go_to_the_larger_sum_of_scores_then_to_the_lower_class():
    assert vote((frame(0), [(1, 0.6), (2, 0.7)])) == [[2, 2]]
    assert vote((frame(0), [(3, 0.75), (2, 0.75)])) == [[2, 2]]


@pytest.mark.parametrize(
    "other",
    [
        frame(1, camera="elsewhere"),
        frame(1, burst="later"),
        frame(2),  # two frames away
    ],
)
def test_only_frames_of_the_window_vote(other):
    rows = [(2, 0.9), (2, 0.9)]
    assert vote((frame(0), [(1, 0.9)]), (other, rows))[0] == [1]
    assert vote((frame(0), [(1, 0.9)]), (frame(1), rows))[0] == [2]


def test_images_without_a_burst_vote_alone():
    assert vote((frame(0, burst=""), [(1, 0.9)]), (frame(1, burst=""), [(2, 0.9)] * 2)) == [
        [1],
        [2, 2],
    ]


def test_spacing_takes_every_so_many_th_frame_as_clips_do():
    rows = [[(1, 0.9)], [(2, 0.9)] * 2, [(3, 0.9)] * 2]
    frames = [frame(i) for i in range(3)]
    assert vote(*zip(frames, rows, strict=True), spacing=2)[0] == [3]
    assert vote(*zip(frames, rows, strict=True), spacing=1)[0] == [2]


def test_images_without_detections_stay_without():
    frames = [frame(0), frame(1)]
    detections = Detections({frames[0].key: detect((1, 0.9))})
    voted, _ = majority_vote(frames, detections)
    assert set(voted) == {frames[0].key}


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("spacing", [1, 2])
def test_it_is_a_count_over_all_pairs_of_frames(window, spacing):
    rng = np.random.default_rng(window)
    frames = [
        frame(place, camera, burst)
        for camera, burst in itertools.product("xy", ["1", "2", ""])
        for place in range(7)
        if rng.random() < 0.8
    ]
    rows = [
        [(int(rng.integers(1, 4)), rng.integers(1, 10) / 10) for _ in range(rng.integers(0, 4))]
        for _ in frames
    ]
    got = vote(*zip(frames, rows, strict=True), window=window, spacing=spacing)
    for i, image in enumerate(frames):
        table = np.zeros((4, 2))
        for other, its_rows in zip(frames, rows, strict=True):
            apart = other.place - image.place
            near = abs(apart) <= window // 2 * spacing and apart % spacing == 0
            near &= (other.camera, other.burst) == (image.camera, image.burst)
            near &= bool(image.burst)
            if near or other is image:
                for label, score in its_rows:
                    table[label] += (score >= 0.5) * np.array([1, score])
        winner = max((1, 2, 3), key=lambda label: (*table[label].round(6), -label))
        expected = [
            winner if score >= 0.5 else label
            for label, score in sorted(rows[i], key=lambda row: -row[1])
        ]
        assert got[i] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [({"window": 2}, "majority_vote.window must be odd"), ({"spacing": 0}, "spacing")],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MajorityVoteOptions(**options)


def test_settings_choose_the_post_processing():
    frames = [frame(0), frame(1)]
    detections = Detections(
        {frames[0].key: detect((1, 0.7)), frames[1].key: detect((2, 0.9), (2, 0.8))}
    )
    config = configs.PostProcessing()
    assert build_post_processing(config)(frames, detections) == (detections, {})
    config = configs.PostProcessing(type="majority_vote")
    voted, counts = build_post_processing(config)(frames, detections)
    assert voted[frames[0].key][2] == [2] and counts == {"detections_with_another_class": 1}
    config.majority_vote.score_threshold = 0.75
    voted, counts = build_post_processing(config)(frames, detections)
    assert voted[frames[0].key][2] == [1] and counts == {"detections_with_another_class": 0}
    config.type = "majority"
    with pytest.raises(ValueError, match="post_processing.type must be one of none, majority_vote"):
        build_post_processing(config)
