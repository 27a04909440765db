"""Detection by Beam: what the folder runner gives, resumed, grown, and on other storages."""

import importlib.util
import json
import os
import pathlib
import sys

import pytest

from beam_pipelines import detect
from context_rcnn.results.join import find_journals, join_journals
from context_rcnn.results.write import Outputs, write_results
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.folder.run import detect_folder
from tests.cli import hostile_folder

FAKES = pathlib.Path(__file__).parents[1] / "runners/folder/fakes.py"


@pytest.fixture(scope="module")
def fakes():
    spec = importlib.util.spec_from_file_location("fakes", FAKES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(fakes, monkeypatch):
    model = fakes.FakeModel()
    monkeypatch.setattr(detect, "_load_model", lambda folder: model)
    return model


@pytest.fixture
def photos(tmp_path, fakes):
    root = tmp_path / "photos"
    fakes.write_photos(root, ["a", "b/100RECNX", "c"], count=9)
    (root / "a/broken.jpg").write_bytes(b"\xff\xd8\xff no")
    (root / "b/undated.jpg").write_bytes(fakes.photograph())
    return root


@pytest.fixture
def folder(photos, model, tmp_path):
    """The same by the folder runner: path of its results, and its bank."""

    def run(name="folder", **changes):
        state = tmp_path / f"{name}.state"
        options = FolderOptions(
            str(photos), str(state), Outputs(tmp_path / f"{name}.json"), **changes
        )
        detect_folder(options, model, say=lambda text: None)
        return tmp_path / f"{name}.json", str(state / "bank")

    return run


def by_beam(photos, bank, output, *argv):
    memory = [f"--bank={bank}"] if bank else ["--no_memory"]
    return detect.main(
        [f"--input_folder={photos}", "--model=export", *memory, f"--output_dir={output}", *argv]
    )


def written(places, path):
    journal = join_journals(find_journals([places]), f"{path}.jsonl")
    write_results(journal, Outputs(path), progress=False)
    return images(path)


def images(path):
    return json.loads(path.read_text())["images"]


@pytest.mark.parametrize("memory", [True, False])
def test_it_gives_what_the_folder_runner_gives(photos, folder, tmp_path, capsys, memory, counters):
    expected, bank = folder(memory=memory)
    assert by_beam(photos, bank if memory else "", tmp_path / "found") == 0
    assert written(tmp_path / "found", tmp_path / "beam.json") == images(expected)
    out = capsys.readouterr().out
    assert "29 images, of which 1 could not be used" in out and "context-rcnn results" in out
    lines = (tmp_path / "found/failures.jsonl").read_text().splitlines()
    (failure,) = map(json.loads, lines)
    assert failure["file"] == "a/broken.jpg"
    assert counters()[f"failed_{failure['reason']}"] == 1


def test_a_second_run_detects_nothing_and_a_grown_archive_little(
    photos, folder, model, tmp_path, fakes
):
    _, bank = folder()
    by_beam(photos, bank, tmp_path / "found")
    del model.detected[:]
    by_beam(photos, bank, tmp_path / "found")
    assert not model.detected
    fakes.write_photos(photos, ["c"], count=2, first=9)
    expected, bank = folder()
    del model.detected[:]
    by_beam(photos, bank, tmp_path / "found")
    assert len(model.detected) == 11, "the camera whose memory has changed, and no other"
    assert written(tmp_path / "found", tmp_path / "beam.json") == images(expected)
    assert len(list((tmp_path / "found").glob("journal-*.jsonl"))) == 4


def test_a_corrected_clock_gives_what_the_folder_runner_gives(
    photos, folder, model, tmp_path, capsys
):
    _, old_bank = folder()
    by_beam(photos, old_bank, tmp_path / "found")
    capsys.readouterr()
    shift = "--clock_shift=a=+365d3h"
    assert by_beam(photos, old_bank, tmp_path / "found", shift) == 2
    said = capsys.readouterr().err
    assert "of camera 'a' has 2014-10-04 16:31:53 with its clock corrected" in said
    assert "2013-10-04 13:31:53 in the bank: give `context-rcnn remember` and this command" in said
    expected, bank = folder("corrected", clock_shifts=("a=+365d3h",))
    del model.detected[:]
    assert by_beam(photos, bank, tmp_path / "found", shift) == 0
    assert len(model.detected) == 9, "the images of this camera alone"
    assert written(tmp_path / "found", tmp_path / "beam.json") == images(expected)
    assert by_beam(photos, bank, tmp_path / "forgotten") == 2
    said = capsys.readouterr().err
    assert "camera 'a' has 2013-10-04 13:31:53, and 2014-10-04 16:31:53 in the bank: give" in said


def test_a_damaged_image_is_named_and_used(photos, model, tmp_path):
    (photos / "a/damaged.jpg").write_bytes(hostile_folder.damaged())
    for _ in range(2):  # the second time from its journal
        assert by_beam(photos, "", tmp_path / "found") == 0
        lines = (tmp_path / "found/failures.jsonl").read_text().splitlines()
        found = [f for f in map(json.loads, lines) if f["file"] == "a/damaged.jpg"]
        assert [(f["reason"], f["lost"]) for f in found] == [("damaged_data", "nothing")]
    written(tmp_path / "found", tmp_path / "beam.json")
    assert not {i["file"]: i.get("failure") for i in images(tmp_path / "beam.json")}[
        "a/damaged.jpg"
    ]


def test_a_model_that_names_given_boxes_is_refused(photos, model, tmp_path, capsys):
    model.description["proposals"] = 3
    assert by_beam(photos, "", tmp_path / "found") == 2
    assert "only `context-rcnn detect --detections` gives it" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(photos, folder, model, tmp_path, monkeypatch):
    expected, bank = folder()
    batches = []

    def fail(*args):
        batches.append(args)
        if len(batches) == 5:
            raise RuntimeError("the power is gone")
        return detect_batch(*args)

    detect_batch = detect.detect_batch
    with monkeypatch.context() as patch:
        patch.setattr(detect, "detect_batch", fail)
        with pytest.raises(RuntimeError, match="the power is gone"):
            by_beam(photos, bank, tmp_path / "found")
    by_beam(photos, bank, tmp_path / "found")
    assert written(tmp_path / "found", tmp_path / "beam.json") == images(expected)


def test_several_threads_give_the_same(photos, folder, tmp_path):
    expected, bank = folder()
    threads = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    by_beam(photos, bank, tmp_path / "found", *threads)
    assert written(tmp_path / "found", tmp_path / "beam.json") == images(expected)


def test_journals_and_bank_may_lie_on_another_storage(photos, folder, tmp_path, box):
    expected, bank = folder()
    url, place = box
    from beam_pipelines.copy_bank import copy_bank

    copy_bank(bank, f"{url}/bank")
    assert by_beam(photos, f"{url}/bank", f"{url}/found") == 0
    assert written(place / "found", tmp_path / "beam.json") == images(expected)


def test_a_bank_of_another_extractor_and_another_model_are_refused(
    photos, folder, model, tmp_path, capsys, monkeypatch, fakes
):
    _, bank = folder()
    by_beam(photos, bank, tmp_path / "found")
    other = fakes.FakeModel(name="other")
    monkeypatch.setattr(detect, "_load_model", lambda folder: other)
    assert by_beam(photos, bank, tmp_path / "found") == 2
    assert "the bank was made by extractor fake-extractor" in capsys.readouterr().err
    assert by_beam(photos, "", tmp_path / "found") == 2
    assert "was begun with other settings" in capsys.readouterr().err


def test_what_the_reader_cannot_use_is_in_the_results(photos, folder, tmp_path, capsys):
    expected, bank = folder(camera_regex=r"^(?P<camera>[ab])/")
    by_beam(photos, bank, tmp_path / "found", r"--camera_regex=^(?P<camera>[ab])/")
    found = written(tmp_path / "found", tmp_path / "beam.json")
    assert [i["file"] for i in found] == [i["file"] for i in images(expected)]
    lost = [i["file"] for i in found if "no_camera" in i.get("failure_detail", "")]
    assert len(lost) == 9 and all(name.startswith("c/") for name in lost)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_no_result_can_hold_is_in_the_results(photos, folder, tmp_path, fakes):
    with open(os.path.join(os.fsencode(photos), b"a/caf\xe9.jpg"), "wb") as file:
        file.write(fakes.photograph())
    expected, _ = folder(memory=False)
    by_beam(photos, "", tmp_path / "found")
    found = written(tmp_path / "found", tmp_path / "beam.json")
    assert [i["file"] for i in found] == [i["file"] for i in images(expected)]
    (named,) = [i["file"] for i in found if i["file"].startswith("a/caf")]
    assert "\udce9" not in named and named.endswith(".jpg")


def test_mistakes_end_in_a_sentence(photos, model, tmp_path, capsys):
    assert by_beam(photos, tmp_path / "no bank", tmp_path / "found") == 2
    assert "not a memory bank" in capsys.readouterr().err
    assert by_beam(photos, "", tmp_path / "found", "--batch_size=0") == 2
    assert "batch_size must be positive" in capsys.readouterr().err
    assert detect.main([]) == 2
    assert "context-rcnn results found -o results.json" in capsys.readouterr().out
