"""Images as they come: each once, with the memory of its camera so far, however often stopped."""

import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.images import ImageOptions
from context_rcnn.results.join import find_journals
from context_rcnn.results.write import Outputs, write_results
from context_rcnn.runners.engine import video_file as video
from context_rcnn.runners.watch import FolderFrames, Watcher

CREATED = "2026-05-26T19:11:27Z"


@pytest.fixture
def watch(tmp_path, fakes):
    """Watches a folder once; returns the model and the lines, at most so many."""

    def run(root, model=None, state="state", most=None, stop="break", clock="exif", **changes):
        model = model or fakes.FakeModel(batch_size=1)
        clocks = changes.get("clocks", UNCORRECTED)
        frames = FolderFrames(
            str(root),
            CameraNamer(root_camera="root"),
            ImageOptions(),
            clocks=clocks,
            once=True,
            clock=clock,
        )
        watcher = Watcher(model, tmp_path / state, created=CREATED, **changes)
        lines = []
        for line in watcher.run(frames):
            lines.append(json.loads(line))
            if most and len(lines) == most:
                break
        if stop == "break":
            watcher.close()
        return model, lines

    return run


def simulate(root, fakes, model):
    """The lines that there should be: images by camera, state handed on by hand."""
    boxes = {}
    for camera in ("north", "south"):
        state = model.initial_state(1)
        for path in sorted(root.glob(f"{camera}/**/*.JPG")):
            seconds = fakes.START + int(path.stem[-5:]) * 1800
            found, state = model.step(
                [path.read_bytes()],
                np.array([7]),
                np.array([True]),
                state,
                seconds=np.array([seconds]),
            )
            boxes[path.relative_to(root).as_posix()] = found["boxes"][0, 0]
    return boxes


def test_each_image_is_detected_with_its_camera_so_far(photos, watch, fakes, tmp_path):
    model, lines = watch(photos)
    expected = simulate(photos, fakes, fakes.FakeModel(batch_size=1))
    assert {line["file"] for line in lines} == set(expected) and len(lines) == 20
    for line in lines:
        np.testing.assert_allclose(line["detections"][0]["box"], expected[line["file"]], atol=1e-5)
        assert line["camera"] in ("north", "south") and line["burst"].startswith("from:")
        first = line["detections"][0]
        assert first["name"] == model.class_names[first["class"]]
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("stop", ["break", "kill"])
@pytest.mark.parametrize("most_cameras", [1, 16])
def test_stopped_anywhere_and_begun_again_it_says_the_same(
    photos, watch, fakes, tmp_path, stop, most_cameras
):
    options = {"most_cameras": most_cameras, "save_every": 3}
    _, whole = watch(photos, state="whole", **options)
    lines = []
    for most in (4, 1, 7, None):
        lines += watch(photos, state="parts", most=most, stop=stop, **options)[1]
    assert lines == whole
    journals = [(tmp_path / name / "journal.jsonl").read_bytes() for name in ("whole", "parts")]
    assert journals[0] == journals[1]
    memories = [sorted((tmp_path / name / "cameras").iterdir()) for name in ("whole", "parts")]
    assert len(memories[0]) == 2
    for one, other in zip(*memories, strict=True):
        with np.load(one) as a, np.load(other) as b:
            assert {k: a[k].tolist() for k in a} == {k: b[k].tolist() for k in b}


def test_what_was_seen_is_not_repeated_and_new_images_go_on_from_there(
    photos, watch, fakes, tmp_path
):
    watch(photos)
    model, lines = watch(photos)
    assert not lines and not model.stepped
    fakes.write_photos(photos, ["north"], count=2, first=10)
    model, lines = watch(photos)
    expected = simulate(photos, fakes, fakes.FakeModel(batch_size=1))
    assert [line["file"] for line in lines] == ["north/IMG_00010.JPG", "north/IMG_00011.JPG"]
    assert len(model.stepped) == 2, "the memory was restored, not made again"
    for line in lines:
        np.testing.assert_allclose(line["detections"][0]["box"], expected[line["file"]], atol=1e-5)


