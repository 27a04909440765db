"""A folder of videos: each frame its own detections, however many videos, however often stopped."""

import csv
import json
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.walk import PassedOver
from context_rcnn.results.megadetector import read_megadetector_results
from context_rcnn.results.options import Options
from context_rcnn.results.records import NO_RATE
from context_rcnn.runners.videos.find import find_videos, list_frames
from tests.cli import hostile_folder

HERE = pathlib.Path(__file__).parent
MODES = {"delayed": (2, False), "anywhere": (3, True), "at once": (0, False)}


def key_level(detection):
    """The grey of the frame that the fake model detected in."""
    return round(detection["bbox"][1] * 512)


def read(path, check):
    document = json.loads(path.read_text())
    assert check(document) is None
    return {entry["file"]: entry for entry in document["images"]}


def levels_by_frame(entry):
    return {d["frame_number"]: key_level(d) for d in entry["detections"] if d["category"] == "1"}


@pytest.fixture
def results(tmp_path, check_megadetector):
    return lambda name="results": read(tmp_path / f"{name}.json", check_megadetector)


@pytest.mark.parametrize("mode", MODES)
def test_every_frame_has_its_own_detections(clips, detect, fakes, results, mode):
    detect(clips, fakes.FakeVideoModel(*MODES[mode]))
    found = results()
    files = {"gate/a.avi": (1, 9), "gate/B.MKV": (11, 3), "c.gif": (21, 6)}
    frames = {
        f"val/ILSVRC2015_val_0000000{v}/{i:06d}.JPEG": first + i
        for v, first, count in ((0, 31, 7), (1, 41, 1))
        for i in range(count)
    }
    assert set(found) == set(files) | set(frames)
    for name, (first, count) in files.items():
        assert levels_by_frame(found[name]) == {i: first + i for i in range(count)}
        assert found[name]["frames_processed"] == list(range(count))
        assert found[name]["frame_rate"] == (4 if name == "c.gif" else 10)
    for name, number in frames.items():
        assert key_level(found[name]["detections"][0]) == number
        assert "frame_rate" not in found[name]


@pytest.mark.parametrize("mode", MODES)
def test_a_videos_numbers_do_not_depend_on_how_many_run_beside_it(
    clips, detect, fakes, results, tmp_path, mode
):
    for rows in (1, 2, 4, 7):  # more videos than rows, and more rows than videos
        detect(clips, fakes.FakeVideoModel(*MODES[mode], rows=rows), f"rows-{rows}")
    detect(clips / "gate", fakes.FakeVideoModel(*MODES[mode], rows=1), "alone")
    written = [(tmp_path / f"rows-{rows}.csv").read_bytes() for rows in (1, 2, 4, 7)]
    assert len(set(written)) == 1
    if mode != "anywhere":  # there the order depends on the name
        found, alone = results("rows-4"), results("alone")
        assert len(alone) == 2
        for name, entry in alone.items():
            assert entry["detections"] == found[f"gate/{name}"]["detections"]


def test_what_the_model_saw_is_the_video_in_order_and_nothing_else(clips, detect, fakes):
    model, *_ = detect(clips, fakes.FakeVideoModel(rows=3))
    seen = {}
    for video, number in model.seen:
        seen.setdefault(video, []).append(number)
    assert sorted(seen.values()) == [
        list(range(1, 10)),
        [11, 12, 13],
        list(range(21, 27)),
        list(range(31, 38)),
        [41],
    ]


def test_frames_from_anywhere_come_each_once_in_an_order_of_their_own(clips, detect, fakes):
    orders = {}
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        model, *_ = detect(clips, fakes.FakeVideoModel(2, True, seed, rows=2), name)
        orders[name] = {}
        for video, number in model.elsewhere:
            orders[name].setdefault(video, []).append(number)
        whole = {}
        for video, number in model.seen:
            whole.setdefault(video, []).append(number)
        assert {v: sorted(o) for v, o in orders[name].items()} == whole
    assert orders["one"] == orders["same"] != orders["other"]
    long = [order for order in orders["one"].values() if len(order) > 5]
    assert len(long) == 3 and all(order != sorted(order) for order in long)


