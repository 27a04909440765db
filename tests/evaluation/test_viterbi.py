"""STMN's released linking against all paths written out, and by hand."""

import itertools
import math

import numpy as np
import pytest

from context_rcnn import configs
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.post_processing import build_post_processing
from context_rcnn.evaluation.viterbi import ViterbiOptions, link_images, link_paths
from tests.evaluation.test_seq_nms import image, np_iou


def np_suppressed(boxes, scores, threshold):
    """Places of boxes that are left, best first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(np_iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def by_all_paths(videos, frames, boxes, scores, classes, options):
    """The rules, written out: (row, box, score) of what is left, by row."""
    rows = range(len(scores))
    kept, tracks = [], {}
    for place in sorted(set(zip(videos, frames, strict=True))):
        here = [
            i
            for i in rows
            if (videos[i], frames[i]) == place
            and min(boxes[i][2:] - boxes[i][:2]) >= options.min_side
        ]
        different = sorted({tuple(boxes[i]) for i in here})
        best = [max(scores[i] for i in here if tuple(boxes[i]) == box) for box in different]
        left = {different[k] for k in np_suppressed(different, best, options.pre_nms_iou)}
        here = [i for i in here if tuple(boxes[i]) in left]
        tracks[place] = [boxes[i] for i in here if scores[i] > options.track_score]
        kept += here
    out = {}
    for video, label in sorted({(videos[i], classes[i]) for i in kept}):
        chain = []
        for frame in sorted({frames[i] for i in kept if (videos[i], classes[i]) == (video, label)}):
            its = [i for i in kept if (videos[i], classes[i], frames[i]) == (video, label, frame)]
            left = np_suppressed([boxes[i] for i in its], [scores[i] for i in its], options.nms_iou)
            chain.append([])
            for k in left[: options.most]:
                votes = [i for i in its if np_iou(boxes[i], boxes[its[k]]) >= options.vote_iou]
                weights = [scores[i] for i in votes]
                voted = sum(w * boxes[i] for w, i in zip(weights, votes, strict=True))
                chain[-1].append((its[k], voted / sum(weights), frame))
        left = [list(range(len(frame))) for frame in chain]
        new = {row: (box, scores[row]) for frame in chain for row, box, _ in frame}

        def worth(path, chain=chain, video=video):
            total = 0.0
            for t in range(len(path) - 1):
                (a, box, frame), (b, other, _) = chain[t][path[t]], chain[t + 1][path[t + 1]]
                common = any(
                    np_iou(box, track) >= 0.5 and np_iou(other, track) >= 0.5
                    for track in tracks[video, frame]
                )
                total += scores[a] + scores[b] + common
            return total

        while all(left):
            path = min(itertools.product(*left), key=lambda path: (-worth(path), path))
            its = [scores[chain[t][i][0]] for t, i in enumerate(path)]
            best = sorted(its, reverse=True)[: math.ceil(len(its) / 2)]
            for t, i in enumerate(path):
                row, box, _ = chain[t][i]
                new[row] = box, scores[row] + 2 * sum(best) / len(best)
                left[t].remove(i)
        out |= new
    return out


def scene(seed, length=4, boxes=6):
    """Boxes in pixels around few places; frames and classes may be missing; some boxes are tiny."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 60, (3, 2))
    rows = []
    for video, frame in itertools.product(range(2), range(length)):
        for _ in range(rng.integers(1, boxes)):
            start = places[rng.integers(3)] + rng.normal(0, 3, 2)
            side = rng.uniform(3, 5, 2) if rng.random() < 0.1 else rng.uniform(20, 30, 2)
            box = [*start, *start + side]
            for label in range(rng.integers(1, 3)):  # one box may have two classes
                rows.append((video, frame * 3, box, rng.uniform(0, 1), label))
    rng.shuffle(rows)
    return tuple(np.array(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [{}, {"nms_iou": 0.8, "most": 3}, {"pre_nms_iou": 0.5, "track_score": 0.6, "vote_iou": 0.7}],
    ids=str,
)
def test_equals_all_paths_written_out(seed, options):
    rows, options = scene(seed), ViterbiOptions(**options)
    expected = by_all_paths(*rows, options)
    found = link_paths(*rows, options)
    assert found.rows.tolist() == sorted(expected)
    assert found.dropped == len(rows[0]) - len(expected)
    for row, box, score in zip(found.rows.tolist(), found.boxes, found.scores, strict=True):
        np.testing.assert_allclose(box, expected[row][0], rtol=1e-9)
        assert score == pytest.approx(expected[row][1], rel=1e-9)


BOX = np.array([20.0, 20.0, 60.0, 60.0])


def moved(right):
    return BOX + np.array([0.0, right, 0.0, right])


def link(*frames, **options):
    """Scores frame by frame, of (score, box); None for what is dropped."""
    rows = [(t, score, box) for t, frame in enumerate(frames) for score, box in frame]
    t, scores, boxes = (np.array(column) for column in zip(*rows, strict=True))
    same = np.zeros(len(t), int)
    found = link_paths(same, t, boxes, scores, same, ViterbiOptions(**options))
    new = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
    values = [round(new[i], 9) if i in new else None for i in range(len(t))]
    return [[values[i] for i in np.flatnonzero(t == k)] for k in range(len(frames))]


def test_each_box_keeps_its_own_score_beside_that_of_its_path():
    frames = [[(0.9, moved(0))], [(0.1, moved(2))], [(0.8, moved(4))]]
    assert link(*frames) == [[2.6], [1.8], [2.5]]  # the better half is .9 and .8


def test_a_frame_alone_is_a_path_too():
    assert link([(0.5, BOX)]) == [[1.5]]


def test_paths_do_not_end_where_boxes_lie_apart():
    """Nothing overlaps, and still all frames are one path."""
    assert link([(0.5, BOX)], [(0.5, moved(500))], [(0.5, BOX)]) == [[1.5]] * 3


def test_boxes_that_overlap_are_preferred_to_slightly_better_ones():
    """.4 and .4 are worth 1 more than .4 and .9."""
    frames = [[(0.4, BOX)], [(0.9, moved(200)), (0.4, moved(4))], [(0.4, moved(8))]]
    assert link(*frames) == [[1.2], [0.9, 1.2], [1.2]]
    # A box that is too weak to be a track does not link.
    assert link(*frames, track_score=0.95) == [[1.7], [2.2, 0.4], [1.7]]


def test_nothing_is_suppressed_by_a_path_and_what_is_left_keeps_its_score():
    frames = [[(0.9, BOX), (0.2, moved(30))], [(0.9, BOX)]]  # IoU 1 / 7
    assert link(*frames) == [[2.7, 0.2], [2.7]]


def test_corners_are_voted_by_score():
    found = link_paths([0, 0], [0, 0], [BOX, moved(4)], [0.6, 0.2], [1, 1])
    np.testing.assert_allclose(found.boxes, [moved(1)])  # (.6 * 0 + .2 * 4) / .8
    assert found.rows.tolist() == [0] and found.counts["dropped_detections"] == 1


def test_small_boxes_and_boxes_without_area_are_dropped():
    flat = np.array([20.0, 20.0, 20.0, 60.0])
    tiny = np.array([20.0, 20.0, 24.9, 60.0])
    assert link([(0.9, tiny), (0.8, flat), (0.1, BOX)]) == [[None, None, 0.3]]
    assert link([(0.8, flat)], min_side=0.0) == [[2.4]]


def test_nothing_in_nothing_out():
    found = link_paths([], [], np.zeros((0, 4)), [], [])
    assert found.counts == {"paths": 0, "linked_detections": 0, "dropped_detections": 0}
    assert link_images([], {})[0] == {}


def test_images_of_an_evaluation_are_linked_in_pixels():
    """Images are 100 wide and 80 high; boxes are normalised."""
    images = [image(0), image(1)]
    sides = np.array([80, 100, 80, 100.0])
    detections = Detections()
    for one, score in zip(images, (0.8, 0.2), strict=True):
        detections.add(one.key, np.stack([BOX, [0, 0, 4, 50]]) / sides, [score, 0.9], [1, 1])
    config = configs.PostProcessing(type="viterbi")
    left, counts = build_post_processing(config)(images, detections)
    assert counts == {"paths": 1, "linked_detections": 2, "dropped_detections": 2}
    for one, score in zip(images, (0.8, 0.2), strict=True):
        boxes, scores, classes = left[one.key]
        np.testing.assert_allclose(boxes * sides, [BOX])
        assert scores.tolist() == pytest.approx([score + 1.6]) and classes.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nms_iou": 1.5}, "viterbi.nms_iou must lie in 0..1, got 1.5"),
        ({"min_side": math.nan}, "viterbi.min_side must be at least 0"),
        ({"most": 0}, "viterbi.most must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ViterbiOptions(**options)
    config = configs.PostProcessing(type="viterbi")
    config.override({"viterbi": options})
    with pytest.raises(ValueError, match=f"task.evaluation.post_processing.{message}"):
        build_post_processing(config)
