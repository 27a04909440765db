"""Files that appear whole or not at all, on any Beam file system; TFRecord among them."""

import contextlib
import os
import struct
import uuid
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

TEMP_MARK = ".writing-"
"""Part of the name of every unfinished file: `<name>.writing-<random>`."""


class TFRecordWriter:
    """Writes records to an open file in TensorFlow's TFRecord framing."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.records = 0
        self.bytes = 0

    def write(self, record: bytes) -> None:
        length = struct.pack("<Q", len(record))
        frame = (length, _masked_crc(length), record, _masked_crc(record))
        for part in frame:
            self._file.write(part)
            self.bytes += len(part)
        self.records += 1


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write, put under its name only when the block ends without an exception."""
    temporary = f"{path}{TEMP_MARK}{uuid.uuid4().hex}"
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        _replace(temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):
            FileSystems.delete([temporary])
        raise


def write_text(path: str, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))


def read_text(path: str) -> str | None:
    """Content of a file, None if there is none."""
    if not FileSystems.exists(path):
        return None
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read().decode("utf-8")


def file_size(path: str) -> int | None:
    """Bytes of a file, None if there is none."""
    if not FileSystems.exists(path):
        return None
    return FileSystems.get_filesystem(path).metadata(path).size_in_bytes


def _replace(source: str, target: str) -> None:
    if "://" in target:
        FileSystems.rename([source], [target])
    else:
        os.replace(source, target)  # overwrites on Windows too, which Beam's rename does not


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
