"""Builds the memory bank of every camera: runs a frozen extractor over images.

The images come from examples files or from an archive: a folder of photographs, COCO Camera Traps
JSON, CityCam. Run the same command again after a crash, or after adding images: it extracts and
writes only what has changed. Equal inputs give equal bytes with any number of workers.
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_pipelines import boxes, recall
from beam_pipelines.bank_shards import PARTS, BuildMemoryBank
from beam_pipelines.extraction import (
    FAILURES,
    BuildOptions,
    ExtractPart,
    Part,
    describe_extractor,
)
from beam_pipelines.files import files_of
from beam_pipelines.running import make_pipeline_options, run_command
from beam_pipelines.shards import (
    check_output_dir,
    not_listed,
    reader_failures,
    save_reader_failures,
)
from beam_pipelines.sources import Piece, examples_files, plan_archive
from context_rcnn.data import console, flags
from context_rcnn.data.archive import SOURCES, ArchiveOptions
from context_rcnn.data.failures import Failure
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.summary import format_cameras_found
from context_rcnn.memory_bank import writer as bank_writer
from context_rcnn.memory_bank.curation import (
    POLICIES,
    CameraOptions,
    FrameOptions,
)
from context_rcnn.memory_bank.features import DTYPES, StorageDtype
from context_rcnn.memory_bank.manifest import (
    COMPRESSIONS,
    FILE_NAME,
    BankInfo,
    Compression,
    Manifest,
    read_manifest,
)

_MOST_CAMERAS = 40  # that are printed
_LOG = logging.getLogger(__name__)

_EPILOG = """\
examples:
  A folder of photographs, one folder per camera:
    context-rcnn remember --input_folder=photos --extractor=extractor --output_dir=bank

  The paper's bank of Snapshot Serengeti: the best box of every frame, also of empty frames:
    context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank

  Traffic: eight boxes per frame. Long periods: a limited number of entries, as diverse as possible:
    context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank --top_k=8
    context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank \\
        --max_entries=8500 --policy=diverse

