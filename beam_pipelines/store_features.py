"""Stores what a frozen detector sees in every image: to learn a memory on, in minutes.

The images come from examples files, whose labels are kept beside: OUTPUT_DIR/labels has the same
examples without their images. Run the same command again after a crash, or after adding examples:
it looks only at what has changed. Equal inputs give equal bytes with any number of workers.
"""

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from beam_pipelines import boxes
from beam_pipelines.bank_shards import BuildMemoryBank
from beam_pipelines.build_memory_bank import make_parts, prepare_folder
from beam_pipelines.extraction import LOADING, BuildOptions, ExtractPart, Part, count
from beam_pipelines.files import at_hand, at_hand_for_good, files_of, read_text, write_text
from beam_pipelines.running import make_pipeline_options, run_command
from beam_pipelines.shards import check_output_dir
from beam_pipelines.sources import (
    ExamplesFile,
    Photograph,
    Piece,
    examples_files,
    padded_proposals,
)
from beam_pipelines.tfrecord import TFRecordWriter
from context_rcnn.data import flags, label_map
from context_rcnn.data.failures import Failure
from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank import stored_images
from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions
from context_rcnn.memory_bank.encoding import flip_boxes
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.features import DTYPES, StorageDtype
from context_rcnn.memory_bank.manifest import FILE_NAME, PROGRESS, Manifest, read_manifest
from context_rcnn.memory_bank.stored_images import StoredImage
from context_rcnn.runners.engine.model import Outputs, run

LABELS = "labels"
DESCRIPTION = "features.json"

_EPILOG = """\
examples:
  A detector is trained once, and stored features teach a memory:
    context-rcnn features --model_dir=runs/first --examples=examples --output_dir=store --mirrored
    context-rcnn train --experiment=context_rcnn_c4 --model_dir=runs/memory --params_override=\\
        task.learn_on=features,task.features=store,task.init_checkpoint=runs/first,...

  The frames of videos:
    context-rcnn features --model_dir=runs/videos --examples='videos/train-*' --output_dir=store

All other flags go to Beam: --runner, --direct_num_workers, ... Examples, extractor and store may be
on any storage that Beam knows (gs://, hdfs://, ...).
"""


class StoreImages(ExtractPart):
    """Makes a part of a store: each image is a record of its own."""

    needs_dates = False

    def extracted(
        self, piece: Piece, failures: list[Failure]
    ) -> Iterator[tuple[str, Entries, Counter]]:
        for photograph, found in self.outputs(piece, failures):
            for mirrored in self._sides():
                seen = _stored_image(photograph, found, mirrored)
                name, entries = seen.record()
                yield name, entries.stored_as(self._options.info.dtype), Counter()

    def run(self, batch: list[Photograph]) -> list[Outputs | FileError]:
        """What is seen of each image; outputs of mirror images have a prefix."""
        with LOADING:  # one for all threads
            module, labelled, given = _load(self._options.extractor)

        def see(photographs: list[Photograph]) -> Outputs:
            found: Outputs = {}
            for mirrored in self._sides():
                seen = _see(module, labelled, given, photographs, mirrored)
                found |= {_side(name, mirrored): value for name, value in seen.items()}
            return found

        return run(see, batch, self._options.batch_size)

    def _sides(self) -> tuple[bool, ...]:
        mirrored = self._options.info.feature_source == stored_images.MIRRORED_SOURCE
        return (False, True) if mirrored else (False,)


class CopyLabels(beam.DoFn):
    """Writes an examples file again, without its images."""

    def __init__(self, output_dir: str):
        self._output_dir = output_dir

    def process(self, part: Part) -> Iterator[str]:
        piece, name = part.piece, part.piece.title
        done = FileSystems.join(self._output_dir, PROGRESS, LABELS, f"{name}.json")
        path = FileSystems.join(self._output_dir, LABELS, name)
        text = read_text(done)
        result = json.loads(text) if text else {}
        files = files_of(path)
        if result != {"key": piece.key, "bytes": files.size(path)}:
            size = _copy_labels(piece.name, path)
            write_text(done, json.dumps({"key": piece.key, "bytes": size}))
        yield path


