"""Stage one of a memory bank: a piece of the images through the frozen extractor, to a part.

A part is a small bank of its own, uncurated, of the cameras in one piece. It depends on the piece,
the extractor and the selection of boxes alone, so it need not be made twice.
"""

import dataclasses
import functools
import itertools
import json
import logging
import os
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from beam_pipelines.files import at_hand_for_good, files_of, read_text, upload, write_text
from beam_pipelines.running import Progress
from beam_pipelines.sources import ArchivePiece, Photograph, Piece, padded_proposals
from context_rcnn.data.failures import Failure, Lost, Reason, to_jsonl
from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions
from context_rcnn.memory_bank.entries import Entries, concatenate
from context_rcnn.memory_bank.manifest import FILE_NAME, BankInfo, read_manifest, shard_name
from context_rcnn.memory_bank.writer import BankWriter
from context_rcnn.runners.engine.extract import entries_of
from context_rcnn.runners.engine.model import Outputs, run
from context_rcnn.runners.engine.state import FAILURES

STAGE = "extract"
NO_LABELLED_BOX = "not_positive_by_label"
_LOG = logging.getLogger(__name__)
LOADING = threading.Lock()
"""Held while a model is loaded, so that the threads of a process share it."""


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """Rules for the boxes that the extractor returns.

    Attributes:
        extractor: Folder of the SavedModel.
        output_dir: Folder of the bank.
        info: Facts about the whole bank.
        frames: Rules for the boxes of a frame that are stored.
        cameras: Rules for the entries of a camera that are stored.
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
    """A piece and the folder its entries go to: a bank of its own, uncurated."""

    piece: Piece
    folder: str


@dataclasses.dataclass(frozen=True)
class FinishedPart:
    """What later steps need to know of a part.

    Attributes:
        name: Name of its piece, by which parts are sorted.
        folder: Folder of the part.
        plan: Name of the piece in the plan of an archive; "" for examples.
        cameras: For each, hash of the content and (reason, count) of what was left out.
    """

    name: str
    folder: str
    plan: str
    cameras: dict[str, tuple[str, tuple[tuple[str, int], ...]]]


class ExtractPart(beam.DoFn):
    """Runs one piece through the extractor, batch by batch. Yields the `FinishedPart`.

    A part is made on the disk of the worker and then copied to its folder, so that workers that
    are given the same part do not meet, and that the folder can be on any storage.
    """

    needs_dates = True

    def __init__(self, options: BuildOptions):
        self._options = options

    def process(self, part: Part) -> Iterator[FinishedPart]:
        # Written last: a part with this file is complete.
        if read_text(FileSystems.join(part.folder, FAILURES)) is not None:
            count("parts_already_complete")
        else:
            with tempfile.TemporaryDirectory(prefix="context_rcnn-") as folder:
                failures = self._extract(part, folder)
                for failure in failures:
                    count(f"failed_{failure.reason}")
                write_text(os.path.join(folder, FAILURES), to_jsonl(failures))
                upload(folder, [shard_name(0, 1), FILE_NAME, FAILURES], part.folder)
        manifest = read_manifest(part.folder, files_of(part.folder))
        cameras = {
            name: (info.hash, tuple(sorted(info.dropped.items())))
            for name, info in manifest.cameras.items()
        }
        piece = part.piece
        plan = piece.shard.name if isinstance(piece, ArchivePiece) else ""
        yield FinishedPart(piece.name, part.folder, plan, cameras)

    def _extract(self, part: Part, folder: str) -> list[Failure]:
        """Writes the part to a local folder; returns what could not be used."""
        failures: list[Failure] = []
        with BankWriter(folder, _part_info(self._options), num_shards=1) as writer:
            for camera, entries, dropped in self.extracted(part.piece, failures):
                writer.add(camera, entries, dropped)
        return failures

    def extracted(
        self, piece: Piece, failures: list[Failure]
    ) -> Iterator[tuple[str, Entries, Counter]]:
        """The cameras of a piece, each with its entries and the counts of what was left out."""
        options = self._options
        collected: dict[str, list[Entries]] = defaultdict(list)
        dropped: dict[str, Counter] = defaultdict(Counter)
        for photograph, found in self.outputs(piece, failures):
            entries, left_out = _entries(photograph, found, options)
            dropped[photograph.camera].update(left_out)
            collected[photograph.camera] += entries
        for camera in sorted(dropped):
            parts = collected.pop(camera)
            yield camera, concatenate(parts) if parts else _nothing(options), dropped[camera]

    def outputs(
        self, piece: Piece, failures: list[Failure]
    ) -> Iterator[tuple[Photograph, Outputs]]:
        """The images of a piece, each with what the extractor says of it."""
        progress = Progress(piece.title, _LOG)
        photographs = _usable(piece, failures, self.needs_dates)
        while batch := list(itertools.islice(photographs, self._options.batch_size)):
            for photograph, found in zip(batch, self.run(batch), strict=True):
                if isinstance(found, FileError):
                    failures.append(_failure(photograph, found.reason, found.detail))
                else:
                    yield photograph, found
            progress.step(len(batch))
            count("images", len(batch))

    def run(self, batch: list[Photograph]) -> list[Outputs | FileError]:
        """What the extractor says of each image, or why it says nothing."""
        with LOADING:  # one for all threads
            module, given = _load(self._options.extractor)
        return _run(module, given, batch)


def _entries(
    photograph: Photograph, outputs: Outputs, options: BuildOptions
) -> tuple[list[Entries], Counter]:
    """The entries of one image to store, none or one `Entries`, and what was left out."""
    if options.labelled_only and not photograph.labelled:
        found = outputs["scores"] >= 0
        return [], Counter({NO_LABELLED_BOX: int(found.sum())})
    name, seconds = photograph.image_id, photograph.seconds
    entries, dropped = entries_of(name, seconds, outputs, options.frames, options.info.dtype)
    return ([] if entries is None else [entries]), dropped


def _usable(
    piece: Piece, failures: list[Failure], needs_dates: bool = True
) -> Iterator[Photograph]:
    """Images that were not seen before; what is to be said of the others goes to `failures`."""
    seen: set[tuple[str, str]] = set()
    for photograph in piece.read():
        if isinstance(photograph, Failure):
            failures.append(photograph)
            continue
        name = (photograph.camera, photograph.image_id)
        if name in seen:
            detail = "the image is there before"
            failures.append(_failure(photograph, Reason.DUPLICATE_IMAGE, detail))
            continue
        seen.add(name)
        if needs_dates and photograph.seconds is None:
            detail = "stored without a date: only a window of any time sees it"
            failures.append(_failure(photograph, Reason.UNDATED, detail, lost="date"))
        yield photograph


def _run(module: Any, given: bool, batch: list[Photograph]) -> list[Outputs | FileError]:
    """Outputs of each image, or why there are none; `given` extractors take boxes with it."""
    import tensorflow as tf

    def extract(photographs: list[Photograph]) -> Outputs:
        encoded = tf.constant([photograph.encoded for photograph in photographs])
        proposals = map(tf.constant, padded_proposals(photographs)) if given else ()
        return {name: out.numpy() for name, out in module.extract(encoded, *proposals).items()}

    return run(extract, batch, len(batch))


def _failure(photograph: Photograph, reason: Reason, detail: str, lost: Lost = "image") -> Failure:
    return Failure(
        STAGE, reason, detail, image_id=photograph.image_id, camera=photograph.camera, lost=lost
    )


@functools.lru_cache(maxsize=1)
def _load(extractor: str):
    """The extractor of this process, and whether it takes boxes with an image."""
    from context_rcnn.export.extractor import load_extractor

    module, description = load_extractor(at_hand_for_good(extractor))
    return module, bool(description.get("given"))


def describe_extractor(extractor: str) -> dict[str, Any]:
    """What an extractor is, without loading it."""
    path = FileSystems.join(extractor, "extractor.json")
    text = read_text(path)
    if text is None:
        raise ValueError(f"{extractor} is not an extractor: there is no {path}")
    try:
        description = json.loads(text)
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
