"""Charts: each takes plain numbers and returns a Matplotlib figure.

They know nothing of runs or pages, so a benchmark can call them as well. The two sides of a
comparison differ in lightness, place or line style and not in colour alone. Names are drawn as they
are: no part of them is read as a formula.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from context_rcnn.report.text import clean

BASELINE, MEMORY = "single frame", "with memory"
PALETTES = {
    "light": {"ink": "#23302a", "soft": "#67736c", "line": "#d9d8cf", "memory": "#0b7a5e"}
    | {"baseline": "#c77a1e", "loss": "#b3402e"},
    "dark": {"ink": "#e8ebe4", "soft": "#a3aea6", "line": "#3a443e", "memory": "#4cc59f"}
    | {"baseline": "#e7a24d", "loss": "#f0836f"},
}
HOUR, DAY = 3600, 86400


@contextlib.contextmanager
def theme(name: str = "light") -> Iterator[dict[str, str]]:
    """Colours and type for the figures made inside; gives the colours by role."""
    colours = PALETTES[name]
    settings: dict[Any, Any] = {
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "text.color": colours["ink"],
        "axes.edgecolor": colours["line"],
        "axes.labelcolor": colours["soft"],
        "axes.titlecolor": colours["ink"],
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "grid.color": colours["line"],
        "grid.linewidth": 0.8,
        "xtick.color": colours["line"],
        "ytick.color": colours["line"],
        "xtick.labelcolor": colours["soft"],
        "ytick.labelcolor": colours["soft"],
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "context-rcnn",
    }
    with mpl.rc_context(settings):
        yield colours


def class_gains(
    rows: Sequence[tuple[str, float | None, float | None]], palette: str = "light"
) -> Figure:
    """AP@.5 of each class without and with memory, largest gain first (the paper's figure 5).

    Args:
        rows: Name, AP without memory, AP with memory; None where it is not defined.
        palette: light or dark.
    """
    defined = ((n, old, new) for n, old, new in rows if old is not None and new is not None)
    shown = sorted(defined, key=lambda row: row[1] - row[2])
    with theme(palette) as colours:
        figure = Figure(figsize=(5.6, 0.9 + 0.36 * max(len(shown), 1)), layout="constrained")
        axes = figure.subplots()
        for i, (_, before, after) in enumerate(shown):
            colour = colours["memory"] if after >= before else colours["loss"]
            axes.plot([before, after], [i, i], color=colour, linewidth=2.5, alpha=0.55, zorder=1)
        places = range(len(shown))
        style: dict[str, Any] = {"s": 58, "zorder": 2, "linewidths": 1.8}
        axes.scatter(
            [row[1] for row in shown],
            places,
            facecolors="none",
            edgecolors=colours["baseline"],
            label=BASELINE,
            **style,
        )
        axes.scatter(
            [row[2] for row in shown], places, color=colours["memory"], label=MEMORY, **style
        )
        for i, (_, before, after) in enumerate(shown):
            text = f"{after - before:+.3f}".replace("-", "\N{MINUS SIGN}")
            axes.text(1.03, i, text, va="center", ha="right", color=colours["ink"], fontsize=9)
        _class_axis(axes, [row[0] for row in shown], colours)
        axes.set_xlim(0, 1.04)
        axes.set_xlabel("AP at IoU .5")
        if shown:
            _legend(figure, axes)
        return figure


def class_bars(rows: Sequence[tuple[str, float | None]], palette: str = "light") -> Figure:
    """AP@.5 of each class of one run, best first."""
    defined = ((name, value) for name, value in rows if value is not None)
    shown = sorted(defined, key=lambda row: -row[1])
    with theme(palette) as colours:
        figure = Figure(figsize=(5.6, 0.9 + 0.36 * max(len(shown), 1)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(shown)), [row[1] for row in shown], 0.6, color=colours["memory"])
        for i, (_, value) in enumerate(shown):
            axes.text(value + 0.01, i, f"{value:.3f}", va="center", fontsize=9)
        _class_axis(axes, [row[0] for row in shown], colours)
        axes.set_xlim(0, 1.08)
        axes.set_xlabel("AP at IoU .5")
        return figure


def false_positives(
    runs: Mapping[str, Mapping[str, float | None]], palette: str = "light"
) -> Figure:
    """False positives per 1000 empty images at given recalls, log scale (compare figure 7).

    Args:
        runs: Numbers by name of the run and recall ("0.5"); None if the recall is out of reach.
        palette: light or dark.
    """
    recalls = sorted({recall for row in runs.values() for recall in row}, key=float)
    with theme(palette) as colours:
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / max(len(runs), 1)
        fills = [colours["baseline"], colours["memory"], colours["soft"], colours["loss"]]
        hatches = ["////", None, "....", "xxxx"]
        for k, (name, row) in enumerate(runs.items()):
            places = np.arange(len(recalls)) + (k - (len(runs) - 1) / 2) * width
            values = [row.get(recall) for recall in recalls]
            solid = hatches[k % 4] is None
            axes.bar(
                places,
                [value or 0 for value in values],
                width * 0.92,
                facecolor=fills[k % 4] if solid else "none",
                edgecolor=fills[k % 4],
                hatch=hatches[k % 4],
                linewidth=1.2,
                label=f" {clean(name, 40)}",  # Matplotlib hides what begins with an underscore
            )
            for place, value in zip(places, values, strict=True):
                text = "out of\nreach" if value is None else f"{value:,.0f}"
                at = max(value or 0, 1)
                axes.annotate(
                    text, (place, at), (0, 3), textcoords="offset points", ha="center", fontsize=8
                )
        axes.set_yscale("log")
        highest = max((v or 0 for row in runs.values() for v in row.values()), default=1)
        axes.set_ylim(1, max(highest, 10) * 3)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.minorticks_off()
        axes.set_xticks(range(len(recalls)), [f"recall {float(r):g}" for r in recalls])
        axes.set_ylabel("of 1000 empty images")
        axes.grid(axis="y")
        _legend(figure, axes)
        return figure


def time_differences(
    horizons: Mapping[str, Sequence[float]], palette: str = "light", *, folded: bool = False
) -> Figure:
    """Histograms of seconds between keyframes and what they attend to, log count (figure 6).

    Args:
        horizons: Time differences in seconds by the horizon's name, side by side.
        palette: light or dark.
        folded: One more chart each, of the difference in the time of day alone, in hours.
    """
    with theme(palette) as colours:
        columns = len(horizons) * (2 if folded else 1)
        width = max(9.6 if folded else 7.2, 3.6 * columns)
        figure = Figure(figsize=(width, 3.0), layout="constrained")
        ratios = [3, 1.4] * len(horizons) if folded else None
        grid = figure.subplots(1, max(columns, 1), squeeze=False, width_ratios=ratios)[0]
        for k, (name, seconds) in enumerate(horizons.items()):
            axes = grid[2 * k if folded else k]
            values = np.asarray(seconds, np.float64)
            unit, label, width, ticks = _time_scale(np.abs(values).max(initial=0))
            reach = max(np.ceil(np.abs(values).max(initial=width) / width), 1) * width
            # Bins are centred on multiples of the width: one is centred on the keyframe's moment.
            edges = np.arange(-reach - width / 2, reach + width, width) / unit
            axes.hist(values / unit, edges, color=colours["memory"])
            axes.axvline(0, color=colours["ink"], linewidth=0.8, linestyle=":")
            axes.set_title(clean(name, 40), parse_math=False)
            axes.set_xlabel(f"{label} from the keyframe")
            axes.set_xlim(edges[0], edges[-1])
            axes.xaxis.set_major_locator(MultipleLocator(ticks))
            if label == "days" and reach <= 40 * DAY:
                axes.xaxis.set_minor_locator(MultipleLocator(1))
                axes.grid(axis="x", which="both", alpha=0.45)
            _log_counts(axes)
            if k == 0:
                axes.set_ylabel("attended memories")
            if folded:
                _fold(grid[2 * k + 1], values, colours)
        return figure


def precision_recall(
    curves: Mapping[str, Mapping[str, Sequence[float] | None]],
    recalls: Sequence[float] | np.ndarray,
    palette: str = "light",
) -> Figure:
    """Precision over recall at IoU .5, a small chart a class.

    Args:
        curves: Precision at `recalls`, by class and name of the run; None if not defined.
        recalls: Recalls from 0 to 1.
        palette: light or dark.
    """
    columns = min(4, max(len(curves), 1))
    rows = max(-(-len(curves) // columns), 1)
    with theme(palette) as colours:
        figure = Figure(figsize=(max(2.4 * columns, 4.8), 2.2 * rows + 0.5), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        styles = {BASELINE: (colours["baseline"], "--"), MEMORY: (colours["memory"], "-")}
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, (name, lines) in zip(grid.flat, curves.items(), strict=False):
            for run, precision in lines.items():
                if precision is None:
                    continue
                colour, dashes = styles.get(run, (colours["soft"], "-."))
                axes.plot(recalls, precision, dashes, color=colour, linewidth=1.8, label=run)
            axes.set_title(clean(name, 24), parse_math=False, fontsize=9)
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            axes.grid()
        for axes in grid[:, 0]:
            axes.set_ylabel("precision")
        for column in range(columns):
            shown = [axes for axes in grid[:, column] if axes.get_visible()]
            if shown:
                shown[-1].set_xlabel("recall")
                shown[-1].tick_params(labelbottom=True)
        handles = {
            label: line
            for axes in grid.flat
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if handles:
            figure.legend(
                handles.values(), handles.keys(), loc="outside upper left", ncols=len(handles)
            )
        return figure


def save(figure: Figure, path: str) -> None:
    """Writes a figure by its suffix; equal figures give equal bytes, and SVG names no address."""
    buffer = io.StringIO()
    settings: dict[Any, Any] = {"svg.hashsalt": "context-rcnn", "svg.fonttype": "path"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes; the page's tables have the text itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        if not path.endswith(".svg"):
            figure.savefig(path, dpi=150)
            return
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = re.sub(r"<!DOCTYPE.*?>|<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.S)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _class_axis(axes: mpl.axes.Axes, names: Sequence[str], colours: Mapping[str, str]) -> None:
    axes.set_yticks(range(len(names)), [clean(name, 28) for name in names], parse_math=False)
    axes.tick_params(axis="y", length=0, labelcolor=colours["ink"])
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _legend(figure: Figure, axes: mpl.axes.Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _time_scale(reach: float) -> tuple[int, str, float, float]:
    """Seconds a unit, its name, seconds a bin, and units a tick, for differences up to `reach`."""
    if reach <= 2 * HOUR:
        ticks = next((t for t in (1, 5, 10, 20) if reach <= 5 * t * 60), 30)
        return 60, "minutes", max(ticks * 12, 12), ticks
    if reach <= 2 * DAY:
        return HOUR, "hours", HOUR / 2 if reach <= DAY else HOUR, 6 if reach <= DAY else 12
    days = reach / DAY
    ticks = next((t for t in (1, 2, 5, 10, 20, 50, 100) if days <= 6 * t), 365)
    # Bins of at most three hours show days and nights, as long as they can be seen at all.
    width = HOUR if days <= 10 else 3 * HOUR if days <= 40 else DAY * max(1, round(days / 100))
    return DAY, "days", width, ticks


def _fold(axes: mpl.axes.Axes, seconds: np.ndarray, colours: Mapping[str, str]) -> None:
    hours = (seconds / HOUR + 12.5) % 24 - 12.5
    axes.hist(hours, np.arange(-12.5, 12).tolist(), color=colours["memory"])
    axes.set_title("by time of day")
    axes.set_xlabel("hours, whole days left out")
    axes.set_xticks([-12, -6, 0, 6])
    _log_counts(axes)


def _log_counts(axes: mpl.axes.Axes) -> None:
    axes.set_ylim(0.7, max(axes.get_ylim()[1], 12))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="y")
