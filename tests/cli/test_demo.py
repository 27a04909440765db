"""The demo, small: every step as a user would type it, in processes of their own."""

import json
import pathlib

from context_rcnn.cli import demo

ROOT = pathlib.Path(__file__).parents[2]


def test_a_small_demo_tells_the_whole_story(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    folder = tmp_path / "demo"
    argv = [f"--output_dir={folder}", "--cameras=8", "--days=5"]
    assert demo.main([*argv, "--train_steps=4", "--context_steps=4"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    splits = json.loads((folder / "archive" / "splits.json").read_text())["splits"]
    assert set(splits) == {"pretrain", "train", "val"}
    for stage in ("single_frame", "context_rcnn"):
        assert set(metrics[stage]["per_camera"]) == set(splits["val"])
        assert (folder / stage / "contact_sheet.png").stat().st_size > 1000
    # The memory knows nothing of the cameras its extractor was trained on.
    bank = json.loads((folder / "bank" / "manifest.json").read_text())
    assert set(bank["cameras"]) == {*splits["train"], *splits["val"]}
    page = (folder / "report" / "index.html").read_text()
    assert "Simulated cameras that remember" in page
    printed = capfd.readouterr().out
    assert "=== Train Context R-CNN" in printed and "Done in" in printed


def test_a_step_that_fails_ends_the_demo_with_its_status(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    assert demo.main([f"--output_dir={tmp_path}/demo", "--cameras=0"]) == 2
    assert "The demo stops here" in capfd.readouterr().out
