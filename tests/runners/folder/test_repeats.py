"""Boxes that come back: reported, made suspects, or judged by a person who deletes pictures."""

import csv
import json

import pytest
from PIL import Image

from context_rcnn.evaluation.repeat_detections import (
    RepeatDetectionOptions,
    find_repeat_detections,
)

PICTURES = "results.json.review"


@pytest.fixture
def rocks(tmp_path, fakes):
    """Two cameras, both with a rock in the same place of every image, and a third with few."""
    root = tmp_path / "photos"
    fakes.write_photos(root, ["a", "b"], count=25)
    fakes.write_photos(root, ["few"], count=5)
    return root


@pytest.fixture
def run(detect, rocks, tmp_path):
    def run(mode, **changes):
        options = {
            "memory": False,
            "repeats_table": str(tmp_path / "repeats.csv"),
            "review_dir": str(tmp_path / PICTURES),
        }
        _, summary, said = detect(rocks, rde=mode, **options | changes)
        return summary, said

    return run


def confidences(tmp_path):
    """By camera and class, all confidences."""
    document = json.loads((tmp_path / "results.json").read_text())
    found = {}
    for image in document["images"]:
        for one in image["detections"]:
            key = (image["file"].split("/")[0], one["classifications"][0][0])
            found.setdefault(key, []).append(one["conf"])
    return found


def suspects(tmp_path):
    return {key for key, values in confidences(tmp_path).items() if min(values) < 0}


def table(tmp_path):
    with (tmp_path / "repeats.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_report_names_the_places_and_leaves_the_results_alone(run, tmp_path):
    run("off")
    before = (tmp_path / "results.json").read_bytes()
    _, said = run("report")
    assert (tmp_path / "results.json").read_bytes() == before
    places = {(row["camera"], row["class"]): row for row in table(tmp_path)}
    # Without a memory both halves of the fake come back in the same place.
    assert set(places) == {(c, n) for c in "ab" for n in ("bobcat", "rock")}
    rock = places["a", "rock"]
    assert [float(rock[c]) for c in ("x", "y", "width", "height")] == [0.6, 0.6, 0.3, 0.3]
    assert (rock["first"], rock["last"]) == ("2013-10-04 13:31:53", "2013-10-05 01:31:53")
    assert "4 places" in said


def test_auto_negates_what_the_baseline_suspects_and_nothing_else(run, tmp_path):
    """Against `find_repeat_detections` over all detections at once."""
    run("off")
    document = json.loads((tmp_path / "results.state/journal.jsonl").read_text().splitlines()[0])
    assert document["format"] == "context-rcnn-results"
    rows = [
        (image["camera"], image["file"], found)
        for line in (tmp_path / "results.state/journal.jsonl").read_text().splitlines()[1:]
        for image in [json.loads(line)]
        for found in image["detections"]
    ]
    options = RepeatDetectionOptions(min_occurrences=22, min_score=0.2)
    expected = find_repeat_detections(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2]["box"] for row in rows],
        [row[2]["score"] for row in rows],
        [row[2]["class"] for row in rows],
        options,
    ).suspect
    assert 0 < expected.sum() < len(expected)
    summary, _ = run("auto", repeats=options)
    found = [
        one["score"] < 0
        for line in (tmp_path / "results.state/journal.jsonl").read_text().splitlines()[1:]
        for one in json.loads(line)["detections"]
    ]
    assert found == expected.tolist() and summary.suspect == expected.sum()
    run("off")
    assert not suspects(tmp_path)


def test_a_review_negates_only_what_a_person_left_there(run, tmp_path):
    summary, said = run("review")
    assert summary.suspect == 0 and not suspects(tmp_path)
    assert "DELETE each picture whose box holds a REAL animal" in said
    assert "4 are new, and still to be reviewed" in said
    pictures = sorted((tmp_path / PICTURES).glob("*.jpg"))
    assert len(pictures) == 4
    with (tmp_path / PICTURES / "places.csv").open(encoding="utf-8-sig") as file:
        shown = {row["picture"]: (row["camera"], row["class"]) for row in csv.DictReader(file)}
    assert set(shown) == {path.name for path in pictures}
    real = next(p for p in pictures if shown[p.name] == ("a", "bobcat"))
    real.unlink()
    summary, said = run("review")
    assert suspects(tmp_path) == {("a", "2"), ("b", "1"), ("b", "2")}
    assert "3 are background" in said and "1 are real" in said and "0 are new" in said
    assert summary.suspect == sum(
        int(row["images"]) for row in table(tmp_path) if row["suspect"] == "yes"
    )
    assert len(list((tmp_path / PICTURES).glob("*.jpg"))) == 3, "it is not shown again"


def test_a_new_place_is_shown_and_waits(run, rocks, tmp_path, fakes):
    run("review")
    fakes.write_photos(rocks, ["few"], count=20, first=5)
    _, said = run("review")
    assert "4 are background" in said and "2 are new" in said
    assert {camera for camera, _ in suspects(tmp_path)} == {"a", "b"}
    assert len(list((tmp_path / PICTURES).glob("*.jpg"))) == 6
    run("review")
    assert {camera for camera, _ in suspects(tmp_path)} == {"a", "b", "few"}


def test_a_review_that_was_killed_before_its_end_shows_the_pictures_again(
    run, tmp_path, monkeypatch
):
    from context_rcnn.runners.folder import review

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(review, "Transaction", killed)
        with pytest.raises(KeyboardInterrupt):
            run("review")
    assert list((tmp_path / PICTURES).glob("*.jpg"))
    _, said = run("review")
    assert "4 are new" in said and not suspects(tmp_path)
    assert len(list((tmp_path / PICTURES).glob("*.jpg"))) == 4


def test_a_picture_shows_the_box_and_what_to_do(run, tmp_path, rocks, fakes):
    for path in rocks.glob("a/*"):
        seconds = fakes.START + int(path.stem[-5:]) * 1800
        path.write_bytes(fakes.photograph((90, 160, 60), seconds, size=(800, 600)))
    run("review")
    path = sorted((tmp_path / PICTURES).glob("*a 25 images.jpg"))[0]
    with Image.open(path) as picture:
        assert picture.width == 800 and picture.height > 600
        box = picture.getpixel((320, 48 + 90))  # its right edge
        other = picture.getpixel((500, 400))
    assert max(abs(a - b) for a, b in zip(other, (90, 160, 60), strict=True)) < 12
    assert max(abs(a - b) for a, b in zip(box, (90, 160, 60), strict=True)) > 40
    note = next((tmp_path / PICTURES).glob("*.txt"))
    assert "DELETE a picture if its box holds a REAL animal" in note.read_text()


def test_hostile_camera_names_stay_in_the_folder(run, rocks, tmp_path, fakes):
    (rocks / "a").rename(rocks / "=cmd|' ..'")
    run("review")
    assert len(list((tmp_path / PICTURES).glob("*.jpg"))) == 4
    assert not any(row["camera"].startswith("=") for row in table(tmp_path))
    _, said = run("review")
    assert "4 are background" in said
