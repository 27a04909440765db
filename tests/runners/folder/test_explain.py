"""What the memory did to some images: chosen, written, shown."""

import json

import numpy as np
import pytest

from context_rcnn.memory_bank.store import Bank
from context_rcnn.report.results_page import ResultsOptions, write_results_report


def lines_of(tmp_path):
    path = tmp_path / "results.state/explained.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_detections_with_and_without_the_memory_and_what_they_attend_to(
    photos, detect, fakes, tmp_path
):
    model, _, _ = detect(photos, explain=6)
    results = json.loads((tmp_path / "results.json").read_text())
    found = {image["file"]: image["detections"] for image in results["images"]}
    lines = lines_of(tmp_path)
    assert len({line["image_id"] for line in lines}) == 6
    bank = Bank.open(tmp_path / "results.state/bank")
    days = set()
    for line in lines:
        best = max(detection["score"] for detection in line["detections"])
        assert best == pytest.approx(max(d["conf"] for d in found[line["image_id"]]), abs=1e-3)
        alone = model.detect([(photos / line["image_id"]).read_bytes()] * 4)
        written = [detection["box"] for detection in line["without_memory"]]
        np.testing.assert_allclose(written, alone["boxes"][0, : len(written)], atol=1e-4)
        camera = bank.camera(line["camera"])
        for entry in line["detections"][0]["attention"]:
            (rows,) = np.nonzero(camera.image_ids == entry["image_id"])
            (row,) = [r for r in rows if np.allclose(camera.boxes[r], entry["box"], atol=1e-4)]
            assert camera.seconds[row] == entry["seconds"]
            assert entry["seconds_apart"] == entry["seconds"] - line["seconds"]
            days.add(entry["seconds_apart"])
        weights = [entry["weight"] for entry in line["detections"][0]["attention"]]
        assert weights == sorted(weights, reverse=True) and min(weights) >= 0.01
    assert min(days) < 0 < max(days), "before and after"


def test_the_same_images_are_chosen_again_and_none_if_nobody_asks(photos, detect, tmp_path):
    detect(photos, explain=4)
    first = lines_of(tmp_path)
    detect(photos, explain=4)
    assert lines_of(tmp_path) == first
    detect(photos)
    assert not (tmp_path / "results.state/explained.jsonl").exists()


def test_a_model_without_a_memory_explains_nothing(photos, detect, fakes, tmp_path):
    detect(photos, fakes.FakeModel(memory=False), explain=4)
    assert not (tmp_path / "results.state/explained.jsonl").exists()


@pytest.mark.parametrize(
    "results", ["results.state", "results.state/journal.jsonl", "results.json"]
)
def test_the_page_shows_them(photos, detect, tmp_path, results):
    detect(photos, explain=4)
    if results.endswith(".json"):
        (tmp_path / "results.state").rename(tmp_path / "results.json.state")
    options = ResultsOptions(str(tmp_path / results), str(tmp_path / "page"), str(photos))
    write_results_report(options)
    page = (tmp_path / "page/index.html").read_text()
    assert page.count('<article class="panel"') == 4
    assert "without memory" in page and "Attention over time" in page
    assert "not at hand" not in page


def test_a_file_of_that_name_beside_the_results_is_none_of_theirs(photos, detect, tmp_path):
    detect(photos)
    (tmp_path / "explained.jsonl").write_text("{}")  # as `context-rcnn explain` may have left it
    options = ResultsOptions(str(tmp_path / "results.json"), str(tmp_path / "page"))
    write_results_report(options)
    assert '<article class="panel"' not in (tmp_path / "page/index.html").read_text()


def test_explanations_that_are_none_are_named(photos, detect, tmp_path):
    detect(photos, explain=4)
    path = tmp_path / "results.state/explained.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    for broken in ([1], {"class": "bobcat"}):
        path.write_text(json.dumps(line | {"without_memory": broken}))
        options = ResultsOptions(str(tmp_path / "results.state"), str(tmp_path / "page"))
        with pytest.raises(ValueError, match=r"explained.jsonl, line 1"):
            write_results_report(options)
