"""Which image goes into which shard, and which shards are already written.

A plan is made before the pipeline starts: one small file a shard, with the records it will hold in
their final order. Pipelines then move the names of shards around, never images or whole archives.
A shard whose plan has not changed since it was written is complete and is skipped, so a killed run
goes on where it was, and a run on a changed archive rewrites only the shards that change.

    <output_dir>/_progress/plan/<shard>.jsonl   records of the shard
    <output_dir>/_progress/done/<shard>.json    result of the shard, once it is written
    <output_dir>/_progress/reader_failures.jsonl
"""

import dataclasses
import hashlib
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.files import files_of, read_text, write_text
from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.sequences import time_order
from context_rcnn.data.summary import Summary
from context_rcnn.memory_bank.files import TEMP_MARK

PROGRESS, PLAN, DONE = "_progress", "plan", "done"
READER_FAILURES = "reader_failures.jsonl"
FAILURES = "failures.jsonl"
DEFAULT_SHARD_MEGABYTES = 64.0


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file to be.

    Attributes:
        split: Split it belongs to.
        index, count: Place of the shard in the split, and number of shards.
        fingerprint: Hash of everything that decides its content.
    """

    split: str
    index: int
    count: int
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}"

    @property
    def file_name(self) -> str:
        return f"{self.name}.tfrecord"


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """A written shard: its size, its counts, and what could not be written (JSON lines)."""

    shard: Shard
    records: int
    bytes: int
    summary: Summary
    failures: tuple[str, ...]

    def to_json(self) -> str:
        fields = {"records": self.records, "bytes": self.bytes, "failures": self.failures}
        shard = dataclasses.asdict(self.shard)
        return json.dumps({"shard": shard, "summary": self.summary.to_json(), **fields})

    @classmethod
    def from_json(cls, text: str) -> "ShardResult":
        fields = json.loads(text)
        return cls(
            Shard(**fields["shard"]),
            fields["records"],
            fields["bytes"],
            Summary.from_json(fields["summary"]),
            tuple(fields["failures"]),
        )


def check_output_dir(output_dir: str) -> None:
    """ValueError for folders that Beam's file systems would take for a pattern."""
    if not output_dir or re.search(r"[*?\[\]]", output_dir):
        raise ValueError(f"output_dir {output_dir!r}: must be given, without any of * ? [ ]")


def make_plan(
    records: dict[str, list[ImageRecord]],
    image_root: str,
    output_dir: str,
    *,
    num_shards: int | None,
    shard_megabytes: float = DEFAULT_SHARD_MEGABYTES,
    settings: str,
) -> list[Shard]:
    """Writes the plan of every shard and returns the shards.

    An image's shard follows from a stable hash of its camera and sequence, so bursts stay together
    and nothing depends on the order or number of workers.

    Args:
        records: Records by split, in the order they are to have in their shards.
        image_root: Folder of the images.
        output_dir: Folder of the shards.
        num_shards: Shards of each split; None for as many as `shard_megabytes` asks for, rounded
            up to a power of two so that a growing archive seldom changes it.
        shard_megabytes: Size to aim at, judged by the image files.
        settings: Everything else that decides the content of a shard.
    """
    shards = []
    for split, members in records.items():
        lines, total_bytes = _plan_lines(members, image_root)
        count = num_shards or power_of_two(total_bytes / (shard_megabytes * 1e6))
        by_shard = defaultdict(list)
        for record, line in lines:
            by_shard[_burst_hash(record) % count].append(line)
        for index in range(count):
            text = "".join(by_shard[index])
            fingerprint = hashlib.blake2b(f"{settings}\n{text}".encode(), digest_size=16)
            shard = Shard(split, index, count, fingerprint.hexdigest())
            write_text(_plan_path(output_dir, shard.name), text)
            shards.append(shard)
    return shards