def test_memories_held_at_once_are_bounded_and_none_is_lost(photos, watch, fakes):
    fakes.write_photos(photos, [f"camera {i}" for i in range(6)], count=4)
    model, lines = watch(photos, most_cameras=2, state="few")
    _, expected = watch(photos, state="many")
    assert lines == expected and len(model.stepped) == len(lines) == 44


def test_what_is_passed_over_and_what_fails_is_named(photos, watch, locked, fakes, tmp_path):
    (photos / "north/empty.jpg").write_bytes(b"")
    (photos / "notes.txt").touch()
    locked.add(photos / "south")
    _, lines = watch(photos)
    assert len(lines) == 11, "all of the other camera"
    expected = {"north/empty.jpg": "empty_file", "notes.txt": "other_file", "south": "not_listed"}
    for _ in range(2):
        named = (tmp_path / "state/failures.jsonl").read_text().splitlines()
        assert {f["file"]: f["reason"] for f in map(json.loads, named)} == expected
        watch(photos)
    locked.clear()
    _, lines = watch(photos)
    assert len([line for line in lines if line["camera"] == "south"]) == 10


def test_damaged_images_are_failures_and_leave_the_memory_alone(photos, watch, fakes, tmp_path):
    (photos / "north/IMG_00003.JPG").write_bytes(b"\xff\xd8\xff broken")
    (photos / "north/empty.jpg").write_bytes(b"")
    _, lines = watch(photos)
    failed = {line["file"]: line["failure"]["reason"] for line in lines if "failure" in line}
    assert failed == {"north/IMG_00003.JPG": "unreadable", "north/empty.jpg": "empty_file"}
    (photos / "north/IMG_00003.JPG").unlink()
    expected = simulate(photos, fakes, fakes.FakeModel(batch_size=1))
    for line in lines:
        if line["file"] in expected:
            found = line["detections"][0]["box"]
            np.testing.assert_allclose(found, expected[line["file"]], atol=1e-5)
    assert not watch(photos)[1], "a failure is not repeated either"


def test_undated_images_have_no_date_unless_arrival_is_asked_for(photos, watch, fakes):
    (photos / "north/undated.jpg").write_bytes(fakes.photograph())
    for clock in ("exif", "arrival"):
        _, lines = watch(photos, state=clock, clock=clock)
        by_file = {line["file"]: line["seconds"] for line in lines}
        assert lines[-1]["file"] == "north/undated.jpg"
        assert (by_file["north/undated.jpg"] is None) == (clock == "exif")
        assert by_file["north/IMG_00000.JPG"] == fakes.START


def test_a_wrong_clock_is_corrected_before_an_image_is_remembered(photos, watch, fakes, capsys):
    """north is an hour late, and began in 1970 once; the memory sees the corrected times."""
    (photos / "north/new.jpg").write_bytes(fakes.photograph((1, 2, 3), "1970-01-01 00:00:09"))
    rules = ["north=+1h", "nort=+1d"]
    with pytest.raises(ValueError, match="two corrections at once"):
        CameraClocks([*rules, "north=+1d"])
    model, lines = watch(photos, clocks=CameraClocks(rules))
    seconds = {line["file"]: line.get("seconds") for line in lines}
    assert seconds["north/IMG_00000.JPG"] == fakes.START + 3600
    assert seconds["south/100RECNX/IMG_00000.JPG"] == fakes.START
    assert seconds["north/new.jpg"] is None, "an hour does not make it a date"
    said = capsys.readouterr().err
    assert "'nort' is to be corrected, but there is no such camera" in said
    _, alone = watch(photos, state="uncorrected")
    assert {line["file"]: line["detections"] for line in alone} != {
        line["file"]: line["detections"] for line in lines
    }, "the fake model says the time that it is shown"


def test_a_clock_of_1970_is_corrected_as_images_arrive(photos, watch, fakes):
    (photos / "north/new.jpg").write_bytes(fakes.photograph((1, 2, 3), "1970-01-01 00:00:09"))
    _, lines = watch(photos, clocks=CameraClocks(["north=+15982d"]), clock="arrival")
    (new,) = (line for line in lines if line["file"] == "north/new.jpg")
    assert new["seconds"] == 15982 * 86400 + 9


