"""How a cost grows: the table and the plot of what was measured, and one curve that is."""

import argparse

import pytest

from benchmarks import cost_growth

FOUND = {
    "entries": {"kept": {"0": (0.2, 0.01), "500": (0.21, 0.02), "2000": (0.3, 0.0)}},
    "proposals": {"single frame": {"50": (0.1, 0.0), "600": (0.4, 0.1)}},
}


def test_a_point_is_told_as_a_multiple_of_the_first():
    text = "\n".join(cost_growth.as_table("entries", FOUND["entries"]))
    rows = {line[:36].strip(): line[36:].split() for line in text.splitlines() if line}
    assert rows["kept, without"] == ["200.0", "10.0", "1.00"]
    assert rows["kept, 500"] == ["210.0", "20.0", "1.05"]
    assert rows["kept, 2000"] == ["300.0", "0.0", "1.50"]


def test_each_axis_is_a_panel_of_the_plot(monkeypatch, tmp_path):
    monkeypatch.setattr(cost_growth, "FIGURE", tmp_path / "cost.svg")
    cost_growth.draw(FOUND)
    first = (tmp_path / "cost.svg").read_text()
    cost_growth.draw({"proposals": FOUND["proposals"]})
    assert first.count('id="axes_') == 2
    assert (tmp_path / "cost.svg").read_text().count('id="axes_') == 1


@pytest.mark.slow
def test_every_number_of_proposals_is_timed(monkeypatch):
    monkeypatch.setattr(cost_growth, "PROPOSALS", (4, 8))
    args = argparse.Namespace(model_id=10, image_size=64, proposals=8, rounds=2)
    found = cost_growth.measure("proposals", args)
    assert found.keys() == {"single frame"} and found["single frame"].keys() == {4, 8}
    assert all(median > 0 for median, _ in found["single frame"].values())
