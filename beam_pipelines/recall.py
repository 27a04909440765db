"""A memory bank out of a store of images: what a network saw in the boxes is there already."""

import dataclasses
import functools

import numpy as np
from apache_beam.io.filesystems import FileSystems

from beam_pipelines.boxes import EXTRACTOR
from beam_pipelines.extraction import LOADING, BuildOptions, ExtractPart, describe_extractor
from beam_pipelines.files import at_hand_for_good, files_of
from beam_pipelines.sources import Photograph
from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank.manifest import FILE_NAME, read_manifest
from context_rcnn.memory_bank.stored_images import MIRRORED_SOURCE, SOURCE, ImageStore, name_of
from context_rcnn.runners.engine.model import Outputs


class RecallPart(ExtractPart):
    """Makes a part of a bank from the store that `BuildOptions.extractor` names."""

    def run(self, batch: list[Photograph]) -> list[Outputs | FileError]:
        """The proposals of each image as an extractor returns them, best first."""
        with LOADING:  # one for all threads
            store = _open(self._options.extractor)
        return [_recalled(store, photograph.image_id) for photograph in batch]


def extractor_of(store: str) -> str:
    """The extractor that filled a store with what it sees in boxes of another detector.

    Raises:
        ValueError: If there is no store, or one that something else filled.
    """
    folder = FileSystems.join(store, EXTRACTOR)
    if files_of(store).size(FileSystems.join(store, FILE_NAME)) is None:
        raise ValueError(f"--store {store}: `context-rcnn features --embedder` makes one")
    info = read_manifest(store, files_of(store)).info
    if info.feature_source not in (SOURCE, MIRRORED_SOURCE):
        raise ValueError(
            f"--store {store} is a bank of {info.feature_source}, not a store of images"
        )
    try:
        made_by = describe_extractor(folder)["hash"]
    except ValueError as error:
        raise ValueError(
            f"--store {store}: banks can be made of stores that `context-rcnn features "
            f"--embedder` has filled ({error})"
        ) from error
    if (found := info.extractor_hash) != made_by:
        raise ValueError(
            f"--store {store} was filled by {found}, and {folder} is {made_by}: run `context-rcnn "
            "features` again"
        )
    return folder


def from_store(options: BuildOptions, store: str) -> BuildOptions:
    """Options of a build out of a store; a ValueError where it has features of another type."""
    dtype = read_manifest(store, files_of(store)).info.dtype
    if dtype != options.info.dtype:
        raise ValueError(f"--store {store} has features of type {dtype}: give --dtype {dtype}")
    return dataclasses.replace(options, extractor=store)


def _recalled(store: ImageStore, image_id: str) -> Outputs | FileError:
    if name_of(image_id) not in store.bank:
        return FileError(Reason.MISSING_FILE, "the store does not have it, see its failures.jsonl")
    boxes, scores, features = store.read(image_id).part(labelled=False)
    classes = np.ones(len(scores), np.int32)
    return {"features": features, "boxes": boxes, "scores": scores, "classes": classes}


@functools.lru_cache(maxsize=1)
def _open(store: str) -> ImageStore:
    return ImageStore(at_hand_for_good(store))
