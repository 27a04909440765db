"""Files on any storage that Beam knows: written completely or not at all, and copied to the disk.

A path with a scheme (gs://, s3://, hdfs://) goes through Beam's file systems, any other to the
disk. Little is asked of them: a rename need be neither one step nor able to replace a file.
"""

import atexit
import contextlib
import functools
import glob
import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from context_rcnn.memory_bank.files import LOCAL, TEMP_MARK, Files, is_local

_AS_IT_IS = CompressionTypes.UNCOMPRESSED


class BeamFiles:
    """`Files` on what Beam's file systems reach. Their names must be free of * ? [ ]."""

    @contextlib.contextmanager
    def create(self, path: str, durable: bool = True) -> Iterator[BinaryIO]:
        temporary = f"{path}{TEMP_MARK}{uuid.uuid4().hex}"
        try:
            with FileSystems.create(temporary, compression_type=_AS_IT_IS) as file:
                yield file
                _mend_empty_upload(file)
            self.move(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                FileSystems.delete([temporary])
            raise

    def read(self, path: str) -> bytes | None:
        if not FileSystems.exists(path):
            return None
        with FileSystems.open(path, compression_type=_AS_IT_IS) as file:
            return file.read()

    def size(self, path: str) -> int | None:
        if not FileSystems.exists(path):
            return None
        return FileSystems.get_filesystem(path).metadata(path).size_in_bytes

    def move(self, source: str, target: str) -> None:
        # Some refuse to rename over a file (HDFS), and that is found out by trying.
        if FileSystems.exists(target):
            FileSystems.delete([target])
        FileSystems.rename([source], [target])

    def delete(self, path: str) -> None:
        inside = [found.path for found in matches(f"{path}/**")]
        there = inside + ([path] if FileSystems.exists(path) else [])
        for name in there:
            # Another worker may have been faster, and some folders go with their last file.
            with contextlib.suppress(BeamIOError):
                FileSystems.delete([name])

    def names(self, folder: str) -> list[str]:
        return sorted(posixpath.basename(found.path) for found in matches(f"{folder}/*"))


def _mend_empty_upload(file: Any) -> None:
    """Gives an upload to S3 its one part, which Beam forgets where a file is empty.

    S3 refuses an upload without parts; other uploads need none.
    """
    uploader = getattr(getattr(file, "raw", None), "_uploader", None)
    write_part = getattr(uploader, "_write_to_s3", None)
    if write_part is not None and file.tell() == 0:
        write_part(b"")


_BEAM = BeamFiles()


def files_of(path: str) -> Files:
    """What reaches the storage of a path."""
    return LOCAL if is_local(path) else _BEAM


def write_text(path: str, text: str) -> None:
    with files_of(path).create(path) as file:
        file.write(text.encode("utf-8"))


def read_text(path: str) -> str | None:
    """Content of a file, None if there is none."""
    data = files_of(path).read(path)
    return None if data is None else data.decode("utf-8")


def matches(pattern: str) -> list[FileMetadata]:
    """Files that a pattern matches, by name; a name that exists is taken as it is."""
    if is_local(pattern):
        names = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        return [FileMetadata(n, os.path.getsize(n), os.path.getmtime(n)) for n in names]
    if FileSystems.exists(pattern):
        file_system = FileSystems.get_filesystem(pattern)
        with contextlib.suppress(BeamIOError):  # a folder, where there are any
            return [file_system.metadata(pattern)]
    (match,) = FileSystems.match([pattern])
    return sorted(match.metadata_list, key=lambda found: found.path)


def upload(folder: str, names: Iterable[str], target: str) -> None:
    """Copies files of a local folder to a folder anywhere, in this order, each one whole."""
    for name in names:
        path = FileSystems.join(target, name)
        with open(os.path.join(folder, name), "rb") as source, files_of(path).create(path) as file:
            shutil.copyfileobj(source, file)


@contextlib.contextmanager
def at_hand(path: str) -> Iterator[str]:
    """A file or folder on the local disk: itself if it is there, else a copy that is removed."""
    if is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as folder:
        yield _fetch(path, folder)


@functools.lru_cache(maxsize=4)
def at_hand_for_good(path: str) -> str:
    """The same until this process ends, fetched once."""
    if is_local(path):
        return path
    folder = tempfile.mkdtemp(prefix="context_rcnn-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _fetch(path, folder)


def _fetch(path: str, folder: str) -> str:
    """Copies a file, or all in and below a folder, to a local folder; returns where it is."""
    inside = matches(f"{path}/**")
    for found in inside or matches(path):
        relative = found.path[len(path) :].lstrip("/") or posixpath.basename(path)
        target = os.path.join(folder, *relative.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with (
            FileSystems.open(found.path, compression_type=_AS_IT_IS) as source,
            open(target, "wb") as file,
        ):
            shutil.copyfileobj(source, file)
    return folder if inside else os.path.join(folder, posixpath.basename(path))
