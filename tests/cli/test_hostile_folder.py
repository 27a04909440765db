"""A folder from the field through every verb: each file is in an output, or named with why."""

import json
import re

import pytest

from context_rcnn import cli
from context_rcnn.memory_bank.store import Bank
from context_rcnn.runners.engine.files import name_of
from tests.beam_pipelines.conftest import extractor  # noqa: F401
from tests.cli import hostile_folder
from tests.cli.hostile_folder import failures_of, missing

# What shows how far a stage is: a bar, or a line of a log with its time.
PROGRESS = re.compile(r"[\w/ ]+: .*\[\d|[\w/ ]+: +\d+%\||.*\d\d:\d\d:\d\d|[IW]\d{4} |\s*$")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder, and the name of each file in results."""
    root = tmp_path_factory.mktemp("field") / "photos"
    paths = hostile_folder.write(root)
    return root, {name_of(path) for path in paths}


@pytest.fixture
def command(written, locked, monkeypatch, capfd, tmp_path, load_fakes):
    """Runs a verb; returns its status and what it printed, and holds it to silence on stderr."""
    locked.add(written[0] / "locked")

    def run(*argv, batch_size=4, says="nothing"):
        model = load_fakes.FakeModel(batch_size=batch_size)
        monkeypatch.setattr("context_rcnn.export.exported.ExportedModel", lambda folder: model)
        status = cli.main([str(a) for a in argv])
        out, err = capfd.readouterr()
        noise = [line for line in re.split("[\\r\\n]", err) if not PROGRESS.match(line)]
        noise = [line for line in noise if not line.startswith(says)]
        assert not noise, noise
        assert "Traceback" not in out + err
        return status, out

    return run


@pytest.fixture(scope="module")
def load_fakes():
    from tests.runners.conftest import HERE, load

    return load(HERE / "folder/fakes.py")


DAMAGED = ["damage/middle.jpg", "damage/progressive.jpg", "frames/000002.jpg"]


def names_damage(failures):
    """Whether each picture with damaged data is named once, as one that is used."""
    found = sorted((f["file"], f["lost"]) for f in failures if f["reason"] == "damaged_data")
    return found == [(file, "nothing") for file in DAMAGED]


def test_detect_results_and_report(written, command, tmp_path):
    root, expected = written
    output = tmp_path / "results.json"
    flags = [root, "--model=m", "-o", output]
    flags += [f"--csv={tmp_path}/t.csv", f"--report={tmp_path}/page"]
    for _ in range(2):
        status, out = command("detect", *flags)
        assert status == 1 and "1 folder could not be listed: locked" in out
        images = json.loads(output.read_text())["images"]
        state = tmp_path / "results.json.state"
        assert not missing(expected, {i["file"] for i in images}, failures_of(state))
    failed = {i["file"] for i in images if i.get("failure")}
    assert {"damage/words.jpg", "damage/bomb.png", "videos/broken.mp4"} <= failed
    assert not {name for name in failed if name.startswith(("north", "site 2", "kinds/a."))}
    assert names_damage(failures_of(state)) and "damage/middle.jpg" not in failed
    formats = ["-o", tmp_path / "again.json", "--speciesnet", tmp_path / "s.json"]
    assert command("results", state, *formats)[0] == 0
    again = json.loads((tmp_path / "again.json").read_text())["images"]
    assert [i["file"] for i in again] == [i["file"] for i in images]
    page = ["--results", output, "--image_root", root, "--output_dir", tmp_path / "other page"]
    assert command("report", *page)[0] == 0
    text = (tmp_path / "other page/index.html").read_text()
    assert "<img onerror" not in text and "&lt;img onerror" in text


def test_videos(written, command, tmp_path):
    root, expected = written
    output = tmp_path / "videos.json"
    status, out = command("videos", root, "--model=m", "-o", output, batch_size=1)
    assert status == 1
    images = json.loads(output.read_text())["images"]
    failures = failures_of(tmp_path / "videos.json.state")
    assert not missing(expected, {i["file"] for i in images}, failures)
    (found,) = [f for f in failures if f["reason"] == "damaged_data"]
    assert (found["file"], found["lost"]) == ("frames/000002.jpg", "nothing")
    assert "frames/000002.jpg" in {i["file"] for i in images if not i.get("failure")}


def test_watch(written, command, tmp_path):
    root, expected = written
    flags = [root, "--model=m", "--state", tmp_path / "state", "--once"]
    # Lines of JSON are on stdout, and what people should know is not among them.
    status, out = command("watch", *flags, batch_size=1, says="1 folder could not be listed: lock")
    assert status == 1
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    failures = failures_of(tmp_path / "state")
    assert not missing(expected, {i["file"] for i in lines}, failures)
    assert names_damage(failures)
    command("watch", *flags, batch_size=1, says="1 folder could not be listed: lock")
    assert names_damage(failures_of(tmp_path / "state"))


def test_validate(written, command, tmp_path):
    root, expected = written
    status, out = command("validate", f"--input_folder={root}", f"--json={tmp_path}/report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    lost = [f for f in report["failed"] if f["lost"] == "image"]
    assert report["images_listed"] == report["images_usable"] + len(lost)
    used = [f for f in report["failed"] if f["lost"] == "date" or f["reason"] == "damaged_data"]
    left = missing(expected, set(), [f for f in report["failed"] if f not in used])
    assert len(left) == report["images_usable"], "what is not named can be used"
    assert "damage/words.jpg: unreadable" in out and "locked: not_listed" in out
    assert "used, but damaged\n  damage/middle.jpg: damaged_data: a damaged JPEG" in out
    assert names_damage(report["failed"])


def test_examples_and_remember(written, command, extractor, tmp_path):  # noqa: F811
    import tensorflow as tf

    root, expected = written
    examples, bank = tmp_path / "examples", tmp_path / "bank"
    status, _ = command("examples", f"--input_folder={root}", f"--output_dir={examples}")
    assert status == 1
    files = sorted(map(str, examples.glob("*.tfrecord")))
    key = "image/filename"
    read = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(files)]
    done = {one.features.feature[key].bytes_list.value[0].decode() for one in read}
    assert len(done) > 30 and not missing(expected, done, failures_of(examples))
    assert names_damage(failures_of(examples)) and "damage/middle.jpg" in done
    flags = [f"--input_folder={root}", f"--extractor={extractor}", f"--output_dir={bank}"]
    status, _ = command("remember", *flags)
    assert status == 1
    opened = Bank.open(str(bank))
    done = {name for camera in opened for name in camera.image_ids}
    assert len(done) > 30 and not missing(expected, done, failures_of(bank))
    assert names_damage(failures_of(bank))