def test_a_memory_keeps_the_corrections_of_its_clock(photos, watch, fakes):
    late, later = (CameraClocks([f"north={shift}"]) for shift in ("+1h", "+2h"))
    watch(photos, clocks=late)
    for clocks, now in ((later, "it is \+2h"), (UNCORRECTED, "it is none")):
        with pytest.raises(ValueError, match=rf"'north' .* correction \+1h, and now {now}"):
            watch(photos, clocks=clocks)
    fakes.write_photos(photos, ["north", "west"], count=1, first=10)
    both = CameraClocks(["north=+1h", "west=-1h"])
    _, lines = watch(photos, clocks=both)
    seconds = {line["camera"]: line["seconds"] for line in lines}
    assert seconds["north"] - seconds["west"] == 2 * 3600, "a new camera may be corrected"
    with pytest.raises(ValueError, match="'west' .* correction -1h, and now it is none"):
        watch(photos, clocks=late)


def test_images_are_taken_once_they_have_stopped_growing(tmp_path, fakes):
    root = tmp_path / "incoming"
    root.mkdir()
    data = fakes.photograph(date=fakes.START)
    (root / "a.jpg").write_bytes(data[:100])
    frames = FolderFrames(str(root), CameraNamer(root_camera="r"), ImageOptions(), poll=0.1)
    found = []

    def run():
        for prepared in frames.new(lambda file: file in [p.image.file for p in found]):
            found.append(prepared)
            if len(found) == 2:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    for size in range(110, len(data), 60):  # for longer than one look
        (root / "a.jpg").write_bytes(data[:size])
        time.sleep(0.03)
    (root / "a.jpg").write_bytes(data)
    time.sleep(0.5)
    (root / "b.jpg").write_bytes(data)
    thread.join(20)
    assert [p.image.file for p in found] == ["a.jpg", "b.jpg"]
    assert not any(p.problem for p in found)


def test_a_file_that_failed_is_tried_again_when_it_changes(tmp_path, fakes):
    root = tmp_path / "incoming"
    root.mkdir()
    (root / "a.jpg").write_bytes(b"half of it")
    frames = FolderFrames(str(root), CameraNamer(root_camera="r"), ImageOptions(), poll=0.05)
    new = frames.new(lambda file: file == "a.jpg" and bool(seen))
    seen = []
    seen.append(next(new))
    assert seen[0].problem
    (root / "a.jpg").write_bytes(fakes.photograph())
    assert next(new).encoded


def test_a_state_of_another_model_or_a_broken_one_is_refused(photos, watch, fakes, tmp_path):
    watch(photos)
    with pytest.raises(ValueError, match="begun with other settings: model is 'fake', not 'new'"):
        watch(photos, fakes.FakeModel(name="new", batch_size=1))
    for path in (tmp_path / "state/cameras").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    fakes.write_photos(photos, ["north"], count=1, first=10)
    with pytest.raises(ValueError, match="delete this file to start the camera's memory again"):
        watch(photos)
    expected = simulate(photos, fakes, fakes.FakeModel(batch_size=1))["north/IMG_00010.JPG"]
    for path in (tmp_path / "state/cameras").iterdir():
        path.unlink()
    _, (line,) = watch(photos)
    np.testing.assert_allclose(line["detections"][0]["box"], expected, atol=1e-5)


