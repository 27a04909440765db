"""Several files that appear together and complete, or not at all."""

import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

MARK = ".partial"
"""End of the name of an unfinished file. The next run writes over what a killed one left."""


class Transaction:
    """Writes beside the files that are meant, and renames when everything is written.

    Used as a context: an exception removes what was written and leaves older files as they were.
    The files are renamed in the order they were opened in.
    """

    def __init__(self) -> None:
        self._files: list[tuple[TextIO, Path]] = []

    def open(self, path: str | Path) -> TextIO:
        """A text file in UTF-8; line ends are written as they are given.

        Raises:
            ValueError: If two outputs have the same path.
        """
        path = Path(os.path.abspath(path))
        if any(path == other for _, other in self._files):
            raise ValueError(f"{path}: two results cannot have the same file")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Closed by __exit__.
        file = open(f"{path}{MARK}", "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._files.append((file, path))
        return file

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            for file, path in self._files:
                file.close()
                Path(f"{path}{MARK}").unlink(missing_ok=True)

    def _commit(self) -> None:
        for file, _ in self._files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for _, path in self._files:
            os.replace(f"{path}{MARK}", path)
