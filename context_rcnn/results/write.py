"""From a journal to any number of formats, in one pass."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from context_rcnn.data.failures import Failure
from context_rcnn.results.atomic import Transaction
from context_rcnn.results.camtrap_dp import STAGE as CAMTRAP_STAGE
from context_rcnn.results.camtrap_dp import CamtrapDpWriter
from context_rcnn.results.classes import Classes
from context_rcnn.results.coco import CocoWriter
from context_rcnn.results.events import EventTable
from context_rcnn.results.journal import Journal
from context_rcnn.results.megadetector import MegaDetectorWriter
from context_rcnn.results.options import Options
from context_rcnn.results.order import Index, in_order
from context_rcnn.results.records import Detection, ImageResult, Report, read_result
from context_rcnn.results.smoothing import BurstClasses
from context_rcnn.results.speciesnet import SpeciesNetWriter
from context_rcnn.results.table import TableWriter
from context_rcnn.results.taxonomy import RollUp

Revise = Callable[[ImageResult], Iterable[Detection]]


class Writer(Protocol):
    """A format."""

    def add(self, image: ImageResult) -> None:
        """Writes an image; they come in the order of their file names."""

    def finish(self) -> None:
        """Writes what follows the last image."""


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What to write, and where. None is not written.

    Attributes:
        megadetector: MegaDetector's JSON.
        coco: COCO results; the index of images goes beside it, NAME.images.json.
        table: CSV.
        camtrap_dp: folder of a Camtrap DP.
        speciesnet: SpeciesNet's JSON.
        events: CSV of events.
        failures: `failures.jsonl`: everything that could not be used or not be written.
    """

    megadetector: str | Path | None = None
    coco: str | Path | None = None
    table: str | Path | None = None
    camtrap_dp: str | Path | None = None
    speciesnet: str | Path | None = None
    events: str | Path | None = None
    failures: str | Path | None = None


@dataclasses.dataclass
class Summary:
    """What was written.

    Attributes:
        images: number of all images.
        failed: number of images that failed.
        empty: number of images without a detection of at least `typical_threshold`.
        detections: number of detections of at least `typical_threshold`, by class name.
        suspect: number of other detections that are suspected background.
        counts: `superseded` lines of the journal, `below_min_score` detections, `boxes_clipped`,
            detections that were `smoothed`, and those with a taxon in place of a class,
            `rolled_up`.
        failures: number of reported failures, by stage and reason.
        not_packaged: number of images that the Camtrap DP has no place for, by reason.
        unplaced: classes that the table of taxa does not have.
        unlisted: number of folders that could not be listed, so that something may be missing.
    """

    images: int = 0
    failed: int = 0
    empty: int = 0
    suspect: int = 0
    detections: Counter = dataclasses.field(default_factory=Counter)
    counts: Counter = dataclasses.field(default_factory=Counter)
    failures: Counter = dataclasses.field(default_factory=Counter)
    not_packaged: Counter = dataclasses.field(default_factory=Counter)
    unplaced: tuple[str, ...] = ()
    unlisted: int = 0


def write_results(
    journal: str | Path,
    outputs: Outputs,
    options: Options | None = None,
    *,
    revise: Revise | None = None,
    known: Iterable[Failure] = (),
    progress: bool = True,
) -> Summary:
    """Writes the images of a journal, each once, in the order of their file names.

    All files appear together when everything is written; an error leaves older ones as they were.
    The same results give the same bytes, in whatever order they came into the journal.

    Args:
        journal: journal of a run.
        outputs: formats and where they go.
        options: how.
        revise: gives other detections to an image before it is written, such as those of repeat
            detections with their scores negated.
        known: failures of earlier stages, to be reported with those of this one.
        progress: a bar for each stage.

    Returns:
        Counts of what was written and of what was not.

    Raises:
        ValueError: If the journal is none, or something that a format requires is missing.
    """
    options = options or Options()
    source = Journal(journal)
    classes, roll_up = classes_of(source.header.label_map, options)
    summary = Summary(unplaced=tuple(roll_up.unplaced) if roll_up else ())
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(Transaction())
        report = _reporter(files, outputs, summary, Path(journal))
        for failure in known:
            report(failure)
        lines, index = stack.enter_context(in_order(source, report, progress))
        writers = _writers(files, outputs, source, classes, options, index, report)
        summary.counts["superseded"] = index.superseded
        smoother = None
        if options.smooth:
            smoother = BurstClasses(source.results(), classes, options.typical_threshold)
        bar = tqdm(lines, "Writing results", index.images, unit=" images", disable=not progress)
        for line in bar:
            image = read_result(line, source.header.label_map, report, summary.counts)
            if image is None:
                continue
            if revise:
                image = dataclasses.replace(image, detections=tuple(revise(image)))
            if smoother:
                image, changed = smoother.smoothed(image)
                summary.counts["smoothed"] += changed
            if roll_up:
                image, changed = roll_up.rolled_up(image)
                summary.counts["rolled_up"] += changed
            image = _prepare(image, options, summary)
            _count(image, classes, summary, options.typical_threshold)
            for writer in writers:
                writer.add(image)
        for writer in writers:
            writer.finish()
    summary.counts = +summary.counts
    return summary


