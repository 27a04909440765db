"""An exported model in an installation that has the core alone: each verb, as people type it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from context_rcnn.memory_bank.store import Bank

ROOT = pathlib.Path(__file__).parents[2]
# The files that an installation is made of; what is built lies elsewhere.
PACKAGES = ("context_rcnn", "beam_pipelines", "tpu")
FILES = ("setup.py", "pyproject.toml", "README.md")
HEAVY = ("tf-models-official", "tf-keras", "tensorflow-addons", "apache-beam", "pyyaml", "scipy")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Runs `context-rcnn` of a fresh environment; it downloads TensorFlow, which takes minutes."""
    source, venv = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("venv")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    binaries = venv / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [binaries / "python", "-m", "pip"]
    install = [*pip, "install", "--quiet", "--constraint", ROOT / "constraints.txt", source]
    subprocess.run(install, check=True)
    listed = subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True)
    installed = {row["name"].lower().replace("_", "-") for row in json.loads(listed.stdout)}
    assert "tensorflow" in installed and not installed & set(HEAVY)
    folder = tmp_path_factory.mktemp("elsewhere")
    # No path of this checkout may lead back to what is installed for the tests.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*argv, status=0):
        done = subprocess.run(
            [binaries / "context-rcnn", *map(str, argv)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, f"{argv}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr and "CropAndResize" not in done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def archive(command, tmp_path_factory):
    """A simulated archive, written by the core."""
    folder = tmp_path_factory.mktemp("archive")
    size = "--image_size=96x64"
    command("simulate", "camera-traps", folder / "traps", "--cameras=2", "--days=3", size)
    command("simulate", "videos", folder / "videos", "--videos=2", "--frames=6", size)
    return folder


@pytest.mark.slow
def test_photographs_are_detected_reported_and_written_again(command, archive, export, tmp_path):
    photos, results = archive / "traps/images", tmp_path / "results.json"
    model = ["--model", export.folder]
    command("detect", photos, *model, "-o", results, "--report", tmp_path / "page", "--rde=report")
    document = json.loads(results.read_text())
    listed = json.loads((archive / "traps/camera_traps.json").read_text())["images"]
    assert len(document["images"]) == len(listed) > 0
    assert all("failure" not in image for image in document["images"])
    assert any(image["detections"] for image in document["images"])
    assert (tmp_path / "page/index.html").stat().st_size > 1000

    outputs = ["--csv", tmp_path / "a.csv", "--coco", tmp_path / "a.coco.json"]
    outputs += ["--speciesnet", tmp_path / "a.speciesnet.json"]
    command("results", f"{results}.state", "-o", tmp_path / "again.json", *outputs)
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["images"] == document["images"]
    command("report", "--results", results, "--image_root", photos, "--output_dir", tmp_path / "r")
    assert (tmp_path / "r/index.html").stat().st_size > 1000


@pytest.mark.slow
def test_images_that_come_are_detected(command, archive, export, tmp_path):
    state = tmp_path / "state"
    out = command(
        *("watch", archive / "traps/images", "--model", export.folder),
        *("--state", state, "--once"),
    )
    assert sum(line.startswith("{") for line in out.splitlines()) > 0
    command("results", state, "-o", tmp_path / "results.json")


@pytest.mark.slow
def test_videos_are_detected(command, archive, export, tmp_path):
    """A file, and the folders of frames of an archive."""
    videos = archive / "videos"
    clip = cv2.VideoWriter(str(videos / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (96, 64))
    for shade in (60, 120, 180):
        clip.write(np.full((64, 96, 3), shade, np.uint8))
    clip.release()
    command("videos", videos, "--model", export.folder, "-o", tmp_path / "videos.json")
    document = json.loads((tmp_path / "videos.json").read_text())
    frames = [image for image in document["images"] if image["file"].endswith(".JPEG")]
    assert len(frames) == len(list(videos.rglob("*.JPEG"))) > 0
    (file,) = [image for image in document["images"] if image["file"] == "clip.avi"]
    assert file["frames_processed"] == [0, 1, 2] and "failure" not in file


@pytest.mark.slow
def test_banks_are_looked_after(command, archive, export, tmp_path):
    """With a bank that `detect` has made."""
    photos, results = archive / "traps/images", tmp_path / "results.json"
    command("detect", photos, "--model", export.folder, "-o", results)
    (manifest,) = pathlib.Path(f"{results}.state").rglob("manifest.json")
    bank, merged = manifest.parent, tmp_path / "merged"
    report = json.loads(command("bank", "inspect", bank, "--json"))
    assert report["cameras"] == 2 and report["entries"] > 0
    command("bank", "inspect", bank, f"--plot={tmp_path}/days.png")
    assert Image.open(tmp_path / "days.png").width > 100
    assert "0 problems" in command("bank", "verify", bank)
    command("bank", "merge", merged, bank, "--dtype=float32")
    command("bank", "prune", merged, "--max_entries=3")
    camera = Bank.open(str(merged)).camera(sorted(report["by_camera"])[0])
    entry = [f"--image_id={camera.image_ids[0]}", f"--rank={camera.ranks[0]}"]
    near = command("bank", "nearest", merged, f"--camera={camera.name}", *entry)
    assert np.isfinite([json.loads(line)["similarity"] for line in near.splitlines()]).all()
    command("bank", "delete", merged, f"--camera={camera.name}")
    command("bank", "recover", merged)
    assert list(Bank.open(str(merged)).cameras) == [sorted(report["by_camera"])[1]]


@pytest.mark.slow
def test_detections_are_linked(command, tmp_path):
    images = [{"id": 10 + t, "file_name": f"{t}", "video_id": 1, "frame_id": t} for t in range(3)]
    rows = [
        {"image_id": 10 + t, "category_id": 1, "bbox": [20 + t, 20, 40, 40], "score": score}
        for t, score in enumerate((0.9, 0.1, 0.8))
    ]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images}))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    files = ["--groundtruth", tmp_path / "truth.json", "--detections", tmp_path / "found.json"]
    command("link", *files, "-o", tmp_path / "linked.json")
    linked = json.loads((tmp_path / "linked.json").read_text())
    np.testing.assert_allclose([row["score"] for row in linked], [0.6] * 3)


@pytest.mark.slow
def test_archives_are_validated(command, archive):
    traps = archive / "traps"
    found = ["--input_json", traps / "camera_traps.json", "--image_root", traps / "images"]
    assert "can be used" in command("validate", *found)


@pytest.mark.slow
def test_the_installation_is_found_well(command):
    out = command("doctor")
    assert "/device:CPU:0 works" in out and "All is well." in out
    assert 'not installed; pip install "context-rcnn[train]"' in out


@pytest.mark.slow
@pytest.mark.parametrize("verb", [["train", "--model_dir=a"], ["export", "--model_dir=a"]], ids=str)
def test_a_missing_extra_is_named(command, verb):
    verb = [*verb, "--output_dir=b"] if verb[0] == "export" else verb
    out = command(*verb, status=2)
    assert f"context-rcnn {verb[0]}: error: this needs " in out
    assert 'pip install "context-rcnn[train]"' in out
