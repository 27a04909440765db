"""Videos on the page of results: counts and times against a list of frames, and their pictures."""

import random

import pytest
from PIL import Image

from context_rcnn.report.results_page import ResultsOptions, write_results_report
from context_rcnn.report.videos import (
    Line,
    SeenVideos,
    best_frames,
    row_of,
    timeline,
    video_of,
)
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import NO_RATE, Detection, Header, ImageResult, frame_name
from context_rcnn.results.write import Outputs, write_results
from tests.report.conftest import Page

NAMES = {1: "fox", 2: "deer"}
HEADER = Header("m", "1", "", NAMES, "2026-05-26T19:11:27Z")
BOX = (0.1, 0.2, 0.5, 0.6)


def frame(video, number, *scores, rate=10.0, class_id=1):
    name = frame_name(video, number / rate)
    found = tuple(Detection(BOX, class_id, score) for score in scores)
    return ImageResult(
        name,
        name,
        burst=video,
        width=64,
        height=48,
        detections=found,
        frame=number,
        frame_rate=rate,
    )


def test_a_line_keeps_the_best_score_of_each_stretch_however_long_the_video_is():
    rng = random.Random(0)
    scores = {position: rng.random() for position in range(10_000) if rng.random() < 0.7}
    line = Line()
    for position, score in scores.items():
        line.add(position, score)
    step = line._step
    assert len(line.best) <= 480 and step == 32, "the smallest power of two that will do"
    expected = {}
    for position, score in scores.items():
        place = position // step
        expected[place] = max(expected.get(place, (0.0, 0)), (score, position))
    assert line.best == [expected[place] for place in sorted(expected)]


def test_frames_are_told_from_photographs():
    assert video_of(frame("a/clip.mp4", 3)) == "a/clip.mp4"
    assert video_of(ImageResult("a/clip.mp4", failure="unreadable", frame_rate=NO_RATE)) == (
        "a/clip.mp4"
    )
    assert video_of(ImageResult("v/1/000001.jpg", burst="v/1")) == "v/1"
    assert video_of(ImageResult("v/1.jpg", burst="v/1.jpg")) is None
    assert video_of(ImageResult("cam/1.jpg", camera="cam", burst="cam/1.jpg")) is None
    assert video_of(ImageResult("north/1.jpg", burst="north", seconds=1380893513)) is None
    assert video_of(ImageResult("1.jpg")) is None


def test_counts_times_and_best_frames_by_hand():
    """A clip of 80 frames at 10 per second; every fourth frame is looked at."""
    seen = SeenVideos(0.2, 5, 0)
    scores = {8: 0.5, 12: 0.9, 44: 0.3, 60: 0.1, 76: 0.6}
    for number in range(0, 80, 4):
        seen.add(frame("clip.mp4", number, *([scores[number]] if number in scores else [])), NAMES)
    seen.add(frame("clip.mp4", 79, 0.8, class_id=2), NAMES)
    seen.add(ImageResult("bad.mp4", failure="unreadable", frame_rate=NO_RATE), NAMES)
    (video,) = seen.finish()
    assert (video.frames, video.found, video.classes) == (21, 5, {"fox": 4, "deer": 1})
    assert best_frames(video) == [12, 44, 79], "of each quarter that has any"
    shown = timeline(video)
    fox, deer = shown["rows"]
    assert {i: s for i, s in enumerate(fox["scores"]) if s} == {8: 0.5, 12: 0.9, 44: 0.3, 76: 0.6}
    assert fox["words"] == "4 frames, from 0:00.8 to 0:07.6"
    assert deer["words"] == "1 frame, from 0:07.9 to 0:07.9" and shown["end"] == "0:07.9"
    assert row_of(video) == {
        "name": "clip.mp4",
        "length": "0:07.9",
        "frames": 21,
        "found": 5,
        "failed": 0,
        "classes": "fox 4, deer 1",
    }
    bad = seen.rows["bad.mp4"]
    assert (bad.frames, bad.failed, row_of(bad)["length"]) == (0, 1, "-")


def test_frames_in_a_folder_are_counted_in_their_order():
    seen = SeenVideos(0.2, 5, 0)
    for number in range(6):
        name = f"v/{number:06d}.jpg"
        found = (Detection(BOX, 1, 0.5),) if number in (2, 5) else ()
        seen.add(ImageResult(name, name, burst="v", width=8, height=8, detections=found), NAMES)
    (video,) = seen.finish()
    assert timeline(video)["rows"][0]["scores"] == [0, 0, 0.5, 0, 0, 0.5]
    assert timeline(video)["rows"][0]["words"] == "2 frames, from frame 2 to frame 5"


def test_so_many_videos_keep_their_times_each_with_the_same_chance():
    drawn = []
    for seed in range(60):
        seen = SeenVideos(0.2, 3, seed)
        for video in range(20):
            seen.add(frame(f"{video:02d}.mp4", 0, 0.5), NAMES)
        kept = seen.finish()
        assert len(kept) == 3 and len(seen.rows) == 20
        assert sum(bool(row.lines) for row in seen.rows.values()) == 3
        drawn += [int(video.name[:2]) for video in kept]
    assert abs(sum(drawn) / 180 - 9.5) < 1.3, "three standard deviations of a mean of 180"


@pytest.mark.parametrize("read_from", ["journal.jsonl", "md.json"])
def test_the_page_shows_videos_with_frames_where_there_are_some(tmp_path, read_from):
    hostile = "<b>x</b>.mp4"
    with JournalWriter(tmp_path / "journal.jsonl", HEADER) as journal:
        for number in range(0, 40, 10):
            journal.append(frame("clip.mp4", number, 0.9 if number == 20 else 0.01))
        journal.append(frame(hostile, 0, 0.8, class_id=2))
    write_results(
        tmp_path / "journal.jsonl", Outputs(megadetector=tmp_path / "md.json"), progress=False
    )
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/clip.mp4").touch()

    def read_frame(path, seconds):
        assert path.endswith("clip.mp4")
        place = tmp_path / f"{seconds}.jpg"
        Image.new("RGB", (64, 48), (int(50 * seconds), 0, 0)).save(place)
        return place.read_bytes()

    options = ResultsOptions(
        str(tmp_path / read_from), str(tmp_path / "page"), str(tmp_path / "clips"), max_examples=0
    )
    warned = []
    write_results_report(options, warn=warned.append, read_frame=read_frame)
    text = (tmp_path / "page/index.html").read_text()
    page = Page(text)
    assert "#videos" in [attrs["href"] for attrs in page.all("a")]
    assert len(page.all("article")) == 2 and hostile not in text and "&lt;b&gt;x" in text
    labels = [attrs["aria-label"] for attrs in page.all("svg") if "aria-label" in attrs]
    assert "fox: 1 frame, from 0:02.0 to 0:02.0" in labels
    (picture,) = page.all("img")
    with Image.open(tmp_path / "page" / picture["src"]) as shown:
        assert abs(shown.getpixel((32, 24))[0] - 100) < 4, "the frame after two seconds"
    assert "clip.mp4, 0:02.0" in " ".join(page.text.split())
    assert len(warned) == 1 and "1 of 2 images are not in --image_root" in warned[0]
