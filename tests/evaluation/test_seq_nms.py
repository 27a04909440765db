"""Seq-NMS against all paths written out, round after round, and by hand."""

import itertools
import math

import numpy as np
import pytest

from context_rcnn import configs
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.post_processing import build_post_processing
from context_rcnn.evaluation.seq_nms import RESCORES, SeqNmsOptions, link_detections, seq_nms

NOTHING = np.zeros((0, 4)), np.zeros(0, np.int64)


def np_iou(a, b):
    sides = [max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1)]
    both = sides[0] * sides[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(areas) - both) if both else 0.0


def all_paths(left, links):
    """Every path along links, as tuples."""
    paths = [(i,) for i in left]
    while paths:
        yield from paths
        paths = [(*path, i) for path in paths for i in left if (path[-1], i) in links]


def by_all_paths(left, links, scores, order):
    """The path with the largest sum; backwards, it comes first of several."""
    return min(
        all_paths(left, links),
        key=lambda path: (-sum(scores[i] for i in path), [order[i] for i in path[::-1]]),
    )


def by_recursion(left, links, scores, order):
    """The same, where there are too many paths."""

    def key(row):
        return -row[0], [order[i] for i in row[1]]

    best = {}  # by its last box: the sum, and the path backwards
    for i in sorted(left, key=order.get):
        before = [best[j] for j in left if (j, i) in links]
        total, path = min(before, key=key, default=(0, ()))
        best[i] = (total + scores[i], (i, *path))
    return min(best.values(), key=key)[1][::-1]


def by_rounds(videos, frames, boxes, scores, classes, options, best=by_all_paths):
    """The rules, written out; all that is linked is looked for again in each round."""
    new, suppressed = list(map(float, scores)), [False] * len(scores)
    order = {i: (frame, i) for i, frame in enumerate(frames)}
    tubes = []
    for owner in sorted(set(zip(videos, classes, strict=True))):
        left = [
            i
            for i, of in enumerate(zip(videos, classes, strict=True))
            if of == owner and scores[i] >= options.score_threshold
        ]
        links = {
            (i, j)
            for i, j in itertools.permutations(left, 2)
            if frames[j] == frames[i] + 1 and np_iou(boxes[i], boxes[j]) > options.link_iou
        }
        while left:
            path = best(left, links, scores, order)
            its = sorted((scores[i] for i in path), reverse=True)
            if options.rescore == "maximum":
                its = its[:1]
            if options.rescore == "best_half":
                its = its[: math.ceil(len(its) / 2)]
            for i in path:
                new[i] = sum(its) / len(its)
            tubes.append(path)
            left = [i for i in left if i not in path]
            for i, j in itertools.product(list(left), path):
                if frames[i] == frames[j] and np_iou(boxes[i], boxes[j]) > options.nms_iou:
                    suppressed[i] = True
                    left.remove(i)
    return new, suppressed, tubes


