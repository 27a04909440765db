"""Heads on MegaDetector's boxes: their network looks at each image once, and says the same."""

import hashlib
import json
import sqlite3

import numpy as np
import pytest

from context_rcnn.export.exported import EmbeddedImage
from context_rcnn.report.results_page import ResultsOptions, write_results_report
from context_rcnn.results.journal import Journal
from context_rcnn.runners.engine.detect import grey_image
from context_rcnn.runners.folder.embeddings import FILE, Embeddings
from tests.cli import hostile_folder

GREY = hashlib.blake2b(grey_image()).hexdigest()


@pytest.fixture
def boxes(photos, tmp_path):
    """Writes MegaDetector's results: one box or two in each photograph, none in one."""

    def write():
        files = sorted(path for path in photos.rglob("*") if path.suffix.lower() == ".jpg")
        images = []
        for i, path in enumerate(files):
            found = [
                {"category": "1", "conf": 0.4, "bbox": [0.1, 0.1, 0.2, 0.3]},
                {"category": "1", "conf": 0.9, "bbox": [0.4, 0.5, 0.25, 0.25]},
            ]
            name = path.relative_to(photos).as_posix()
            images.append({"file": name, "detections": found[: i % 3]})
        results = {"detection_categories": {"1": "animal"}, "images": images}
        (tmp_path / "md.json").write_text(json.dumps(results))
        return str(tmp_path / "md.json")

    return write


def looks(model):
    """How often each photograph was looked at, without that of the check before the run."""
    return sorted(count for image, count in model.looks.items() if image != GREY)


@pytest.fixture
def head(photos, detect, boxes, fakes):
    def run(embedded=True, **changes):
        model = fakes.FakeHead(embedded=embedded)
        if "detections" not in changes:
            changes["detections"] = boxes()
        return detect(photos, model, **changes)[0]

    return run


def test_it_looks_once_and_says_what_it_says_when_it_looks_twice(head, tmp_path):
    twice, once = head(embedded=False, name="twice"), head(name="once")
    assert looks(twice) == [2] * 20 and looks(once) == [1] * 20
    names = ("twice.json", "once.json")
    first, second = (json.loads((tmp_path / name).read_text())["images"] for name in names)
    assert first == second and sum(len(image["detections"]) for image in first) == 19
    assert not looks(head(name="once")), "nothing has changed"


def test_a_camera_is_named_again_without_a_look(head, photos, fakes, tmp_path):
    """Another correction of a clock is another memory; no photograph has to be opened for that."""
    (tmp_path / "clocks.csv").write_text("camera,shift,from\nnorth,+40d,2013-10-04 16:01:53\n")
    head(name="later")
    table = {"clock_csv": str(tmp_path / "clocks.csv")}
    assert not looks(head(name="later", **table))
    head(name="fresh", **table)
    results = [(tmp_path / f"{name}.json").read_text() for name in ("later", "fresh")]
    assert results[0] == results[1]
    head(name="uncorrected")
    assert (tmp_path / "uncorrected.json").read_text() != results[0]


def test_a_damaged_image_is_named_though_it_is_opened_once(head, photos, tmp_path):
    (photos / "north/damaged.jpg").write_bytes(hostile_folder.damaged())
    for _ in range(2):
        head()
        lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
        (found,) = map(json.loads, lines)
        assert (found["file"], found["reason"]) == ("north/damaged.jpg", "damaged_data")


def test_images_that_were_not_embedded_are_embedded_once(head, photos, tmp_path):
    """As in the state of an earlier version, or after somebody has deleted the file."""
    expected = head(name="kept")
    (tmp_path / "kept.state" / FILE).unlink()
    table = {"clock_shifts": ("north=+1h",)}
    assert looks(head(name="kept", **table)) == [1] * 10
    assert not looks(head(name="kept")), "the way back is known"
    assert looks(expected) == [1] * 20


def test_what_leaves_the_folder_leaves_the_file(head, photos, tmp_path):
    head()
    (photos / "north/IMG_00003.JPG").unlink()
    (photos / "north/IMG_00004.JPG").write_bytes((photos / "north/IMG_00005.JPG").read_bytes())
    before = hashlib.blake2b((photos / "north/IMG_00005.JPG").read_bytes()).hexdigest()
    # Another file of results would be other settings: here only the folder changes.
    model = head(detections=str(tmp_path / "md.json"))
    assert looks(model) == [1] and model.looks[before] == 1
    with sqlite3.connect(tmp_path / "results.state" / FILE) as base:
        files = {row[0] for row in base.execute("SELECT file FROM embeddings")}
    base.close()
    assert len(files) == 19 and "north/IMG_00003.JPG" not in files
    journal = Journal(tmp_path / "results.state/journal.jsonl")
    sizes = {(image.width, image.height) for image in journal.results()}
    assert sizes == {(48, 32)}


def test_what_was_seen_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    seen = EmbeddedImage(
        rng.normal(size=(2, 7)).astype(np.float32),
        rng.uniform(size=(2, 4)).astype(np.float32),
        np.float32([0.1, 0.9]),
    )
    nothing = EmbeddedImage(*(np.zeros([0, *s], np.float32) for s in ((7,), (4,), ())))
    with Embeddings(tmp_path / FILE, 7) as embeddings:
        embeddings.add([("a b.jpg", seen), ("b.jpg", nothing), ("c.jpg", seen)])
        embeddings.keep(["a b.jpg", "b.jpg"])
    with Embeddings(tmp_path / FILE, 7) as embeddings:
        found = embeddings.of("a b.jpg")
        for name in ("features", "boxes", "scores"):
            np.testing.assert_array_equal(getattr(found, name), getattr(seen, name))
        assert embeddings.of("b.jpg").features.shape == (0, 7)
        assert embeddings.of("c.jpg") is None


def test_a_page_shows_what_the_memory_of_a_head_did(head, photos, tmp_path):
    model = head(explain=4)
    assert looks(model) == [1] * 20, "panels need no other look"
    path = tmp_path / "results.state/explained.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert len(line["detections"]) == len(line["without_memory"]) > 0
        assert line["detections"][0]["attention"]
    options = ResultsOptions(str(tmp_path / "results.state"), str(tmp_path / "page"), str(photos))
    write_results_report(options)
    page = (tmp_path / "page/index.html").read_text()
    assert page.count('<article class="panel"') == 4 and "Attention over time" in page
    head(embedded=False, explain=4, name="old")
    assert not (tmp_path / "old.state/explained.jsonl").exists(), "it cannot say"
