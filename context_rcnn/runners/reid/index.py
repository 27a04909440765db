"""Tracklets to a folder of embeddings; run again, it embeds only what is new."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.data.paths import FileError
from context_rcnn.data.readers.tracklet_folder import read_all
from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
from context_rcnn.data.tracklet_images import ClipReader
from context_rcnn.data.tracklet_sampling import EVALUATION, evaluation_clips
from context_rcnn.data.tracklets import Tracklet
from context_rcnn.evaluation.embeddings import (
    DESCRIPTION,
    Embeddings,
    read_embeddings,
    write_embeddings,
)
from context_rcnn.export.embedder import ExportedEmbedder
from context_rcnn.runners.engine.progress import bar

FAILURES = "failures.jsonl"


@dataclasses.dataclass(frozen=True)
class IndexOptions:
    """What is embedded, and how.

    Attributes:
        root: folder of tracklets.
        output_dir: folder to write.
        layout: layout of the folder; `folder` takes all tracklets, the data sets their test part.
        split: number of the split of iLIDS-VID and PRID-2011.
        sampling: frames that stand for a tracklet, one of `tracklet_sampling.EVALUATION`.
        max_clips: largest number of clips of a tracklet, with `dense`.
        batch_size: clips per call of the model.
    """

    root: str
    output_dir: str
    layout: str = "folder"
    split: int = 0
    sampling: str = "restricted"
    max_clips: int = 200
    batch_size: int = 16

    def __post_init__(self):
        if self.sampling not in EVALUATION:
            raise ValueError(f"--sampling must be one of {', '.join(EVALUATION)}")
        if not os.path.isdir(self.root):
            raise ValueError(f"{self.root} is not a folder")
        if self.batch_size < 1:
            raise ValueError(f"--batch_size must be at least 1, got {self.batch_size}")


@dataclasses.dataclass(frozen=True)
class IndexSummary:
    """What was done.

    Attributes:
        tracklets: tracklets in the index.
        new: those that were embedded now.
        identities: names in the index.
        failures: what could not be used.
    """

    tracklets: int
    new: int
    identities: int
    failures: list[Failure]

    def to_text(self) -> str:
        """For a terminal."""
        lines = [
            f"{self.tracklets} tracklets of {self.identities} known identities, {self.new} new"
        ]
        reasons = Counter(str(failure.reason) for failure in self.failures)
        lines += [f"{count} {reason}" for reason, count in sorted(reasons.items())]
        return "\n".join(lines)


def index_tracklets(options: IndexOptions, model: ExportedEmbedder) -> IndexSummary:
    """Embeds tracklets and writes the folder of embeddings.

    Tracklets that an earlier index of the same model has, with the same frames, are not embedded
    again.
    """
    tracklets, parts, failures = _read(options)
    known = _known(options.output_dir, model.hash, os.path.abspath(options.root))
    reader = ClipReader(options.root, model.clip_shape[1:3])
    rows: list[np.ndarray | None] = [
        known.get((tracklet.name, tracklet.frames)) for tracklet in tracklets
    ]
    new = [number for number, row in enumerate(rows) if row is None]
    for number, feature in embed(new, tracklets, reader, model, options, failures):
        rows[number] = feature
    failures += reader.failures.values()
    there = [number for number, row in enumerate(rows) if row is not None]
    features = [row for row in rows if row is not None]
    if not features:
        raise ValueError(f"{options.root}: none of the {len(tracklets)} tracklets can be used")
    found = Embeddings(
        np.stack(features),
        [tracklets[number] for number in there],
        root=os.path.abspath(options.root),
        parts=[parts[number] for number in there] if parts else (),
        model=model.hash,
    )
    write_embeddings(options.output_dir, found)
    Path(options.output_dir, FAILURES).write_text(to_jsonl(failures), encoding="utf-8")
    names = {tracklet.identity for tracklet in found.tracklets} - {""}
    embedded = len(set(new) & set(there))
    return IndexSummary(len(there), embedded, len(names), failures)


def embed(
    numbers: Sequence[int],
    tracklets: Sequence[Tracklet],
    reader: ClipReader,
    model: ExportedEmbedder,
    options: IndexOptions,
    failures: list[Failure],
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number and feature of each tracklet that can be used.

    Args:
        numbers: which of the tracklets.
        tracklets: all of them.
        reader: what reads them.
        model: what embeds them.
        options: how.
        failures: list that gets a failure for each tracklet that cannot be used.
    """
    frames = model.clip_shape[0]
    with bar("embed", len(numbers), " tracklets") as progress:
        for number in numbers:
            tracklet = tracklets[number]
            places = evaluation_clips(
                options.sampling, len(tracklet.frames), frames, options.max_clips
            )
            try:
                total = _embed_clips(tracklet, places, reader, model, options.batch_size)
            except FileError as error:
                failures.append(_lost(tracklet, error.reason, error.detail))
            else:
                if np.isfinite(total).all():
                    yield number, total
                else:
                    detail = "the model's feature is not finite"
                    failures.append(_lost(tracklet, Reason.NOT_FINITE, detail))
            progress.update(1)


def _embed_clips(
    tracklet: Tracklet,
    places: np.ndarray,
    reader: ClipReader,
    model: ExportedEmbedder,
    batch_size: int,
) -> np.ndarray:
    """The mean of the features of a tracklet's clips."""
    total = np.zeros(model.description["depth"], np.float64)
    for start in range(0, len(places), batch_size):
        clips = [reader.clip(tracklet, numbers) for numbers in places[start : start + batch_size]]
        total += model.embed(np.stack(clips)).sum(axis=0)
    return (total / len(places)).astype(np.float32)


def _read(options: IndexOptions) -> tuple[list[Tracklet], list[str], list[Failure]]:
    """Tracklets, their parts where the layout has some, and what could not be used."""
    if options.layout == "folder":
        tracklets, collector = read_all(Path(options.root))
        return tracklets, [], collector.failures
    found = read_tracklets(TrackletOptions(options.root, options.layout, split=options.split))
    parts = ["query"] * len(found.query) + ["gallery"] * len(found.gallery)
    return [*found.query, *found.gallery], parts, list(found.failures)


def _known(folder: str, model: str, root: str) -> dict[tuple[str, tuple[str, ...]], np.ndarray]:
    """Features of an earlier index of the same model and folder, by name and frames."""
    if not os.path.isfile(os.path.join(folder, DESCRIPTION)):
        return {}
    found = read_embeddings(folder)
    if (found.model, found.root) != (model, root):
        return {}
    return {
        (tracklet.name, tracklet.frames): feature
        for tracklet, feature in zip(found.tracklets, found.features, strict=True)
    }


def _lost(tracklet: Tracklet, reason: Reason, detail: str) -> Failure:
    return Failure(
        "tracklet", reason, detail, file=tracklet.name, camera=tracklet.camera, lost="tracklet"
    )
