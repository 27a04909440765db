"""Builds the memory bank of every camera: a frozen extractor over examples, stored once a camera.

The same command goes on after a crash, and after images were added: examples files that have not
changed are not run through the extractor again, and bank files whose cameras have not changed are
not written again. Equal inputs give equal bytes with any number of workers.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from beam_pipelines.extraction import (
    FAILURES,
    STAGE,
    BuildOptions,
    ExtractPart,
    Part,
    count,
    describe_extractor,
)
from beam_pipelines.running import make_pipeline_options, run_command
from beam_pipelines.tfrecord import write_text
from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.memory_bank import writer as bank_writer
from context_rcnn.memory_bank.curation import (
    POLICIES,
    CameraOptions,
    FrameOptions,
    curate,
)
from context_rcnn.memory_bank.entries import Entries, concatenate
from context_rcnn.memory_bank.features import DTYPES
from context_rcnn.memory_bank.maintenance import DUPLICATE
from context_rcnn.memory_bank.manifest import (
    COMPRESSIONS,
    BankInfo,
    CameraInfo,
    Manifest,
    read_manifest,
    shard_name,
    shard_of,
)
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.writer import ShardWriter

PARTS, SHARDS = os.path.join("_progress", "parts"), os.path.join("_progress", "shards")
_LOG = logging.getLogger(__name__)

_EPILOG = """\
examples:
  The paper's Snapshot Serengeti bank: the best box of every frame, empty frames too:
    context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank

  Traffic: eight boxes a frame. A month and more under a budget, keeping what differs:
    context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank --top_k=8
    context-rcnn remember --examples=examples --extractor=extractor --output_dir=bank \\
        --max_entries=8500 --policy=diverse

All other flags go to Beam: --runner, --direct_num_workers, ... All workers must see the same paths.
"""


class WriteBankShard(beam.DoFn):
    """Writes one file of the bank from all parts. Yields its number, cameras and size as JSON."""

    def __init__(self, options: BuildOptions):
        self._options = options

    def process(self, shard: int, parts: list[Part]) -> Iterator[str]:
        options = self._options
        banks = [Bank.open(part.folder) for part in sorted(parts, key=lambda part: part.source)]
        names = sorted(
            {
                name
                for bank in banks
                for name in bank.cameras
                if shard_of(name, options.num_shards) == shard
            }
        )
        content = [
            (name, [bank.manifest.cameras[name].hash for bank in banks if name in bank])
            for name in names
        ]
        drops = [[dict(b.manifest.cameras[n].dropped) for b in banks if n in b] for n in names]
        key = repr((options.info, options.cameras, options.num_shards, content, drops))
        fingerprint = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        place = os.path.join(options.output_dir, SHARDS, f"{shard_name(shard, options.num_shards)}")
        path = os.path.join(options.output_dir, shard_name(shard, options.num_shards))
        text = _read(place + ".json")
        result = json.loads(text) if text else {}
        if result.get("fingerprint") == fingerprint and _size(path) == result["bytes"]:
            count("bank_files_already_complete")
        else:
            result = {"fingerprint": fingerprint, "shard": shard} | self._write(shard, names, banks)
            write_text(place + ".json", json.dumps(result))
        yield json.dumps(result)

    def _write(self, shard: int, names: list[str], banks: list[Bank]) -> dict[str, Any]:
        options, cameras, failures = self._options, {}, []
        with bank_writer.staged(options.output_dir, shard_name(shard, options.num_shards)) as file:
            writer = ShardWriter(file, options.info, shard)
            for name in names:
                here = [bank for bank in banks if name in bank]
                entries, dropped, twice = _merged(here, name)
                failures += [failure.to_json() for failure in twice]
                entries, left_out = curate(entries, options.cameras)
                cameras[name] = writer.add(name, entries, dropped + left_out)
        return {
            "bytes": writer.bytes,
            "failures": failures,
            "cameras": {name: dataclasses.asdict(info) for name, info in cameras.items()},
        }


class Finish(beam.DoFn):
    """Puts the files in their place, the manifest with them; yields the manifest's path."""

    def __init__(self, options: BuildOptions):
        self._options = options

    def process(self, _: None, parts: list[Part], results: list[str]) -> Iterator[str]:
        folder = self._options.output_dir
        shards = sorted(map(json.loads, results), key=lambda result: result["shard"])
        cameras = {
            name: CameraInfo(**fields)
            for shard in shards
            for name, fields in shard["cameras"].items()
        }
        failures = [
            Failure.from_json(line)
            for part in parts
            for line in (_read(os.path.join(part.folder, FAILURES)) or "").splitlines()
        ]
        failures += [Failure.from_json(line) for shard in shards for line in shard["failures"]]
        sizes = tuple(shard["bytes"] for shard in shards)
        bank_writer.commit(
            folder, Manifest(self._options.info, sizes, dict(sorted(cameras.items())))
        )
        write_text(os.path.join(folder, FAILURES), to_jsonl(failures))
        _forget_parts(folder, {os.path.basename(part.folder) for part in parts})
        yield folder