def store_features(
    examples: str,
    extractor: str,
    output_dir: str,
    *,
    mirrored: bool = False,
    dtype: StorageDtype = "float16",
    num_shards: int = 16,
    batch_size: int = 4,
    overwrite: bool = False,
    pipeline_args: Sequence[str] = (),
) -> Manifest:
    """Fills or updates the store in `output_dir`; returns its manifest.

    Args:
        examples: Folder of examples or a pattern of TFRecord files.
        extractor: Folder of a SavedModel that has `propose`, with its `features.json`.
        output_dir: Folder of the store. This, examples and extractor may be on any storage that
            Beam knows.
        mirrored: Also store what is seen of the mirror image of each image.
        dtype: Storage dtype of the features.
        num_shards: Files of the store.
        batch_size: Images a call of the extractor.
        overwrite: Replace a store of another extractor.
        pipeline_args: Flags for Beam.

    Raises:
        ValueError: If an input as a whole, or an option, is unusable; also where the folder holds
            a store of another extractor.
    """
    if num_shards < 1 or batch_size < 1:
        raise ValueError("num_shards and batch_size must be positive")
    check_output_dir(output_dir)
    output_dir = output_dir.rstrip("/") or output_dir
    pipeline_options = make_pipeline_options(pipeline_args)
    description = _describe(extractor)
    info = stored_images.store_info(description["hash"], description["depth"], dtype, mirrored)
    options = BuildOptions(
        extractor,
        output_dir,
        info,
        FrameOptions(),
        CameraOptions(),
        labelled_only=False,
        num_shards=num_shards,
        batch_size=batch_size,
    )
    pieces = examples_files(examples)
    _check_names(pieces)
    if description["given"]:
        boxes.check_proposals(pieces)
    prepare_folder(options, overwrite)
    _copy_descriptions(pieces, output_dir)
    parts = make_parts(pieces, options)
    with beam.Pipeline(options=pipeline_options) as pipeline:
        created = pipeline | "Parts" >> beam.Create(parts)
        _ = created | "Labels" >> beam.ParDo(CopyLabels(output_dir))
        _ = created | "Store" >> BuildMemoryBank(options, StoreImages)
    return read_manifest(output_dir, files_of(output_dir))


def _stored_image(photograph: Photograph, found: Outputs, mirrored: bool) -> StoredImage:
    boxes, scores, features, labelled = (
        found[_side(name, mirrored)]
        for name in ("boxes", "scores", "features", "labelled_features")
    )
    there = scores > 0
    labelled_boxes, classes = _with_area(photograph)
    labelled_boxes = flip_boxes(labelled_boxes) if mirrored else labelled_boxes
    return StoredImage(
        photograph.image_id,
        np.concatenate([boxes[there], labelled_boxes]),
        np.concatenate([scores[there], np.ones(len(classes))]),
        np.concatenate([features[there], labelled[: len(classes)]]),
        np.concatenate([np.zeros(there.sum(), np.int32), classes]),
        mirrored,
        photograph.seconds,
    )


def _with_area(photograph: Photograph) -> tuple[np.ndarray, np.ndarray]:
    """Labelled boxes and classes; those without area, as old records hold, teach nothing."""
    boxes, classes = photograph.boxes, photograph.classes
    if boxes is None or classes is None:
        return np.zeros([0, 4], np.float32), np.zeros(0, np.int32)
    there = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return boxes[there], classes[there].astype(np.int32)


