"""The numbers of a page, section by section, as plain values for its templates."""

import dataclasses
from typing import Any

from context_rcnn.report.compare import Comparison, Pairing
from context_rcnn.report.curves import Measured
from context_rcnn.report.runs import Run
from context_rcnn.report.text import clean, count, listing, number, signed

BETTER, WORSE, SAME = "better", "worse", "no difference"


@dataclasses.dataclass(frozen=True)
class Both:
    """The runs and what was measured of them on the images that both have.

    Attributes:
        memory: The run with memory.
        measured: Numbers of the run, on the common images.
        baseline, baseline_measured, pairing: None without a baseline.
        comparison: None without a baseline, or where there is no recall that both reach.
    """

    memory: Run
    measured: Measured
    baseline: Run | None = None
    baseline_measured: Measured | None = None
    pairing: Pairing | None = None
    comparison: Comparison | None = None

    @property
    def comparable(self) -> bool:
        """Whether both were measured on the same images with the same labels."""
        p = self.pairing
        return p is not None and not (p.only_baseline or p.only_memory or p.truth_differs)


def headline(both: Both) -> list[dict[str, Any]]:
    """The few numbers that come first, each with its judgement in words."""
    own, metrics = both.comparable or both.baseline is None, both.memory.metrics
    other = both.baseline.metrics if both.baseline else {}
    mean_ap = metrics["mAP@.5"] if own else both.measured.mean_ap
    recall_1 = metrics["AR@1"] if own else both.measured.average_recall_1
    theirs = both.baseline_measured
    before: list[float | None] = [None, None]
    if both.baseline and own:
        before = [other["mAP@.5"], other["AR@1"]]
    elif theirs is not None:
        before = [theirs.mean_ap, theirs.average_recall_1]
    tiles = [
        _tile("mAP at IoU .5", "mean over classes of average precision", mean_ap, before[0]),
        _tile("AR@1", "recall with one detection a class and image", recall_1, before[1]),
    ]
    compared = both.comparison
    if compared is None:
        return tiles
    recall = f"recall {number(compared.recall, 2)}"
    if compared.empty_images:
        rates = [1000 * n / compared.empty_images for n in compared.reported]
        tiles.append(
            _tile(
                "false positives",
                f"on 1,000 empty images, where both reach {recall}",
                rates[1],
                rates[0],
                digits=1,
                less_is_better=True,
            )
        )
        tiles.append(
            _tile(
                "objects found",
                "share, at no more false positives than without memory",
                compared.recall_at_equal_reports,
                compared.recall,
            )
        )
    return tiles


def lede(both: Both) -> str:
    """What was measured, in one sentence."""
    run, metrics = both.memory, both.memory.metrics
    images = count(len(run.image_ids), "image")
    if metrics["per_camera"]:
        images += f" of {count(len(metrics['per_camera']), 'camera')}"
    empty = sum(run.is_empty(i) for i in range(len(run.image_ids)))
    truth = count(len(run.truth.classes), "labelled object")
    classes = count(len(run.class_names), "class", "classes")
    return f"{images}, {empty:,} of them empty; {truth} of {classes}"


def classes(both: Both) -> list[dict[str, Any]]:
    """A row a class, largest gain first, classes without labelled objects last."""
    rows = []
    for name, curve in both.measured.curves.items():
        theirs = both.baseline_measured.curves.get(name) if both.baseline_measured else None
        before = theirs.ap if theirs else None
        gain = None if before is None or curve.ap is None else curve.ap - before
        rows.append(
            {
                "raw": name,
                "name": clean(name),
                "boxes": curve.boxes,
                "ap": curve.ap,
                "before": before,
                "gain": gain,
            }
        )
    return sorted(
        rows,
        key=lambda row: (
            row["ap"] is None,
            -(row["ap"] if row["gain"] is None else row["gain"]) if row["ap"] is not None else 0,
            row["name"],
        ),
    )


def cameras(both: Both) -> list[dict[str, Any]]:
    """A row a camera, of metrics.json; differences only where the runs saw the same images."""
    theirs = both.baseline.metrics["per_camera"] if both.baseline and both.comparable else {}
    rows = []
    for name, row in sorted(both.memory.metrics["per_camera"].items()):
        cells: dict[str, Any] = {"name": clean(name)}
        cells |= {key: row.get(key) for key in ("images", "empty", "boxes")}
        for key, short in (("mAP@.5", "ap"), ("AR@1", "recall")):
            value, before = row.get(key), theirs.get(name, {}).get(key)
            gain = None if value is None or before is None else value - before
            cells |= {short: value, f"{short}_before": before, f"{short}_gain": gain}
        rows.append(cells)
    return rows


