"""A folder that opens without a network: index.html, its images, and the full lists as JSON."""

import base64
import contextlib
import dataclasses
import hashlib
import importlib.resources
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np

from context_rcnn.data.walk import OWN_FOLDER
from context_rcnn.report import charts, curves, figures, galleries, sections
from context_rcnn.report.compare import Case, Comparison, compare, pair
from context_rcnn.report.dummies import NOTE, Dummies
from context_rcnn.report.explanations import (
    MIN_WEIGHT,
    Keyframe,
    cut_off,
    read_explanations,
    time_differences,
)
from context_rcnn.report.memory_maps import (
    MapFrame,
    choose_sequences,
    read_memory_maps,
    show_memory_maps,
)
from context_rcnn.report.pixels import Album
from context_rcnn.report.runs import read_run
from context_rcnn.report.text import clean, count, number, signed

MARK = '<meta name="generator" content="context-rcnn report">'
LIKELY_CUT = 10  # `explain --top` by default


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """What a report is made of; only `evaluation` and `output_dir` are needed.

    Attributes:
        evaluation: Run with memory, or one of its evaluation/step-N.
        output_dir: Folder to write; an earlier report there is replaced.
        baseline: The single-frame run, likewise.
        explanations: JSON lines of `context-rcnn explain`.
        memory_maps: The same of a model with a memory of maps.
        examples: TFRecord files of examples, for pixels.
        image_root: Folder of images named like their ids, for pixels.
        title: Title of the page.
        simulation: simulation.json of simulated camera traps, which says where their dummies stand.
        recall: Recall at which the runs are compared.
        max_examples: Images of each kind that are shown.
        max_panels: Keyframes shown with what they attend to.
        seed: Seed of the random samples.
    """

    evaluation: str
    output_dir: str
    baseline: str = ""
    explanations: str = ""
    memory_maps: str = ""
    examples: str = ""
    image_root: str = ""
    title: str = ""
    simulation: str = ""
    recall: float = 0.5
    max_examples: int = 12
    max_panels: int = 6
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.recall <= 1:
            raise ValueError(f"--recall={self.recall}: has to be above 0 and at most 1")
        for name in ("max_examples", "max_panels"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name}={getattr(self, name)}: cannot be negative")
        if self.image_root and not os.path.isdir(self.image_root):
            raise ValueError(f"--image_root={self.image_root}: no such folder")


def write_report(
    options: ReportOptions,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    warn: Callable[[str], None] = print,
) -> str:
    """Writes the report completely or not at all; returns the path of its index.html.

    Args:
        options: Inputs of the page.
        progress: Wraps the images that are read for it, with their number.
        warn: Gets what the user should look at.

    Raises:
        ValueError: For inputs that are missing or not what they should be, naming file and field,
            and for a folder that holds something else than a report.
    """
    with staged(options.output_dir) as folder:
        both = _read(options)
        keyframes = read_explanations(options.explanations) if options.explanations else None
        frames = read_memory_maps(options.memory_maps) if options.memory_maps else None
        album = Album()
        content = _content(both, keyframes, frames, options, folder, progress, album)
        if words := album.in_words(options.examples, options.image_root):
            warn(words)
        with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as file:
            json.dump(_cases(both.comparison), file, indent=1)
        with open(os.path.join(folder, "index.html"), "w", encoding="utf-8") as file:
            file.write(environment().get_template("evaluation.html").render(content))
    return os.path.join(options.output_dir, "index.html")


@contextlib.contextmanager
def staged(output_dir: str) -> Iterator[str]:
    """A folder to write to, which becomes `output_dir` when the block ends without an exception.

    An earlier report is put aside for the moment of the change. Where that moment was the last of
    a run, the next one puts it back before it begins.

    Raises:
        ValueError: If `output_dir` holds something else than a report.
    """
    target = os.path.abspath(output_dir)
    parent, name = os.path.split(target)
    staging, aside = (os.path.join(parent, f".report-{kind}-{name}") for kind in ("new", "old"))
    os.makedirs(parent, exist_ok=True)
    _recover(target, staging, aside)
    check_target(target)
    os.mkdir(staging)
    pathlib.Path(staging, OWN_FOLDER).touch()
    try:
        yield staging
        if os.path.isdir(target):
            os.rename(target, aside)
        os.rename(staging, target)
    finally:
        _recover(target, staging, aside)


def _recover(target: str, staging: str, aside: str) -> None:
    """Removes what a change of reports leaves; a report that was put aside for none comes back."""
    if _is_own(aside) and not os.path.lexists(target):
        os.rename(aside, target)
    for folder in (staging, aside):
        if _is_own(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, OWN_FOLDER))


