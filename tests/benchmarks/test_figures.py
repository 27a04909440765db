"""The plots of the docs: what is read from recorded tables, and that each can be drawn."""

import pytest

from benchmarks import figures
from context_rcnn.report.figures import save

RECORDED = """x86_64, 2 processors, 2026-11-21: ResNet-101, 640x640
                                 s     +-  times  late, frames
single frame                 2.897  0.362   1.00             0
plain, 8500 entries          3.617  0.109   1.25             4
a line of words
"""
DOCUMENT = """# Results
## One
### (d) Models
| | mAP@.5 | over single frame |
|---|---|---|
| single frame | 61.9 ± 1.4 |  |
| S3D | 59.3 ± 1.4 | -2.6 ± 0.2 |
| LT attention, one month | 68.7 | +6.9 |

| | other | over single frame |
|---|---|---|
| after | 1 | +1.0 |
## Two
### (d) Models
| | mAP@.5 | over single frame |
|---|---|---|
| SF | 1 | +3.0 ± .5 |
"""


def test_a_column_of_what_was_recorded(tmp_path):
    (tmp_path / "context.txt").write_text(RECORDED)
    assert figures.column_of("context", "times", tmp_path) == {
        "single frame": 1.0,
        "plain, 8500 entries": 1.25,
    }
    assert figures.column_of("context", "late", tmp_path)["plain, 8500 entries"] == 4.0
    with pytest.raises(ValueError, match="context.txt: no column 'faster'"):
        figures.column_of("context", "faster", tmp_path)


def test_gains_of_the_first_table_under_a_heading():
    found = figures.gains_of(DOCUMENT, "(d)", "over single frame")
    assert found == {"S3D": (-2.6, 0.2), "LT attention, one month": (6.9, 0.0)}
    assert figures.gains_of(DOCUMENT, "Two/(d)", "over single frame") == {"SF": (3.0, 0.5)}
    with pytest.raises(ValueError, match="no table under 'Two/\\(d\\)'"):
        figures.gains_of(DOCUMENT, "Two/(d)", "over R-FCN")


@pytest.mark.parametrize("name", figures.PLOTS)
def test_each_plot_is_drawn_from_what_is_recorded(name, tmp_path):
    plot = figures.PLOTS[name]()
    assert all(axes.has_data() for axes in plot.axes)
    save(plot, str(tmp_path / "plot.svg"))
    assert (tmp_path / "plot.svg").read_text().count('id="axes_') == len(plot.axes)