def classes_of(label_map: Mapping[int, str], options: Options) -> tuple[Classes, RollUp | None]:
    """The classes that results have, and what puts taxa in the place of those of the model.

    Raises:
        ValueError: For kinds, taxa or a table of taxa that are not of this model.
    """
    if options.taxonomy is None:
        return Classes(label_map, options.kinds, options.taxa), None
    roll_up = RollUp(options.taxonomy, label_map, options.certain_score)
    taxa = roll_up.taxa | dict(options.taxa)
    return Classes(roll_up.names, options.kinds, taxa), roll_up


def _reporter(files: Transaction, outputs: Outputs, summary: Summary, journal: Path) -> Report:
    named = [path for path in dataclasses.astuple(outputs) if path is not None]
    if not named:
        raise ValueError("no results asked for: name one output at least")
    if any(Path(path).resolve() == journal.resolve() for path in named):
        raise ValueError(f"{journal} is the journal; results need another file")
    failures = files.open(outputs.failures) if outputs.failures else None

    def report(failure: Failure) -> None:
        summary.failures[f"{failure.stage}: {failure.reason}"] += 1
        if failure.stage == CAMTRAP_STAGE and failure.lost == "image":
            summary.not_packaged[failure.reason] += 1
        if failures is not None:
            failures.write(failure.to_json() + "\n")

    return report


def _writers(
    files: Transaction,
    outputs: Outputs,
    source: Journal,
    classes: Classes,
    options: Options,
    index: Index,
    report: Report,
) -> list[Writer]:
    header = source.header
    writers: list[Writer] = []
    if outputs.megadetector:
        file = files.open(outputs.megadetector)
        writers.append(MegaDetectorWriter(file, header, classes, options))
    if outputs.coco:
        file, images = files.open(outputs.coco), files.open(coco_index_path(outputs.coco))
        writers.append(CocoWriter(file, images, header, classes, options))
    if outputs.table:
        writers.append(TableWriter(files.open(outputs.table), classes))
    if outputs.camtrap_dp:
        folder = outputs.camtrap_dp
        writers.append(CamtrapDpWriter(files, folder, header, classes, options, index, report))
    if outputs.speciesnet:
        file, threshold = files.open(outputs.speciesnet), options.typical_threshold
        writers.append(SpeciesNetWriter(file, header, classes, options.speciesnet, threshold))
    if outputs.events:
        minutes, threshold = options.event_minutes, options.typical_threshold
        writers.append(EventTable(files.open(outputs.events), classes, minutes, threshold))
    return writers


def coco_index_path(results: str | Path) -> Path:
    """Where the index of the images of COCO results goes."""
    results = Path(results)
    return results.with_name(f"{results.stem}.images.json")


def _prepare(image: ImageResult, options: Options, summary: Summary) -> ImageResult:
    """Detections from `min_score`, best first."""
    kept = [found for found in image.detections if abs(found.score) >= options.min_score]
    summary.counts["below_min_score"] += len(image.detections) - len(kept)
    kept.sort(key=lambda found: -abs(found.score))
    return dataclasses.replace(image, detections=tuple(kept))


def _count(image: ImageResult, classes: Classes, summary: Summary, threshold: float) -> None:
    summary.images += 1
    summary.failed += bool(image.failure)
    counts = [found for found in image.detections if found.score >= threshold]
    summary.empty += not image.failure and not counts
    summary.detections.update(classes.names[found.class_id] for found in counts)
    summary.suspect += sum(found.score < 0 for found in image.detections)
