"""The journal of a run: one JSON line an image, appended as soon as the image is done.

The first line says what the results were made with:

    {"format": "context-rcnn-results", "format_version": 1, "model": ..., "model_version": ...,
     "extractor_hash": ..., "label_map": {"1": "bobcat"}, "created": "2026-05-26T19:11:27Z",
     "settings": {...}}

every other one is an image, with detections or with a failure:

    {"file": "cam/a.jpg", "image_id": "cam/a.jpg", "camera": "cam", "seconds": 1380893513,
     "width": 2048, "height": 1494, "burst": "seq-a",
     "detections": [{"box": [y1, x1, y2, x2], "class": 1, "score": 0.93}]}
    {"file": ..., ..., "failure": {"reason": "truncated", "text": "ends early"}}

A line counts once its newline is there: what a crash tore off is dropped, and the image is done
again. An image may have several lines, such as a failure that was tried again; the last one counts.
A score below 0 marks a detection that is suspected of being background (repeat detections).
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from context_rcnn.data.paths import normalise_file_name
from context_rcnn.results.records import (
    FORMAT,
    Header,
    ImageResult,
    Report,
    read_result,
)

_FIRST_BYTES = f'{{"format": "{FORMAT}", '.encode()
_MAX_LINE = 64 << 20  # a longer one is no line of ours


class JournalWriter:
    """Adds images to a journal, new or begun by an earlier run of the same model.

    One process writes a journal at a time. A line is in the file, safe from a killed process, when
    `append` returns, and safe from a power cut after `sync`.

    Raises:
        ValueError: If the file is no journal, or one of another model, label map or settings.
    """

    def __init__(self, path: str | Path, header: Header):
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = open(path, "a+b", buffering=0)  # noqa: SIM115  (closed by close)
        try:
            self._size = self._continue(header)
        except BaseException:
            self._file.close()
            raise

    def append(self, result: ImageResult) -> None:
        """Adds an image, with its name normalised.

        Raises:
            FileError: If the name leaves the image root or is not UTF-8.
        """
        result = dataclasses.replace(result, file=normalise_file_name(result.file))
        self._write(result.to_json())

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _continue(self, header: Header) -> int:
        """Checks what is there, cuts off a torn line, writes the header if there is none."""
        self._file.seek(0)
        first = self._file.readline(_MAX_LINE)
        if not first.endswith(b"\n"):
            if first[: len(_FIRST_BYTES)] != _FIRST_BYTES[: len(first)]:
                raise ValueError(f"{self._path}: not a journal of results; choose another file")
            self._file.truncate(0)
            self._size = 0
            self._write(header.to_json())
            return self._size
        try:
            earlier = Header.from_json(first)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        otherwise = "Choose another file, or delete this one to begin anew"
        earlier.refuse_others(header, self._path, otherwise)
        size = _end_of_last_line(self._file)
        self._file.truncate(size)
        return size

    def _write(self, line: str) -> None:
        data = line.encode("ascii") + b"\n"
        try:
            if self._file.write(data) != len(data):
                raise OSError(f"{self._path}: the disk took only part of a line")
        except BaseException:
            self._file.truncate(self._size)
            raise
        self._size += len(data)


class Journal:
    """A journal to read. Only the header is read at once.

    Raises:
        ValueError: If the file is no journal or has no complete header.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with self.path.open("rb") as file:
            first = file.readline(_MAX_LINE)
        if not first.endswith(b"\n"):
            raise ValueError(f"{path}: no results yet: the journal has no complete header")
        try:
            self.header = Header.from_json(first)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def lines(self) -> Iterator[bytes]:
        """Lines of images in the order they were written in, without a torn last one."""
        with self.path.open("rb") as file:
            file.readline(_MAX_LINE)
            while line := file.readline(_MAX_LINE):
                if line.endswith(b"\n"):
                    yield line
                elif len(line) == _MAX_LINE:
                    raise ValueError(f"{self.path}: a line of more than {_MAX_LINE} bytes")

    def results(self, report: Report | None = None) -> Iterator[ImageResult]:
        """All images in the order they were written in, an image perhaps more than once.

        What a run that goes on asks for what is done already. `report` gets what is unusable.
        """
        report = report or (lambda failure: None)
        for line in self.lines():
            result = read_result(line, self.header.label_map, report, Counter())
            if result is not None:
                yield result


def _end_of_last_line(file: BinaryIO, block: int = 1 << 16) -> int:
    """Where the last complete line of a file ends; it has one."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