class BuildMemoryBank(beam.PTransform):
    """Parts to a finished bank."""

    def __init__(self, options: BuildOptions):
        super().__init__()
        self._options = options

    def expand(self, parts: beam.PCollection[Part]) -> beam.PCollection[str]:
        extracted = (
            parts
            | "SpreadParts" >> beam.Reshuffle()
            | "ExtractPart" >> beam.ParDo(ExtractPart(self._options))
        )
        shards = (
            parts.pipeline
            | "Shards" >> beam.Create(range(self._options.num_shards))
            | "SpreadShards" >> beam.Reshuffle()
            | "WriteBankShard"
            >> beam.ParDo(WriteBankShard(self._options), beam.pvalue.AsList(extracted))
        )
        return (
            parts.pipeline
            | "Once" >> beam.Create([None])
            | "Finish"
            >> beam.ParDo(
                Finish(self._options), beam.pvalue.AsList(extracted), beam.pvalue.AsList(shards)
            )
        )


def build_memory_bank(
    examples: str,
    extractor: str,
    output_dir: str,
    *,
    frames: FrameOptions | None = None,
    cameras: CameraOptions | None = None,
    labelled_only: bool = False,
    dtype: str = "float16",
    compression: str = "none",
    num_shards: int = 16,
    batch_size: int = 8,
    overwrite: bool = False,
    pipeline_args: Sequence[str] = (),
) -> Manifest:
    """Builds or updates the bank in `output_dir`; returns its manifest.

    Args:
        examples: Folder of examples, or a pattern of TFRecord files.
        extractor: Folder of a saved extractor.
        output_dir: Folder of the bank, on a file system that can be mapped.
        frames: Which boxes of a frame are stored; the best one by default.
        cameras: Which entries of a camera are stored; all by default.
        labelled_only: Only images labelled with an object.
        dtype: Storage dtype of the features.
        compression: Of the records.
        num_shards: Files of the bank.
        batch_size: Images a call of the extractor.
        overwrite: Replace a bank of another extractor.
        pipeline_args: Flags for Beam.

    Raises:
        ValueError: If an input as a whole, or an option, is unusable; also where the folder holds
            a bank of another extractor.
    """
    if num_shards < 1 or batch_size < 1:
        raise ValueError("num_shards and batch_size must be positive")
    pipeline_options = make_pipeline_options(pipeline_args)
    files = _find_examples(examples)
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
    for folder in (PARTS, SHARDS):
        os.makedirs(os.path.join(output_dir, folder), exist_ok=True)
    bank_writer.recover(output_dir)
    if os.path.exists(os.path.join(output_dir, "manifest.json")) and not overwrite:
        found = read_manifest(output_dir).info.extractor_hash
        if found != info.extractor_hash:
            raise ValueError(
                f"{output_dir} holds a bank made by extractor {found}, {extractor} is "
                f"{info.extractor_hash}: give another --output_dir, or --overwrite to replace it"
            )
    parts = [Part(file, _part_folder(file, options)) for file in files]
    _LOG.info("%d examples files, extractor %s", len(parts), info.extractor_hash)
    with beam.Pipeline(options=pipeline_options) as pipeline:
        _ = pipeline | "Parts" >> beam.Create(parts) | "Build" >> BuildMemoryBank(options)
    return read_manifest(output_dir)


def _merged(banks: list[Bank], camera: str) -> tuple[Entries, Counter, list[Failure]]:
    """A camera's entries of all parts; an image that two have is taken from the first."""
    parts, dropped, seen, twice = [], Counter(), set(), set()
    for bank in banks:
        entries = bank.camera(camera).stored()
        new = np.array([image not in seen for image in entries.image_ids], bool)
        twice.update(entries.image_ids[~new])
        seen.update(entries.image_ids)
        dropped.update(bank.manifest.cameras[camera].dropped)
        dropped[DUPLICATE] += int(np.count_nonzero(~new))
        parts.append(entries.take(new))
    failures = [
        Failure(STAGE, Reason.DUPLICATE_IMAGE, "in two files", image_id=image, camera=camera)
        for image in sorted(twice)
    ]
    return concatenate(parts), +dropped, failures