def mixed(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Bursts in the order of a hash, each of them in time order.

    Training shuffles a part of the examples at a time; in this order any part has most cameras.
    """
    return sorted(
        records, key=lambda record: (_burst_hash(record), record.camera, time_order(record))
    )


def planned_records(output_dir: str, shard: Shard) -> Iterator[ImageRecord]:
    """Records of a shard in their final order."""
    for line in (read_text(_plan_path(output_dir, shard.name)) or "").splitlines():
        yield ImageRecord.from_dict(json.loads(line)["record"])


def finished_result(output_dir: str, shard: Shard) -> ShardResult | None:
    """Result of the shard if it is written and still what its plan asks for."""
    text = read_text(_done_path(output_dir, shard.name))
    if text is None:
        return None
    try:
        result = ShardResult.from_json(text)
    except (ValueError, KeyError, TypeError):  # of another version of this program
        return None
    path = FileSystems.join(output_dir, shard.file_name)
    same = result.shard == shard and result.bytes == files_of(path).size(path)
    return result if same else None


def save_result(output_dir: str, result: ShardResult) -> None:
    write_text(_done_path(output_dir, result.shard.name), result.to_json())


def save_reader_failures(output_dir: str, failures: Iterable[Failure]) -> None:
    """Keeps what the readers left out until the manifest is written."""
    write_text(FileSystems.join(output_dir, PROGRESS, READER_FAILURES), to_jsonl(failures))


def reader_failures(output_dir: str) -> list[Failure]:
    text = read_text(FileSystems.join(output_dir, PROGRESS, READER_FAILURES)) or ""
    return [Failure.from_json(line) for line in text.splitlines()]


def not_listed(failures: Iterable[Failure]) -> list[str]:
    """Folders that could not be listed."""
    return sorted({f.file for f in failures if f.reason == Reason.NOT_LISTED})


def refuse_unlisted(output_dir: str, failures: Iterable[Failure]) -> None:
    """Refuses to take out of earlier output what could not be looked at now.

    Args:
        output_dir: folder of the output.
        failures: failures of the readers.

    Raises:
        ValueError: If a folder cannot be listed that earlier output may contain.
    """
    earlier = read_text(FileSystems.join(output_dir, FAILURES))
    if earlier is None:
        return
    known = not_listed(map(Failure.from_json, earlier.splitlines()))
    if unlisted := sorted({*not_listed(failures)} - {*known}):
        raise ValueError(
            f"{len(unlisted)} folders cannot be listed now: {', '.join(unlisted[:3])}. "
            f"{output_dir} is left as it is; run the same command again when they can be read"
        )


def forget_results(output_dir: str, shards: Iterable[Shard]) -> None:
    """Makes the next run write these shards again."""
    _delete(_done_path(output_dir, shard.name) for shard in shards)


def remove_leftovers(output_dir: str, current: set[str]) -> None:
    """Removes shards of earlier runs that are no longer planned, and unfinished files.

    Only names that this module planned are touched; other files in the folder are left alone.

    Args:
        output_dir: Folder of the plan.
        current: Names of the shards that are planned now.
    """
    files = files_of(output_dir)
    planned = {
        name.removesuffix(".jsonl")
        for name in files.names(FileSystems.join(output_dir, PROGRESS, PLAN))
        if name.endswith(".jsonl")
    }
    for name in planned - current:
        shard_file = FileSystems.join(output_dir, f"{name}.tfrecord")
        _delete([shard_file, _done_path(output_dir, name), _plan_path(output_dir, name)])
    for folder in ([], [PROGRESS, PLAN], [PROGRESS, DONE]):
        place = FileSystems.join(output_dir, *folder)
        _delete(FileSystems.join(place, name) for name in files.names(place) if TEMP_MARK in name)


def _plan_lines(
    records: list[ImageRecord], image_root: str
) -> tuple[list[tuple[ImageRecord, str]], int]:
    """Lines of the records in their order, and the size of all files."""
    lines, total_bytes = [], 0
    for record in records:
        try:
            status = os.stat(os.path.join(image_root, record.file_name))
        except (OSError, ValueError):
            state = None  # reported when the shard is written
        else:
            state = [status.st_size, status.st_mtime_ns]
            total_bytes += status.st_size
        lines.append((record, json.dumps({"record": record.to_dict(), "file": state}) + "\n"))
    return lines, total_bytes


def power_of_two(needed: float) -> int:
    """The smallest power of two that is at least this, and at least 1."""
    return 1 << max(0, math.ceil(needed) - 1).bit_length()


def _burst_hash(record: ImageRecord) -> int:
    burst = json.dumps([record.camera, record.seq_id]).encode()
    return int.from_bytes(hashlib.blake2b(burst, digest_size=8).digest(), "big")


def _plan_path(output_dir: str, name: str) -> str:
    return FileSystems.join(output_dir, PROGRESS, PLAN, f"{name}.jsonl")


def _done_path(output_dir: str, name: str) -> str:
    return FileSystems.join(output_dir, PROGRESS, DONE, f"{name}.json")


def _delete(paths: Iterable[str]) -> None:
    for path in paths:
        files_of(path).delete(path)
