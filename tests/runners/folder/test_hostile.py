"""Folders as they come: nothing stops a run, nothing is lost, nothing leaves the folder."""

import csv
import io
import json
import os
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.walk import IMAGE_SUFFIXES, OWN_FOLDER
from context_rcnn.results.options import CamtrapOptions, Options


def bomb():
    """A PNG that says it has 10,000 megapixels."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.fixture
def hostile(photos, fakes):
    """The photographs, and what else lies around; returns what is expected of each file."""
    good = fakes.photograph(date=fakes.START)
    large, cmyk = io.BytesIO(), io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(large, "JPEG")
    Image.new("CMYK", (40, 30), (10, 200, 30, 0)).save(cmyk, "JPEG")
    files = {
        "north/cut.jpg": (large.getvalue()[:-5000], "truncated"),
        "north/nothing.jpg": (b"", "empty_file"),
        "north/words.jpg": (b"these are words", "unreadable"),
        "north/bomb.png": (bomb(), "too_large"),
        "north/cmyk.jpg": (cmyk.getvalue(), ""),
        "north/rotated.jpg": (fakes.photograph(size=(60, 20), orientation=6), ""),
        "north/1970.jpg": (fakes.photograph(date="1970:01:01 00:00:10"), ""),
        "north/nonsense.jpg": (fakes.photograph(date="yesterday"), ""),
        "north/same.jpg": (good, ""),
        "south/100RECNX/same.jpg": (good, ""),
        'north/"quotes" & <tags>\'.jpg': (good, ""),
        "north/=1+1.jpg": (good, ""),
        "Überwald/Fuchs 🦊.jpg": (good, ""),
        "north/line\nbreak.jpg": (good, ""),
    }
    expected = {}
    for name, (data, reason) in files.items():
        path = photos / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        expected[name] = reason
    outside = photos.parent / "secret.jpg"
    outside.write_bytes(good)
    os.symlink(outside, photos / "north/out.jpg")
    os.symlink(photos / "north/same.jpg", photos / "north/link.jpg")
    os.symlink(photos / "nowhere.jpg", photos / "north/dangling.jpg")
    os.symlink(photos / "north", photos / "again")
    expected |= {
        "north/out.jpg": "outside_root",
        "north/link.jpg": "",
        "north/dangling.jpg": "missing_file",
    }
    os.mkfifo(photos / "north/pipe.jpg")
    expected["north/pipe.jpg"] = "unreadable"
    return expected


def failures_by_file(path):
    images = json.loads(path.read_text())["images"]
    return {i["file"]: i.get("failure_detail", "").partition(":")[0] for i in images}


@pytest.mark.parametrize("memory", [True, False])
def test_every_file_is_a_result_or_a_failure_with_its_reason(
    photos, hostile, detect, fakes, tmp_path, memory
):
    _, summary, said = detect(photos, fakes.FakeModel(memory))
    found = failures_by_file(tmp_path / "results.json")
    ordinary = {p.relative_to(photos).as_posix() for p in photos.rglob("IMG_*")}
    assert set(found) == set(hostile) | ordinary
    assert {name: found[name] for name in hostile} == hostile
    assert not any(found[name] for name in ordinary)
    assert summary.failed == 7
    lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
    named = [json.loads(line) for line in lines]
    assert passed_over(tmp_path) == {"again": "linked_folder"}
    images = {f["file"]: f["reason"] for f in named if f["lost"] == "image"}
    assert images == {name: reason for name, reason in hostile.items() if reason}
    assert {f["camera"] for f in named if f["file"] == "north/nothing.jpg"} == {"north"}
    assert "failures.jsonl names everything" in said
    dates = {f["file"]: f["reason"] for f in named if f["lost"] == "date"}
    assert dates == {"north/1970.jpg": "junk_date", "north/nonsense.jpg": "bad_date"}
    assert "2 from a camera whose clock was not set" in said


def test_all_formats_say_it_and_pass_their_validators(
    photos, hostile, detect, tmp_path, check_camtrap_dp, check_megadetector
):
    from pycocotools.coco import COCO

    deployments = tmp_path / "deployments.csv"
    cameras = ["north", "south", "Überwald"]
    deployments.write_text(
        "deploymentID,latitude,longitude\n" + "".join(f"{c},10,20\n" for c in cameras)
    )
    outputs = {
        name: tmp_path / path
        for name, path in (
            ("coco", "coco.json"),
            ("table", "table.csv"),
            ("camtrap_dp", "camtrap"),
            ("speciesnet", "speciesnet.json"),
        )
    }
    results = Options(camtrap=CamtrapOptions(deployments, "+01:00"))
    _, summary, said = detect(photos, outputs=outputs, results=results)
    missing = sum(summary.not_packaged.values())
    last = said.splitlines()[-1]
    assert last.startswith(f"{missing} images are NOT in the Camtrap DP package, because they have")
    with (tmp_path / "camtrap/media.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) + missing == 20 + len(hostile)
    total = 20 + len(hostile)

    with (tmp_path / "table.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file"] for row in rows}) == total
    assert sum(row["result"] == "failure" for row in rows) == 7
    assert not any(row["file"].startswith("=") for row in rows)

    predictions = json.loads((tmp_path / "speciesnet.json").read_text())["predictions"]
    assert len(predictions) == total and sum("failures" in p for p in predictions) == 7

    index = COCO(tmp_path / "coco.images.json")
    boxes = index.loadRes(str(tmp_path / "coco.json"))
    assert len(index.imgs) == total and boxes.anns

    check_camtrap_dp(tmp_path / "camtrap")
    assert check_megadetector(json.loads((tmp_path / "results.json").read_text())) is None


def test_rotation_and_reduction_keep_the_size_of_the_upright_image(
    photos, hostile, detect, tmp_path
):
    detect(photos, outputs={"coco": tmp_path / "coco.json"}, images=ImageOptions(max_side=30))
    images = json.loads((tmp_path / "coco.images.json").read_text())["images"]
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in images}
    assert sizes["north/rotated.jpg"] == (20, 60)
    assert sizes["north/IMG_00000.JPG"] == (48, 32)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_results_cannot_hold_are_shown_with_what_is_wrong(
    photos, detect, fakes, tmp_path
):
    image = fakes.photograph()
    for name in (b"north/caf\xe9.jpg", b"north/back\\slash.jpg", b"C:drive.jpg"):
        with open(os.path.join(os.fsencode(photos), name), "wb") as file:
            file.write(image)
    detect(photos)
    found = failures_by_file(tmp_path / "results.json")
    odd = sorted(name for name, reason in found.items() if reason)
    assert len(found) == 23 and len(odd) == 3
    assert {found[name] for name in odd} == {"outside_root"}
    shown = ["C\N{REPLACEMENT CHARACTER}drive [", "north/back\N{REPLACEMENT CHARACTER}slash ["]
    assert [name[: len(start)] for name, start in zip(odd, shown, strict=False)] == shown
    detect(photos)
    assert failures_by_file(tmp_path / "results.json") == found


def test_images_without_a_camera_are_detected_without_a_memory(photos, detect, tmp_path):
    _, _, said = detect(photos, camera_regex=r"^(?P<camera>north)/")
    images = json.loads((tmp_path / "results.json").read_text())["images"]
    boxes = {i["file"]: [d["bbox"][0] for d in i["detections"]] for i in images}
    assert "(no camera)" in said
    assert all(0.0 in b for name, b in boxes.items() if name.startswith("south"))
    assert not any(0.0 in b for name, b in boxes.items() if name.startswith("north"))
    lines = (tmp_path / "results.state/journal.jsonl").read_text().splitlines()[1:]
    bursts = {image["file"]: image["burst"] for image in map(json.loads, lines)}
    assert all((burst == "") == name.startswith("south") for name, burst in bursts.items())


def test_an_undated_image_sees_what_the_horizon_allows(photos, detect, fakes, tmp_path):
    (photos / "north/undated.jpg").write_bytes(fakes.photograph())
    for horizon, sees in (("any", True), ("month", False)):
        detect(photos, fakes.FakeModel(horizon=horizon), name=horizon)
        images = json.loads((tmp_path / f"{horizon}.json").read_text())["images"]
        boxes = {i["file"]: [d["bbox"][0] for d in i["detections"]] for i in images}
        assert (0.0 not in boxes["north/undated.jpg"]) == sees


def test_what_was_written_by_us_is_no_photograph(photos, detect, fakes, tmp_path):
    """State, pictures and reports may lie in the folder of images."""
    ours = photos / "results.json.review"
    ours.mkdir()
    (ours / OWN_FOLDER).touch()
    (ours / "00001.jpg").write_bytes(fakes.photograph())
    (photos / "notes.txt").touch()
    detect(photos, outputs={"table": photos / "mine.csv"})
    _, summary, said = detect(photos, outputs={"table": photos / "mine.csv"})
    assert summary.images == 20 and "passed over: 1 .txt: no photographs" in said
    assert passed_over(tmp_path) == {"notes.txt": "other_file"}


def test_what_is_passed_over_is_named_with_advice(photos, detect, tmp_path):
    names = ["a.CR2", "b.cr2", "a.jxl", "clip.mp4", "clip.AVI", "t.txt", "t.xml", "LICENSE"]
    names += [] if ".heic" in IMAGE_SUFFIXES else ["tel.HEIC"]
    for name in [*names, ".hidden.jpg"]:
        (photos / "north" / name).write_bytes(b"x")
    _, summary, said = detect(photos, videos=False)
    assert summary.images == 20
    lines = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("passed")]
    expected = [
        '1 .heic: photographs that need pip install "context-rcnn[heic]"',
        "2 .cr2, 1 .jxl: photographs that cannot be read; export them as JPEG",
        "1 .avi, 1 .mp4: videos, for context-rcnn videos",
        "1 without a suffix, 1 .txt, 1 .xml: no photographs",
        "1 hidden file or folder",
    ]
    assert {*lines} == {line for line in expected if "heic" not in line or "tel.HEIC" in names}
    assert set(passed_over(tmp_path)) == {f"north/{name}" for name in [*names, ".hidden.jpg"]}


def passed_over(folder):
    """What failures.jsonl names that is no image, with the reason."""
    lines = (folder / "results.state/failures.jsonl").read_text().splitlines()
    return {f["file"]: f["reason"] for f in map(json.loads, lines) if f["stage"] == "folder"}


def test_a_failed_image_is_tried_again_and_counts_once_it_can_be_read(
    photos, detect, fakes, tmp_path
):
    path = photos / "north/late.jpg"
    path.write_bytes(b"")
    detect(photos)
    assert failures_by_file(tmp_path / "results.json")["north/late.jpg"] == "empty_file"
    path.write_bytes(fakes.photograph(date=fakes.START))
    detect(photos)
    assert failures_by_file(tmp_path / "results.json")["north/late.jpg"] == ""


def test_one_image_that_the_model_refuses_fails_alone(photos, detect, fakes, tmp_path, monkeypatch):
    from context_rcnn.runners.engine import model as models

    class Refusal(Exception):
        pass

    class Picky(fakes.FakeModel):
        def _called(self, encoded, log):
            super()._called(encoded, log)
            if any(self._colours(image)[0] > 0.99 for image in encoded):
                raise Refusal("too red\nand more")

    (photos / "north/red.jpg").write_bytes(fakes.photograph((255, 0, 0), fakes.START + 60))
    monkeypatch.setattr(models, "refusals", lambda: (Refusal,))
    for memory in (True, False):
        name = f"memory-{memory}"
        detect(photos, Picky(memory), name=name)
        found = failures_by_file(tmp_path / f"{name}.json")
        assert {n for n, reason in found.items() if reason} == {"north/red.jpg"}
        assert found["north/red.jpg"] == "unreadable"


def test_numbers_that_are_none_are_a_failure_of_their_image(photos, detect, fakes, tmp_path):
    class Broken(fakes.FakeModel):
        def _found(self, encoded, said):
            found = super()._found(encoded, said)
            red = [self._colours(image)[0] > 0.99 for image in encoded]
            found["scores"][red, 0] = float("nan")
            return found

    (photos / "north/red.jpg").write_bytes(fakes.photograph((255, 0, 0), fakes.START + 60))
    detect(photos, Broken())
    found = failures_by_file(tmp_path / "results.json")
    assert {n: r for n, r in found.items() if r} == {"north/red.jpg": "not_finite"}


def test_a_model_that_cannot_run_at_all_is_not_taken_for_broken_images(photos, detect, fakes):
    class Dead(fakes.FakeModel):
        def detect(self, encoded):
            raise RuntimeError("no kernel for this device")

    with pytest.raises(RuntimeError, match="no kernel"):
        detect(photos, Dead())


def write_clip(path, count=5):
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 2.0, (64, 48))
    for i in range(count):
        writer.write(np.full((48, 64, 3), 40 * i + 20, np.uint8))
    writer.release()


def test_videos_among_photographs_are_results_of_the_same_file(
    photos, detect, fakes, tmp_path, check_megadetector
):
    write_clip(photos / "north/clip.avi")
    (photos / "south/broken.mp4").write_bytes(b"no video")
    _, summary, said = detect(photos, outputs={"table": tmp_path / "table.csv"})
    assert "2 videos, of which 2 are to be done: 3 frames (1 of each second" in said
    document = json.loads((tmp_path / "results.json").read_text())
    assert check_megadetector(document) is None
    found = {image["file"]: image for image in document["images"]}
    assert found["north/clip.avi"]["frames_processed"] == [0, 2, 4]
    assert found["south/broken.mp4"]["failure"] and len(found) == 22
    assert summary.images == 20 + 3 + 1 and summary.failed == 1
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8-sig") as file:
        cameras = {row["file"]: row["camera"] for row in csv.DictReader(file)}
    assert cameras["north/clip.avi/000001000.jpg"] == "north"
    assert cameras["south/broken.mp4"] == "south"
    lines = (tmp_path / "results.state/failures.jsonl").read_text().splitlines()
    assert {json.loads(line)["file"] for line in lines} == {"south/broken.mp4"}
    written = (tmp_path / "results.json").read_bytes()
    model, _, said = detect(photos, outputs={"table": tmp_path / "table.csv"})
    assert "of which 0 are to be done" in said and len(model.detected) == 1
    assert (tmp_path / "results.json").read_bytes() == written
    (photos / "north/clip.avi").unlink()
    (photos / "south/broken.mp4").unlink()
    _, summary, _ = detect(photos, outputs={"table": tmp_path / "table.csv"})
    assert summary.images == 20
    write_clip(photos / "north/clip.avi")
    _, summary, said = detect(photos, videos=False, name="without")
    assert summary.images == 20 and "passed over: 1 .avi: videos" in said


def test_a_package_wants_the_place_of_a_camera_with_videos_only_before_detecting(
    photos, detect, fakes, tmp_path
):
    (photos / "clips").mkdir()
    write_clip(photos / "clips/a.avi")
    places = tmp_path / "deployments.csv"
    places.write_text("deploymentID,latitude,longitude\nnorth,10,20\nsouth,10,20\n")
    model = fakes.FakeModel()
    results = Options(camtrap=CamtrapOptions(places, "+01:00"))
    with pytest.raises(ValueError, match="no deployment for 1 of 3 cameras: 'clips'"):
        detect(photos, model, outputs={"camtrap_dp": tmp_path / "package"}, results=results)
    assert model.detected == []


def test_a_folder_of_videos_alone_is_detected_in(detect, fakes, tmp_path):
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/a.avi")
    _, summary, said = detect(tmp_path / "clips")
    assert summary.images == 3 and "0 images" in said
