"""Repeat detections against loops over all pairs, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_rcnn import configs
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.post_processing import build_post_processing
from context_rcnn.evaluation.repeat_detections import (
    RepeatDetectionOptions,
    find_repeat_detections,
    remove_repeat_detections,
)


def np_iou(a, b):
    sides = [max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1)]
    both = sides[0] * sides[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(areas) - both)


def by_all_pairs(cameras, images, boxes, scores, classes, options):
    """The rules, written out: every detection is held against every location."""
    locations = []
    for i, box in enumerate(boxes):
        sides = box[2:] - box[:2]
        if scores[i] < options.min_score or sides.min() <= 0:
            continue
        if not options.min_area <= sides.prod() <= options.max_area:
            continue
        if classes[i] in options.excluded_classes:
            continue
        joined = False
        for camera, label, first, members in locations:
            alike = options.any_class or label == classes[i]
            if camera == cameras[i] and alike and np_iou(box, first) >= options.iou:
                members.append(i)
                joined = True
        if not joined:
            locations.append((cameras[i], classes[i], box, [i]))
    group, count, number = np.full(len(boxes), -1), np.zeros(len(boxes), int), 0
    for *_, members in locations:
        seen = len({images[i] for i in members})
        if seen >= options.min_occurrences:
            for i in members:
                if seen > count[i]:
                    group[i], count[i] = number, seen
            number += 1
    return group, count


def scene(seed, n, jitter, places=12, cameras=3):
    """Jittered boxes at a few places, some of them tiny, some at the border."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 0.7, (places, 2))
    side = np.exp(rng.uniform(np.log(0.002), np.log(0.5), (places, 2)))
    base = np.concatenate([start, start + side], axis=1)[rng.integers(0, places, n)]
    sides = np.tile(base[:, 2:] - base[:, :2], 2)
    boxes = np.clip(base + rng.normal(0, jitter, (n, 4)) * sides, 0, 1)
    images = rng.integers(0, max(2, n // 2), n)
    return {
        "cameras": [f"cam{i % cameras}" for i in images],
        "images": images.tolist(),
        "boxes": boxes,
        "scores": rng.uniform(0, 1, n),
        "classes": rng.integers(1, 4, n),
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 120),
    jitter=st.sampled_from([0.0, 0.01, 0.03, 0.1, 0.3]),
    iou=st.sampled_from([0.5, 0.6, 0.75, 0.9, 0.95, 1.0]),
    min_occurrences=st.integers(2, 5),
    max_area=st.sampled_from([0.02, 0.2, 1.0]),
    any_class=st.booleans(),
    excluded_classes=st.sampled_from([(), (2,), (1, 3)]),
)
@settings(max_examples=150)
def test_the_grid_finds_what_a_loop_over_all_pairs_finds(seed, n, jitter, **options):
    options = RepeatDetectionOptions(**options)
    given_scene = scene(seed, n, jitter)
    repeats = find_repeat_detections(**given_scene, options=options)
    group, count = by_all_pairs(**given_scene, options=options)
    np.testing.assert_array_equal(repeats.group, group)
    np.testing.assert_array_equal(repeats.images, count)
    np.testing.assert_array_equal(repeats.suspect, group >= 0)
    assert repeats.groups == group.max(initial=-1) + 1


def test_large_random_sets_as_well():
    options = RepeatDetectionOptions(iou=0.85, min_occurrences=4)
    given_scene = scene(5, 1500, 0.04, places=60, cameras=2)
    repeats = find_repeat_detections(**given_scene, options=options)
    group, count = by_all_pairs(**given_scene, options=options)
    np.testing.assert_array_equal(repeats.group, group)
    np.testing.assert_array_equal(repeats.images, count)
    assert 100 < repeats.suspect.sum() < 1400


def test_work_grows_with_the_number_of_detections_not_with_its_square(monkeypatch):
    """Boxes are compared with few others, be they all in one place or everywhere."""
    from context_rcnn.evaluation import repeat_detections

    compared, iou = [0], repeat_detections.overlap

    def counting(box, others):
        compared[0] += len(others)
        return iou(box, others)

    monkeypatch.setattr(repeat_detections, "overlap", counting)
    n = 20_000
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 0.8, (n, 2))
    everywhere = np.concatenate([start, start + rng.uniform(0.02, 0.2, (n, 2))], axis=1)
    one_place = np.array([0.2, 0.2, 0.4, 0.5]) + rng.normal(0, 0.002, (n, 4))
    for boxes, suspects in ((everywhere, 0), (one_place, n)):
        compared[0] = 0
        repeats = find_repeat_detections(["c"] * n, range(n), boxes, np.ones(n), np.ones(n))
        assert repeats.suspect.sum() == suspects
        assert compared[0] < 60 * n


