"""Detects in an archive with an exported model, each image with the memory of its own camera.

It does on many machines what `context-rcnn detect` does in a folder on one. First build the bank
with the same extractor (`context-rcnn remember`). The results are journals, one for some hundred
images of a camera; `context-rcnn results` writes them in any format. Run the same command again
after a crash, or after adding images: it keeps the journals whose images, model and memory have not
changed.
"""

import argparse
import dataclasses
import functools
import hashlib
import itertools
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from beam_pipelines.files import at_hand_for_good, files_of, read_text, write_text
from beam_pipelines.running import Progress, make_pipeline_options, run_command
from beam_pipelines.shards import (
    Shard,
    check_output_dir,
    not_listed,
    planned_records,
    remove_leftovers,
)
from beam_pipelines.sources import ArchivePiece, plan_archive
from context_rcnn.data import flags
from context_rcnn.data.archive import ArchiveOptions, SplitArchive
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.summary import format_cameras_found
from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.memory_bank.manifest import PROGRESS
from context_rcnn.memory_bank.store import Bank
from context_rcnn.results.records import STAGE, Header, ImageResult, read_result
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.detect import detect_batch
from context_rcnn.runners.engine.files import name_of
from context_rcnn.runners.engine.memory import CameraMemory
from context_rcnn.runners.engine.model import MemorySettings, Model, header_of, video_stream
from context_rcnn.runners.engine.prepared import prepare_image
from context_rcnn.runners.engine.state import FAILURES

READERS = "journal-readers.jsonl"
_HEADER = f"{PROGRESS}/header.json"
_CAMERAS_COMPARED = 100
_LOG = logging.getLogger(__name__)
_LOADING = threading.Lock()

_EPILOG = """\
examples:
  A folder of photographs, one folder per camera:
    context-rcnn remember --input_folder=photos --extractor=extractor --output_dir=bank
    python -m beam_pipelines.detect --input_folder=photos --model=export --bank=bank \\
        --output_dir=found
    context-rcnn results found -o results.json

  A model without a long-term memory, or one that should not use it:
    python -m beam_pipelines.detect --input_folder=photos --model=export --no_memory \\
        --output_dir=found

All other flags go to Beam: --runner, --direct_num_workers, ... Model, bank and output may be on any
storage that Beam knows (gs://, hdfs://, ...); photographs must be under the same path on all
workers. docs/scaling.md has the commands for each runner.
"""


@dataclasses.dataclass(frozen=True)
class DetectOptions:
    """Settings of every step.

    Attributes:
        model: folder of the exported model.
        bank: folder of the memory bank, "" for none.
        output_dir: folder of the journals.
        header: header of every journal, as JSON.
        batch_size: number of images per call of the model.
    """

    model: str
    bank: str
    output_dir: str
    header: str
    batch_size: int


class DetectPiece(beam.DoFn):
    """Detects in the images of one piece. Yields the name of its journal."""

    def __init__(self, options: DetectOptions):
        self._options = options

    def process(self, piece: ArchivePiece) -> Iterator[str]:
        options = self._options
        with _LOADING:  # one for all threads
            model = _load_model(options.model)
            bank = _open_bank(options.bank, model.extractor_hash) if options.bank else None
        memory, known = None, ""
        if bank is not None and piece.camera in bank:
            known = bank.manifest.cameras[piece.camera].hash
            memory = CameraMemory(model, bank.camera(piece.camera), MemorySettings.of(model))
        name = _journal_name(piece, known, options)
        path = FileSystems.join(options.output_dir, name)
        files = files_of(path)
        if files.size(path) is not None:
            _count("journals_already_complete")
        else:
            with files.create(path, durable=True) as file:
                file.write(options.header.encode("ascii") + b"\n")
                for result in _detect(model, memory, piece, options.batch_size):
                    if result.failure:
                        _count(f"failed_{result.failure}")
                    file.write(result.to_json().encode("ascii") + b"\n")
        yield name


def _detect(
    model: Model, memory: CameraMemory | None, piece: ArchivePiece, batch_size: int
) -> Iterator[ImageResult]:
    images = (
        ImageResult(r.file_name, r.image_id, r.camera, r.seconds, burst=r.seq_id)
        for r in planned_records(piece.output_dir, piece.shard)
    )
    prepared = ahead(
        lambda image: prepare_image(image, piece.image_root, piece.options), images, workers=1
    )
    progress = Progress(piece.title, _LOG)
    while batch := list(itertools.islice(prepared, batch_size)):
        yield from detect_batch(model, memory, batch, batch_size)
        progress.step(len(batch))
        _count("images", len(batch))