def test_frames_that_were_put_aside_are_gone_when_their_video_is_through(
    clips, detect, fakes, tmp_path
):
    most = []

    class Model(fakes.FakeVideoModel):
        def step(self, *args, **kwargs):
            most.append(len(list(tmp_path.glob("results.state/aside/*"))))
            return super().step(*args, **kwargs)

    for i in range(6):
        fakes.write_video(clips / f"more/{i}.avi", first=5 * i + 1, count=4)
    detect(clips, Model(1, True, rows=2))
    assert 2 <= max(most) <= 2 + 2, "of the rows, and of those that come next"
    assert not (tmp_path / "results.state/aside").exists()


def test_a_model_of_single_images_detects_frame_by_frame(clips, detect, fakes, results):
    model, summary, _ = detect(clips, fakes.FakeVideoModel(None, rows=4))
    assert levels_by_frame(results()["gate/a.avi"]) == {i: 1 + i for i in range(9)}
    assert (
        summary.images == 26 and model.calls == 1 + 3 + 1 + 2 + 2 + 1
    )  # the first to see if it runs


def test_all_formats_have_every_frame(clips, detect, fakes, tmp_path):
    from pycocotools.coco import COCO

    _, summary, said = detect(clips)
    rows = list(csv.DictReader((tmp_path / "results.csv").open(newline="", encoding="utf-8-sig")))
    assert len({row["file"] for row in rows}) == 26 and len(rows) == 52
    assert {row["burst"] for row in rows} >= {"gate/a.avi", "val/ILSVRC2015_val_00000000"}
    assert "gate/a.avi/000000300.jpg" in {row["file"] for row in rows}
    index = COCO(str(tmp_path / "results_coco.images.json"))
    found = index.loadRes(str(tmp_path / "results_coco.json"))
    assert len(index.getImgIds()) == 26 and len(found.getAnnIds()) == 52
    assert {(i["width"], i["height"]) for i in index.dataset["images"]} == {(64, 48)}
    assert summary.detections == {"fox": 26} and summary.failed == 0
    assert "5 videos, 0 of which could not be used" in said
    assert "26 frames: 26 with a detection of at least 0.2" in said and "  fox: 26" in said


def test_what_is_written_is_read_again(clips, detect, tmp_path):
    detect(clips)
    results = read_megadetector_results(tmp_path / "results.json")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [i.file for i in results.images] == list(
            dict.fromkeys(row["file"] for row in csv.DictReader(file))
        )
    (image,) = (i for i in results.images if i.file == "gate/a.avi/000000400.jpg")
    assert (image.frame, image.frame_rate) == (4, 10.0)
    assert image.detections[0].box[0] == pytest.approx(5 / 512, abs=1e-4)


def test_videos_of_other_programs_are_read_with_the_frames_that_they_name(tmp_path):
    video = {"file": "a.mp4", "frame_rate": 20, "detections": []}
    found = {"category": "1", "conf": 0.5, "bbox": [0.0, 0.0, 0.5, 0.5], "frame_number": 30}
    document = {
        "detection_categories": {"1": "animal"},
        "images": [
            {**video, "frames_processed": [0, 20], "detections": [{**found, "frame_number": 20}]},
            {**video, "file": "older.mp4", "detections": [found]},
            {"file": "bad.mp4", "frame_rate": -1.0, "failure": "Failure video", "detections": None},
        ],
    }
    path = tmp_path / "other.json"
    path.write_text(json.dumps(document))
    images = read_megadetector_results(path).images
    assert [(i.file, i.frame, len(i.detections), i.failure) for i in images] == [
        ("a.mp4/000000000.jpg", 0, 0, ""),
        ("a.mp4/000001000.jpg", 20, 1, ""),
        ("older.mp4/000001500.jpg", 30, 1, ""),
        ("bad.mp4", None, 0, "Failure video"),
    ]


def test_the_formats_own_validator_accepts_it(clips, detect, fakes, tmp_path):
    name = "megadetector.postprocessing.validate_batch_results"
    validator = pytest.importorskip(name, reason="pip install megadetector-utils to run this")
    (clips / "broken.mp4").write_bytes(b"x" * 999)
    detect(clips)
    checked = validator.validate_batch_results(str(tmp_path / "results.json"))
    assert checked["validation_results"]["errors"] == []


def test_fps_takes_so_many_frames_a_second_of_files(clips, detect, fakes, results):
    model, *_ = detect(clips, fps=5)
    found = results()
    assert found["gate/a.avi"]["frames_processed"] == [0, 2, 4, 6, 8]
    assert levels_by_frame(found["gate/a.avi"]) == {0: 1, 2: 3, 4: 5, 6: 7, 8: 9}
    assert found["c.gif"]["frames_processed"] == list(range(6)), "it has only four a second"
    assert sum(name.startswith("val/") for name in found) == 8


