"""Classes of bursts, by hand."""

import csv

import pytest

from context_rcnn.results.options import Options
from context_rcnn.results.records import Detection, Header, ImageResult
from context_rcnn.results.write import Outputs, write_results

NAMES = {1: "bobcat", 2: "coyote", 3: "animal", 4: "person"}
BOX = (0.1, 0.1, 0.5, 0.5)


@pytest.fixture
def classes(make_journal, tmp_path):
    """The classes that each image has after smoothing, given those before, one burst each."""

    def smooth(*before, scores=None, camera="north", **options):
        images = [
            ImageResult(
                f"{i}.jpg",
                camera=camera,
                burst="b",
                width=8,
                height=8,
                detections=(Detection(BOX, class_id, (scores or {}).get(i, 0.9)),),
            )
            for i, class_id in enumerate(before)
        ]
        header = Header("m", "1", "", NAMES, "2026-05-26T19:11:27Z")
        path = tmp_path / "t.csv"
        journal = make_journal(images, f"{len(list(tmp_path.iterdir()))}.jsonl", header)
        summary = write_results(
            journal, Outputs(table=path), Options(**{"smooth": True} | options), progress=False
        )
        with path.open(newline="", encoding="utf-8-sig") as file:
            after = [row["class"] for row in csv.DictReader(file)]
        ids = {name: i for i, name in NAMES.items()}
        changed = sum(ids[name] != old for name, old in zip(after, before, strict=True))
        assert summary.counts["smoothed"] == changed
        return [ids[name] for name in after]

    return smooth


def test_a_clear_majority_takes_in_a_single_other(classes):
    assert classes(1, 1, 1, 1, 2) == [1, 1, 1, 1, 1]
    assert classes(1, 1, 1, 2) == [1, 1, 1, 2], "three votes are too few"
    assert classes(1, 1, 1, 1, 2, 2) == [1, 1, 1, 1, 2, 2], "two of another class stay"
    assert classes(1, 1, 1, 1, 2, smooth=False) == [1, 1, 1, 1, 2]


def test_what_is_only_an_animal_takes_the_class_of_two(classes):
    assert classes(3, 1, 1, 3, 3) == [1, 1, 1, 1, 1]
    assert classes(3, 1, 3) == [3, 1, 3]
    assert classes(3, 3, 3, 3, 1) == [3, 3, 3, 3, 1], "a species never becomes an animal"


def test_people_take_no_part_and_weak_boxes_have_no_vote(classes):
    assert classes(4, 1, 1, 1, 1) == [4, 1, 1, 1, 1]
    assert classes(1, 4, 4, 4, 4) == [1, 4, 4, 4, 4]
    assert classes(1, 1, 1, 1, 2, scores={0: 0.1}) == [1, 1, 1, 1, 2]
    assert classes(1, 1, 1, 1, 2, 2, scores={4: 0.1}) == [1, 1, 1, 1, 1, 1]


def test_images_without_a_burst_stay_as_they_are(make_journal, tmp_path):
    image = ImageResult(
        "a.jpg", camera="north", width=8, height=8, detections=(Detection(BOX, 1, 0.9),)
    )
    journal, outputs = make_journal([image] * 5), Outputs(tmp_path / "x.json")
    summary = write_results(journal, outputs, Options(smooth=True), progress=False)
    assert not summary.counts["smoothed"]
