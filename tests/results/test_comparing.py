"""What differs between two results, by hand."""

import csv
import json

import pytest

from context_rcnn import cli
from context_rcnn.results import comparing
from context_rcnn.results.comparing import Best, compare, equivalent_threshold


def results(*rows):
    return {f"{i}.jpg": Best("cam", name, score) for i, (name, score) in enumerate(rows)}


def test_changes_are_counted_at_equivalent_thresholds():
    first = results(("fox", 0.9), ("fox", 0.8), ("fox", 0.3), ("deer", 0.1), ("", 0.0))
    second = results(("fox", 0.09), ("deer", 0.08), ("fox", 0.01), ("deer", 0.05), ("", 0.0))
    found = compare(first, second, 0.2)
    assert found.thresholds == (0.2, 0.05), "three images have a detection in each"
    assert found.changes == {
        comparing.SAME: 1,
        comparing.CLASS: 1,
        comparing.ONLY_FIRST: 1,
        comparing.ONLY_SECOND: 1,
        comparing.EMPTY: 1,
    }
    assert found.classes == {("fox", "deer"): 1} and found.cameras["cam"] == found.changes
    assert [row[0] for row in found.rows] == ["1.jpg", "2.jpg", "3.jpg"]
    assert compare(first, second, 0.2, 0.2).changes[comparing.ONLY_FIRST] == 3


@pytest.mark.parametrize(
    ("scores", "count", "expected"),
    [([0.5, 0.9, 0.7], 2, 0.7), ([0.5], 3, 0.5), ([], 2, 1.0), ([0.5, 0.0], 0, 0.500001)],
)
def test_the_equivalent_threshold_leaves_as_many(scores, count, expected):
    assert equivalent_threshold(scores, count) == pytest.approx(expected, abs=1e-9)


def test_images_that_only_one_has_are_counted_and_none_in_common_is_an_error():
    first, second = results(("fox", 0.9), ("fox", 0.9)), results(("fox", 0.9))
    assert compare(first, second, 0.2).missing == 1
    with pytest.raises(ValueError, match="no image in common"):
        compare(first, {"other.jpg": Best("", "", 0.0)}, 0.2)


def test_the_command_compares_files_of_any_program(tmp_path, capsys):
    for name, confs in (("a", (0.9, 0.3, -0.9)), ("b", (0.8, 0.05, 0.7))):
        images = [
            {
                "file": f"north/{i}.jpg",
                "detections": [{"category": "1", "conf": conf, "bbox": [0.1, 0.1, 0.2, 0.2]}],
            }
            for i, conf in enumerate(confs)
        ]
        document = {"detection_categories": {"1": "animal"}, "images": images}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    table = tmp_path / "differences.csv"
    assert cli.main(["compare", f"{tmp_path}/a.json", f"{tmp_path}/b.json", f"--csv={table}"]) == 0
    out = capsys.readouterr().out
    assert "3 images are in both; 0 in one alone" in out and "thresholds: 0.2 and 0.7" in out
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [(row["file"], row["change"]) for row in csv.DictReader(file)]
    assert rows == [("north/1.jpg", "only_first"), ("north/2.jpg", "only_second")]