def test_frames_are_in_the_order_of_their_numbers(tmp_path, fakes, detect):
    folder = tmp_path / "clips/walk"
    fakes.write_frames(folder, count=12, names="frame {}.jpg")
    assert [name[5:] for name in list_frames(str(tmp_path / "clips"), "walk")] == [
        f"frame {i}.jpg" for i in range(12)
    ]
    model, *_ = detect(tmp_path / "clips")
    assert [number for _, number in model.seen] == list(range(1, 13))


def test_a_root_that_is_a_folder_of_frames_is_a_video(tmp_path, fakes, detect, results):
    fakes.write_frames(tmp_path / "walk", count=3)
    detect(tmp_path / "walk")
    assert list(results()) == ["000000.JPEG", "000001.JPEG", "000002.JPEG"]


@pytest.mark.parametrize("mode", MODES)
def test_a_broken_frame_is_named_and_the_video_goes_on_as_if_it_was_not_there(
    clips, detect, fakes, results, tmp_path, mode
):
    folder = clips / "val/ILSVRC2015_val_00000000"
    whole = Image.effect_noise((200, 200), 50).convert("RGB")
    whole.save(folder / "000003.JPEG", "JPEG")
    data = (folder / "000003.JPEG").read_bytes()
    (folder / "000003.JPEG").write_bytes(data[: len(data) // 2])
    _, summary, said = detect(clips, fakes.FakeVideoModel(*MODES[mode]))
    broken = results()
    failed = broken.pop(f"{folder.relative_to(clips)}/000003.JPEG")
    assert failed["failure"] == "image access failure" and summary.failed == 1
    assert failed["failure_detail"].startswith("truncated")
    assert "1 that could not be used" in said and "videos: truncated (1)" in said
    (folder / "000003.JPEG").unlink()
    detect(clips, fakes.FakeVideoModel(*MODES[mode]), "without")
    assert results("without") == broken


@pytest.mark.parametrize("mode", ["anywhere", "at once"])
def test_a_damaged_frame_is_named_once_and_used(clips, detect, fakes, results, tmp_path, mode):
    name = "val/ILSVRC2015_val_00000000/000003.JPEG"
    (clips / name).write_bytes(hostile_folder.damaged())
    for _ in range(2):  # the second time from its journal
        _, summary, said = detect(clips, fakes.FakeVideoModel(*MODES[mode]))
        assert summary.failed == 0 and "damaged_data (1)" in said
        assert not results()[name].get("failure")
        lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
        (found,) = [f for f in map(json.loads, lines) if f["reason"] == "damaged_data"]
        assert (found["file"], found["lost"]) == (name, "nothing")
        assert "parts may be wrong" in found["detail"]


def test_an_image_that_the_model_refuses_fails_alone(clips, detect, fakes, results, monkeypatch):
    class Refusal(Exception):
        pass

    monkeypatch.setattr("context_rcnn.runners.engine.steps.refusals", lambda: (Refusal,))
    for mode in ("delayed", "anywhere"):
        model = fakes.FakeVideoModel(*MODES[mode], rows=3, refuses=(Refusal, 33))
        _, summary, _ = detect(clips, model, mode)
        found = results(mode)
        failed = [name for name, entry in found.items() if entry.get("failure")]
        assert failed == ["val/ILSVRC2015_val_00000000/000002.JPEG"] and summary.failed == 1
        assert levels_by_frame(found["gate/a.avi"]) == {i: 1 + i for i in range(9)}
        last = found["val/ILSVRC2015_val_00000000/000006.JPEG"]["detections"][0]
        assert key_level(last) == 37


@pytest.mark.parametrize("mode", MODES)
def test_a_broken_video_is_a_failure_and_all_others_are_done(
    clips, detect, fakes, results, tmp_path, mode
):
    fakes.write_video(clips / "cut.avi", count=40)
    data = (clips / "cut.avi").read_bytes()
    (clips / "cut.avi").write_bytes(data[: len(data) // 2])
    (clips / "words.mp4").write_bytes(b"these are no frames " * 50)
    (clips / "empty.mov").write_bytes(b"")
    (clips / "half.gif").write_bytes((clips / "c.gif").read_bytes()[:400])
    _, summary, said = detect(clips, fakes.FakeVideoModel(*MODES[mode]))
    found = results()
    failed = {n: e["failure_detail"].split(":")[0] for n, e in found.items() if e.get("failure")}
    assert failed.pop("half.gif") in ("truncated", "unreadable")
    assert failed == {"cut.avi": "truncated", "words.mp4": "unreadable", "empty.mov": "empty_file"}
    for name in failed:
        assert (found[name]["frame_rate"], found[name]["frames_processed"]) == (NO_RATE, [])
    assert "of 40 frames can be decoded" in found["cut.avi"]["failure_detail"]
    assert str(tmp_path) not in (tmp_path / "results.json").read_text()
    assert levels_by_frame(found["gate/a.avi"]) == {i: 1 + i for i in range(9)}
    assert (summary.images, summary.failed) == (26 + 4, 4)
    assert "9 videos, 4 of which could not be used" in said
    assert "videos: empty_file (1)" in said
    lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
    assert {json.loads(line)["file"] for line in lines} == {*failed, "half.gif"}


def test_what_is_there_of_a_video_is_kept_where_that_is_asked_for(clips, detect, fakes, results):
    fakes.write_video(clips / "cut.avi", count=40)
    data = (clips / "cut.avi").read_bytes()
    (clips / "cut.avi").write_bytes(data[: len(data) // 2])
    detect(clips, images=ImageOptions(keep_truncated=True))
    processed = results()["cut.avi"]["frames_processed"]
    assert 5 < len(processed) < 30
    assert levels_by_frame(results()["cut.avi"]) == {i: 1 + i for i in processed}


def test_videos_that_are_too_large_are_refused_before_they_are_read(clips, detect, results):
    _, summary, _ = detect(clips, images=ImageOptions(max_megapixels=0.001))
    assert summary.failed == 3 + 8 and not summary.detections
    assert results()["c.gif"]["failure_detail"].startswith("too_large: 64x48")


def test_large_frames_are_reduced_and_keep_their_size_in_results(clips, detect, tmp_path, fakes):
    sizes = set()

    class Model(fakes.FakeVideoModel):
        def step(self, encoded, *args, **kwargs):
            import io

            sizes.update(Image.open(io.BytesIO(image)).size for image in encoded if image)
            return super().step(encoded, *args, **kwargs)

    model = Model()
    detect(clips, model, images=ImageOptions(max_side=32))
    assert sizes - {(64, 48)} == {(32, 24)} and len(sizes) == 2, "the first call only tries it"
    images = json.loads((tmp_path / "results_coco.images.json").read_text())["images"]
    assert {(i["width"], i["height"]) for i in images} == {(64, 48)}


def test_a_video_without_usable_numbers_is_a_failure(clips, detect, fakes, results):
    class Model(fakes.FakeVideoModel):
        def _found(self, keys, said):
            found = super()._found(keys, said)
            found["boxes"][np.isin(np.round(keys), [3, 11, 12, 13])] = np.nan
            return found

    _, summary, _ = detect(clips, Model())
    found = results()
    assert found["gate/B.MKV"]["failure_detail"].startswith("not_finite")
    assert found["gate/a.avi"]["frames_failed"] == [2]
    assert 2 not in found["gate/a.avi"]["frames_processed"]
    assert summary.failed == 1 + 1 and summary.images == 26 - 3 + 1


def test_a_folder_without_videos_says_what_it_has(tmp_path, detect):
    (tmp_path / "clips").mkdir()
    with pytest.raises(ValueError, match="holds no videos.*no files.*is the drive connected"):
        detect(tmp_path / "clips")
    (tmp_path / "clips/notes.txt").write_text("")
    with pytest.raises(ValueError, match="1 .txt: no photographs"):
        detect(tmp_path / "clips")


def test_a_dry_run_lists_videos_with_frames_and_lengths(clips, detect, tmp_path):
    (clips / "words.mp4").write_bytes(b"these are no frames " * 50)
    model, summary, said = detect(clips, dry_run=True)
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines()[1:7]}
    assert rows == {
        "c.gif": ["6", "00:01"],
        "gate/B.MKV": ["3", "00:00"],
        "gate/a.avi": ["9", "00:00"],
        "val/ILSVRC2015_val_00000000": ["7", "-"],
        "val/ILSVRC2015_val_00000001": ["1", "-"],
        "words.mp4": ["unknown", "-"],
    }
    assert "6 videos with 26 frames to do" in said
    assert summary is None and model.calls == 2 and not model.seen, "to measure how fast it is"
    assert "for 26 frames on this machine" in said
    assert {path.name for path in tmp_path.iterdir()} == {"clips"}
    detect(clips)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    for restart in (False, True):
        _, _, said = detect(clips, dry_run=True, restart=restart)
        assert ("6 videos were done before" in said) != restart
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_hostile_names_stay_inside_and_are_named(clips, detect, fakes, results, tmp_path):
    fakes.write_video(tmp_path / "secret.avi")
    os.symlink(tmp_path / "secret.avi", clips / "out.avi")
    os.symlink(clips / "nowhere.avi", clips / "dangling.avi")
    os.symlink(tmp_path, clips / "again")
    os.mkfifo(clips / "pipe.mp4")
    fakes.write_video(clips / "a\\b.avi", count=2)
    fakes.write_frames(clips / "c:\\walk", count=2)
    good = [
        '"quotes" & <tags>.avi',
        "=1+1.avi",
        "Fuchs 🦊.avi",
        "clip_%03d.avi",
        "gate/a.avi 2.avi",
    ]
    for i, name in enumerate(good):
        fakes.write_video(clips / name, first=20 + i, count=2)
    fakes.write_frames(clips / os.fsdecode(b"b\xffd"), count=1)
    _, summary, _ = detect(clips)
    found = results()
    reasons = {n: e["failure_detail"].split(":")[0] for n, e in found.items() if e.get("failure")}
    assert reasons.pop("out.avi") == "outside_root" and reasons.pop("pipe.mp4") == "unreadable"
    assert reasons.pop("dangling.avi") == "missing_file"
    assert set(reasons.values()) == {"outside_root"} and len(reasons) == 1 + 2 + 1
    assert not any("\\" in name or ".." in name for name in found)
    for i, name in enumerate(good):
        assert levels_by_frame(found[name]) == {0: 20 + i, 1: 21 + i}
    assert levels_by_frame(found["gate/a.avi"]) == {i: 1 + i for i in range(9)}
    assert summary.images == 26 + 3 + 1 + 2 + 1 + 10


def test_states_of_other_runs_are_no_videos(clips, detect, fakes, tmp_path):
    own = clips / "results.json.state"
    fakes.write_frames(own / "review", count=3)
    (own / ".context-rcnn").touch()
    fakes.write_frames(clips / ".hidden", count=3)
    passed = PassedOver()
    names = [video.name for video in find_videos(str(clips), passed)]
    assert len(names) == 5 and [f.file for f in passed.take()] == [".hidden"]


def test_folders_and_files_that_cannot_be_looked_at_keep_their_results(
    clips, detect, fakes, results, tmp_path, locked
):
    detect(clips)
    before = results()
    locked.update([clips / "gate", clips / "c.gif", clips / "val/ILSVRC2015_val_00000001"])
    fakes.write_video(clips / "new.avi", first=5, count=2)
    model, summary, said = detect(clips)
    after = results()
    assert {name: after[name] for name in before} == before and "new.avi" in after
    assert summary.unlisted == 3 and "What is known of 4 videos there is kept" in said
    assert {number for _, number in model.seen} == {5, 6}
    lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
    named = {f["file"]: f["reason"] for f in map(json.loads, lines)}
    assert named == dict.fromkeys(["gate", "c.gif", "val/ILSVRC2015_val_00000001"], "not_listed")
    locked.clear()
    model, summary, _ = detect(clips)
    assert not model.seen and not summary.unlisted and {*results()} == {*before, "new.avi"}


def test_thresholds_and_categories_are_as_for_images(clips, detect, results):
    detect(clips, results=Options(min_score=0.5, native_categories=True))
    found = results()["gate/a.avi"]["detections"]
    assert {(d["category"], d["conf"]) for d in found} == {("1", 0.75)}


@pytest.mark.parametrize("changes", [{"fps": 0}, {"fps": float("nan")}, {"batch_size": 0}])
def test_numbers_that_make_no_sense_are_refused(clips, detect, changes):
    with pytest.raises(ValueError, match="must be positive"):
        detect(clips, **changes)


def test_a_model_that_gives_too_few_frames_is_found_out(clips, detect, fakes):
    model = fakes.FakeVideoModel(3)
    model.description["stream"]["latency"] = 2
    with pytest.raises(ValueError, match="higher latency than its description says"):
        detect(clips, model)


def test_detections_in_another_frame_than_expected_are_found_out(clips, detect, fakes):
    class Skipping(fakes.FakeVideoModel):
        def step(self, *args, **kwargs):
            found, state = super().step(*args, **kwargs)
            found["frame"][found["frame"] > 0] += 1
            return found, state

    with pytest.raises(ValueError, match="detected in frame 2, expected was 1"):
        detect(clips, Skipping())


def test_a_model_that_cannot_run_at_all_is_an_error_and_no_video_fails(clips, detect, fakes):
    class Broken(fakes.FakeVideoModel):
        def step(self, *args, **kwargs):
            raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        detect(clips, Broken())


@pytest.fixture
def command(monkeypatch, capsys, fakes):
    """Runs `context-rcnn videos` with a fake model."""
    from context_rcnn import cli

    def run(*argv, model=None):
        model = model or fakes.FakeVideoModel(rows=1)
        monkeypatch.setattr("context_rcnn.export.exported.ExportedModel", lambda folder: model)
        try:
            status = cli.main(["videos", *map(str, argv)])
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_the_command_writes_results_into_the_folder(clips, command, check_megadetector, tmp_path):
    status, out, _ = command(clips, "--model=m", f"--csv={tmp_path}/t.csv")
    assert status == 0 and "26 frames: 26 with a detection" in out
    assert len(read(clips / "results.json", check_megadetector)) == 3 + 8
    assert (clips / "results.json.state/journal.jsonl").exists() and (tmp_path / "t.csv").exists()
    assert command(clips, "--model=m")[0] == 0, "its own results are no videos and no strangers"
    status, out, _ = command(clips, "--model=m", "--dry_run", "-o", tmp_path / "other.json")
    assert status == 0 and "gate/a.avi" in out and not (tmp_path / "other.json").exists()


def test_exit_codes_tell_what_happened(clips, command, fakes, tmp_path):
    status, out, _ = command("--help")
    assert status == 0 and "--batch_size" in out and "context-rcnn videos clips" in out
    assert command()[0] == 2
    status, _, error = command(clips)
    assert status == 2 and "--model is missing" in error
    status, _, error = command(tmp_path / "nowhere", "--model=m")
    assert status == 2 and "is not a folder" in error
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.mp4").write_bytes(b"x")
    status, out, _ = command(tmp_path / "bad", "--model=m")
    assert status == 1 and "videos: unreadable (1)" in out

    class Interrupted(fakes.FakeVideoModel):
        def step(self, *args, **kwargs):
            raise KeyboardInterrupt

    status, _, error = command(clips, "--model=m", model=Interrupted(rows=1))
    assert status == 130 and "continues from here" in error


@pytest.mark.parametrize(
    ("names", "date", "are_frames"),
    [
        ("{:06d}.JPEG", None, True),
        ("frame_{}.jpg", None, True),
        ("img{:05d}.jpg", None, True),
        ("IMG_{:04d}.JPG", None, False),
        ("RCNX{:04d}.JPG", None, False),
        ("{:06d}.JPEG", "2013:10:04 13:31:53", False),
    ],
)
def test_photographs_are_no_frames(clips, fakes, names, date, are_frames):
    folder = clips / "north"
    fakes.write_frames(folder, count=3, names=names)
    if date:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = date
        fakes.picture(1).save(folder / names.format(0), "JPEG", exif=exif)
    passed = PassedOver()
    assert ("north" in {v.name for v in find_videos(str(clips), passed)}) == are_frames
    named = [f.file for f in passed.take() if "context-rcnn detect" in f.detail]
    assert named == ([] if are_frames else [f"north/{names.format(i)}" for i in range(3)])
    assert "north" in {v.name for v in find_videos(str(clips), PassedOver(), frames=True)}


def test_a_page_of_the_state_has_every_video_and_frames_of_files_and_folders(
    clips, detect, tmp_path
):
    from context_rcnn.cli.results import write_report

    detect(clips)
    write_report(str(tmp_path / "results.state"), str(clips), str(tmp_path / "page"))
    text = (tmp_path / "page/index.html").read_text()
    table = text.split('<section id="videos"')[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row">([^<]*)</th><td>[^<]*</td><td>(\d+)</td>', table)
    assert rows == [
        ("c.gif", "6"),
        ("gate/B.MKV", "3"),
        ("gate/a.avi", "9"),
        ("val/ILSVRC2015_val_00000000", "7"),
        ("val/ILSVRC2015_val_00000001", "1"),
    ]
    panels = text.split('<section id="videos"')[1].split("<article")[1:]
    assert len(panels) == 5
    assert all("<img" in panel and "not at hand" not in panel for panel in panels)
