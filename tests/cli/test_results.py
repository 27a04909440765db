"""`context-rcnn results`, and the flags that verbs which write results share."""

import json

import pytest

from context_rcnn import cli
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A state with one image, in a folder that is not the one commands run in."""
    path = tmp_path / "found/journal.jsonl"
    header = Header("m", "1", "", {1: "fox"}, "2026-05-26T19:11:27Z")
    with JournalWriter(path, header) as writer:
        found = (Detection((0.1, 0.1, 0.5, 0.5), 1, 0.75),)
        writer.append(ImageResult("a.jpg", width=64, height=48, detections=found))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


def categories(path):
    return json.loads(path.read_text())["detection_categories"]


def test_an_unknown_time_zone_is_always_refused(capsys, tmp_path):
    from context_rcnn import cli

    flags = [str(tmp_path), "--timezone=Mars", f"--csv={tmp_path}/t.csv"]
    assert cli.main(["results", *flags]) == 2
    assert "timezone 'Mars' is not known" in capsys.readouterr().err


def test_without_an_output_it_writes_results_json_where_the_command_is_given(
    journal, tmp_path, capsys
):
    assert cli.main(["results", str(journal.parent)]) == 0
    written = tmp_path / "here/results.json"
    assert json.loads(written.read_text())["images"][0]["file"] == "a.jpg"
    assert "results.json" in capsys.readouterr().out
    written.write_text("of another program")
    assert cli.main(["results", str(journal)]) == 2
    assert "results.json is there already: give -o results.json" in capsys.readouterr().err
    assert written.read_text() == "of another program"
    assert cli.main(["results", str(journal), "-o", "results.json"]) == 0
    assert json.loads(written.read_text())["images"]


def test_what_is_asked_for_is_all_that_is_written(journal, tmp_path):
    assert cli.main(["results", str(journal), "--csv", "t.csv"]) == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["t.csv"]


def test_classes_become_categories_by_either_spelling(journal, tmp_path):
    for i, flag in enumerate(("--native_categories", "--native-categories")):
        assert cli.main(["results", str(journal), flag, "-o", f"{i}.json"]) == 0
        assert categories(tmp_path / f"here/{i}.json") == {"1": "fox"}
    assert cli.main(["results", str(journal), "-o", "plain.json"]) == 0
    assert set(categories(tmp_path / "here/plain.json").values()) == {
        "animal",
        "person",
        "vehicle",
    }


@pytest.mark.parametrize("argv", [["detect", "x"], ["videos", "x"], ["results", "x"]])
def test_every_verb_that_writes_megadetectors_format_has_its_flags(argv):
    parser = cli.build_parser()
    for flag in ("--native_categories", "--native-categories"):
        args, unknown = parser.parse_known_args([*argv, flag, "-o", "r.json", "--threshold=.1"])
        assert not unknown
        assert (args.native_categories, args.output, args.threshold) == (True, "r.json", 0.1)
    assert not parser.parse_args(argv).native_categories