def scene(seed, *, length, boxes, videos=2, classes=2, missing=0.1, steps=0):
    """Boxes that jitter around few places, in frames of which some are missing."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 0.5, (3, 2))
    rows = []
    for video, frame in itertools.product(range(videos), range(length)):
        if rng.random() < missing:
            continue
        for _ in range(rng.integers(boxes // 2, boxes + 1)):
            start = places[rng.integers(3)] + rng.normal(0, 0.015, 2)
            score = rng.integers(1, steps + 1) / steps if steps else rng.uniform(0, 1)
            side = rng.uniform(0.18, 0.25, 2)
            rows.append((video, frame, [*start, *start + side], score, rng.integers(classes)))
    rng.shuffle(rows)
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def check(found, expected):
    scores, suppressed, tubes = expected
    np.testing.assert_array_equal(found.suppressed, suppressed)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)
    assert {frozenset(np.flatnonzero(found.tube == n)) for n in range(found.tube.max() + 1)} == {
        frozenset(tube) for tube in tubes
    }


@pytest.mark.parametrize("rescore", RESCORES)
@pytest.mark.parametrize("seed", range(8))
def test_equals_all_paths_looked_at_again_in_each_round(seed, rescore):
    rows = scene(seed, length=6, boxes=7)
    options = SeqNmsOptions(rescore=rescore, score_threshold=0.1)
    found = seq_nms(*rows, options)
    check(found, by_rounds(*rows, options))
    assert found.counts["tubes"] > 3 and found.counts["suppressed_detections"] > 3


@pytest.mark.parametrize("seed", range(6))
def test_equals_rounds_from_scratch_in_long_videos(seed):
    rows = scene(seed, length=50, boxes=9, videos=1, classes=1, missing=0.02)
    options = SeqNmsOptions(link_iou=0.5, nms_iou=[0.3, 0.5, 0.8][seed % 3])
    found = seq_nms(*rows, options)
    check(found, by_rounds(*rows, options, by_recursion))
    assert np.bincount(found.tube[found.tube >= 0]).max() > 10


@pytest.mark.parametrize("seed", range(10))
def test_ties_go_to_the_first_last_frame_and_then_to_the_first_box(seed):
    """Sums of halves are exact, so that many paths are equally good."""
    rows = scene(seed, length=5, boxes=5, videos=1, classes=1, steps=2)
    options = SeqNmsOptions(nms_iou=0.5)
    check(seq_nms(*rows, options), by_rounds(*rows, options))


# By hand: a frame is a list of (score, box).
BOX = np.array([0.2, 0.2, 0.4, 0.4])


def moved(right, down=0.0):
    return BOX + np.array([down, right, down, right])


def link(*frames, **options):
    """New scores frame by frame; None for what is suppressed."""
    rows = [(t, score, box) for t, frame in enumerate(frames) for score, box in frame]
    t, scores, boxes = (np.array(column) for column in zip(*rows, strict=True))
    same = np.zeros(len(t), int)
    found = seq_nms(same, t, boxes, scores, same, SeqNmsOptions(**options))
    values = [
        None if gone else round(float(score), 9)
        for score, gone in zip(found.scores, found.suppressed, strict=True)
    ]
    return [[values[i] for i in np.flatnonzero(t == k)] for k in range(len(frames))]


@pytest.mark.parametrize(
    ("rescore", "expected"), [("average", 0.6), ("maximum", 0.9), ("best_half", 0.85)]
)
def test_a_weak_box_between_strong_ones_is_raised(rescore, expected):
    frames = [[(0.9, moved(0.0))], [(0.1, moved(0.02))], [(0.8, moved(0.04))]]
    assert link(*frames, rescore=rescore) == [[expected]] * 3


def test_a_false_positive_alone_keeps_its_low_score():
    there = (0.3, moved(0.5))
    assert link([(0.9, BOX)], [(0.9, BOX), there], [(0.9, BOX)]) == [[0.9], [0.9, 0.3], [0.9]]


def test_objects_that_cross_keep_their_own_scores():
    """One a little lower than the other, so that they overlap by a quarter where they meet."""
    frames = [
        [(0.9, moved(0.05 * t)), (0.5 + 0.01 * t, moved(0.4 - 0.05 * t, down=0.12))]
        for t in range(9)
    ]
    assert link(*frames) == [[0.9, 0.54]] * 9


def test_what_overlaps_a_tube_in_its_frames_is_suppressed():
    near, beside = moved(0.08), moved(0.12)  # IoU 3 / 7 and 1 / 4
    frames = [[(0.9, BOX), (0.2, near), (0.2, beside)], [(0.7, BOX)], [(0.01, moved(0.5))]]
    assert link(*frames) == [[0.8, None, 0.2], [0.8], [0.01]]
    assert link(*frames, nms_iou=0.2) == [[0.8, None, None], [0.8], [0.01]]
    assert link(*frames, nms_iou=0.7) == [[0.8, 0.2, 0.2], [0.8], [0.01]]


def test_at_an_iou_of_one_everything_stays_and_is_scored_along_its_path():
    frames = [[(0.9, BOX), (0.2, BOX)], [(0.7, BOX), (0.4, BOX), (0.3, moved(0.5))]]
    assert link(*frames, nms_iou=1.0) == [[0.8, 0.3], [0.8, 0.3, 0.3]]


def test_three_weak_boxes_in_a_row_are_better_than_a_strong_one():
    strong = (0.9, moved(0.08))  # IoU 3 / 7: too little for a link, enough to be suppressed
    assert link([(0.4, BOX)], [strong, (0.4, BOX)], [(0.4, BOX)]) == [[0.4], [None, 0.4], [0.4]]
    assert link([(0.4, BOX)], [strong, (0.4, BOX)]) == [[0.4], [0.9, None]]


def test_what_a_tube_took_is_missing_from_the_paths_of_the_next_round():
    """The second object was hidden behind the first in the middle frame."""
    other = moved(0.5)
    frames = [[(0.9, BOX), (0.6, other)], [(0.9, BOX)], [(0.9, BOX), (0.2, other)]]
    assert link(*frames) == [[0.9, 0.6], [0.9], [0.9, 0.2]]


def test_paths_through_what_was_suppressed_are_looked_at_again():
    """Without the suppressed box, what came after it is worth less than a box beside it."""
    hidden, after, beside = moved(0.08), moved(0.14), moved(0.22)
    frames = [
        [(0.9, BOX)],
        [(0.9, BOX), (0.5, hidden)],  # not linked to the first frame, but to the next one
        [(0.3, after), (0.7, beside)],
        [(0.3, after)],
    ]
    assert link(*frames) == [[0.9], [0.9, None], [None, 0.7], [0.3]]
    assert link(*frames, nms_iou=0.5) == [
        [0.9],
        [0.9, 0.366666667],
        [0.366666667, 0.7],
        [0.366666667],
    ]


def test_of_equal_sums_the_path_that_ends_first_wins():
    near, far = moved(0.08), moved(0.12)  # linked to each other; BOX only overlaps `near`
    assert link([(0.5, near), (1.0, BOX)], [(0.5, far)]) == [[None, 1.0], [0.5]]


def test_of_equal_sums_in_the_same_last_frame_the_first_box_wins():
    near = moved(0.08)  # not linked to BOX
    assert link([(0.5, BOX)], [(0.5, BOX), (1.0, near)]) == [[0.5], [0.5, None]]
    assert link([(0.5, BOX)], [(1.0, near), (0.5, BOX)]) == [[0.5], [1.0, None]]


@pytest.mark.parametrize(
    ("shift", "linked"),
    [(0.06, True), (0.07, False)],  # 14 / 26 and 13 / 27
)
def test_boxes_are_linked_above_an_iou_of_a_half(shift, linked):
    expected = [[0.5], [0.5]] if linked else [[0.8], [0.2]]
    assert link([(0.8, BOX)], [(0.2, moved(shift))]) == expected


def test_an_iou_of_exactly_the_threshold_is_not_above_it():
    whole, half = np.array([0, 0, 1, 1.0]), np.array([0, 0, 1, 0.5])
    assert link([(0.75, whole)], [(0.25, half)]) == [[0.75], [0.25]]
    assert link([(0.75, whole), (0.25, half)], nms_iou=0.5) == [[0.75, 0.25]]


def test_boxes_without_area_are_alone():
    flat = np.array([0.2, 0.2, 0.2, 0.4])
    assert link([(0.8, flat), (0.4, flat)], [(0.2, flat)], link_iou=0.0, nms_iou=0.0) == [
        [0.8, 0.4],
        [0.2],
    ]


def test_detections_below_the_threshold_take_no_part():
    frames = [[(0.9, BOX), (0.04, BOX)], [(0.04, BOX)], [(0.5, BOX)]]
    assert link(*frames, score_threshold=0.05) == [[0.9, 0.04], [0.04], [0.5]]


def test_nothing_in_nothing_out():
    found = seq_nms(*(np.zeros(0, int),) * 2, np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert found.counts == {"tubes": 0, "linked_detections": 0, "suppressed_detections": 0}
    assert link_detections([], {})[0] == {}
    left, _ = link_detections([image(0), image(1)], Detections({image(1).key: detect()}))
    assert [len(column) for column in left[image(1).key]] == [0, 0, 0]


# Images of an evaluation.


def image(place, camera="cam", burst="b"):
    key = hash((camera, burst, place))
    return Image(f"{camera}/{burst}/{place}", key, camera, 100, 80, *NOTHING, burst, place)


def detect(*rows):
    """Detections of one image, from (score, class)."""
    return (
        np.tile(BOX, (len(rows), 1)),
        np.array([score for score, _ in rows], float),
        np.array([label for _, label in rows], np.int64),
    )


@pytest.mark.parametrize(
    ("other", "label"),
    [
        (image(1, camera="elsewhere"), 1),
        (image(1, burst="later"), 1),
        (image(1, burst=""), 1),
        (image(2), 1),  # a frame is missing
        (image(1), 2),
    ],
)
def test_only_neighbours_of_one_video_and_class_are_linked(other, label):
    first = image(0)
    for second, its_class, expected in ((other, label, 0.8), (image(1), 1, 0.5)):
        detections = {first.key: detect((0.8, 1)), second.key: detect((0.2, its_class))}
        left, tubes = link_detections([first, second], Detections(detections))
        assert left[first.key][1].tolist() == [expected]
        assert tubes.counts["linked_detections"] == (2 if expected == 0.5 else 0)


def test_a_frame_without_detections_ends_links():
    frames = [image(0), image(1), image(2)]
    ends = {frames[0].key: detect((0.8, 1)), frames[2].key: detect((0.2, 1))}
    for middle in ({}, {frames[1].key: detect()}):
        left, _ = link_detections(frames, Detections(ends | middle))
        assert left[frames[0].key][1].tolist() == [0.8]
        assert set(left) == set(ends | middle)


def test_images_without_a_burst_are_suppressed_alone():
    alone = [image(0, burst=""), image(1, burst="")]
    detections = Detections({one.key: detect((0.8, 1), (0.7, 1), (0.6, 2)) for one in alone})
    left, tubes = link_detections(alone, detections)
    for one in alone:
        assert left[one.key][1].tolist() == [0.8, 0.6] and left[one.key][2].tolist() == [1, 2]
    assert tubes.counts["suppressed_detections"] == 2 and tubes.counts["tubes"] == 0


def evaluation(seed):
    """Images and detections of a scene, best first as detectors give them."""
    videos, frames, boxes, scores, classes = scene(seed, length=12, boxes=6)
    detections, images = Detections(), []
    for video, place in sorted(set(zip(videos.tolist(), frames.tolist(), strict=True))):
        its = (videos == video) & (frames == place)
        images.append(image(place, burst=f"burst {video}"))
        detections.add(images[-1].key, boxes[its], scores[its], classes[its])
    return images, detections


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_images_changes_nothing(seed):
    images, detections = evaluation(seed)
    expected, tubes = link_detections(images, detections)
    shuffled = [images[i] for i in np.random.default_rng(seed).permutation(len(images))]
    found, same = link_detections(shuffled, detections)
    assert same.counts == tubes.counts and tubes.counts["tubes"] > 5
    for one in images:
        for a, b in zip(found[one.key], expected[one.key], strict=True):
            np.testing.assert_array_equal(a, b)
        assert (np.diff(found[one.key][1]) <= 0).all()  # best first


def test_detections_of_images_are_those_of_the_rows():
    images, detections = evaluation(5)
    left, tubes = link_detections(images, detections)
    rows = [
        (one.burst, one.place, box, score, label)
        for one in images
        for box, score, label in zip(*detections[one.key], strict=True)
    ]
    scores, suppressed, _ = by_rounds(
        *map(list, zip(*rows, strict=True)), SeqNmsOptions(), by_recursion
    )
    for one in images:
        its = [i for i, row in enumerate(rows) if row[:2] == (one.burst, one.place)]
        kept = sorted((scores[i], rows[i][4]) for i in its if not suppressed[i])
        found = sorted(zip(*left[one.key][1:], strict=True))
        np.testing.assert_allclose(found, np.reshape(kept, (-1, 2)), rtol=1e-12)
    assert tubes.counts["suppressed_detections"] == sum(suppressed)


def test_two_images_in_one_place_are_refused():
    images = [image(0), Image("again", 7, "cam", 100, 80, *NOTHING, "b", 0)]
    with pytest.raises(ValueError, match="'cam/b/0' and 'again' have the same place, 0, in burst"):
        link_detections(images, Detections())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"link_iou": 1.0}, "seq_nms.link_iou must be at least 0 and below 1, got 1.0"),
        ({"link_iou": math.nan}, "seq_nms.link_iou must"),
        ({"nms_iou": -0.1}, "seq_nms.nms_iou must lie in 0..1, got -0.1"),
        ({"rescore": "avg"}, "rescore must be one of average, maximum, best_half, got 'avg'"),
        ({"score_threshold": 1.5}, "seq_nms.score_threshold must lie in 0..1, got 1.5"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SeqNmsOptions(**options)


def test_settings_choose_the_linking():
    frames = [image(0), image(1)]
    detections = Detections(
        {frames[0].key: detect((0.75, 1), (0.5, 1)), frames[1].key: detect((0.25, 1))}
    )
    config = configs.PostProcessing(type="seq_nms")
    left, counts = build_post_processing(config)(frames, detections)
    assert left[frames[1].key][1] == [0.5]
    assert counts == {"tubes": 1, "linked_detections": 2, "suppressed_detections": 1}
    config.seq_nms.rescore = "maximum"
    assert build_post_processing(config)(frames, detections)[0][frames[1].key][1] == [0.75]
    config.seq_nms.score_threshold = 0.3
    assert build_post_processing(config)(frames, detections)[1]["tubes"] == 0
    config.seq_nms.nms_iou = 2.0
    with pytest.raises(ValueError, match="^task.evaluation.post_processing.seq_nms.nms_iou must"):
        build_post_processing(config)