def check_target(target: str) -> None:
    """Refuses to replace anything but an empty folder or an earlier report."""
    if not os.path.lexists(target):
        return
    if os.path.islink(target) or not os.path.isdir(target):
        raise ValueError(f"--output_dir={target}: is there, and is no folder")
    index = os.path.join(target, "index.html")
    if os.path.isfile(index):
        with open(index, encoding="utf-8", errors="replace") as file:
            if MARK in file.read(1000):
                return
    if os.listdir(target):
        raise ValueError(f"--output_dir={target}: holds other things than a report; choose another")


def _read(options: ReportOptions) -> sections.Both:
    memory = read_run(options.evaluation, "--evaluation")
    if not options.baseline:
        return sections.Both(memory, curves.measure(memory, np.arange(len(memory.image_ids))))
    baseline = read_run(options.baseline, "--baseline")
    pairing = pair(baseline, memory)
    if not len(pairing.memory):
        raise ValueError(
            f"{options.evaluation} and {options.baseline} have no image in common "
            "(groundtruth_coco.json, 'file_name'): they cannot be compared"
        )
    return sections.Both(
        memory=memory,
        measured=curves.measure(memory, pairing.memory),
        baseline=baseline,
        baseline_measured=curves.measure(baseline, pairing.baseline),
        pairing=pairing,
        comparison=compare(baseline, memory, pairing, options.recall),
    )


def _content(
    both: sections.Both,
    keyframes: list[Keyframe] | None,
    frames: list[MapFrame] | None,
    options: ReportOptions,
    folder: str,
    progress: Callable[[Iterable, int], Iterable],
    album: Album,
) -> dict[str, Any]:
    """Everything that the templates ask for; writes images and figures into `folder`."""
    run = both.memory
    threshold = _sample_threshold(both)
    dummies = Dummies.read(options.simulation) if options.simulation else None
    changes = _changes(both, options.max_examples, dummies)
    sample = galleries.sample(run, threshold, options.max_examples, options.seed)
    places = {name: i for i, name in enumerate(run.image_ids)}
    chosen = galleries.choose_keyframes(keyframes or (), options.max_panels, options.seed)
    panels = [galleries.beside_labels(k, run, places.get(k.image_id)) for k in chosen]

    galleries.want_panels(album, panels)
    for change in changes:
        galleries.want_all(album, change["pictures"])
    galleries.want_all(album, sample)
    sequences = choose_sequences(frames or (), options.max_panels)
    for sequence in sequences:
        for frame in sequence:
            album.want(frame.image_id, galleries.THUMBNAIL_WIDTH)
    album.fill(folder, examples=options.examples, image_root=options.image_root, progress=progress)

    rows = sections.classes(both)
    seconds, undated = time_differences(keyframes or ())
    return {
        "title": clean(options.title or "What a detector with memory sees", 200),
        "note": NOTE if dummies else "",
        "lede": sections.lede(both),
        "runs": _run_names(both),
        "has_baseline": both.baseline is not None,
        "comparable": both.comparable,
        "tiles": sections.headline(both),
        "classes": rows,
        "cameras": sections.cameras(both),
        "empties": sections.empties(both),
        "comparison": both.comparison,
        "changes": changes,
        "panels": panels,
        "keyframes": None if keyframes is None else len(keyframes),
        "memory_maps": None if frames is None else show_memory_maps(frames, sequences, folder),
        "times": _times(keyframes, seconds, undated),
        "sample": sample,
        "sample_threshold": threshold,
        "options": options,
        "charts": charts.write_charts(both, rows, seconds, folder),
        "notes": _notes(both, keyframes, chosen, album, options),
        "photo": album.get,
        "why_missing": album.failures.get,
    }


def _changes(both: sections.Both, limit: int, dummies: Dummies | None) -> list[dict[str, Any]]:
    """The four lists, in the order in which the page shows them."""
    compared = both.comparison
    if compared is None:
        return []
    animal = galleries.animal

    def dummy(case: Case) -> str:
        return dummies.of(case, both.memory) if dummies else ""

    def false(case: Case, alike: int, kind: str, verb: str) -> galleries.Picture:
        return galleries.false_positive(case, alike, kind, verb, dummy(case))

    before, after = figures.BASELINE, figures.MEMORY
    kinds = (
        (
            "removed",
            compared.removed,
            lambda c, more: false(c, more, "baseline", "the single frame reports"),
        ),
        ("new", compared.new, lambda c, more: false(c, more, "memory", "memory newly reports")),
        ("found", compared.found, lambda c, more: animal(c, more, "memory", after, before)),
        ("lost", compared.lost, lambda c, more: animal(c, more, "baseline", before, after)),
    )
    return [
        {
            "kind": kind,
            "images": len({case.image_id for case in cases}),
            "boxes": sum(len(case.scores) for case in cases),
            "cases": len(cases),
            "groups": len(groups),
            "dummies": sum(bool(dummy(case)) for case in cases if case.truth is None),
            "pictures": [picture(case, more) for case, more in groups[:limit]],
        }
        for kind, cases, picture in kinds
        for groups in [galleries.group(cases)]
    ]