def empties(both: Both) -> list[dict[str, Any]]:
    """False positives per 1000 empty images, a row a recall, of metrics.json."""
    mine = both.memory.metrics["false_positives_per_1000_empty_images"]
    theirs = {}
    if both.baseline and both.comparable:
        theirs = both.baseline.metrics["false_positives_per_1000_empty_images"]
    rows = []
    for recall in sorted(set(mine) | set(theirs), key=as_number):
        row, before = mine.get(recall, {}), theirs.get(recall, {})
        rows.append(
            {
                "recall": clean(recall, 20),
                "threshold": row.get("threshold"),
                "value": row.get("detections"),
                "images": row.get("empty_images"),
                "threshold_before": before.get("threshold"),
                "before": before.get("detections"),
                "images_before": before.get("empty_images"),
            }
        )
    return rows


def notes(both: Both) -> list[str]:
    """What a reader has to know about the inputs."""
    run, pairing = both.memory, both.pairing
    lines = [_silent(run, "with memory")]
    if run.metrics["images"] != len(run.image_ids):
        lines.append(
            f"metrics.json speaks of {count(run.metrics['images'], 'image')}, "
            f"groundtruth_coco.json of {len(run.image_ids):,}: they are not of one evaluation."
        )
    if both.baseline is None or both.baseline_measured is None or pairing is None:
        lines.append(
            "No single-frame run was given (--baseline), so nothing is compared: no gains, no "
            "removed false positives, no found objects."
        )
        return lines
    lines.append(_silent(both.baseline, "single frame"))
    if pairing.only_memory or pairing.only_baseline:
        lines.append(
            f"The runs were measured on different images. {len(pairing.memory):,} are common, and "
            "all comparisons on this page are on these; per-camera numbers and false positives at "
            "several recalls are those of the run with memory alone."
        )
    for names, which in (
        (pairing.only_memory, "with memory"),
        (pairing.only_baseline, "of the single frame"),
    ):
        if names:
            lines.append(f"{count(len(names), 'image')} only in the run {which}: {listing(names)}.")
    if pairing.truth_differs:
        lines.append(
            f"The labels of {count(len(pairing.truth_differs), 'common image')} differ between the "
            f"runs ({listing(pairing.truth_differs)}); comparisons of boxes use those of the run "
            "with memory."
        )
    missing = [n for n in both.baseline.class_names.values() if n not in both.measured.curves]
    missing_there = [n for n in both.measured.curves if n not in both.baseline_measured.curves]
    for classes, which in ((missing, "single-frame run"), (missing_there, "run with memory")):
        if classes:
            lines.append(f"Classes that only the {which} knows: {listing(classes, 10)}.")
    compared = both.comparison
    if compared is None:
        lines.append(
            "The runs cannot be compared at equal recall: there are no common labelled objects, or "
            "one of the runs finds fewer than one in twenty."
        )
    elif compared.recall < compared.asked_recall:
        lines.append(
            f"Recall {number(compared.asked_recall, 2)} was asked for, but not both runs reach it; "
            f"they are compared at {number(compared.recall, 2)}."
        )
    return lines


def _tile(
    label: str,
    meaning: str,
    value: float | None,
    before: float | None,
    *,
    digits: int = 3,
    less_is_better: bool = False,
) -> dict[str, Any]:
    difference = None if value is None or before is None else value - before
    shown = signed(difference, digits)
    judgement = None
    if difference is not None:
        judgement = SAME if not shown.strip("0.") else BETTER
        if judgement == BETTER and (difference > 0) == less_is_better:
            judgement = WORSE
    return {
        "label": label,
        "meaning": meaning,
        "value": number(value, digits),
        "before": None if before is None else number(before, digits),
        "difference": None if difference is None else shown,
        "judgement": judgement,
    }


def _silent(run: Run, name: str) -> str:
    none = int((run.found.offsets[1:] == run.found.offsets[:-1]).sum())
    return (
        f"The run {name} has no detection at all for {count(none, 'image')} "
        f"of {len(run.image_ids):,}."
    )


def as_number(recall: str) -> tuple[bool, float, str]:
    """A key that orders recalls by size, and what is no number behind them (its first is True)."""
    try:
        return False, float(recall), recall
    except ValueError:
        return True, 0.0, recall
