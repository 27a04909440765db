"""The page of results that nobody has labelled: its numbers, samples, and what it never does."""

import json
import random
import re

import pytest
from PIL import Image

from context_rcnn.report.found import gather, open_results
from context_rcnn.report.results_page import ResultsOptions, write_results_report
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult
from context_rcnn.results.write import Outputs, write_results
from tests.report.conftest import Page, check_script

HOSTILE = "<img src=x onerror=alert(1)>{{ 7*7 }}.jpg"
BOX = (0.1, 0.2, 0.5, 0.6)


def detection(score, class_id=1):
    return Detection(BOX, class_id, score)


def image(name, *scores, camera="cam", seconds=1380893513, **fields):
    found = tuple(detection(score) for score in scores)
    return ImageResult(name, name, camera, seconds, 40, 30, detections=found, **fields)


@pytest.fixture
def results(tmp_path):
    """Two animals, two almost ones, three empty images, a suspect one, and two failures."""
    images = [
        image("a/1.jpg", 0.9, 0.3, 0.01),
        image("a/2.jpg", 0.2, camera="other", seconds=None),
        image("a/3.jpg", 0.15),
        image("a/4.jpg", 0.19, -0.1),
        image("a/5.jpg"),
        image("a/6.jpg", 0.05),
        image(HOSTILE, seconds=1380893513 + 86400),
        image("a/8.jpg", -0.8, 0.02),
        ImageResult("a/bad.jpg", failure="truncated", failure_text="<b>ends</b> early"),
        ImageResult("a/gone.jpg", failure="missing_file", failure_text="no such file"),
    ]
    header = Header("model <1>", "0.1", "", {1: "bob<cat", 2: "deer"}, "2026-05-26T19:11:27Z")
    path = tmp_path / "state/journal.jsonl"
    with JournalWriter(path, header) as journal:
        for one in images:
            journal.append(one)
    return path


def page_of(tmp_path, results, **changes):
    options = {"results": str(results), "output_dir": str(tmp_path / "page"), **changes}
    index = write_results_report(ResultsOptions(**options))
    text = (tmp_path / "page/index.html").read_text()
    assert index == str(tmp_path / "page/index.html")
    return Page(text), text


def test_counts_are_those_of_the_images(results):
    found = gather(open_results(str(results)), 0.2, 10, 6, 0)
    total = found.total
    assert (total.images, total.found, total.almost, total.empty) == (10, 2, 2, 6)
    assert (total.failed, total.suspects) == (2, 1)
    assert total.classes == {"bob<cat": 3} and found.images_by_class == {"bob<cat": 2}
    assert found.cameras["cam"].images == 7 and found.cameras["other"].first is None
    names = {kind: [i.file for i in sample.images] for kind, sample in found.samples.items()}
    assert names == {
        "found": ["a/1.jpg", "a/2.jpg"],
        "almost": ["a/3.jpg", "a/4.jpg"],
        "empty": [HOSTILE, "a/5.jpg", "a/6.jpg"],
        "suspect": ["a/8.jpg"],
    }
    assert [i.file for i in found.failures] == ["a/bad.jpg", "a/gone.jpg"]


def test_a_sample_is_a_fair_one_and_the_same_for_a_seed(results):
    """Of 2,000 images 20 are kept, from the whole length."""
    from context_rcnn.report.found import Sample

    images = [image(f"{i:04d}.jpg") for i in range(2000)]
    drawn = []
    for seed in range(30):
        sample = Sample(20, str(seed))
        for one in images:
            sample.add(one)
        drawn += [int(i.file[:4]) for i in sample.images]
    assert len(drawn) == 600 and abs(sum(drawn) / 600 - 1000) < 100
    again = Sample(20, "29")
    for one in images:
        again.add(one)
    assert [int(i.file[:4]) for i in again.images] == drawn[-20:]


def test_the_page_says_it_and_runs_nothing(tmp_path, results):
    page, text = page_of(tmp_path, results.parent)
    for said in ("10 images", "model &lt;1&gt; 0.1", "bob&lt;cat", "a/bad.jpg", "missing_file: 1"):
        assert said in text, said
    assert "&lt;b&gt;ends&lt;/b&gt; early" in text and "Suspected background" in text
    check_script(page, text)
    assert not page.all("iframe", "object")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert not re.search(r"https?:|//[a-z]", text.replace("</", ""))
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", text), "templates in names are not run"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in (attrs["href"] for attrs in page.all("a")):
        assert link[1:] in ids
    assert "When and where" in text and "by hour: 0" in text


