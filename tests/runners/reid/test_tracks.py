"""Boxes of videos become tracklets that the reader of own tracklets reads."""

import json

import numpy as np
import pytest
from PIL import Image

from context_rcnn import cli
from context_rcnn.data.readers.tracklet_folder import read_all
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult
from context_rcnn.runners.reid.tracks import TrackOptions, write_tracks

HEADER = Header("fake", "1", "", {1: "fox", 2: "person"}, "2026-05-26T19:11:27Z")


def write_frames(root, video, count):
    """Grey frames of 100x50 with a white square that moves to the right."""
    for number in range(count):
        pixels = np.full((50, 100, 3), 60, np.uint8)
        pixels[10:30, 5 * number : 5 * number + 20] = 250
        path = root / video / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=95)


def result(video, number, boxes):
    """Boxes are x, y, width, height in pixels, class and score."""
    found = tuple(
        Detection((y / 50, x / 100, (y + h) / 50, (x + w) / 100), kind, score)
        for x, y, w, h, kind, score in boxes
    )
    file = f"{video}/{number:06}.jpg"
    return ImageResult(file, file, width=100, height=50, burst=video, detections=found)


@pytest.fixture
def clips(tmp_path):
    """Two videos: a fox that walks for six frames, and somebody for two frames."""
    write_frames(tmp_path / "clips", "gate/a", 6)
    write_frames(tmp_path / "clips", "b b", 3)
    state = tmp_path / "state/videos"
    state.mkdir(parents=True)
    with JournalWriter(state / "a.jsonl", HEADER) as journal:
        for number in range(6):
            boxes = [(5 * number, 10, 20, 20, 1, 0.9)]
            boxes += [(70, 30, 20, 15, 2, 0.8)] * (number < 2)
            boxes += [(60, 0, 10, 10, 1, 0.1)]
            journal.append(result("gate/a", number, boxes))
    with JournalWriter(state / "b.jsonl", HEADER) as journal:
        for number in range(3):
            journal.append(result("b b", number, [(5 * number, 10, 20, 20, 2, 0.7)]))
        journal.append(result("gone", 0, []))
    return tmp_path


def options(folder, **changes):
    values = {"min_frames": 3, "margin": 0.0} | changes
    return TrackOptions(
        str(folder / "clips"), str(folder / "state"), str(folder / "tracks"), **values
    )


def test_linked_boxes_are_cut_out_and_read_as_tracklets(clips):
    summary = write_tracks(options(clips))
    assert (summary.tracks, summary.images, summary.short) == (2, 9, 1)
    found, collector = read_all(clips / "tracks")
    assert not collector.failures and all(t.identity == "" for t in found)
    names = {t.name.rpartition("/")[2]: t for t in found}
    fox = names["gate_a-000"]
    assert fox.camera == "gate" and len(fox.frames) == 6
    for file in fox.frames:
        pixels = np.asarray(Image.open(clips / "tracks" / file))
        assert pixels.shape == (20, 20, 3) and pixels.mean() > 240
    rows = json.loads((clips / "tracks/tracks.json").read_text())
    assert {(row["video"], row["class"], row["score"]) for row in rows} == {
        ("gate/a", "fox", 0.9),
        ("b b", "person", 0.7),
    }
    assert [(str(f.reason), f.file) for f in summary.failures] == [("missing_file", "gone")]
    (other,) = set(names) - {"gate_a-000"}
    assert other.startswith("b-b_b-b-") and other.endswith("-000")  # with a hash of the name


def test_only_the_classes_that_were_asked_for_are_cut_out(clips):
    summary = write_tracks(options(clips, classes=("person",), min_frames=2))
    assert (summary.tracks, summary.images) == (2, 5)


def test_a_margin_stays_inside_of_the_image(clips):
    write_tracks(options(clips, margin=0.5))
    files = sorted((clips / "tracks/unknown/gate_a-000").iterdir())
    assert Image.open(files[0]).size == (30, 40) and Image.open(files[3]).size == (40, 40)


def test_a_frame_that_cannot_be_read_is_named(clips):
    (clips / "clips/gate/a/000003.jpg").write_bytes(b"")
    summary = write_tracks(options(clips))
    assert summary.images == 8
    assert ("empty_file", "gate/a/000003.jpg") in [
        (str(f.reason), f.file) for f in summary.failures
    ]


def test_a_folder_with_other_things_is_not_written_into(clips, capsys):
    (clips / "tracks").mkdir()
    (clips / "tracks/mine.txt").write_text("x")
    argv = ["reid", "tracks", f"{clips}/clips", f"--results={clips}/state", "-o", f"{clips}/tracks"]
    assert cli.main(argv) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_verb_makes_tracklets(clips, capsys):
    argv = ["reid", "tracks", f"{clips}/clips", f"--results={clips}/state/videos/a.jsonl"]
    assert cli.main([*argv, "-o", f"{clips}/new", "--min_frames=5"]) == 0
    assert "1 tracklets of 6 images from 1 videos" in capsys.readouterr().out
