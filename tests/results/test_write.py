"""One pass to all formats: whole or not at all, the same bytes, flat memory."""

import dataclasses
import json
import random
import tracemalloc

import pytest

from context_rcnn.results.atomic import MARK, Transaction
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.options import CamtrapOptions, Options
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.results.write import Outputs, write_results


@pytest.fixture
def options(tmp_path):
    table = tmp_path / "deployments.csv"
    table.write_text("deploymentID,latitude,longitude\nloc_33,34.05,-118.24\nroad,34.5,-118.5\n")
    return Options(camtrap=CamtrapOptions(table, "-07:00"))


def everything(folder):
    return Outputs(
        megadetector=folder / "md.json",
        coco=folder / "coco.json",
        table=folder / "table.csv",
        camtrap_dp=folder / "camtrap",
        speciesnet=folder / "speciesnet.json",
        failures=folder / "failures.jsonl",
    )


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_same_images_give_the_same_bytes_in_any_order_and_however_often_tried(
    make_journal, small_run, tmp_path, options
):
    write_results(make_journal(small_run), everything(tmp_path / "a"), options, progress=False)
    expected = contents(tmp_path / "a")
    assert len(expected) == 10
    rng = random.Random(0)
    for attempt in range(5):
        tried = [ImageResult(one.file, failure="unreadable") for one in rng.sample(small_run, 2)]
        shuffled = rng.sample(small_run, len(small_run))
        journal = make_journal(tried + shuffled, f"{attempt}.jsonl")
        folder = tmp_path / f"b{attempt}"
        summary = write_results(journal, everything(folder), options, progress=False)
        assert contents(folder) == expected
        assert summary.counts["superseded"] == 2


def test_the_summary_accounts_for_every_image_and_detection(make_journal, small_run, tmp_path):
    box = (-0.5, 0.1, 0.5, 0.5)
    found = (Detection(box, 1, -0.8), Detection(box, 1, 0.04), Detection((0, 0, 0, 0), 1, 0.9))
    images = [*small_run, ImageResult("x.jpg", width=9, height=9, detections=found)]
    summary = write_results(
        make_journal(images),
        Outputs(table=tmp_path / "t.csv"),
        Options(min_score=0.05),
        progress=False,
    )
    assert (summary.images, summary.failed, summary.empty, summary.suspect) == (5, 1, 2, 1)
    assert summary.detections == {"bobcat": 1, "person": 1, "truck": 1}
    assert summary.counts == {"below_min_score": 1, "boxes_clipped": 2}
    assert summary.failures == {"results: bad_box": 1}


def test_detections_can_be_revised(make_journal, small_run, tmp_path):
    def suspect_trucks(image):
        for found in image.detections:
            yield dataclasses.replace(found, score=-found.score) if found.class_id == 4 else found

    path = tmp_path / "md.json"
    outputs = Outputs(megadetector=path)
    summary = write_results(make_journal(small_run), outputs, revise=suspect_trucks, progress=False)
    scores = [found["conf"] for found in json.loads(path.read_text())["images"][3]["detections"]]
    assert scores == [0.75, -0.4, 0.1]
    assert summary.suspect == 1


def test_an_error_leaves_older_files_and_nothing_half_written(
    make_journal, small_run, tmp_path, options
):
    folder = tmp_path / "out"
    write_results(make_journal(small_run), everything(folder), options, progress=False)
    before = contents(folder)

    def fail_late(image):
        if image.file.startswith("road"):
            raise RuntimeError("stop")
        return image.detections

    with pytest.raises(RuntimeError, match="stop"):
        write_results(
            make_journal(small_run[1:], "other.jsonl"),
            everything(folder),
            options,
            revise=fail_late,
            progress=False,
        )
    assert contents(folder) == before


def test_what_a_killed_run_left_is_written_over(make_journal, small_run, tmp_path):
    path = tmp_path / "md.json"
    (tmp_path / f"md.json{MARK}").write_text("half a fi")
    journal = make_journal(small_run)
    leftovers = tmp_path / f"{journal.name}.sorting"
    leftovers.mkdir()
    (leftovers / "piece-00000.jsonl").write_text("{}")
    journal = make_journal([small_run[0]], journal.name)  # a second line of the first image
    write_results(journal, Outputs(megadetector=path), progress=False)
    assert len(json.loads(path.read_text())["images"]) == 4
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["md.json", journal.name]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (Outputs(), "name one output"),
        (Outputs(megadetector="run.jsonl"), "is the journal"),
        (Outputs(megadetector="a.json", coco="a.json"), "cannot have the same file"),
        (Outputs(coco="a.json", speciesnet="a.images.json"), "cannot have the same file"),
        (Outputs(table="."), "is a folder"),
    ],
)
def test_outputs_that_would_hurt_each_other_are_refused(
    make_journal, small_run, tmp_path, monkeypatch, outputs, message
):
    journal = make_journal(small_run)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        write_results(journal, outputs, progress=False)
    assert [entry.name for entry in tmp_path.iterdir()] == [journal.name]


def test_files_of_a_transaction_appear_together(tmp_path):
    with Transaction() as files:
        for name in ("a.txt", "b/c.txt"):
            files.open(tmp_path / name).write(name)
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "b" / "c.txt").read_text() == "b/c.txt"
    assert contents(tmp_path) == {"a.txt": b"a.txt", "b/c.txt": b"b/c.txt"}


@pytest.mark.parametrize("bad", [{"min_score": 1.5}, {"typical_threshold": -1}, {"completed": "x"}])
def test_options_are_checked(bad):
    with pytest.raises(ValueError):
        Options(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"sampling_design": "guess"},
        {"capture_methods": ()},
        {"capture_methods": ("timeLapse", "timeLapse")},
        {"title": " "},
        {"contributors": ()},
    ],
)
def test_camtrap_options_are_checked(bad):
    with pytest.raises(ValueError):
        CamtrapOptions(**bad)


@pytest.mark.slow
def test_memory_stays_flat_over_8000_images(tmp_path, header):
    """What grows is the table of bursts: 24 bytes for each, and the sorting of it."""
    table = tmp_path / "deployments.csv"
    table.write_text("deploymentID,latitude,longitude\ncam,1,2\n")
    options = Options(camtrap=CamtrapOptions(table, "Z"))
    found = (Detection((0.1, 0.2, 0.3, 0.4), 1, 0.9),)

    def peak(images):
        path = tmp_path / f"{images}.jsonl"
        with JournalWriter(path, header) as journal:
            for i in range(images):
                journal.append(
                    ImageResult(
                        f"cam/IMG_{i:06d}.JPG",
                        camera="cam",
                        seconds=1380893513 + i,
                        width=2048,
                        height=1536,
                        burst=f"burst-{i // 3}",
                        detections=found if i % 5 == 0 else (),
                    )
                )
        tracemalloc.start()
        summary = write_results(path, everything(tmp_path / "out"), options, progress=False)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert summary.images == images
        return highest

    small, large = peak(1_000), peak(8_000)
    assert large - small < 7_000 * 40, f"{small} bytes for 1,000 images, {large} for 8,000"