All other flags go to Beam: --runner, --direct_num_workers, ... Examples, extractor and bank may be
on any storage that Beam knows (gs://, hdfs://, ...); photographs must be under the same path on all
workers. docs/scaling.md has the commands for each runner.
"""


def build_memory_bank(
    source: str | ArchiveOptions,
    extractor: str,
    output_dir: str,
    *,
    images: ImageOptions | None = None,
    frames: FrameOptions | None = None,
    cameras: CameraOptions | None = None,
    labelled_only: bool = False,
    dtype: StorageDtype = "float16",
    compression: Compression = "none",
    num_shards: int = 16,
    batch_size: int = 8,
    store: str = "",
    overwrite: bool = False,
    pipeline_args: Sequence[str] = (),
) -> Manifest:
    """Builds or updates the bank in `output_dir`; returns its manifest.

    Args:
        source: Folder of examples or a pattern of TFRecord files; or where an archive of images is
            and how to read it.
        extractor: Folder of a saved extractor.
        output_dir: Folder of the bank. This, examples and extractor may be on any storage that
            Beam knows.
        images: Rules for the images of an archive that are accepted, and for their conversion.
        frames: Rules for the boxes of a frame that are stored; by default the best one.
        cameras: Rules for the entries of a camera that are stored; by default all.
        labelled_only: Only images labelled with an object.
        dtype: Storage dtype of the features.
        compression: Compression of the records.
        num_shards: Files of the bank.
        batch_size: Images a call of the extractor.
        store: Store that this extractor filled from the same examples; it then does not run again.
        overwrite: Replace a bank of another extractor.
        pipeline_args: Flags for Beam.

    Raises:
        ValueError: If an input as a whole, or an option, is unusable; also where the folder holds
            a bank of another extractor.
    """
    if num_shards < 1 or batch_size < 1:
        raise ValueError("num_shards and batch_size must be positive")
    check_output_dir(output_dir)
    output_dir = output_dir.rstrip("/") or output_dir
    pipeline_options = make_pipeline_options(pipeline_args)
    description = describe_extractor(extractor)
    info = BankInfo(
        description["hash"], description["source"], description["depth"], dtype, compression
    )
    options = BuildOptions(
        extractor,
        output_dir,
        info,
        frames or FrameOptions(),
        cameras or CameraOptions(),
        labelled_only,
        num_shards,
        batch_size,
    )
    if store:
        options = recall.from_store(options, store)
    found: list[Failure] = []
    pieces: Sequence[Piece] = examples_files(source) if isinstance(source, str) else []
    prepare_folder(options, overwrite)
    if isinstance(source, ArchiveOptions):
        pieces, archive = plan_archive(source, images or ImageOptions(), output_dir)
        _LOG.info("cameras found:\n%s", format_cameras_found(archive.records))
        found = archive.failures
    save_reader_failures(output_dir, found)
    parts, extract = make_parts(pieces, options), recall.RecallPart if store else ExtractPart
    with beam.Pipeline(options=pipeline_options) as pipeline:
        _ = pipeline | "Parts" >> beam.Create(parts) | "Build" >> BuildMemoryBank(options, extract)
    return read_manifest(output_dir, files_of(output_dir))


def prepare_folder(options: BuildOptions, overwrite: bool) -> None:
    """Finishes an interrupted rewrite; a ValueError where the folder has another extractor's bank.

    Args:
        options: Rules of the build.
        overwrite: Accept it, to replace it.
    """
    folder, files = options.output_dir, files_of(options.output_dir)
    bank_writer.recover(folder, files)
    if files.size(FileSystems.join(folder, FILE_NAME)) is None or overwrite:
        return
    made_by, ours = read_manifest(folder, files).info.extractor_hash, options.info.extractor_hash
    if made_by != ours:
        raise ValueError(
            f"{folder} holds a bank made by extractor {made_by}, {options.extractor} is {ours}: "
            "give another --output_dir, or --overwrite to replace it"
        )


def make_parts(pieces: Sequence[Piece], options: BuildOptions) -> list[Part]:
    """Pieces with the folders of what is extracted from them."""
    _LOG.info("%d pieces, extractor %s", len(pieces), options.info.extractor_hash)
    return [Part(piece, _part_folder(piece, options)) for piece in pieces]


def _part_folder(piece: Piece, options: BuildOptions) -> str:
    key = repr((piece.key, options.of_parts()))
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return FileSystems.join(options.output_dir, PARTS, name)


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        prog="context-rcnn remember",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--examples", help="folder of examples, or a file pattern")
    made_by = parser.add_mutually_exclusive_group(required=True)
    made_by.add_argument("--extractor", help="folder of a saved extractor")
    made_by.add_argument(
        "--embedder",
        metavar="SAVEDMODEL",
        help="folder of an image-embedding network, which sees the boxes of --detections or those "
        "in the examples (docs/memory_on_megadetector.md)",
    )
    made_by.add_argument(
        "--store",
        metavar="DIR",
        help="folder that `context-rcnn features --embedder` filled from the same examples; the "
        "bank is made of what the network saw then, without another look",
    )
    flags.add_embedder_flags(parser.add_argument_group("with --embedder"))
    parser.add_argument("--output_dir", required=True, help="folder of the bank")
    frames = parser.add_argument_group("which boxes of a frame are stored")
    frames.add_argument(
        "--top_k", type=int, default=1, help="number of best boxes per frame (default: 1)"
    )
    frames.add_argument(
        "--bottom_k", type=int, default=0, help="number of worst boxes per frame (default: 0)"
    )
    frames.add_argument(
        "--score_threshold",
        type=float,
        default=0.0,
        help="lowest score of the best boxes (default: 0)",
    )
    frames.add_argument(
        "--drop_empty",
        action="store_true",
        help="store nothing of frames without a box at --score_threshold",
    )
    frames.add_argument(
        "--positives",
        choices=["all", "score", "label"],
        default="all",
        help="frames to store: all, those with a box at --positive_score, or those labelled with "
        "an object (default: all, because the paper found empty frames useful)",
    )
    frames.add_argument(
        "--positive_score",
        type=float,
        default=0.7,
        help="lowest score of a box with `--positives score` (default: 0.7)",
    )
    cameras = parser.add_argument_group("which entries of a camera are stored")
    cameras.add_argument(
        "--stride", type=int, default=1, help="n, to store every n-th frame (default: 1)"
    )
    cameras.add_argument(
        "--max_entries", type=int, help="largest number of entries per camera (default: no limit)"
    )
    cameras.add_argument(
        "--policy",
        choices=POLICIES,
        default="diverse",
        help="rule to choose the entries that stay within --max_entries (default: diverse, which "
        "represents the whole time best)",
    )
    bank = parser.add_argument_group("the bank")
    bank.add_argument(
        "--dtype",
        choices=list(DTYPES),
        default="float16",
        help="type of the stored features (default: float16)",
    )
    bank.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="none",
        help="compression of the files; gzip files cannot be mapped into memory (default: none)",
    )
    bank.add_argument("--num_shards", type=int, default=16, help="number of files (default: 16)")
    bank.add_argument(
        "--batch_size",
        type=int,
        default=8,
        help="number of images per call of the extractor (default: 8)",
    )
    bank.add_argument(
        "--overwrite", action="store_true", help="replace a bank of another extractor"
    )
    flags.add_archive_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if entries were stored and no folder missed, 1 if not, 2 for errors."""
    return run_command(build_parser(), argv, _run_with)


def _run_with(args: argparse.Namespace, pipeline_args: list[str]) -> int:
    if bool(args.examples) == any(getattr(args, source) for source in SOURCES):
        archives = ", ".join(f"--{source}" for source in SOURCES)
        raise ValueError(f"give either --examples or an archive ({archives})")
    if args.store and not args.examples:
        raise ValueError("--store has the boxes of examples: give them with --examples")
    if args.examples:
        flags.refuse_clocks(args, "give it to `context-rcnn examples`, which dates examples")
    if args.embedder and not (args.examples or args.detections or args.proposals_json):
        raise ValueError("--embedder sees given boxes: give MegaDetector's with --detections")
    if args.embedder and args.examples:
        boxes.check_proposals(examples_files(args.examples))  # before anything is written
    if args.store:
        extractor = recall.extractor_of(args.store)
    else:
        extractor = args.extractor or boxes.freeze_boxes(args)
    manifest = build_memory_bank(
        args.examples or flags.archive_options(args),
        extractor,
        args.output_dir,
        images=flags.image_options(args),
        frames=FrameOptions(
            top_k=args.top_k,
            bottom_k=args.bottom_k,
            score_threshold=args.score_threshold,
            keep_empty=not args.drop_empty,
            positives_only=args.positives == "score",
            positive_score=args.positive_score,
        ),
        cameras=CameraOptions(args.stride, args.max_entries, args.policy),
        labelled_only=args.positives == "label",
        dtype=args.dtype,
        compression=args.compression,
        num_shards=args.num_shards,
        batch_size=args.batch_size,
        store=args.store,
        overwrite=args.overwrite,
        pipeline_args=pipeline_args,
    )
    print(format_bank(manifest, args.output_dir))
    missing = not_listed(reader_failures(args.output_dir))
    return 0 if manifest.totals()["entries"] and not missing else 1


def format_bank(manifest: Manifest, output_dir: str) -> str:
    """Closing words: what was stored, by camera, and what was not."""
    totals = manifest.totals()
    rows = [("camera", "entries", "images", "undated")]
    rows += [
        (name, str(info.entries), str(info.images), str(info.undated))
        for name, info in list(manifest.cameras.items())[:_MOST_CAMERAS]
    ]
    more = len(manifest.cameras) - _MOST_CAMERAS
    dropped = ", ".join(f"{k} {v}" for k, v in totals["dropped"].items()) or "nothing"
    return "\n".join(
        [
            console.table(rows),
            *([f"... and {more} more cameras"] if more > 0 else []),
            "",
            f"{totals['entries']} entries of {totals['images']} images and {totals['cameras']} "
            f"cameras, {totals['bytes'] / 1e6:.1f} MB; left out: {dropped}",
            f"{FileSystems.join(output_dir, FAILURES)} lists everything that could not be used",
        ]
    )


if __name__ == "__main__":
    # Workers unpickle steps by the name of their module, which must not be "__main__".
    from beam_pipelines.build_memory_bank import main as run

    sys.exit(run())