def _sample_threshold(both: sections.Both) -> float:
    if both.comparison:
        return both.comparison.thresholds[1]
    rows = both.memory.metrics["false_positives_per_1000_empty_images"]
    return (rows.get("0.5") or {}).get("threshold") or 0.5


def _times(
    keyframes: Sequence[Keyframe] | None, seconds: Sequence[int], undated: int
) -> dict[str, Any]:
    table: dict[str, int] = {}
    for label, reach in (
        ("within an hour", 3600),
        ("within a day", 86400),
        ("within a week", 7 * 86400),
        ("within 30 days", 30 * 86400),
        ("farther", float("inf")),
    ):
        table[label] = sum(1 for s in seconds if abs(s) <= reach) - sum(table.values())
    longest, how_many = cut_off(keyframes or ())
    return {
        "table": table,
        "dated": len(seconds),
        "undated": undated,
        "min_weight": number(MIN_WEIGHT, 2),
        "longest": longest,
        "cut": how_many if how_many > 1 and longest >= LIKELY_CUT else 0,
        "days": bool(seconds) and 2 * figures.DAY < max(map(abs, seconds)) <= 40 * figures.DAY,
    }


def _notes(
    both: sections.Both,
    keyframes: Sequence[Keyframe] | None,
    chosen: Sequence[Keyframe],
    album: Album,
    options: ReportOptions,
) -> list[str]:
    lines = sections.notes(both)
    if keyframes is None:
        lines.append("No explanations were given (--explanations): attention is not shown.")
    else:
        mute = sum(1 for k in keyframes if not k.detections)
        blank = sum(1 for k in keyframes if k.detections and not k.detections[0].attention)
        lines.append(
            f"Of {count(len(keyframes), 'explained keyframe')}, {mute:,} have no detection, and "
            f"of {blank:,} the best detection attends to nothing that was listed; of the others "
            f"{len(chosen):,} are shown."
        )
    if not options.examples and not options.image_root:
        lines.append(
            "Neither --examples nor --image_root was given, so images are shown as empty frames."
        )
    elif album.failures:
        names = list(album.failures)
        shown = "; ".join(f"{clean(n, 60)}: {clean(album.failures[n], 200)}" for n in names[:5])
        lines.append(
            f"{count(len(names), 'image')} of {len(album):,} cannot be shown ({shown}"
            f"{'; ...' if len(names) > 5 else ''})."
        )
    known = sum(1 for curve in both.measured.curves.values() if curve.ap is not None)
    unlabelled = [name for name, curve in both.measured.curves.items() if curve.ap is None]
    if unlabelled:
        lines.append(
            f"{count(len(unlabelled), 'class has', 'classes have')} no labelled object and "
            "therefore no AP."
        )
    if known > charts.MAX_CURVES:
        lines.append(
            f"Precision and recall are drawn for the {charts.MAX_CURVES} classes of {known:,} with "
            "most labelled objects."
        )
    return lines


def _run_names(both: sections.Both) -> list[dict[str, str]]:
    runs = [(figures.MEMORY, both.memory)]
    if both.baseline:
        runs.append((figures.BASELINE, both.baseline))
    return [
        {
            "name": name,
            "step": "" if run.step is None else f"step {run.step:,}",
            "folder": clean(end_of(pathlib.Path(run.folder))),
        }
        for name, run in runs
    ]


def end_of(path: pathlib.PurePath) -> str:
    """The last three names of a path, which tell one evaluation from another."""
    return str(type(path)(*path.parts[-3:]))


def _cases(compared: Comparison | None) -> dict[str, Any]:
    """All four lists whole, with boxes as fractions x1 y1 x2 y2."""
    if compared is None:
        return {}
    lists = {name: getattr(compared, name) for name in ("removed", "new", "found", "lost")}
    return {
        "recall": compared.recall,
        "score_from": dict(zip(("baseline", "memory"), compared.thresholds, strict=True)),
        **{name: [_case(case) for case in cases] for name, cases in lists.items()},
    }


def _case(case: Case) -> dict[str, Any]:
    boxes = zip(case.edges.round(5).tolist(), case.names, case.scores, strict=True)
    row: dict[str, Any] = {
        "image_id": case.image_id,
        "boxes": [{"box": b, "class": n, "score": round(s, 5)} for b, n, s in boxes],
    }
    if case.truth is not None:
        row["label"] = {"box": case.truth[0].round(5).tolist(), "class": case.truth[1]}
        row["other_score"] = case.other_score
    return row


def environment() -> jinja2.Environment:
    """What renders the templates; everything is escaped but the page's own script.

    The page runs this script alone, which its hash tells from any other.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("context_rcnn.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "signed": signed}
    script = importlib.resources.files("context_rcnn.report").joinpath("templates/tables.js")
    text = script.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    made.globals |= {
        "count": count,
        "MARK_CONTENT": "context-rcnn report",
        "SCRIPT": markupsafe.Markup(text),  # our own file, not data
        "SCRIPT_HASH": f"sha256-{digest}",
    }
    return made
