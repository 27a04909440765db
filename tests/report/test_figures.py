"""Charts show the values that they are given."""

import numpy as np
import pytest

from context_rcnn.report import figures

DAY = 86400


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_class_gains_are_ordered_by_gain_and_drawn_where_they_are():
    rows = [("a", 0.5, 0.4), ("b", 0.1, 0.6), ("none", None, 0.2)]
    axes = figures.class_gains(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    before, after = (points.get_offsets().tolist() for points in axes.collections)
    assert before == [[0.1, 0], [0.5, 1]] and after == [[0.6, 0], [0.4, 1]]
    assert words(figures.class_gains(rows)) == ["+0.500", "\N{MINUS SIGN}0.100"]


def test_time_differences_count_every_value_once_and_centre_on_the_keyframe():
    seconds = [0, 1799, -1799, DAY, -DAY, 3 * DAY, 9.9 * DAY]
    figure = figures.time_differences({"day": [5, -5], "month": seconds}, folded=True)
    day, _, month, folded = figure.axes
    heights = {round(p.get_x() + p.get_width() / 2, 3): p.get_height() for p in month.patches}
    assert sum(heights.values()) == len(seconds) and heights[0.0] == 3
    assert heights[1.0] == heights[-1.0] == heights[3.0] == 1
    assert sum(p.get_height() for p in day.patches) == 2
    hours = {round(p.get_x() + p.get_width() / 2): p.get_height() for p in folded.patches}
    # 9.9 days are 2.4 hours less than ten.
    assert hours[0] == 6 and hours[-2] == 1 and sum(hours.values()) == 7
    assert month.get_yscale() == "log" and month.get_xlabel() == "days from the keyframe"


@pytest.mark.parametrize("reach", [0, 30, 3000, DAY, 5 * DAY, 30 * DAY, 400 * DAY])
def test_time_differences_at_every_scale(reach):
    seconds = np.linspace(-reach, reach, 11)
    axes = figures.time_differences({"": seconds}).axes[0]
    assert sum(p.get_height() for p in axes.patches) == 11 and len(axes.patches) < 600


def test_false_positives_say_what_is_out_of_reach():
    figure = figures.false_positives(
        {"single frame": {"0.5": 120.4, "0.9": None}, "with memory": {"0.5": 0.0, "0.9": None}}
    )
    assert words(figure) == ["120", "out of\nreach", "0", "out of\nreach"]
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == [120.4, 0, 0, 0]


def test_precision_recall_leaves_out_what_is_not_defined():
    recalls = np.linspace(0, 1, 101)
    curves = {"a": {"single frame": None, "with memory": recalls[::-1]}, "b": {}}
    one, two = [axes for axes in figures.precision_recall(curves, recalls).axes][:2]
    assert [line.get_label() for line in one.lines] == ["with memory"] and not two.lines
    assert one.lines[0].get_ydata().tolist() == recalls[::-1].tolist()


@pytest.mark.parametrize("palette", ["light", "dark"])
def test_names_are_never_formulas_and_files_name_no_address(tmp_path, palette):
    names = ["$\\frac{$", "_hidden", "a\nb", "獅子", "<svg onload=alert(1)>", "x" * 500, ""]
    figures_made = [
        figures.class_gains([(name, 0.1, 0.2) for name in names], palette),
        figures.class_bars([(name, 0.1) for name in names], palette),
        figures.false_positives({name: {"0.5": 1.0} for name in names}, palette),
        figures.time_differences({names[0]: [1.0], names[4]: []}, palette),
        figures.precision_recall({name: {} for name in names}, [0, 1], palette),
        figures.class_gains([], palette),
        figures.precision_recall({}, [0, 1], palette),
    ]
    for i, figure in enumerate(figures_made):
        figures.save(figure, str(tmp_path / f"{i}.svg"))
        written = (tmp_path / f"{i}.svg").read_text()
        assert "onload" not in written.replace("&lt;svg onload", "")
        assert "http" not in written.replace('"http://www.w3.org/2000/svg"', "").replace(
            '"http://www.w3.org/1999/xlink"', ""
        )
    figures.save(figures_made[0], str(tmp_path / "again.svg"))
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "0.svg").read_bytes()
    figures.save(figures_made[0], str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
