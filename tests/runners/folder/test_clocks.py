"""A camera whose clock was wrong, corrected after its images were detected."""

import csv
import json
import shutil

import pytest

from context_rcnn.results.journal import Journal
from context_rcnn.runners.folder.table import ImageTable

YEAR = 365 * 86400


def times(path):
    return {image.file: image.seconds for image in Journal(path / "journal.jsonl").results()}


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_only_a_corrected_camera_is_detected_again_and_nothing_is_extracted_again(
    photos, detect, fakes, tmp_path
):
    detect(photos)
    before = times(tmp_path / "results.state")
    model, _, said = detect(photos, clock_shifts=("north=+365d",))
    assert len(set(model.extracted)) == 1, "the check of the model"
    assert len(set(model.detected)) == 1 + 10
    assert "clock of north corrected: +365d" in said and "2014-10-04 13:31:53" in said
    after = times(tmp_path / "results.state")
    assert after == {
        file: at + YEAR if file.startswith("north/") else at for file, at in before.items()
    }
    detect(photos, name="fresh", clock_shifts=("north=+365d",))
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "fresh.json").read_bytes()
    assert content(tmp_path / "results.state/bank") == content(tmp_path / "fresh.state/bank")
    again, *_ = detect(photos, clock_shifts=("north=+365d",))
    assert len(again.extracted) == len(again.detected) == 1


def test_a_shift_within_the_camera_changes_which_images_see_each_other(
    photos, detect, fakes, tmp_path
):
    """The last five images of north move ten days away, out of the memory of the others."""
    (tmp_path / "clocks.csv").write_text(f"camera,shift,from\nnorth,+10d,{'2013-10-04 16:01:53'}\n")
    model = fakes.FakeModel(horizon="day")
    detect(photos, model)
    alone = json.loads((tmp_path / "results.json").read_text())["images"]
    table = {"clock_csv": str(tmp_path / "clocks.csv")}
    detect(photos, fakes.FakeModel(horizon="day"), **table)
    moved = json.loads((tmp_path / "results.json").read_text())["images"]
    changed = {a["file"] for a, b in zip(alone, moved, strict=True) if a != b}
    assert changed == {f"north/IMG_{i:05d}.JPG" for i in range(10)}
    detect(photos, fakes.FakeModel(horizon="day"), name="fresh", **table)
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "fresh.json").read_bytes()


def test_a_clock_that_began_in_1970_gets_its_dates(photos, detect, fakes, tmp_path):
    for i in range(3):
        date = f"1970-01-01 00:0{i}:00"
        (photos / f"north/IMG_0000{i}.JPG").write_bytes(fakes.photograph((i, 9, 9), date))
    _, _, said = detect(photos)
    assert "3 from a camera whose clock was not set" in said and "--clock_shift" in said
    rows = "camera,shown,actual,to\nnorth,1970-01-01,2013-10-04 12:00:00,1970-12-31\n"
    (tmp_path / "clocks.csv").write_text(rows)
    outputs = {"table": tmp_path / "r.csv", "coco": tmp_path / "c.json"}
    _, _, said = detect(photos, clock_csv=str(tmp_path / "clocks.csv"), outputs=outputs)
    assert "no usable date" not in said
    with (tmp_path / "r.csv").open(encoding="utf-8-sig") as file:
        dates = {row["file"]: row["datetime"] for row in csv.DictReader(file)}
    assert dates["north/IMG_00002.JPG"] == "2013-10-04 12:02:00"
    assert dates["north/IMG_00003.JPG"] == "2013-10-04 15:01:53", "outside of the row"
    index = json.loads((tmp_path / "c.images.json").read_text())["images"]
    assert {image["file_name"]: image["datetime"] for image in index} == dates
    _, _, said = detect(photos)
    assert "3 from a camera whose clock was not set" in said, "no correction lasts by itself"


def test_without_a_memory_nothing_is_detected_again(photos, detect, tmp_path):
    detect(photos, memory=False)
    model, *_ = detect(photos, memory=False, clock_shifts=("north=-1h",))
    assert len(model.detected) == 1
    assert times(tmp_path / "results.state")["north/IMG_00000.JPG"] == 1380893513 - 3600


def test_a_mistyped_camera_is_refused_and_costs_nothing(photos, detect):
    detect(photos, clock_shifts=("north=+1h",))
    with pytest.raises(ValueError, match="'nort' is to be corrected.*there are 'north', 'south'"):
        detect(photos, clock_shifts=("nort=+1h",))
    model, *_ = detect(photos, clock_shifts=("north=+1h",))
    assert len(model.extracted) == len(model.detected) == 1


def test_a_state_from_before_there_were_corrections_continues(photos, detect, fakes, tmp_path):
    import sqlite3

    detect(photos)
    table = tmp_path / "results.state/images.sqlite"
    with sqlite3.connect(table) as base:
        base.execute("ALTER TABLE images DROP COLUMN clock")
    base.close()
    shutil.copytree(tmp_path / "results.state", tmp_path / "copy.state")
    model, *_ = detect(photos)
    assert len(model.extracted) == len(model.detected) == 1
    model, *_ = detect(photos, name="copy", clock_shifts=("south=+1d",))
    assert len(set(model.detected)) == 1 + 10
    header = Journal(tmp_path / "copy.state/journal.jsonl").header
    with ImageTable(tmp_path / "copy.state/images.sqlite", header) as images:
        assert images.count("clock = '+1d'") == 10
