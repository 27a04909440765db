"""Which charts a page has, and writing them in light and dark."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from context_rcnn.report import curves, figures
from context_rcnn.report.runs import Run
from context_rcnn.report.sections import Both, as_number

MAX_CURVES = 24


def write_charts(
    both: Both, rows: Sequence[dict[str, Any]], seconds: Sequence[int], folder: str
) -> dict[str, str]:
    """Writes each chart in light and dark; returns the files' names without -light.svg."""
    makers: dict[str, Callable] = {}
    if any(row["gain"] is not None for row in rows):
        gains = [(row["raw"], row["before"], row["ap"]) for row in rows]
        makers["classes"] = lambda palette: figures.class_gains(gains, palette)
    elif any(row["ap"] is not None for row in rows):
        bars = [(row["raw"], row["ap"]) for row in rows]
        makers["classes"] = lambda palette: figures.class_bars(bars, palette)
    runs = {figures.MEMORY: both.memory}
    if both.baseline and both.comparable:
        runs = {figures.BASELINE: both.baseline} | runs
    reports = {
        name: {r: row.get("detections") for r, row in _numbered(run).items()}
        for name, run in runs.items()
    }
    if any(value is not None for row in reports.values() for value in row.values()):
        makers["empties"] = lambda palette: figures.false_positives(reports, palette)
    if seconds:
        span = max(map(abs, seconds))
        makers["times"] = lambda palette: figures.time_differences(
            {"time apart": seconds}, palette, folded=span > 2 * figures.DAY
        )
    lines = _lines(both, [row["raw"] for row in rows if row["ap"] is not None])
    if lines:
        makers["curves"] = lambda palette: figures.precision_recall(lines, curves.RECALLS, palette)
    os.makedirs(os.path.join(folder, "figures"), exist_ok=True)
    for name, make in makers.items():
        for palette in figures.PALETTES:
            figures.save(make(palette), os.path.join(folder, "figures", f"{name}-{palette}.svg"))
    return {name: f"figures/{name}" for name in makers}


def _numbered(run: Run) -> dict[str, dict[str, Any]]:
    """Rows of false positives whose key is a recall."""
    rows = run.metrics["false_positives_per_1000_empty_images"]
    return {key: row for key, row in rows.items() if not as_number(key)[0]}


def _lines(both: Both, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Precision by class and run; the classes with most objects where there are too many."""
    mine = both.measured.curves
    shown = sorted(names, key=lambda name: -mine[name].boxes)[:MAX_CURVES]
    lines = {}
    for name in shown:
        lines[name] = {figures.MEMORY: mine[name].precision}
        if both.baseline_measured and name in both.baseline_measured.curves:
            theirs = both.baseline_measured.curves[name].precision
            lines[name] = {figures.BASELINE: theirs} | lines[name]
    return lines
