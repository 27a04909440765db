"""Events and MaxN, by hand."""

import csv

import pytest

from context_rcnn.results.camtrap_dp import read_camtrap_dp
from context_rcnn.results.options import CamtrapOptions, Options
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.write import Outputs, write_results
from tests.results.test_camtrap_dp import check

NOON = 1380893513  # 2013-10-04 13:31:53
BOX = (0.1, 0.1, 0.5, 0.5)


def image(name, minutes, *found, camera="north"):
    detections = tuple(Detection(BOX, class_id, score) for class_id, score in found)
    seconds = None if minutes is None else NOON + round(60 * minutes)
    return ImageResult(name, name, camera, seconds, 8, 8, "", detections)


# Two bobcats at once within half an hour, then a pause, then another class; names are not in time.
IMAGES = [
    image("d.jpg", 0, (1, 0.9)),
    image("a.jpg", 29, (1, 0.8), (1, 0.7), (2, 0.5)),
    image("c.jpg", 59, (1, 0.6), (1, 0.1), (1, -0.9)),
    image("b.jpg", 89.1, (1, 0.5)),
    image("e.jpg", 40, (3, 0.9), camera="south"),
    image("f.jpg", 1, (1, 0.3), camera="south"),
    image("g.jpg", None, (1, 0.9)),
    image("h.jpg", 5, (1, 0.9), camera=""),
    image("i.jpg", 30),
]


@pytest.fixture
def events(make_journal, tmp_path):
    def write(**options):
        path = tmp_path / "events.csv"
        outputs = Outputs(events=path)
        write_results(make_journal(IMAGES), outputs, Options(**options), progress=False)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            keys = ("camera", "class", "start", "end", "images", "max_count", "best_file")
            return [tuple(row[key] for key in keys) for row in rows]

    return write


def at(clock):
    return f"2013-10-04 {clock}"


def test_an_event_ends_with_a_pause_and_counts_the_most_at_once(events):
    assert events() == [
        ("north", "bobcat", at("13:31:53"), at("14:30:53"), "3", "2", "d.jpg"),
        ("north", "bobcat", at("15:00:59"), at("15:00:59"), "1", "1", "b.jpg"),
        ("north", "coyote", at("14:00:53"), at("14:00:53"), "1", "1", "a.jpg"),
        ("south", "bobcat", at("13:32:53"), at("13:32:53"), "1", "1", "f.jpg"),
        ("south", "person", at("14:11:53"), at("14:11:53"), "1", "1", "e.jpg"),
    ]


def test_pause_and_threshold_can_be_chosen(events):
    bobcats = [row for row in events(event_minutes=31) if row[:2] == ("north", "bobcat")]
    assert [row[4] for row in bobcats] == ["4"]
    bobcats = [row for row in events(typical_threshold=0.75) if row[:2] == ("north", "bobcat")]
    assert [(row[4], row[5]) for row in bobcats] == [("2", "1")]
    with pytest.raises(ValueError, match="--event_minutes must be positive"):
        Options(event_minutes=0)


def test_a_camtrap_dp_has_them_as_observations_of_events(make_journal, tmp_path):
    table = tmp_path / "deployments.csv"
    table.write_text("deploymentID,latitude,longitude\nnorth,1,2\nsouth,3,4\n")
    folder = tmp_path / "package"
    camtrap = CamtrapOptions(table, "Z", events=True)
    options = Options(camtrap=camtrap, taxa={"bobcat": "Lynx rufus"})
    write_results(make_journal(IMAGES), Outputs(camtrap_dp=folder), options, progress=False)
    check(folder)
    with (folder / "observations.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["observationLevel"] == "event"]
    assert [(r["deploymentID"], r["count"], r["eventStart"][11:19]) for r in rows] == [
        ("north", "2", "13:31:53"),
        ("north", "1", "15:00:59"),
        ("north", "1", "14:00:53"),
        ("south", "1", "13:32:53"),
        ("south", "1", "14:11:53"),
    ]
    assert rows[0]["scientificName"] == "Lynx rufus" and not rows[0]["mediaID"]
    assert not rows[0]["bboxX"] and rows[0]["classificationProbability"] == "0.9"
    names = {1: "bobcat", 2: "coyote", 3: "person", 4: "truck"}
    assert len(list(read_camtrap_dp(folder, names))) == 7, "images are read as before"