def detect_archive(
    source: ArchiveOptions,
    model: str,
    bank: str,
    output_dir: str,
    *,
    images: ImageOptions | None = None,
    batch_size: int = 4,
    pipeline_args: Sequence[str] = (),
) -> Counter:
    """Detects in all images of an archive; counts images, failed ones and those without a memory.

    Args:
        source: Place of the archive, and options for reading it.
        model: Folder of an exported model.
        bank: Folder of the bank of its memory; "" to detect in single images.
        output_dir: Folder of the journals.
        images: Rules for the images that are accepted, and for their conversion.
        batch_size: Images a call of the model.
        pipeline_args: Flags for Beam.

    Raises:
        ValueError: If an input as a whole, or an option, is unusable.
    """
    images = images or ImageOptions()
    if batch_size < 1:
        raise ValueError("batch_size must be positive")
    check_output_dir(output_dir)
    output_dir = output_dir.rstrip("/") or output_dir
    pipeline_options = make_pipeline_options(pipeline_args)
    loaded = _load_model(model)
    if loaded.description.get("proposals"):
        raise ValueError(
            f"{model} names the boxes of another detector, which only `context-rcnn detect "
            "--detections` gives it"
        )
    _open_bank.cache_clear()  # it may have changed since
    if bank:
        MemorySettings.of(loaded)
        known = set(_open_bank(bank, loaded.extractor_hash).cameras)
    elif loaded.has_memory or video_stream(loaded.description):
        _LOG.info("no bank: the model detects in single images")
    settings = {"images": dataclasses.asdict(images), "archive": True}
    header = _begin(output_dir, header_of(loaded, settings, memory=bool(bank)))
    pieces, archive = plan_archive(source, images, output_dir)
    _LOG.info("cameras found:\n%s", format_cameras_found(archive.records))
    if bank:
        corrected = CameraClocks(source.clock_shift, source.clock_csv).cameras
        _refuse_other_dates(_open_bank(bank, loaded.extractor_hash), archive, corrected)
    options = DetectOptions(model, bank, output_dir, header.to_json(), batch_size)
    with beam.Pipeline(options=pipeline_options) as pipeline:
        names = (
            pipeline
            | "Pieces" >> beam.Create(pieces)
            | "SpreadPieces" >> beam.Reshuffle()
            | "DetectPiece" >> beam.ParDo(DetectPiece(options))
        )
        _ = (
            names
            | "Together" >> beam.combiners.ToList()
            | "Names" >> beam.Map(_write_names, FileSystems.join(output_dir, PROGRESS, "names"))
        )
    names = (read_text(FileSystems.join(output_dir, PROGRESS, "names")) or "").split()
    counts = _finish(output_dir, header, names, archive.failures, [p.shard for p in pieces])
    counts["unlisted"] = len(not_listed(archive.failures))
    if bank:
        cameras = {record.camera for split in archive.records.values() for record in split}
        counts["cameras_without_memory"] = len(cameras - known)
    return counts


def _refuse_other_dates(bank: Bank, archive: SplitArchive, corrected: Sequence[str]) -> None:
    """Raises ValueError if cameras have other dates in the bank than in the archive.

    Args:
        bank: the bank.
        archive: the archive, with its clocks corrected.
        corrected: cameras whose clocks were corrected. All of these are looked at, and of the
            others so many that it takes no time.
    """
    ours: dict[str, dict[str, int | None]] = {}
    for record in itertools.chain(*archive.records.values()):
        ours.setdefault(record.camera, {})[record.image_id] = record.seconds
    others = sorted(ours.keys() - set(corrected))[:_CAMERAS_COMPARED]
    for camera in filter(lambda name: name in ours and name in bank, [*corrected, *others]):
        entries = bank.camera(camera)
        rows = zip(entries.image_ids, entries.seconds.tolist(), entries.dated, strict=True)
        for image_id, seconds, dated in rows:
            now, then = ours[camera].get(image_id), seconds if dated else None
            if image_id in ours[camera] and now != then:
                shown = ["no date" if at is None else format_timestamp(at) for at in (now, then)]
                here = " with its clock corrected" if camera in corrected else ""
                raise ValueError(
                    f"{image_id} of camera {camera!r} has {shown[0]}{here}, and {shown[1]} in the "
                    "bank: give `context-rcnn remember` and this command the same --clock_shift "
                    "and --clock_csv, and remember again if the dates have changed"
                )


def _begin(output_dir: str, header: Header) -> Header:
    """The header of the first run of a folder.

    Raises:
        ValueError: If that was with another model or other settings.
    """
    path = FileSystems.join(output_dir, _HEADER)
    text = read_text(path)
    if text is None:
        write_text(path, header.to_json())
        return header
    earlier = Header.from_json(text)
    earlier.refuse_others(header, output_dir, "Choose another --output_dir")
    return earlier


