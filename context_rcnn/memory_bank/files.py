"""The few file operations that writing a bank needs, so that any storage can hold it.

Banks are read from the local disk, where they are mapped. They are written through this, which
asks little: no renaming in one step, no folders, nothing but files that appear whole.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

TEMP_MARK = ".writing-"
"""Part of the name of every unfinished file: `<name>.writing-<random>`."""


class Files(Protocol):
    """A kind of storage."""

    def create(self, path: str, durable: bool = False) -> AbstractContextManager[BinaryIO]:
        """A file to write, under its name only when the block ends without an exception.

        It replaces what has the name. With `durable` it outlives a loss of power from then on.
        """

    def read(self, path: str) -> bytes | None:
        """Content of a file, None if there is none."""

    def size(self, path: str) -> int | None:
        """Bytes of a file, None if there is none."""

    def move(self, source: str, target: str) -> None:
        """Renames a file over another. A crash may leave both, or the source alone."""

    def delete(self, path: str) -> None:
        """Removes a file or a folder; nothing if it is not there."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if it does not exist."""


class LocalFiles:
    """The disk of this machine."""

    @contextlib.contextmanager
    def create(self, path: str, durable: bool = False) -> Iterator[BinaryIO]:
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        temporary = f"{path}{TEMP_MARK}{uuid.uuid4().hex}"
        try:
            with open(temporary, "wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise

    def read(self, path: str) -> bytes | None:
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def size(self, path: str) -> int | None:
        try:
            return os.path.getsize(path)
        except FileNotFoundError:
            return None

    def move(self, source: str, target: str) -> None:
        os.replace(source, target)

    def delete(self, path: str) -> None:
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []


LOCAL = LocalFiles()


def is_local(path: str) -> bool:
    """Whether this is a path of the local disk, not one like gs://bucket/bank."""
    return "://" not in path