STUMP = np.array([0.5, 0.5, 0.6, 0.7])


def evaluation(stumps=5):
    """Images of a camera, one of them with a deer, and a stump that is taken for one in most."""
    nothing = np.zeros((0, 4)), np.zeros(0, np.int64)
    images, detections = [], Detections()
    for i in range(6):
        images.append(Image(f"im{i}", i, "a" if i else "b", 100, 80, *nothing))
        boxes = [[0.1 * i, 0.1, 0.1 * i + 0.2, 0.3]] + ([STUMP + 0.0002 * i] if i < stumps else [])
        detections.add(i, np.array(boxes), np.array([0.9, 0.8][: len(boxes)]), np.ones(len(boxes)))
    detections.pop(5)
    return images, detections


def test_an_evaluation_loses_the_boxes_that_come_back_on_their_camera():
    images, detections = evaluation()
    options = RepeatDetectionOptions(min_occurrences=4)
    left, repeats = remove_repeat_detections(images, detections, options)
    assert repeats.groups == 1 and repeats.suspect.sum() == 4
    assert repeats.images[repeats.suspect].tolist() == [4] * 4
    np.testing.assert_array_equal(left[0][0], detections[0][0])  # another camera
    for i in range(1, 5):
        assert len(left[i][1]) == 1
        for column, before in zip(left[i], detections[i], strict=True):
            np.testing.assert_array_equal(column, before[:1])
    assert set(left) == set(detections)
    left, repeats = remove_repeat_detections(images, detections, RepeatDetectionOptions())
    assert not repeats.suspect.any() and repeats.groups == 0
    assert remove_repeat_detections(images, Detections())[0] == {}


def test_two_boxes_on_one_image_are_one_occurrence():
    boxes = np.tile(STUMP, (6, 1))
    images = [0, 0, 1, 1, 2, 2]
    arguments = ["c"] * 6, images, boxes, np.ones(6), np.ones(6)
    assert find_repeat_detections(*arguments, RepeatDetectionOptions(min_occurrences=3)).suspect[0]
    options = RepeatDetectionOptions(min_occurrences=4)
    assert not find_repeat_detections(*arguments, options).suspect.any()


def test_the_defaults_are_what_ecologists_use():
    options = RepeatDetectionOptions()
    assert (options.iou, options.min_occurrences, options.min_score, options.max_area) == (
        0.9,
        20,
        0.1,
        0.2,
    )
    settings = configs.RepeatDetections().as_dict()
    settings["excluded_classes"] = tuple(settings["excluded_classes"])
    assert RepeatDetectionOptions(**settings) == options


def test_settings_choose_it():
    images, detections = evaluation()
    config = configs.PostProcessing(type="repeat_detections")
    config.repeat_detections.min_occurrences = 4
    left, counts = build_post_processing(config)(images, detections)
    assert counts == {"suspicious_places": 1, "removed_detections": 4}
    assert sum(len(row[1]) for row in left.values()) == 6
    config.repeat_detections.excluded_classes = [1]
    left, counts = build_post_processing(config)(images, detections)
    assert counts == {"suspicious_places": 0, "removed_detections": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou": 0.4}, "repeat_detections.iou must lie in 0.5..1, got 0.4"),
        ({"min_occurrences": 1}, "min_occurrences must be at least 2"),
        ({"min_area": 0.5}, "min_area must not be negative nor above max_area"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        RepeatDetectionOptions(**options)