def _finish(
    output_dir: str,
    header: Header,
    names: Sequence[str],
    failures: Sequence[Failure],
    shards: Sequence[Shard],
) -> Counter:
    """Writes what the readers left out and the list of failures; removes what is out of date."""
    files = files_of(output_dir)
    lost = {f.file: f for f in failures if f.lost == "image" and f.file}
    with files.create(FileSystems.join(output_dir, READERS), durable=True) as file:
        file.write(header.to_json().encode("ascii") + b"\n")
        for name, f in sorted(lost.items()):
            whose = (name_of(name), name_of(f.image_id) if f.image_id else "", f.camera)
            image = ImageResult(*whose, failure=str(f.reason), failure_text=f.detail)
            file.write(image.to_json().encode("ascii") + b"\n")
    failures, counts = list(failures), Counter(failed=len(lost), images=len(lost))
    for name in sorted(names):
        for image in _results(FileSystems.join(output_dir, name), header):
            counts["images"] += 1
            whose = (image.file, image.image_id, image.camera)
            if image.damage:
                known = (STAGE, Reason.DAMAGED_DATA, image.damage, *whose)
                failures.append(Failure(*known, lost="nothing"))
            if image.failure:
                counts["failed"] += 1
                failures.append(Failure(STAGE, Reason(image.failure), image.failure_text, *whose))
    write_text(FileSystems.join(output_dir, FAILURES), to_jsonl(failures))
    remove_leftovers(output_dir, {shard.name for shard in shards})
    for name in files.names(output_dir):
        if name.startswith("journal-") and name not in {*names, READERS}:
            files.delete(FileSystems.join(output_dir, name))
    return counts


def _results(path: str, header: Header) -> Iterator[ImageResult]:
    lines = (read_text(path) or "").splitlines()[1:]
    for line in lines:
        image = read_result(line.encode("ascii"), header.label_map, lambda failure: None, Counter())
        if image is not None:
            yield image


def _write_names(names: list[str], path: str) -> None:
    write_text(path, "\n".join(sorted(names)))


def _journal_name(piece: ArchivePiece, memory: str, options: DetectOptions) -> str:
    """A name that changes with everything that changes the content of the journal."""
    key = repr((piece.name, piece.key, memory, options.header, options.batch_size))
    return f"journal-{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.jsonl"


@functools.lru_cache(maxsize=1)
def _load_model(folder: str) -> Model:
    """The model of this process."""
    from context_rcnn.export.exported import ExportedModel

    return ExportedModel(at_hand_for_good(folder))


@functools.lru_cache(maxsize=1)
def _open_bank(folder: str, extractor_hash: str) -> Bank:
    return Bank.open(at_hand_for_good(folder), extractor_hash)


def _count(name: str, number: int = 1) -> None:
    Metrics.counter("detect", name).inc(number)


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        prog="detect",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, help="folder of an exported model")
    memory = parser.add_mutually_exclusive_group(required=True)
    memory.add_argument("--bank", default="", help="folder of the memory bank")
    memory.add_argument(
        "--no_memory", action="store_true", help="detect in single images, without a memory"
    )
    parser.add_argument("--output_dir", required=True, help="folder of the journals")
    parser.add_argument(
        "--batch_size",
        type=int,
        default=4,
        help="number of images per call of the model (default: 4)",
    )
    flags.add_archive_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if any image could be used, 1 if not, 2 for unusable input."""
    return run_command(build_parser(), argv, _run_with)


def _run_with(args: argparse.Namespace, pipeline_args: list[str]) -> int:
    counts = detect_archive(
        flags.archive_options(args),
        args.model,
        args.bank,
        args.output_dir,
        images=flags.image_options(args),
        batch_size=args.batch_size,
        pipeline_args=pipeline_args,
    )
    print(f"{counts['images']:,} images, of which {counts['failed']:,} could not be used")
    if counts["cameras_without_memory"]:
        missing = counts["cameras_without_memory"]
        print(f"{missing:,} camera{'s are' if missing > 1 else ' is'} not in the bank")
    print(f"{os.path.join(args.output_dir, FAILURES)} lists everything that could not be used")
    print(f"next: context-rcnn results {args.output_dir} -o results.json")
    return 0 if counts["images"] > counts["failed"] and not counts["unlisted"] else 1


if __name__ == "__main__":
    # Workers unpickle steps by the name of their module, which must not be "__main__".
    from beam_pipelines.detect import main as run

    sys.exit(run())
