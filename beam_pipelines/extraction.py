"""Stage one of a memory bank: an examples file through the frozen extractor, to a part.

A part is a small bank of its own, uncurated, of the cameras in one examples file. It depends on the
file, the extractor and the selection of boxes alone, so it need not be made twice.
"""

import dataclasses
import functools
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from beam_pipelines.running import Progress
from beam_pipelines.tfrecord import write_text
from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.data.records import LabelState
from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions, select_boxes
from context_rcnn.memory_bank.entries import Entries, concatenate
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.writer import BankWriter

FAILURES = "failures.jsonl"
STAGE = "extract"
NO_LABELLED_BOX = "not_positive_by_label"
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """What becomes of the boxes that the extractor gives.

    Attributes:
        extractor: Folder of the SavedModel.
        output_dir: Folder of the bank.
        info: What is true of the whole bank.
        frames: Which boxes of a frame are stored.
        cameras: Which entries of a camera are stored.
        labelled_only: Leave out images that are labelled empty or not labelled: an oracle.
        num_shards: Files of the bank.
        batch_size: Images a call of the extractor.
    """

    extractor: str
    output_dir: str
    info: BankInfo
    frames: FrameOptions
    cameras: CameraOptions
    labelled_only: bool
    num_shards: int
    batch_size: int

    def of_parts(self) -> str:
        """Everything that decides what a part holds."""
        info = dataclasses.replace(self.info, compression="none")
        return repr((info, self.frames, self.labelled_only))


@dataclasses.dataclass(frozen=True)
class Part:
    """One examples file and the folder its entries go to: a bank of its own, uncurated."""

    source: str
    folder: str


class ExtractPart(beam.DoFn):
    """Runs one examples file through the extractor, batch by batch. Yields the part."""

    def __init__(self, options: BuildOptions):
        self._options = options

    def process(self, part: Part) -> Iterator[Part]:
        if os.path.exists(os.path.join(part.folder, FAILURES)):
            count("parts_already_complete")
        else:
            failures = self._extract(part)
            # Written last: a part with this file is complete.
            write_text(os.path.join(part.folder, FAILURES), to_jsonl(failures))
        yield part

    def _extract(self, part: Part) -> list[Failure]:
        import tensorflow as tf

        from context_rcnn.data import examples

        options, failures = self._options, []
        collected, dropped = defaultdict(list), defaultdict(Counter)
        seen: set[tuple[str, str]] = set()
        progress = Progress(os.path.basename(part.source), _LOG)
        dataset = tf.data.TFRecordDataset(part.source).map(examples.parse_example)
        for rows in _batches(dataset.as_numpy_iterator(), options.batch_size):
            rows, problems = _usable(rows, seen)
            failures += problems
            for row, outputs in _run(options.extractor, rows, failures):
                camera = row["camera"].decode()
                entries, left_out = _entries(row, outputs, options)
                dropped[camera].update(left_out)
                collected[camera] += entries
            progress.step(len(rows))
            count("images", len(rows))
        with BankWriter(part.folder, _part_info(options), num_shards=1) as writer:
            for camera in sorted(dropped):
                entries = collected[camera]
                whole = concatenate(entries) if entries else _nothing(options)
                writer.add(camera, whole, dropped[camera])
        return failures


def _entries(
    row: dict[str, Any], outputs: dict[str, np.ndarray], options: BuildOptions
) -> tuple[list[Entries], Counter]:
    """The entries of one image to store, none or one `Entries`, and what was left out."""
    found = outputs["scores"] >= 0
    if options.labelled_only and row["label_state"] not in (
        LabelState.BOXES,
        LabelState.IMAGE_LEVEL,
    ):
        return [], Counter({NO_LABELLED_BOX: int(found.sum())})
    kept, dropped = select_boxes(outputs["scores"][found], options.frames)
    if not len(kept):
        return [], dropped
    seconds = int(row["seconds"]) if row["has_seconds"] else None
    entries = Entries.make(
        image_ids=[row["image_id"].decode()] * len(kept),
        seconds=[seconds] * len(kept),
        boxes=outputs["boxes"][kept],
        features=outputs["features"][kept],
        scores=outputs["scores"][kept],
        classes=outputs["classes"][kept],
    )
    return [entries.stored_as(options.info.dtype)], dropped


def _usable(
    rows: list[dict[str, Any]], seen: set[tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Rows whose image was not seen before, and what is to be said of the rows."""
    usable, failures = [], []
    for row in rows:
        name = (row["camera"].decode(), row["image_id"].decode())
        if name in seen:
            failures.append(_failure(row, Reason.DUPLICATE_IMAGE, "the image is there before"))
            continue
        seen.add(name)
        if not row["has_seconds"]:
            detail = "stored without a date: only a window of any time sees it"
            failures.append(_failure(row, Reason.UNDATED, detail, lost="date"))
        usable.append(row)
    return usable, failures


def _run(
    extractor: str, rows: list[dict[str, Any]], failures: list[Failure]
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Outputs of each image; where a batch fails, its images are tried alone."""
    import tensorflow as tf

    if not rows:
        return
    module = _load(extractor)
    try:
        outputs = module.extract(tf.constant([row["image_bytes"] for row in rows]))
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        if len(rows) > 1:
            for row in rows:
                yield from _run(extractor, [row], failures)
            return
        failures.append(_failure(rows[0], Reason.UNREADABLE, str(error).splitlines()[0][:200]))
        return
    outputs = {name: value.numpy() for name, value in outputs.items()}
    for i, row in enumerate(rows):
        one = {name: value[i] for name, value in outputs.items()}
        if np.isfinite(one["features"]).all():
            yield row, one
        else:
            failures.append(_failure(row, Reason.NOT_FINITE, "the features hold NaN or infinity"))


def _batches(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _failure(row: dict[str, Any], reason: Reason, detail: str, lost: str = "image") -> Failure:
    image_id, camera = row["image_id"].decode(), row["camera"].decode()
    return Failure(STAGE, reason, detail, image_id=image_id, camera=camera, lost=lost)


@functools.lru_cache(maxsize=1)
def _load(extractor: str):
    """The extractor of this process."""
    from context_rcnn.inference.extractor import load_extractor

    return load_extractor(extractor)[0]


def describe_extractor(extractor: str) -> dict[str, Any]:
    """What an extractor is, without loading it."""
    path = os.path.join(extractor, "extractor.json")
    if not os.path.exists(path):
        raise ValueError(f"{extractor} is not an extractor: there is no {path}")
    try:
        with open(path, encoding="utf-8") as file:
            description = json.load(file)
        return {name: description[name] for name in ("hash", "source", "depth")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the description of an extractor: {error!r}") from None


def _part_info(options: BuildOptions) -> BankInfo:
    return dataclasses.replace(options.info, compression="none")


def _nothing(options: BuildOptions) -> Entries:
    empty = Entries.make(
        image_ids=[], seconds=[], boxes=np.zeros([0, 4]), features=np.zeros([0, options.info.depth])
    )
    return empty.stored_as(options.info.dtype)


def count(name: str, number: int = 1) -> None:
    """Adds to a counter of the pipeline."""
    Metrics.counter("build_memory_bank", name).inc(number)
