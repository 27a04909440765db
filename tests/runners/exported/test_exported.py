"""`detect`, `watch`, `results` and `report` as people type them, with a real exported model."""

import csv
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from context_rcnn import cli
from context_rcnn.export import exported
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.window import WindowOptions, window
from context_rcnn.runners import session  # noqa: F401  (before its model is replaced here)
from context_rcnn.runners.engine.files import name_of
from context_rcnn.runners.folder import detect as stage
from tests.cli import hostile_folder

PAGE = pathlib.Path(__file__).parents[3] / "docs/serving.md"


@pytest.fixture(scope="module")
def noise(fakes):
    """Writes photographs in which there is something to see; dates are an hour apart."""

    def write(root, camera, count, first=0):
        rng = np.random.default_rng(sum(camera.encode()) + first)
        (root / camera).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            pixels = rng.integers(0, 255, (16, 24, 3)).astype(np.uint8)
            exif = Image.Exif()
            date = str(np.datetime64(fakes.START + 3600 * i, "s"))
            exif.get_ifd(0x8769)[0x9003] = date.replace("-", ":").replace("T", " ")
            image = Image.fromarray(pixels).resize((120, 80))
            image.save(root / camera / f"{i:03d}.jpg", exif=exif)

    return write


@pytest.fixture(autouse=True)
def load_once(monkeypatch, export, loaded):
    """Loading a model takes seconds; the commands get the one that is loaded."""
    load = exported.ExportedModel

    def instead(folder):
        return loaded if folder == export.folder else load(folder)

    monkeypatch.setattr(exported, "ExportedModel", instead)


@pytest.fixture
def archive(tmp_path, noise):
    root = tmp_path / "photos"
    noise(root, "a", 7)
    noise(root, "b", 5)
    (root / "a/broken.jpg").write_bytes(b"\xff\xd8 no")
    return root


def run(capsys, *argv):
    status = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def pixels_free(path):
    """Results without the time at which they were made."""
    document = json.loads(path.read_text())
    del document["info"]["detection_completion_time"]
    return document


def test_a_newcomer_gets_a_file_and_a_page_with_one_command_each(
    capsys, archive, export, tmp_path, check_megadetector
):
    status, out, _ = run(capsys, "detect", archive, "--model", export.folder)
    assert status == 0 and "13 images of 2 cameras" in out
    document = json.loads((archive / "results.json").read_text())
    assert check_megadetector(document) is None
    assert set(document["classification_categories"].values()) == {"bobcat", "coyote", "deer"}
    assert len(document["images"]) == 13
    found = [d for i in document["images"] for d in i["detections"] or ()]
    assert found and all(d["category"] == "1" for d in found)

    results = archive / "results.json"
    argv = ["--image_root", archive, "--output_dir", tmp_path / "page", "--threshold", 0.01]
    status, out, _ = run(capsys, "report", "--results", results, *argv)
    assert status == 0 and f"Look at {tmp_path}/page/index.html" in out
    page = (tmp_path / "page/index.html").read_text()
    assert (
        "13 images" in page
        and "a/broken.jpg" in page
        and len(list((tmp_path / "page/images").iterdir()))
    )


def test_the_same_command_makes_the_same_file_and_all_formats(capsys, archive, export, tmp_path):
    table = tmp_path / "deployments.csv"
    table.write_text("deploymentID,latitude,longitude\na,1,2\nb,3,4\n")
    outputs = ["--coco", tmp_path / "coco.json", "--csv", tmp_path / "t.csv", "--speciesnet"]
    outputs += [tmp_path / "s.json", "--camtrap_dp", tmp_path / "dp", "--deployments", table]
    command = ["detect", archive, "--model", export.folder, *outputs, "--timezone", "Z"]
    command += ["--rde", "auto", "--report", tmp_path / "page"]
    assert run(capsys, *command)[0] == 0
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(capsys, *command)[0] == 0
    names = ("coco.json", "t.csv", "s.json", "media.csv", "results.json", "index.html")
    for name in names:
        (path,) = [path for path in first if path.name == name]
        assert path.read_bytes() == first[path], name
    status, _, _ = run(
        capsys, "results", archive / "results.json.state", "--csv", tmp_path / "again.csv"
    )
    assert status == 0 and (tmp_path / "again.csv").read_bytes() == first[tmp_path / "t.csv"]


