"""Every image of a journal once, by file name, in bounded memory.

Runs that were killed, that use several processes or that tried failures again leave lines in any
order; what is written from them must not depend on that. A journal that is in order already, as
most are, is read as it is. Another is sorted on disk: pieces that fit into memory, then merged.
"""

import array
import contextlib
import dataclasses
import hashlib
import heapq
import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from context_rcnn.results.journal import Journal
from context_rcnn.results.records import Report, read_identity, read_line

PIECE_BYTES = 32 << 20


@dataclasses.dataclass
class CameraSpan:
    """What a camera has: images, and the first and last date among them."""

    images: int = 0
    first: int | None = None
    last: int | None = None


class BurstTimes:
    """First and last second of every burst, in 24 bytes a burst whose images follow each other."""

    def __init__(self) -> None:
        self._keys = array.array("Q")
        self._first, self._last = array.array("q"), array.array("q")
        self._table: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, camera: str, burst: str, seconds: int) -> None:
        key = _key(camera, burst)
        if self._keys and self._keys[-1] == key:
            self._first[-1] = min(self._first[-1], seconds)
            self._last[-1] = max(self._last[-1], seconds)
            return
        self._keys.append(key)
        self._first.append(seconds)
        self._last.append(seconds)

    def span(self, camera: str, burst: str) -> tuple[int, int]:
        """First and last second of a burst that has dated images."""
        if self._table is None:
            keys = np.frombuffer(self._keys, np.uint64)
            order = np.argsort(keys, kind="stable")
            keys, starts = np.unique(keys[order], return_index=True)
            first = np.frombuffer(self._first, np.int64)[order]
            last = np.frombuffer(self._last, np.int64)[order]
            first, last = np.minimum.reduceat(first, starts), np.maximum.reduceat(last, starts)
            self._table = (keys, first, last)
        keys, first, last = self._table
        place = np.searchsorted(keys, np.uint64(_key(camera, burst)))
        return int(first[place]), int(last[place])


@dataclasses.dataclass
class Index:
    """What has to be known of all images before the first one is written.

    Attributes:
        images: images with a usable file name, each once.
        superseded: lines that a later line of the same image replaces.
        cameras: cameras by name; "" for images without a camera.
        bursts: times of the bursts.
    """

    images: int = 0
    superseded: int = 0
    cameras: dict[str, CameraSpan] = dataclasses.field(default_factory=dict)
    bursts: BurstTimes = dataclasses.field(default_factory=BurstTimes)


@contextlib.contextmanager
def in_order(
    journal: Journal, report: Report, progress: bool = False, piece_bytes: int = PIECE_BYTES
) -> Iterator[tuple[Iterable[bytes], Index]]:
    """Lines by file name, the last of each file, and their index.

    Lines without a usable file name are among them if the journal is in order, else reported here.
    """

    def with_bar(lines: Iterable[bytes], stage: str) -> Iterable[bytes]:
        return tqdm(lines, stage, unit=" images", disable=not progress)

    index = _index(with_bar(journal.lines(), "Reading the journal"))
    if index is not None:
        yield journal.lines(), index
        return
    # Beside the journal, where there is room; what a killed run left is written over.
    folder = journal.path.with_name(f"{journal.path.name}.sorting")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        path = folder / "sorted.jsonl"
        lines = with_bar(journal.lines(), "Sorting by file name")
        superseded = _sort(lines, path, report, piece_bytes)
        index = _index(_lines(path))
        if index is None:
            raise ValueError(f"{path}: the sorted journal is not in order")
        index.superseded = superseded
        yield _lines(path), index
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _index(lines: Iterable[bytes]) -> Index | None:
    """None if the lines are not in order."""
    index, last = Index(), ""
    for line in lines:
        values = read_line(line, _ignore)
        if values is None:
            continue
        if values["file"] <= last:
            return None
        last = values["file"]
        image = read_identity(values, _ignore)
        camera = index.cameras.setdefault(image.camera, CameraSpan())
        camera.images += 1
        index.images += 1
        if image.seconds is None:
            continue
        if camera.first is None or image.seconds < camera.first:
            camera.first = image.seconds
        if camera.last is None or image.seconds > camera.last:
            camera.last = image.seconds
        if image.burst:
            index.bursts.add(image.camera, image.burst, image.seconds)
    return index


def _sort(lines: Iterable[bytes], path: Path, report: Report, piece_bytes: int) -> int:
    """Writes the last line of each file to `path`, by file name; returns how many others."""
    pieces: list[Path] = []
    piece: list[tuple[str, bytes]] = []
    size = 0

    def write_piece() -> None:
        # Sorting and merging keep the order of equal names, so the last line stays the last.
        piece.sort(key=lambda named: named[0])
        pieces.append(path.with_name(f"piece-{len(pieces):05d}.jsonl"))
        with pieces[-1].open("wb") as file:
            file.writelines(line for _, line in piece)
        piece.clear()

    for line in lines:
        values = read_line(line, report)
        if values is None:
            continue
        piece.append((values["file"], line))
        size += len(line)
        if size >= piece_bytes:
            write_piece()
            size = 0
    write_piece()
    superseded = 0
    merged = heapq.merge(*(_lines(piece) for piece in pieces), key=_file_of)
    with path.open("wb") as file:
        for _, same in itertools.groupby(merged, key=_file_of):
            for replaced, line in enumerate(same):  # noqa: B007  (the last one is meant)
                pass
            superseded += replaced
            file.write(line)
    return superseded


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _file_of(line: bytes) -> str:
    values = read_line(line, _ignore)
    if values is None:
        raise ValueError(f"not a line of a sorted journal: {line!r:.200}")
    return values["file"]


def _ignore(_: object) -> None:
    """Reports of a reading that is not the one that counts."""


def _key(camera: str, burst: str) -> int:
    text = f"{len(camera)} {camera}{burst}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
