"""The files of a bank, from the parts that were extracted, and its manifest.

A part or a file that is there already, of the same content, is not made again.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_pipelines.extraction import (
    FAILURES,
    STAGE,
    BuildOptions,
    ExtractPart,
    FinishedPart,
    Part,
    count,
)
from beam_pipelines.files import at_hand, files_of, matches, read_text, write_text
from beam_pipelines.shards import reader_failures, remove_leftovers
from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.memory_bank import writer as bank_writer
from context_rcnn.memory_bank.curation import curate
from context_rcnn.memory_bank.files import TEMP_MARK
from context_rcnn.memory_bank.maintenance import merged_camera
from context_rcnn.memory_bank.manifest import (
    FILE_NAME,
    PROGRESS,
    CameraInfo,
    Manifest,
    read_manifest,
    shard_name,
    shard_of,
)
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.writer import ShardWriter

PARTS, SHARDS = f"{PROGRESS}/parts", f"{PROGRESS}/shards"


class BuildMemoryBank(beam.PTransform):
    """Parts to a finished bank.

    Args:
        options: Rules for the boxes that the extractor returns.
        extract: Kind of the step that makes the parts.
    """

    def __init__(self, options: BuildOptions, extract: type[ExtractPart] = ExtractPart):
        super().__init__()
        self._options = options
        self._extract = extract

    def expand(self, parts: beam.PCollection[Part]) -> beam.PCollection[str]:
        options = self._options
        extracted = (
            parts
            | "SpreadParts" >> beam.Reshuffle()
            | "ExtractPart" >> beam.ParDo(self._extract(options))
        )
        # No worker holds all parts: a file gets its own, and the last step their folders alone.
        # Each file is there once, since one without a camera is written too.
        files = parts.pipeline | "Files" >> beam.Create(
            [(i, None) for i in range(options.num_shards)]
        )
        of_files = extracted | "ByFile" >> beam.FlatMap(_by_file, options.num_shards)
        shards = (
            {"file": files, "parts": of_files}
            | "PartsOfFiles" >> beam.CoGroupByKey()
            | "WriteBankShard" >> beam.ParDo(WriteBankShard(options))
        )
        places = extracted | "Places" >> beam.Map(lambda part: (part.folder, part.plan))
        lost = extracted | "Failures" >> beam.FlatMap(_failures_of)
        return (
            parts.pipeline
            | "Once" >> beam.Create([None])
            | "Finish"
            >> beam.ParDo(Finish(options), *map(beam.pvalue.AsList, (places, lost, shards)))
        )


def _by_file(part: FinishedPart, num_shards: int) -> Iterator[tuple[int, FinishedPart]]:
    """What each file of the bank needs to know of a part: the cameras that are in it."""
    cameras: dict[int, dict[str, Any]] = defaultdict(dict)
    for name, facts in part.cameras.items():
        cameras[shard_of(name, num_shards)][name] = facts
    for shard, its_own in cameras.items():
        yield shard, dataclasses.replace(part, cameras=its_own)


class WriteBankShard(beam.DoFn):
    """Writes one file of the bank from its parts. Yields its number, cameras and size as JSON."""

    def __init__(self, options: BuildOptions):
        self._options = options

    def process(self, file: tuple[int, Mapping[str, Iterable]]) -> Iterator[str]:
        options, (shard, found) = self._options, file
        by_camera: dict[str, list[FinishedPart]] = defaultdict(list)
        for part in sorted(found["parts"], key=lambda part: part.name):
            for name in part.cameras:
                by_camera[name].append(part)
        content = [
            (name, [part.cameras[name] for part in by_camera[name]]) for name in sorted(by_camera)
        ]
        key = repr((options.info, options.cameras, options.num_shards, content))
        fingerprint = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        name = shard_name(shard, options.num_shards)
        place = FileSystems.join(options.output_dir, SHARDS, f"{name}.json")
        text = read_text(place)
        result = json.loads(text) if text else {}
        if result.get("fingerprint") == fingerprint and self._is_there(shard, result):
            count("bank_files_already_complete")
        else:
            result = {"fingerprint": fingerprint, "shard": shard} | self._write(shard, by_camera)
            write_text(place, json.dumps(result))
        yield json.dumps(result)

    def _is_there(self, shard: int, result: dict[str, Any]) -> bool:
        """Whether the file in the bank is the one with this result, not one before or after it."""
        options = self._options
        name = shard_name(shard, options.num_shards)
        files = files_of(options.output_dir)
        sizes = [files.size(FileSystems.join(options.output_dir, n)) for n in (name, FILE_NAME)]
        if sizes[0] != result["bytes"] or sizes[1] is None:
            return False
        manifest = read_manifest(options.output_dir, files)
        hashes = {n: info.hash for n, info in manifest.cameras.items() if info.shard == shard}
        return (
            manifest.info == options.info
            and len(manifest.shard_bytes) == options.num_shards
            and hashes == {name: fields["hash"] for name, fields in result["cameras"].items()}
        )

    def _write(self, shard: int, by_camera: dict[str, list[FinishedPart]]) -> dict[str, Any]:
        options, cameras, failures = self._options, {}, []
        name = shard_name(shard, options.num_shards)
        with (
            contextlib.ExitStack() as fetched,
            bank_writer.staged(options.output_dir, name, files_of(options.output_dir)) as file,
        ):
            writer = ShardWriter(file, options.info, shard)
            opened: dict[str, Bank] = {}
            for camera in sorted(by_camera):
                folders = [part.folder for part in by_camera[camera]]
                for folder in folders:
                    if folder not in opened:
                        local = fetched.enter_context(at_hand(folder))
                        opened[folder] = Bank.open(local, cache_bytes=0)
                banks = [opened[folder] for folder in folders]
                entries, dropped, twice = merged_camera(banks, camera)
                failures += [_in_two_pieces(image, camera).to_json() for image in twice]
                entries, left_out = curate(entries, options.cameras)
                cameras[camera] = writer.add(camera, entries, dropped + left_out)
        return {
            "bytes": writer.bytes,
            "failures": failures,
            "cameras": {name: dataclasses.asdict(info) for name, info in cameras.items()},
        }


class Finish(beam.DoFn):
    """Puts the files in their place, the manifest with them; yields the folder of the bank."""

    def __init__(self, options: BuildOptions):
        self._options = options

    def process(
        self,
        _: None,
        places: list[tuple[str, str]],
        lost: list[str],
        results: list[str],
    ) -> Iterator[str]:
        folder = self._options.output_dir
        shards = sorted(map(json.loads, results), key=lambda result: result["shard"])
        cameras = {
            name: CameraInfo(**fields)
            for shard in shards
            for name, fields in shard["cameras"].items()
        }
        lines = lost + [line for shard in shards for line in shard["failures"]]
        failures = reader_failures(folder) + [Failure.from_json(line) for line in lines]
        sizes = tuple(shard["bytes"] for shard in shards)
        manifest = Manifest(self._options.info, sizes, dict(sorted(cameras.items())))
        write_text(FileSystems.join(folder, FAILURES), to_jsonl(failures))
        bank_writer.commit(folder, manifest, files_of(folder))
        self._forget(folder, places)
        yield folder

    def _forget(self, folder: str, places: list[tuple[str, str]]) -> None:
        """Removes plans, parts and results that are no longer used, and unfinished files."""
        remove_leftovers(folder, {plan for _, plan in places if plan})
        current = {of_part for of_part, _ in places}
        inside = [file.path for file in matches(FileSystems.join(folder, PARTS, "*", "*"))]
        stale = {path.rpartition("/")[0] for path in inside} - current
        stale.update(path for path in inside if TEMP_MARK in path)
        shards = range(self._options.num_shards)
        names = {f"{shard_name(i, self._options.num_shards)}.json" for i in shards}
        results = FileSystems.join(folder, SHARDS)
        stale.update(
            FileSystems.join(results, name)
            for name in files_of(folder).names(results)
            if name not in names
        )
        for path in sorted(stale):
            files_of(folder).delete(path)


def _failures_of(part: FinishedPart) -> list[str]:
    """The lines of a part's failures."""
    path = FileSystems.join(part.folder, FAILURES)
    text = read_text(path)
    if text is None:
        raise ValueError(f"{path} is gone; run the same command again, which makes the part anew")
    return text.splitlines()


def _in_two_pieces(image_id: str, camera: str) -> Failure:
    return Failure(STAGE, Reason.DUPLICATE_IMAGE, "in two files", image_id=image_id, camera=camera)