def _see(
    module: Any, labelled: int, given: int, photographs: list[Photograph], mirrored: bool
) -> Outputs:
    """The outputs of `propose`, with the features of all labelled boxes, so many in a call."""
    import tensorflow as tf

    encoded = tf.constant([photograph.encoded for photograph in photographs])
    known = [_with_area(photograph)[0] for photograph in photographs]
    calls = max(1, *(-(-len(of_image) // labelled) for of_image in known))
    padded = np.zeros([len(photographs), calls * labelled, 4], np.float32)
    for row, of_image in zip(padded, known, strict=True):
        row[: len(of_image)] = flip_boxes(of_image) if mirrored else of_image
    proposals = []
    if given:
        of_images, scores = padded_proposals(photographs)
        if mirrored:
            of_images = np.stack([flip_boxes(of_image) for of_image in of_images])
        proposals = [tf.constant(of_images), tf.constant(scores)]
    seen = [
        module.propose(encoded, tf.constant(some), tf.constant(mirrored), *proposals)
        for some in np.split(padded, calls, axis=1)
    ]
    outputs = {name: value.numpy() for name, value in seen[0].items()}
    parts = [some["labelled_features"].numpy() for some in seen]
    return outputs | {"labelled_features": np.concatenate(parts, axis=1)}


def _side(name: str, mirrored: bool) -> str:
    return f"mirrored_{name}" if mirrored else name


@functools.lru_cache(maxsize=1)
def _load(extractor: str):
    """The extractor of this process, and how many labelled boxes and proposals it takes."""
    from context_rcnn.layers.cost_estimates import load_saved_model

    module = load_saved_model(at_hand_for_good(extractor))
    description = _describe(extractor)
    return module, description["labelled"], description["given"]


def _describe(extractor: str) -> dict[str, Any]:
    """What an extractor is, without loading it."""
    path = FileSystems.join(extractor, DESCRIPTION)
    text = read_text(path)
    if text is None:
        raise ValueError(
            f"{extractor} does not fill stores: there is no {path}; give --model_dir, the folder "
            "of a training run"
        )
    try:
        description = json.loads(text)
        facts = {name: description[name] for name in ("hash", "depth", "labelled")}
        return facts | {"given": description.get("given", 0)}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the description of an extractor: {error!r}") from None


def _check_names(pieces: Sequence[ExamplesFile]) -> None:
    """Labels lie in one folder, under the names of their files."""
    for title, number in Counter(piece.title for piece in pieces).items():
        if number > 1:
            raise ValueError(f"--examples: {number} files are named {title}; rename them")


def _copy_descriptions(pieces: Sequence[ExamplesFile], output_dir: str) -> None:
    """Label map and manifest of the examples, beside the labels."""
    folder = pieces[0].name.rpartition("/")[0]
    for name in (label_map.FILE_NAME, FILE_NAME):
        text = read_text(FileSystems.join(folder, name))
        if text is not None:
            write_text(FileSystems.join(output_dir, LABELS, name), text)


def _copy_labels(source: str, path: str) -> int:
    """Copies the records of a file, without images; returns the size of the copy."""
    import tensorflow as tf

    from context_rcnn.data.examples import ENCODED

    with at_hand(source) as local, files_of(path).create(path) as file:
        writer = TFRecordWriter(file)
        for record in tf.data.TFRecordDataset(local).as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            example.features.feature[ENCODED].bytes_list.value[:] = [b""]
            writer.write(example.SerializeToString(deterministic=True))
        count("label_records", writer.records)
    return writer.bytes


def _freeze(model_dir: str, checkpoint: str, output_dir: str) -> str:
    """Makes an extractor of a training run, in the store; returns its folder."""
    from context_rcnn.export.features import export_features

    return boxes.keep(lambda local: export_features(model_dir, local, checkpoint), output_dir)


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        prog="store_features",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--examples", required=True, help="folder of examples, or a file pattern")
    of_what = parser.add_mutually_exclusive_group(required=True)
    of_what.add_argument("--model_dir", help="folder of the training run of the detector")
    of_what.add_argument(
        "--extractor", help="folder of a SavedModel with the function `propose` (docs/formats.md)"
    )
    of_what.add_argument(
        "--embedder",
        metavar="SAVEDMODEL",
        help="folder of an image-embedding network, which sees the proposals in the examples "
        "(docs/memory_on_megadetector.md)",
    )
    flags.add_embedder_flags(parser.add_argument_group("with --embedder"))
    parser.add_argument(
        "--checkpoint",
        default="",
        help="checkpoint of the run to use (default: the best of the run, or else the latest)",
    )
    parser.add_argument("--output_dir", required=True, help="folder of the store")
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="also store what is seen of each image's mirror image, for training with flips; this "
        "doubles time and size",
    )
    parser.add_argument(
        "--dtype",
        choices=list(DTYPES),
        default="float16",
        help="type of the stored features (default: float16)",
    )
    parser.add_argument("--num_shards", type=int, default=16, help="number of files (default: 16)")
    parser.add_argument(
        "--batch_size",
        type=int,
        default=4,
        help="number of images per call of the extractor (default: 4)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a store of another extractor"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if anything was stored, 1 if not, 2 for unusable input."""
    return run_command(build_parser(), argv, _run_with)


def _run_with(args: argparse.Namespace, pipeline_args: list[str]) -> int:
    if args.embedder:
        boxes.check_proposals(examples_files(args.examples))  # before anything is written
        extractor = boxes.freeze_boxes(args)
    else:
        extractor = args.extractor or _freeze(args.model_dir, args.checkpoint, args.output_dir)
    manifest = store_features(
        args.examples,
        extractor,
        args.output_dir,
        mirrored=args.mirrored,
        dtype=args.dtype,
        num_shards=args.num_shards,
        batch_size=args.batch_size,
        overwrite=args.overwrite,
        pipeline_args=pipeline_args,
    )
    totals = manifest.totals()
    sides = 2 if manifest.info.feature_source == stored_images.MIRRORED_SOURCE else 1
    print(
        f"{totals['images'] // sides} images, {totals['entries']} boxes of {manifest.info.depth} "
        f"numbers, {totals['bytes'] / 1e6:.1f} MB; labels are in "
        f"{FileSystems.join(args.output_dir, LABELS)}"
    )
    return 0 if totals["images"] else 1


if __name__ == "__main__":
    # Workers unpickle steps by the name of their module, which must not be "__main__".
    from beam_pipelines.store_features import main as run_main

    sys.exit(run_main())
