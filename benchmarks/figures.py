r"""The plots of docs/benchmarks.md and docs/results.md, from what is recorded there.

    python -m benchmarks.figures

Measures nothing: reads benchmarks/results and the tables of docs/results.md, and writes
docs/figures/speed.svg, banks.svg, gains.svg and gaps.svg. Run it after a benchmark or a study.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import matplotlib.figure

from benchmarks.record import FIGURES, RESULTS, ROOT, parser_of
from context_rcnn.report import figures

DOCS = ROOT / "docs" / "results.md"
NUMBER = r"-?\d+(?:\.\d+)?"


@dataclasses.dataclass(frozen=True)
class Gains:
    """A table of docs/results.md: the heading that it is under, and the column with the gains."""

    title: str
    heading: str
    column: str


GAINS = (
    Gains("Context R-CNN, cameras never seen", "(d) Comparison across models", "over single frame"),
    Gains("Context R-CNN, bursts of herds", "On bursts of herds/(d)", "over single frame"),
    Gains("MEGA", "MEGA: what it remembers", "over single frame"),
    Gains("STMN", "STMN, linked and joined", "over still image"),
    Gains("Memory Warps", "Detection in videos (Table 1)", "over R-FCN"),
    Gains("PSTA", "Structure and attention (Table 1)", "mAP over average"),
)


def rows_of(text: str) -> dict[str, list[float]]:
    """The lines of a recorded table that end in numbers, by what is before those."""
    rows = {}
    for line in text.splitlines():
        found = re.match(rf"(\S.*?)((?:\s+{NUMBER})+)\s*$", line)
        if found:
            rows[found[1]] = [float(number) for number in found[2].split()]
    return rows


def column_of(name: str, column: str, folder: pathlib.Path = RESULTS) -> dict[str, float]:
    """A column of a file in benchmarks/results, by row.

    Args:
        name: file without .txt.
        column: title of the column, a single word.
        folder: where the files are.
    """
    text = (folder / f"{name}.txt").read_text()
    for line in text.splitlines()[1:]:
        titles = line.replace("late, frames", "late").replace("state, MiB", "state").split()
        if column in titles:
            place = titles.index(column) - len(titles)
            return {row: numbers[place] for row, numbers in rows_of(text).items()}
    raise ValueError(f"{name}.txt: no column {column!r}")


def gains_of(text: str, heading: str, column: str) -> dict[str, tuple[float, float]]:
    """A column of the first table under a heading that has it: mean and deviation by row.

    Args:
        text: a Markdown document.
        heading: beginnings of headings, each below the one before, divided by "/".
        column: title of the column.
    """
    lines = text.splitlines()
    place = 0
    for part in heading.split("/"):
        place = next(
            (
                i
                for i in range(place, len(lines))
                if lines[i].startswith("#") and lines[i].lstrip("# ").startswith(part)
            ),
            len(lines),
        )
    found: dict[str, tuple[float, float]] = {}
    titles: list[str] = []
    for line in lines[place:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            if found:
                return found
            titles = []
        elif not titles:
            titles = cells
        elif column in titles:
            value = re.match(
                rf"\+?({NUMBER}|-?\.\d+)(?: ± ([\d.]+))?$", cells[titles.index(column)]
            )
            if value:
                found[cells[0]] = (float(value[1]), float(value[2] or 0))
    if not found:
        raise ValueError(f"no table under {heading!r} with numbers in a column {column!r}")
    return found


def bars(axes, rows: Mapping[str, float], title: str) -> None:
    """A bar for each row, the first on top, with its number, and a line at 1."""
    values = list(rows.values())
    drawn = axes.barh(range(len(rows)), values, color="#0b7a5e", height=0.65)
    axes.bar_label(drawn, fmt="%.3g", padding=2, fontsize=7)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * max(values))
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(title, fontsize=8, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.axvline(1, color="grey", linewidth=0.8)


def serving() -> dict[str, float]:
    """Ways of asking an exported model, as multiples of `detect`."""
    text = (RESULTS / "serving.txt").read_text()
    ways = dict(re.findall(r"^1 image\s+(\w+)\s+(\d+) \+-", text, re.MULTILINE))
    return {way: float(time) / float(ways["detect"]) for way, time in ways.items()}


def speed() -> matplotlib.figure.Figure:
    """What each way costs, as a multiple of the first one."""
    learning = column_of("learning_context_rcnn_tiny", "faster")
    panels: Sequence[tuple[str, dict[str, float]]] = (
        ("an image, ResNet-101 at 640x640", column_of("context_101_640", "times")),
        ("an image of an exported model, 2,000 entries", serving()),
        ("a training step (toy)", {row: 1 / times for row, times in learning.items()}),
        ("a frame of MEGA (toy)", column_of("video_frames_mega_tiny", "times")),
        ("a frame of STMN (toy)", column_of("video_frames_stmn_tiny", "times")),
        ("a frame of Memory Warps (toy)", column_of("video_frames_memory_warps_tiny", "times")),
    )
    figure = matplotlib.figure.Figure(figsize=(10, 6.5), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(3, 2).flat, panels, strict=True):
        bars(axes, rows, f"{title}, × the first")
    return figure


def banks() -> matplotlib.figure.Figure:
    """Building a bank next to the old tools, and reading windows next to copying bytes."""
    text = (RESULTS / "bank_build.txt").read_text()
    line = rf"^I/O\s+(\w+)\s+(\d+)\s+{NUMBER}\s+{NUMBER}\s+({NUMBER})\s+\d+\s+(\d+)"
    built: dict[str, dict[int, tuple[float, float]]] = {"ours": {}, "old": {}}
    for way, frames, seconds, peak in re.findall(line, text, re.MULTILINE):
        built[way][int(frames)] = (1000 * float(seconds), float(peak))
    figure = matplotlib.figure.Figure(figsize=(10, 2.8), layout="constrained")
    cost, memory, reading = figure.subplots(1, 3)
    for way, title in (("ours", "this package"), ("old", "as the old tools")):
        for axes, values in zip(
            (cost, memory), zip(*built[way].values(), strict=True), strict=True
        ):
            axes.plot(list(built[way]), values, marker="o", label=title)
    cost.set_title("building a bank, CPU ms an image", fontsize=8, loc="left")
    memory.set_title("building a bank, MB at the peak", fontsize=8, loc="left")
    for axes in (cost, memory):
        axes.set_xlabel("frames of each of two cameras", fontsize=7)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    memory.legend(frameon=False, fontsize=7)
    text = (RESULTS / "memory_join.txt").read_text()
    found = re.findall(rf"^(\w+)\s+8500 (in memory|mapped)\s+1 .*\s({NUMBER})$", text, re.MULTILINE)
    rows = {f"{dtype}, {kept}": float(share) for dtype, kept, share in found}
    bars(reading, rows, "reading 8,500 entries, × copying them")
    return figure


def gains() -> matplotlib.figure.Figure:
    """What memories gain over the detector without one, by the tables of docs/results.md."""
    text = DOCS.read_text()
    figure = matplotlib.figure.Figure(figsize=(10, 7.5), layout="constrained")
    for axes, table in zip(figure.subplots(3, 2).flat, GAINS, strict=True):
        rows = gains_of(text, table.heading, table.column)
        means, spreads = zip(*rows.values(), strict=True)
        places = range(len(rows))
        axes.errorbar(
            means, places, xerr=spreads, fmt="o", color="#0b7a5e", capsize=2, markersize=4
        )
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_yticks(places, list(rows), fontsize=7)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="x", labelsize=7)
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(f"{table.title}: points {table.column}", fontsize=8, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def gaps() -> matplotlib.figure.Figure:
    """mAP over frames without evidence, by what is brought on."""
    rows = gains_of(DOCS.read_text(), "Gaps where little moves", "mAP@.5")
    figure = matplotlib.figure.Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for by in ("features", "boxes", "anticipation"):
        curve = {0: rows["MemNet-4"]}
        for row, value in rows.items():
            if found := re.match(rf"{by}, (\d+) frames?", row):
                curve[int(found[1])] = value
        means, spreads = zip(*curve.values(), strict=True)
        axes.errorbar(list(curve), means, yerr=spreads, marker="o", capsize=2, label=by)
    axes.axhline(rows["R-FCN"][0], color="grey", linewidth=0.8, label="R-FCN, every frame")
    axes.set_xlabel("frames since the last evidence")
    axes.set_ylabel("mAP@.5")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


PLOTS = {"speed": speed, "banks": banks, "gains": gains, "gaps": gaps}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=PLOTS, help="one plot alone")
    args = parser.parse_args()
    for name, draw in PLOTS.items():
        if args.only in (None, name):
            figures.save(draw(), str(FIGURES / f"{name}.svg"))
            print(FIGURES / f"{name}.svg")


if __name__ == "__main__":
    main()