def test_stopped_and_grown_it_is_what_a_fresh_run_makes_of_it(
    capsys, archive, export, noise, tmp_path, monkeypatch
):
    """To the last bit, with a real network: batches are always of one size."""
    command = ["detect", archive, "--model", export.folder, "-o", tmp_path / "grown.json"]
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return detect_batch(*args)

    detect_batch = stage.detect_batch
    monkeypatch.setattr(stage, "_COMMIT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "detect_batch", stop)
        status, _, err = run(capsys, *command)
    assert status == 130 and "continues from here" in err
    assert not (tmp_path / "grown.json").exists()
    assert run(capsys, *command)[0] == 0
    noise(archive, "a", 3, first=7)
    noise(archive, "c", 1)
    assert run(capsys, *command)[0] == 0
    fresh = ["detect", archive, "--model", export.folder, "-o", tmp_path / "fresh.json"]
    assert run(capsys, *fresh)[0] == 0
    assert pixels_free(tmp_path / "grown.json") == pixels_free(tmp_path / "fresh.json")
    journals = [
        (tmp_path / f"{name}.json.state/journal.jsonl").read_bytes().split(b"\n", 1)[1]
        for name in ("grown", "fresh")
    ]
    assert journals[0] == journals[1]


def test_detections_are_the_models_with_the_window_of_the_bank(
    capsys, archive, export, loaded, tmp_path
):
    """Against `detect_with_context`, image by image, with the window's entries alone."""
    argv = ["detect", archive, "--model", export.folder, "-o", tmp_path / "r.json"]
    assert run(capsys, *argv)[0] == 0
    bank = Bank.open(str(tmp_path / "r.json.state/bank"), export.description["extractor"]["hash"])
    lines = (tmp_path / "r.json.state/journal.jsonl").read_text().splitlines()[1:]
    different = 0
    for image in map(json.loads, lines):
        if "failure" in image:
            continue
        camera = bank.camera(image["camera"])
        seen = window(
            camera.timeline, image["seconds"], image["file"], WindowOptions("day"), max_entries=4
        )
        assert 1 <= len(seen) <= 4
        encoded = [(archive / image["file"]).read_bytes()]
        found = loaded.detect_with_context(encoded, camera.entries(seen)[None], [len(seen)])
        kept = found["scores"][0] >= 0.005
        scores = [detection["score"] for detection in image["detections"]]
        np.testing.assert_allclose(scores, found["scores"][0][kept], atol=2e-4)
        boxes = [detection["box"] for detection in image["detections"]]
        np.testing.assert_allclose(boxes, found["boxes"][0][kept], atol=2e-3)
        alone = loaded.detect(encoded)["scores"][0][: len(scores)]
        different += not np.allclose(scores, alone, atol=1e-3)
    assert different, "the memory changes something"


def test_watching_says_line_by_line_what_the_model_sees(capsys, archive, export, loaded, tmp_path):
    state = tmp_path / "state"
    argv = ["watch", archive, "--model", export.folder, "--state", state, "--once"]
    status, out, _ = run(capsys, *argv)
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and len(lines) == 13
    memories = {}
    for image in lines:
        if "failure" in image:
            continue
        memory = memories.get(image["camera"]) or loaded.initial_state(1)
        encoded = [(archive / image["file"]).read_bytes()]
        number = sum(image["camera"].encode())
        found, memories[image["camera"]] = loaded.step(
            encoded, [number], [True], memory, seconds=[image["seconds"]]
        )
        kept = found["scores"][0] >= 0.005
        scores = [detection["score"] for detection in image["detections"]]
        np.testing.assert_allclose(scores, found["scores"][0][kept], rtol=1e-5, atol=1e-4)
    assert run(capsys, *argv)[1] == ""
    status, _, _ = run(capsys, "results", state, "-o", tmp_path / "md.json")
    assert status == 0 and len(json.loads((tmp_path / "md.json").read_text())["images"]) == 13


def test_the_session_of_the_page_detects_with_the_memory_so_far(
    export, loaded, noise, tmp_path, monkeypatch, capsys
):
    (code,) = re.findall(r"## A camera or a video.*?```python\n(.*?)```", PAGE.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export").symlink_to(export.folder)
    noise(tmp_path, "photos", 3)
    for i in range(3):
        (tmp_path / f"photos/{i:03d}.jpg").rename(tmp_path / f"photos/{i + 1}.jpg")
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert capsys.readouterr().out.count("photos/") == 3
    state, start = loaded.initial_state(1), 1_714_543_200  # 2024-05-01 06:00:00
    for i in range(3):
        encoded = [(tmp_path / f"photos/{i + 1}.jpg").read_bytes()]
        found, state = loaded.step(encoded, [7], [True], state, seconds=[start + 600 * i])
    kept = found["scores"][0] >= 0.005
    assert kept.any()
    np.testing.assert_allclose(
        names["found"].scores, found["scores"][0][kept], rtol=1e-5, atol=1e-4
    )
    assert names["found"].names == [loaded.class_names[i] for i in found["classes"][0][kept]]
    gate = names["gate"]
    assert (gate.camera, gate.frames) == ("gate", 3)
    assert gate.nbytes == sum(np.asarray(value).nbytes for value in state.values())
    again = gate("photos/1.jpg", start + 1800)
    found, _ = loaded.step(
        [(tmp_path / "photos/1.jpg").read_bytes()], [7], [True], state, seconds=[start + 1800]
    )
    kept = found["scores"][0] >= 0.005
    np.testing.assert_allclose(again.scores, found["scores"][0][kept], rtol=1e-5, atol=1e-4)


def test_watching_goes_on_to_the_last_bit(capsys, archive, export, noise, tmp_path):
    for name in ("parts", "whole"):
        if name == "whole":
            noise(archive, "a", 3, first=7)
        argv = ["watch", archive, "--model", export.folder, "--once", "--save_every", 2]
        run(capsys, *argv, "--state", tmp_path / name)
    run(capsys, *argv, "--state", tmp_path / "parts")
    lines = {
        name: sorted((tmp_path / name / "journal.jsonl").read_text().splitlines()[1:])
        for name in ("parts", "whole")
    }
    assert lines["parts"] == lines["whole"]


def test_the_same_job_by_beam(capsys, archive, export, loaded, frozen, tmp_path, monkeypatch):
    """Its bank is made by the extractor that the model carries; batches are others than here."""
    from beam_pipelines import detect as pipeline

    monkeypatch.setattr(pipeline, "_load_model", lambda folder: loaded)
    bank, found = tmp_path / "bank", tmp_path / "found"
    archive_flag = f"--input_folder={archive}"
    argv = [archive_flag, f"--extractor={frozen.folder}", f"--output_dir={bank}"]
    assert run(capsys, "remember", *argv)[0] == 0
    argv = [archive_flag, f"--model={export.folder}", f"--bank={bank}", f"--output_dir={found}"]
    assert pipeline.main(argv) == 0
    assert run(capsys, "results", found, "-o", tmp_path / "beam.json")[0] == 0
    argv = ["detect", archive, "--model", export.folder, "-o", tmp_path / "folder.json"]
    assert run(capsys, *argv)[0] == 0
    ours, theirs = (pixels_free(tmp_path / f"{name}.json") for name in ("folder", "beam"))
    assert ours["info"] == theirs["info"] and len(ours["images"]) == 13
    for one, other in zip(ours["images"], theirs["images"], strict=True):
        assert (one["file"], one.get("failure")) == (other["file"], other.get("failure"))
        pairs = [[d["conf"] for d in image["detections"] or ()] for image in (one, other)]
        np.testing.assert_allclose(*pairs, atol=2e-3)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["detect", "PHOTOS"], "--model is missing"),
        (["detect", "/nowhere", "--model", "EXPORT"], "/nowhere is not a folder"),
        (["detect", "PHOTOS", "--model", "PHOTOS"], "not an exported model"),
        (["detect", "PHOTOS", "--model", "EXPORT", "--camtrap_dp", "x"], "time zone"),
        (
            ["detect", "PHOTOS", "--model", "EXPORT", "--report", "PHOTOS"],
            "other things than a report",
        ),
        (["watch", "PHOTOS"], "--model is missing"),
        (["watch", "--video", "x.mp4", "--model", "EXPORT", "--state", "s"], "--camera"),
        (["results", "PHOTOS", "-o", "x.json"], "no journal*.jsonl in it"),
        (["report", "--output_dir", "x"], "either --evaluation"),
    ],
)
def test_mistakes_end_in_a_sentence(capsys, archive, export, argv, message):
    places = {"PHOTOS": str(archive), "EXPORT": export.folder}
    status, _, err = run(capsys, *[places.get(a, a) for a in argv])
    assert status == 2 and message in err and "Traceback" not in err