def test_pictures_are_those_of_the_folder(tmp_path, results):
    root = tmp_path / "photos/a"
    root.mkdir(parents=True)
    for name in ("1", "3", "5"):
        Image.new("RGB", (64, 48), "#336699").save(root / f"{name}.jpg")
    page, text = page_of(tmp_path, results, image_root=str(tmp_path / "photos"))
    assert len(page.all("img")) == 3
    assert all((tmp_path / "page" / attrs["src"]).is_file() for attrs in page.all("img"))
    assert "not at hand" in text
    full = [attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("images/")]
    assert len(full) == 3
    with Image.open(tmp_path / "page" / full[0]) as opened:
        assert opened.size == (64, 48)


def test_a_folder_without_the_images_is_said(tmp_path, results, capsys):
    (tmp_path / "wrong").mkdir()
    page_of(tmp_path, results, image_root=str(tmp_path / "wrong"))
    assert "WARNING: none of the images is in --image_root" in capsys.readouterr().out


def test_a_tall_picture_has_a_bounded_height(tmp_path, results):
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.new("RGB", (1, 2000)).save(tmp_path / "photos/a/1.jpg")
    page, text = page_of(tmp_path, results, image_root=str(tmp_path / "photos"))
    (picture,) = page.all("img")
    ratio = int(picture["width"]) / int(picture["height"])
    (width,) = (float(w) for w in re.findall(r'class="frame" style="width: ([\d.]+)rem', text))
    assert width / ratio == pytest.approx(22, rel=0.1)


def test_species_are_counted_by_hour_day_and_camera(results):
    found = gather(open_results(str(results)), 0.2, 10, 6, 0)
    assert found.by_hour == {("bob<cat", 13): 1}  # 2013-10-04 13:29:45; the other one is undated
    assert found.by_day == {("bob<cat", "2013-10-04"): 1}
    assert found.by_camera == {("bob<cat", "cam"): 1, ("bob<cat", "other"): 1}


def test_frames_of_videos_have_pictures(tmp_path):
    import cv2
    import numpy as np

    (tmp_path / "clips").mkdir()
    writer = cv2.VideoWriter(
        str(tmp_path / "clips/a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48)
    )
    for i in range(8):
        writer.write(np.full((48, 64, 3), 30 * i, np.uint8))
    writer.release()
    from context_rcnn.report.pixels import Album
    from context_rcnn.runners.engine.video_file import frame_at

    album = Album(frame_at)
    for name in ("a.avi/000000500.jpg", "a.avi/000009000.jpg"):
        album.want(name, 64)
    album.fill(str(tmp_path), image_root=str(tmp_path / "clips"))
    with Image.open(tmp_path / album.get("a.avi/000000500.jpg").file) as frame:
        assert abs(np.asarray(frame).mean() - 150) < 8
    assert "no frame after 9 seconds" in album.failures["a.avi/000009000.jpg"]


def test_megadetectors_own_file_will_do(tmp_path, results):
    write_results(results, Outputs(tmp_path / "md.json"), progress=False)
    _, text = page_of(tmp_path, tmp_path / "md.json")
    assert "10 images" in text and "bob&lt;cat" in text
    document = json.loads((tmp_path / "md.json").read_text())
    for entry in document["images"]:
        entry.pop("failure_detail", None)
        for found in entry["detections"] or ():
            found.pop("classifications", None)
    (tmp_path / "other.json").write_text(json.dumps(document))
    _, text = page_of(tmp_path, tmp_path / "other.json")
    assert "animal" in text and "image access failure" in text


def test_a_page_replaces_a_page_and_nothing_else(tmp_path, results):
    page_of(tmp_path, results)
    page_of(tmp_path, results)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    options = ResultsOptions(str(results), str(tmp_path / "mine"))
    with pytest.raises(ValueError, match="holds other things than a report"):
        write_results_report(options)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"threshold": 0.0}, "above 0"),
        ({"max_examples": -1}, "negative"),
        ({"image_root": "/nowhere"}, "no such folder"),
        ({"results": "/nowhere"}, "no such results"),
    ],
)
def test_mistakes_are_named(tmp_path, results, changes, message):
    options = {"results": str(results), "output_dir": str(tmp_path / "page")} | changes
    with pytest.raises(ValueError, match=message):
        write_results_report(ResultsOptions(**options))
    assert not (tmp_path / "page").exists()


def test_many_images_need_no_more_memory_than_few(tmp_path):
    import tracemalloc

    header = Header("m", "1", "", {1: "deer"}, "2026-05-26T19:11:27Z")
    peaks = []
    for count in (500, 5000):
        path = tmp_path / f"{count}.jsonl"
        rng = random.Random(0)
        with path.open("w") as file:
            file.write(header.to_json() + "\n")
            for i in range(count):
                file.write(image(f"{i:05d}.jpg", rng.random()).to_json() + "\n")
        tracemalloc.start()
        gather(open_results(str(path)), 0.5, 10, 6, 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 + 50_000
