"""File names from data, kept inside of the image root."""

import os
import re
from pathlib import Path

from context_rcnn.data.failures import Reason

_DRIVE = re.compile(r"[A-Za-z]:")


class FileError(Exception):
    """A file cannot be used; `reason` is one of the fixed failure reasons."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def normalise_file_name(name: str) -> str:
    """Relative path with forward slashes; Windows separators are read as separators.

    Raises:
        FileError: `outside_root` for absolute paths, drive letters, "..", and names no file can
            have.
    """
    slashed = name.replace("\\", "/")
    if slashed.startswith("/") or _DRIVE.match(slashed):
        raise FileError(Reason.OUTSIDE_ROOT, f"absolute path {name!r:.200}; must be relative")
    if "\x00" in slashed or not _is_utf8(slashed):
        raise FileError(Reason.OUTSIDE_ROOT, f"not a file name: {name!r:.200}")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise FileError(Reason.OUTSIDE_ROOT, f"{name!r:.200} does not stay inside the image root")
    return "/".join(parts)


def resolve_inside(root: str | Path, file_name: str) -> Path:
    """Path of a file below `root`, links resolved.

    Raises:
        FileError: `outside_root` if the name or a symbolic link leads out of `root`.
    """
    real_root = Path(os.path.realpath(root))
    real_path = Path(os.path.realpath(real_root / normalise_file_name(file_name)))
    if not real_path.is_relative_to(real_root):  # on Windows it may be on another drive
        raise FileError(Reason.OUTSIDE_ROOT, f"{file_name!r:.200} links to a place outside")
    return real_path


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
