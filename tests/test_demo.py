"""The demo, small: every step as a user would type it, in processes of their own."""

import json
import pathlib

from context_rcnn import demo

ROOT = pathlib.Path(__file__).parents[1]


def test_a_small_demo_leaves_metrics_and_a_contact_sheet(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    argv = [f"--output_dir={tmp_path}/demo", "--cameras=4", "--days=4", "--train_steps=4"]
    assert demo.main(argv) == 0
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    splits = json.loads((tmp_path / "demo" / "archive" / "splits.json").read_text())["splits"]
    assert set(metrics["per_camera"]) == set(splits["val"])
    assert not set(splits["val"]) & set(splits["train"])
    assert (tmp_path / "demo" / "contact_sheet.png").stat().st_size > 1000
    assert "=== Train a tiny detector" in capfd.readouterr().out


def test_a_step_that_fails_ends_the_demo_with_its_status(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    assert demo.main([f"--output_dir={tmp_path}/demo", "--cameras=0"]) == 2
    assert "The demo stops here" in capfd.readouterr().out
