"""`context-rcnn results`, and the flags that verbs which write results share."""

import csv
import json
import os

import pytest
from PIL import Image

from context_rcnn import cli
from context_rcnn.data.walk import PassedOver, walk_images
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


@pytest.fixture
def megadetector(tmp_path):
    """A file of MegaDetector with a classifier, in the folder of its photographs."""
    root = tmp_path / "photos"
    stump = {"category": "1", "conf": 0.8, "bbox": [0.1, 0.2, 0.2, 0.3]}
    fox = {"category": "1", "conf": 0.9, "bbox": [0.5, 0.5, 0.25, 0.25]}
    fox |= {"classifications": [["7", 0.75], ["8", 0.25]]}
    blank = {"category": "2", "conf": 0.4, "bbox": [0.0, 0.0, 0.5, 0.5]}
    blank |= {"classifications": [["8", 0.9]]}
    images = []
    for i in range(6):
        file = f"north/10{i % 2}RECNX/IMG_{i}.JPG"
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 06:00:{i * 9:02}"
        Image.new("RGB", (60, 40)).save(path, exif=exif)
        images.append({"file": file.replace("/", "\\"), "detections": [stump] + [fox] * (i == 3)})
    images.append({"file": "south/gone.jpg", "detections": [blank]})
    images.append({"file": "south/bad.jpg", "detections": None, "failure": "image access failure"})
    images.append({"file": "../outside.jpg", "detections": []})
    document = {
        "info": {"detector": "MDV5A", "detection_completion_time": "2026-05-26 19:11:27"},
        "detection_categories": {"1": "animal", "2": "person"},
        "classification_categories": {"7": "fox", "8": "blank"},
        "images": images,
    }
    (root / "md.json").write_text(json.dumps(document))
    return root / "md.json"


def rows_of(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_results_of_megadetector_become_every_format(megadetector, tmp_path, capsys):
    flags = [f"--csv={tmp_path}/t.csv", f"-o{tmp_path}/new.json", f"--report={tmp_path}/page"]
    flags += [f"--failures={tmp_path}/failures.jsonl"]
    assert cli.main(["results", str(megadetector), *flags]) == 0
    out = capsys.readouterr().out
    assert "of 8 images 2 have no known date and 1 no known size" in out
    assert "imported: outside_root (1)" in out
    named = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert [(f["file"], f["reason"]) for f in named] == [("../outside.jpg", "outside_root")]
    rows = rows_of(tmp_path / "t.csv")
    first = next(row for row in rows if row["file"] == "north/100RECNX/IMG_0.JPG")
    assert (first["camera"], first["datetime"]) == ("north", "2024-05-01 06:00:00")
    assert (first["image_width"], first["image_height"]) == ("40", "60"), "upright"
    assert len({row["burst"] for row in rows if row["camera"] == "north"}) == 1
    assert {row["class"] for row in rows} == {"animal", "fox", "person", ""}
    gone = next(row for row in rows if row["file"] == "south/gone.jpg")
    assert (gone["class"], gone["image_width"]) == ("person", ""), "a box that is called blank"
    assert [row["failure"] for row in rows if row["file"] == "south/bad.jpg"]
    document = json.loads((tmp_path / "new.json").read_text())
    assert document["info"]["detector"] == "MDV5A unknown version" and len(document["images"]) == 8
    assert len(list((tmp_path / "page/images").glob("*-full.jpg"))) >= 6


def test_boxes_of_megadetector_that_come_back_turn_negative(megadetector, tmp_path):
    for rde, images in (("off", 5), ("auto", 5), ("auto", 7)):
        flags = [f"--rde={rde}", f"--rde_images={images}", f"--csv={tmp_path}/t.csv"]
        assert cli.main(["results", str(megadetector), *flags]) == 0
        suspects = [row for row in rows_of(tmp_path / "t.csv") if row["suspect"] == "1"]
        assert len(suspects) == (6 if (rde, images) == ("auto", 5) else 0)
        assert {row["class"] for row in suspects} <= {"animal"}


def test_sizes_that_coco_needs_are_asked_for(megadetector, tmp_path, capsys):
    assert cli.main(["results", str(megadetector), f"--coco={tmp_path}/c.json"]) == 2
    assert "south/gone.jpg: nothing says how large the image is" in capsys.readouterr().err
    journal = tmp_path / "other.jsonl"
    journal.write_text("{}")
    assert cli.main(["results", str(journal), f"--csv={tmp_path}/t.csv"]) == 2
    assert "images" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["link", "copy"])
def test_images_are_sorted_by_class_and_the_originals_stay(megadetector, tmp_path, capsys, how):
    root, target = megadetector.parent, tmp_path / "sorted"
    flags = [f"--sort_into={target}", f"--sort_as={how}", f"-o{tmp_path}/new.json"]
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for _ in range(2):
        assert cli.main(["results", str(megadetector), *flags]) == 0
        out = capsys.readouterr().out
        assert "  animal: 5" in out and "  fox: 1" in out
        assert "not sorted: south/gone.jpg: no such file" in out
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    fox = target / "fox/north/101RECNX/IMG_3.JPG"
    original = root / "north/101RECNX/IMG_3.JPG"
    assert fox.read_bytes() == original.read_bytes()
    assert os.path.samefile(fox, original) == (how == "link")
    assert len(list(target.rglob("*.JPG"))) == 6
    assert list(walk_images(target, PassedOver())) == [], "they are not detected in again"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    assert cli.main(["results", str(megadetector), f"--sort_into={tmp_path}/mine", flags[2]]) == 2
    assert "holds something else" in capsys.readouterr().err


def test_dates_of_imported_results_are_corrected_and_those_of_journals_are_not(
    megadetector, journal, tmp_path, capsys
):
    document = json.loads(megadetector.read_text())
    document["images"][1]["datetime"] = "1970:01:01 00:00:00"
    document["images"][2]["datetime"] = "2024:05:01 06:00:18"
    megadetector.write_text(json.dumps(document))
    flags = ["--clock_shift", "north=+1d2h", f"--csv={tmp_path}/t.csv"]
    assert cli.main(["results", str(megadetector), *flags]) == 0
    dates = {row["file"][-5:]: row["datetime"] for row in rows_of(tmp_path / "t.csv")}
    for i in range(6):
        assert dates[f"{i}.JPG"] == f"2024-05-02 08:00:{i * 9:02}", "a junk date gives way to EXIF"
    assert cli.main(["results", str(megadetector), "--clock_shift", "nort=+1d", flags[-1]]) == 2
    assert "there are 'north', 'south'" in capsys.readouterr().err
    assert cli.main(["results", str(journal), *flags]) == 2
    assert "run `context-rcnn detect` again" in capsys.readouterr().err
