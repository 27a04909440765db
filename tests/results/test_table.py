"""The CSV table, by hand and as spreadsheets see it."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.table import COLUMNS, as_text, from_text, read_table
from context_rcnn.results.write import Outputs, write_results


@pytest.fixture
def write(make_journal, tmp_path):
    def write_and_name(images):
        path = tmp_path / "results.csv"
        write_results(make_journal(images), Outputs(table=path), progress=False)
        return path

    return write_and_name


def test_a_row_a_detection_and_a_row_an_image_without(write, small_run):
    with write(small_run).open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["file"], row["result"], row["class"], row["kind"]) for row in rows] == [
        ("loc_33/broken.jpg", "failure", "", ""),
        ("loc_33/im-0001.jpg", "detection", "bobcat", "animal"),
        ("loc_33/im-0002.jpg", "empty", "", ""),
        ("road/im-0003.jpg", "detection", "person", "human"),
        ("road/im-0003.jpg", "detection", "truck", "vehicle"),
        ("road/im-0003.jpg", "detection", "coyote", "animal"),
    ]
    assert rows[0]["failure"] == "truncated: ends early"
    expected = {
        "image_id": "im-0001",
        "camera": "loc_33",
        "datetime": "2013-10-04 13:31:53",
        "burst": "seq-a",
        "image_width": "2048",
        "image_height": "1494",
        "score": "0.926",
        "suspect": "0",
        "x": "0.2925",
        "y": "0.2724",
        "width": "0.1084",
        "height": "0.1212",
        "failure": "",
    }
    assert {name: rows[1][name] for name in expected} == expected


def test_suspects_have_a_negative_score_and_a_mark(write):
    found = (Detection((0, 0, 1, 1), 1, -0.9),)
    (image,) = read_table(
        write([ImageResult("a.jpg", width=1, height=1, detections=found)]), {1: "bobcat"}
    )
    assert image.detections == found


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝", "＋", "－", "＠"]
)
def test_no_cell_starts_like_a_formula(write, start):
    name = f"{start}HYPERLINK(1).jpg"
    image = ImageResult(name, name, camera=f"{start}cam", burst=f"{start}b", width=1, height=1)
    path = write([image])
    with path.open(newline="", encoding="utf-8-sig") as file:
        row = list(csv.DictReader(file))[0]
    for cell in (row["file"], row["image_id"], row["camera"], row["burst"]):
        assert cell.startswith("'")
    (found,) = read_table(path, {})
    assert (found.file, found.image_id) == (name, name)
    assert (found.camera, found.burst) == (f"{start}cam", f"{start}b")


def test_separators_of_other_countries_do_not_split_a_cell(write):
    """Where the comma is the decimal sign, spreadsheets split at semicolons outside of quotes."""
    path = write([ImageResult("a;=cmd().jpg", width=1, height=1)])
    assert '"a;=cmd().jpg"' in path.read_text()


@given(st.text())
def test_protected_texts_can_be_undone(text):
    assert from_text(as_text(text)) == text
    assert as_text(text).lstrip(" ")[:1] not in tuple("=+-@\t\r\n")


def test_what_is_written_is_read_again(write, small_run, header):
    for found, image in zip(read_table(write(small_run), header.label_map), small_run, strict=True):
        for name in ("file", "image_id", "camera", "seconds", "width", "height", "burst"):
            assert getattr(found, name) == getattr(image, name), name
        assert (found.failure, found.failure_text) == (image.failure, image.failure_text)
        expected = sorted(image.detections, key=lambda detection: -detection.score)
        for mine, theirs in zip(found.detections, expected, strict=True):
            assert (mine.class_id, mine.score) == (theirs.class_id, theirs.score)
            assert mine.box == pytest.approx(theirs.box, abs=1.01e-4)


def test_other_tables_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("file,species\n")
    with pytest.raises(ValueError, match="other.csv: needs the columns"):
        list(read_table(tmp_path / "other.csv", {}))


def test_excel_is_told_that_it_is_utf_8(write, small_run):
    assert write(small_run).read_bytes().startswith(b"\xef\xbb\xbf")