def test_a_folder_of_others_is_no_state(photos, watch, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(ValueError, match="is not the state of a run of watch"):
        watch(photos, state="mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("memory", [True, False])
def test_numbers_that_are_none_are_a_failure_and_are_not_remembered(photos, watch, fakes, memory):
    """Later images see a memory without it, as if the image was not there."""
    broken = photos / "north/IMG_00003.JPG"

    class Model(fakes.FakeModel):
        def step(self, encoded, *args, **kwargs):
            found, state = super().step(encoded, *args, **kwargs)
            return self._broken(encoded, found), state

        def detect(self, encoded):
            return self._broken(encoded, super().detect(encoded))

        def _broken(self, encoded, found):
            return found | {"boxes": found["boxes"] * np.nan} if encoded == [data] else found

    data = broken.read_bytes()
    _, lines = watch(photos, Model(memory=memory, batch_size=1))
    found = {line["file"]: line for line in lines}
    assert found.pop("north/IMG_00003.JPG")["failure"]["reason"] == "not_finite"
    broken.unlink()
    _, lines = watch(photos, fakes.FakeModel(memory=memory, batch_size=1), state="without")
    assert {line["file"]: line["detections"] for line in lines} == {
        name: line["detections"] for name, line in found.items()
    }


def test_no_pickle_is_ever_loaded(photos, watch, fakes, tmp_path):
    watch(photos)
    for path in (tmp_path / "state/cameras").iterdir():
        np.savez(path, frames=np.int64(1), evil=np.array([{"x": 1}], object))
    fakes.write_photos(photos, ["north"], count=1, first=10)
    with pytest.raises(ValueError, match="allow_pickle|Object arrays"):
        watch(photos)


def test_a_model_without_memory_is_watched_too(photos, watch, fakes):
    model, lines = watch(photos, fakes.FakeModel(memory=False, batch_size=1))
    assert len(lines) == 20 and not model.stepped and len(model.detected) == 20


def test_what_was_watched_becomes_a_file_for_timelapse(photos, watch, tmp_path):
    watch(photos)
    (journal,) = find_journals([tmp_path / "state"])
    summary = write_results(journal, Outputs(tmp_path / "md.json"), progress=False)
    assert summary.images == 20


def test_an_animated_picture_is_frames_of_a_camera(tmp_path, fakes):
    path = tmp_path / "clip.gif"
    pictures = [Image.new("RGB", (40, 30), (20 * i, 80, 160)) for i in range(12)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250)
    frames = video.VideoFrames(str(path), "gate", 2.0, fakes.START)
    watcher = Watcher(fakes.FakeModel(batch_size=1), tmp_path / "state")
    lines = [json.loads(line) for line in watcher.run(frames)]
    assert [line["file"] for line in lines] == [
        f"clip.gif/{ms:09d}.jpg" for ms in (0, 500, 1000, 1500, 2000, 2500)
    ]
    assert [line["seconds"] - fakes.START for line in lines] == [0, 0, 1, 1, 2, 2]
    assert {line["camera"] for line in lines} == {"gate"}
    assert len({line["burst"] for line in lines}) == 1
    again = Watcher(fakes.FakeModel(batch_size=1), tmp_path / "state")
    assert not list(again.run(frames))


def test_frames_of_a_video_are_resumed_with_their_memory(tmp_path, fakes):
    path = tmp_path / "clip.gif"
    pictures = [Image.new("RGB", (40, 30), (20 * i, 80, 160)) for i in range(12)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250)
    frames = video.VideoFrames(str(path), "gate", 4.0, None)
    whole = Watcher(fakes.FakeModel(batch_size=1), tmp_path / "whole")
    expected = list(whole.run(frames))
    lines = []
    for most in (5, 100):
        watcher = Watcher(fakes.FakeModel(batch_size=1), tmp_path / "parts", save_every=3)
        for line in watcher.run(frames):
            lines.append(line)
            if len(lines) == most:
                break
    assert lines == expected and len(lines) == 12


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    frames = video.VideoFrames(str(tmp_path / "clip.mp4"), "gate", 1.0, None)
    with pytest.raises(ValueError, match="clip.mp4 cannot be read as a video"):
        next(frames.new(lambda file: False))
    with pytest.raises(ValueError, match="no such video"):
        video.VideoFrames(str(tmp_path / "none.mp4"), "gate", 1.0, None)


def test_a_video_is_read_by_opencv(tmp_path, fakes):
    import cv2

    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(30):
        writer.write(np.full([48, 64, 3], (0, 0, 8 * i), np.uint8))  # blue, green, red
    writer.release()
    frames = list(video.VideoFrames(path, "gate", 2.0, fakes.START).new(lambda file: False))
    assert [f.image.file for f in frames] == [
        f"clip.avi/{ms:09d}.jpg" for ms in range(0, 3000, 500)
    ]
    model = fakes.FakeModel()
    red = [model._colours(f.encoded)[0] * 255 for f in frames]
    np.testing.assert_allclose(red, [8 * i for i in range(0, 30, 5)], atol=6)
    assert (frames[0].image.width, frames[0].image.height) == (64, 48)