@pytest.mark.parametrize("verb", ["detect", "watch"])
def test_without_arguments_a_verb_teaches(capsys, verb):
    status, out, _ = run(capsys, verb)
    assert status == 2 and "examples:" in out and f"context-rcnn {verb}" in out


def test_a_run_without_a_usable_image_says_so(capsys, tmp_path, export):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    status, out, _ = run(capsys, "detect", tmp_path / "photos", "--model", export.folder)
    assert status == 1 and "1 that could not be used" in out
    with (tmp_path / "t.csv").open("w"):
        pass
    status, _, _ = run(
        capsys, "results", tmp_path / "photos/results.json.state", "--csv", tmp_path / "t.csv"
    )
    with (tmp_path / "t.csv").open() as file:
        assert next(csv.DictReader(file))["failure"].startswith("empty_file")


@pytest.mark.slow
def test_a_folder_from_the_field_through_a_real_model(capfd, tmp_path, export, locked):
    root = tmp_path / "photos"
    expected = {name_of(path) for path in hostile_folder.write(root)}
    locked.add(root / "locked")
    status, out, err = run(
        capfd, "detect", root, "--model", export.folder, f"--report={tmp_path}/page"
    )
    assert status == 1 and "1 folder could not be listed: locked" in out
    assert "Traceback" not in out + err and "Corrupt JPEG" not in err
    state = root / "results.json.state"
    files = {image["file"] for image in json.loads((root / "results.json").read_text())["images"]}
    assert not hostile_folder.missing(expected, files, hostile_folder.failures_of(state))
    assert (tmp_path / "page/index.html").exists()
    status, out, err = run(
        capfd, "watch", root, "--model", export.folder, "--state", tmp_path / "watch", "--once"
    )
    lines = {json.loads(line)["file"] for line in out.splitlines() if line.startswith("{")}
    failures = hostile_folder.failures_of(tmp_path / "watch")
    assert status == 1 and not hostile_folder.missing(expected, lines, failures)
