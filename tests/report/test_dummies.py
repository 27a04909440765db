"""Dummies of simulated cameras on the page of an evaluation."""

import json
import pathlib

import numpy as np
import pytest

from context_rcnn.report.compare import Case
from context_rcnn.report.dummies import NOTE, Dummies
from context_rcnn.report.page import ReportOptions, write_report
from context_rcnn.report.runs import read_run
from context_rcnn.simulation import simulate_camera_traps
from tests.report.conftest import Page, write_run

A, B = (10, 10, 20, 20), (60, 10, 20, 20)


def marker(tmp_path, *views, camera="cam_00"):
    dummies = [{"looks_like": "zebra", "views": [{"since": "s", "bbox": v} for v in views]}]
    path = tmp_path / "simulation.json"
    path.write_text(json.dumps({"cameras": {camera: {"distractors": dummies}}}))
    return str(path)


def words(tmp_path, simulation, found):
    """The text of a page where the baseline reports a box on an empty image, and memory none."""
    images = {"cam_00-000001": [("cat", *B)], "cam_00-000002": []}
    right = {"cam_00-000001": [("cat", 0.9, *B)]}
    memory = write_run(tmp_path / "m", images, right)
    single = write_run(tmp_path / "s", images, right | {"cam_00-000002": [("cat", 0.95, *found)]})
    options = ReportOptions(
        str(memory), str(tmp_path / "out"), baseline=str(single), simulation=simulation
    )
    return " ".join(Page(pathlib.Path(write_report(options)).read_text()).text.split())


def test_a_box_on_a_dummy_is_said_to_be_on_one(tmp_path):
    """IoU of A with the box moved by 8 pixels: 12x20 of 28x20, .43."""
    text = words(tmp_path, marker(tmp_path, [90, 90, 5, 5], list(A)), (18, 10, 20, 20))
    assert "a dummy shaped like: zebra" in text and NOTE in text
    assert "In 1 image the strongest of these boxes is on a dummy." in text


def test_a_box_elsewhere_is_not(tmp_path):
    """Moved by 12 pixels: 8x20 of 32x20, .25; and a dummy that no view shows has no box."""
    text = words(tmp_path, marker(tmp_path, list(A), None), (22, 10, 20, 20))
    assert "a dummy shaped" not in text and "on a dummy." not in text and NOTE in text


def test_without_the_simulation_nothing_is_said(tmp_path):
    assert "dummy" not in words(tmp_path, "", A)


@pytest.mark.parametrize("text", ["{}", '{"cameras": {"a": {}}}', "[]", '{"cameras": 3}'])
def test_another_file_is_refused_by_name(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json: "):
        Dummies.read(str(tmp_path / "x.json"))


def test_the_simulators_own_file_is_read(tmp_path):
    simulate_camera_traps(
        tmp_path / "archive", cameras=3, days=1, image_size=(96, 72), species=2, val_fraction=0.5
    )
    truth = json.loads((tmp_path / "archive/simulation.json").read_text())["cameras"]
    dummies = Dummies.read(str(tmp_path / "archive/simulation.json"))
    camera, (dummy, *_) = next((c, t["distractors"]) for c, t in truth.items() if t["distractors"])
    x, y, width, height = next(v["bbox"] for v in dummy["views"] if v["bbox"])
    image = f"{camera}-000000"
    run = read_run(str(write_run(tmp_path / "run", {image: []}, {})), "--evaluation")
    run.sizes[:] = (96, 72)
    edges = np.array([[x, y, x + width, y + height]]) / np.array([96, 72, 96, 72])
    assert dummies.of(Case(image, 0, edges, ("fox",), (0.9,)), run) == dummy["looks_like"]
