"""Thresholds at equal recall, and the four lists, against a case worked by hand."""

import numpy as np
import pytest

from context_rcnn.report import galleries
from context_rcnn.report.compare import Case, compare, pair, threshold_at_recall
from context_rcnn.report.runs import read_run
from tests.report.conftest import BASELINE, IMAGES, MEMORY, A, B, C, D, write_run


def read(runs):
    memory, baseline = (read_run(path, "--evaluation") for path in runs)
    return baseline, memory, pair(baseline, memory)


def in_pixels(case):
    return [tuple(np.round(100 * e).astype(int).tolist()) for e in case.edges]


def test_the_threshold_is_the_highest_score_that_finds_enough():
    best = np.array([0.9, -1, 0.3, 0.8])
    assert threshold_at_recall(best, 0.5) == 0.8
    assert threshold_at_recall(best, 0.51) == 0.3
    assert threshold_at_recall(best, 0.75) == 0.3
    assert threshold_at_recall(best, 0.76) is None
    assert threshold_at_recall(np.zeros(0), 0.5) is None


def test_each_run_gets_its_own_threshold_and_the_four_lists_follow(runs):
    compared = compare(*read(runs), 0.5)
    assert compared.recall == 0.5 and compared.thresholds == (0.8, 0.6)
    assert (compared.objects, compared.empty_images) == (4, 2)
    assert (compared.both_found, compared.none_found) == (1, 1)

    (found,) = compared.found
    assert (found.image_id, found.names, found.scores) == ("c", ("dog",), (0.6,))
    assert in_pixels(found) == [(12, 60, 32, 80)]
    assert found.truth[1] == "dog" and found.other_score == 0.3
    (lost,) = compared.lost
    assert (lost.image_id, lost.scores, lost.other_score) == ("b", (0.8,), 0.2)

    # On e1 memory still reports the first box, of another class and moved a little.
    removed, touching = compared.removed
    assert (touching.image_id, touching.scores) == ("e2", (0.8,))
    assert (removed.image_id, removed.names, removed.scores) == ("e1", ("dog",), (0.85,))
    assert in_pixels(removed) == [(60, 10, 80, 30)]
    (new,) = compared.new
    assert (new.image_id, new.names, new.scores) == ("e2", ("cat",), (0.9,))
    assert compared.reported == (3, 2)


def test_recall_at_equal_reports_stops_before_the_box_that_is_one_too_many(runs):
    # With three boxes allowed the fourth, .12, may not be reported: .7, .6 and .2 are above it.
    assert compare(*read(runs), 0.5).recall_at_equal_reports == 0.75


def test_a_recall_out_of_reach_is_lowered_to_one_that_both_reach(runs):
    compared = compare(*read(runs), 0.9)
    assert compared.asked_recall == 0.9 and compared.recall == 0.75
    assert compared.thresholds == (0.3, 0.2)


def test_without_any_recall_in_common_there_is_no_comparison(tmp_path):
    silent = write_run(tmp_path / "silent", IMAGES, {})
    memory = write_run(tmp_path / "memory", IMAGES, MEMORY)
    assert compare(*read((memory, silent)), 0.5) is None


def test_different_image_sets_are_compared_on_what_is_common(tmp_path):
    fewer = {k: v for k, v in IMAGES.items() if k not in ("a", "e2")} | {"other": []}
    # Another order and other numbers for the same images.
    baseline = write_run(tmp_path / "b", dict(reversed(fewer.items())), {"b": BASELINE["b"]})
    memory = write_run(tmp_path / "m", IMAGES, MEMORY)
    single, with_memory, pairing = read((memory, baseline))
    assert pairing.only_baseline == ("other",) and pairing.only_memory == ("a", "e2")
    assert [with_memory.image_ids[i] for i in pairing.memory] == ["b", "c", "e1"]
    assert [single.image_ids[i] for i in pairing.baseline] == ["b", "c", "e1"]
    compared = compare(single, with_memory, pairing, 0.3)
    assert (compared.objects, compared.empty_images) == (3, 1)
    assert [case.image_id for case in compared.lost] == ["b"]


def test_other_labels_of_an_image_are_noticed(tmp_path):
    moved = IMAGES | {"a": [("cat", *B)], "b": [("dog", *B)]}
    baseline = write_run(tmp_path / "b", moved, BASELINE)
    memory = write_run(tmp_path / "m", IMAGES, MEMORY)
    assert read((memory, baseline))[2].truth_differs == ("a", "b")


@pytest.mark.parametrize("empty", ["baseline", "memory"])
def test_a_run_without_detections_on_empty_images_loses_nothing(tmp_path, empty):
    images = {"a": [("cat", *A)], "e": []}
    full, bare = {"a": [("cat", 0.5, *A)], "e": [("cat", 0.9, *C)]}, {"a": [("cat", 0.5, *A)]}
    baseline = write_run(tmp_path / "b", images, bare if empty == "baseline" else full)
    memory = write_run(tmp_path / "m", images, bare if empty == "memory" else full)
    compared = compare(*read((memory, baseline)), 1.0)
    assert (len(compared.removed), len(compared.new)) == ((0, 1) if empty == "baseline" else (1, 0))


def test_cases_of_one_class_and_place_are_shown_once():
    def case(name, box, score):
        edges = np.array([[box[0], box[1], box[0] + box[2], box[1] + box[3]]]) / 100
        return Case(f"{name}{score}", 0, edges, (name,), (score,))

    cases = [case("cat", A, 0.9), case("cat", D, 0.8), case("cat", (12, 10, 20, 20), 0.7)]
    cases += [case("dog", A, 0.6), case("cat", A, 0.5)]
    groups = galleries.group(cases)
    assert [(c.image_id, more) for c, more in groups] == [
        ("cat0.9", 2),
        ("cat0.8", 0),
        ("dog0.6", 0),
    ]