def _find_examples(examples: str) -> list[str]:
    from context_rcnn.data import input as input_lib

    if os.path.isdir(examples):
        if not os.path.exists(os.path.join(examples, "manifest.json")):
            raise ValueError(f"{examples}: no manifest.json; `context-rcnn examples` has not ended")
        examples = os.path.join(examples, "*.tfrecord")
    return input_lib.find_files(examples, "--examples")


def _part_folder(file: str, options: BuildOptions) -> str:
    status = os.stat(file)
    key = repr((os.path.basename(file), status.st_size, status.st_mtime_ns, options.of_parts()))
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return os.path.join(options.output_dir, PARTS, name)


def _forget_parts(folder: str, current: set[str]) -> None:
    parts = os.path.join(folder, PARTS)
    for name in set(os.listdir(parts)) - current:
        shutil.rmtree(os.path.join(parts, name), ignore_errors=True)


def _read(path: str) -> str | None:
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.read()


def _size(path: str) -> int | None:
    return os.path.getsize(path) if os.path.exists(path) else None


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        prog="build_memory_bank",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--examples", required=True, help="folder of examples, or a file pattern")
    parser.add_argument("--extractor", required=True, help="folder of a saved extractor")
    parser.add_argument("--output_dir", required=True, help="folder of the bank")
    frames = parser.add_argument_group("which boxes of a frame are stored")
    frames.add_argument("--top_k", type=int, default=1, help="best boxes a frame (default: 1)")
    frames.add_argument("--bottom_k", type=int, default=0, help="and worst ones (default: 0)")
    frames.add_argument(
        "--score_threshold", type=float, default=0.0, help="best boxes score at least this"
    )
    frames.add_argument(
        "--drop_empty", action="store_true", help="nothing of frames without a box at the threshold"
    )
    frames.add_argument(
        "--positives",
        choices=["all", "score", "label"],
        default="all",
        help="frames to store: all, those with a box at --positive_score, or those labelled with "
        "an object (default: all; the paper found the empty ones useful)",
    )
    frames.add_argument("--positive_score", type=float, default=0.7, help="(default: 0.7)")
    cameras = parser.add_argument_group("which entries of a camera are stored")
    cameras.add_argument("--stride", type=int, default=1, help="every n-th frame (default: 1)")
    cameras.add_argument("--max_entries", type=int, help="a camera's budget (default: none)")
    cameras.add_argument(
        "--policy",
        choices=POLICIES,
        default="diverse",
        help="how a budget is kept (default: diverse: what stands for the whole time)",
    )
    bank = parser.add_argument_group("the bank")
    bank.add_argument("--dtype", choices=list(DTYPES), default="float16", help="(default: float16)")
    bank.add_argument(
        "--compression", choices=COMPRESSIONS, default="none", help="gzip cannot be mapped"
    )
    bank.add_argument("--num_shards", type=int, default=16, help="files (default: 16)")
    bank.add_argument("--batch_size", type=int, default=8, help="images a call (default: 8)")
    bank.add_argument("--overwrite", action="store_true", help="replace another extractor's bank")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 if anything was stored, 1 if not, 2 for unusable input."""
    return run_command(build_parser(), argv, _run_with)


def _run_with(args: argparse.Namespace, pipeline_args: list[str]) -> int:
    manifest = build_memory_bank(
        args.examples,
        args.extractor,
        args.output_dir,
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
        overwrite=args.overwrite,
        pipeline_args=pipeline_args,
    )
    print(format_bank(manifest, args.output_dir))
    return 0 if manifest.totals()["entries"] else 1


def format_bank(manifest: Manifest, output_dir: str) -> str:
    """Closing words: what was stored, by camera, and what was not."""
    totals = manifest.totals()
    rows = [
        f"{name[:30]:30} {info.entries:>8} {info.images:>8} {info.undated:>8}"
        for name, info in manifest.cameras.items()
    ]
    if len(rows) > 40:
        rows = [*rows[:40], f"... and {len(rows) - 40} cameras more"]
    dropped = ", ".join(f"{k} {v}" for k, v in totals["dropped"].items()) or "nothing"
    return "\n".join(
        [
            f"{'camera':30} {'entries':>8} {'images':>8} {'undated':>8}",
            *rows,
            "",
            f"{totals['entries']} entries of {totals['images']} images and {totals['cameras']} "
            f"cameras, {totals['bytes'] / 1e6:.1f} MB; left out: {dropped}",
            f"what could not be used is named in {os.path.join(output_dir, FAILURES)}",
        ]
    )


if __name__ == "__main__":
    # Workers unpickle steps by the name of their module, which must not be "__main__".
    from beam_pipelines.build_memory_bank import main as run

    sys.exit(run())
