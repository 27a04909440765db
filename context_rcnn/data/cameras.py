"""Which camera took an image, judged by its path."""

import re
from pathlib import Path

from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.tables import Table

OVERFLOW_FOLDER = re.compile(r"DCIM|\d{3,}(?:RECNX|EK\d+|_BTCF|MEDIA|DSCIM|CANON)", re.IGNORECASE)
"""Folders a camera opens by itself, mostly after 9,999 images: 100RECNX, 101EK113, 102_BTCF, ..."""


class CameraNamer:
    """Names the camera of a relative path: by map, else by pattern, else by folder.

    The folder rule takes the whole folder path and leaves out overflow folders, so that
    `site_3/100RECNX/IMG_0001.JPG` and `site_3/101RECNX/IMG_0001.JPG` are one camera.
    """

    def __init__(
        self,
        pattern: str | None = None,
        csv_path: str | Path | None = None,
        root_camera: str = "camera",
    ):
        """
        Args:
            pattern: Regular expression with a group named `camera`, searched in the path.
            csv_path: Table with columns `camera` and `file` or `folder`.
            root_camera: Camera of images that lie in no folder.
        """
        self._pattern = _compile(pattern) if pattern else None
        self._map = _read_csv(Path(csv_path)) if csv_path else None
        self._root_camera = root_camera

    def __call__(self, file_name: str) -> str | None:
        """Camera of a normalised relative path; None if the map or pattern does not cover it."""
        if self._map is not None:
            return _from_map(self._map, file_name)
        if self._pattern is not None:
            match = self._pattern.search(file_name)
            return (match["camera"] or None) if match else None
        folders = file_name.split("/")[:-1]
        named = [folder for folder in folders if not OVERFLOW_FOLDER.fullmatch(folder)]
        return "/".join(named) or self._root_camera


def _from_map(cameras: dict[str, str], file_name: str) -> str | None:
    path = file_name
    while path:
        if path in cameras:
            return cameras[path]
        path = path.rpartition("/")[0]
    return None


def _compile(pattern: str) -> re.Pattern:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"camera_regex {pattern!r} is not a regular expression: {error}"
        ) from error
    if "camera" not in compiled.groupindex:
        raise ValueError(f"camera_regex {pattern!r} needs a group named camera: (?P<camera>...)")
    return compiled


def _read_csv(path: Path) -> dict[str, str]:
    cameras: dict[str, str] = {}
    table = Table(path)
    key = next((name for name in ("file", "folder") if name in table.columns), None)
    if key is None or "camera" not in table.columns:
        raise ValueError(
            f"{path}: needs the columns 'camera' and 'file' or 'folder', found {table.columns}"
        )
    for where, row in table.rows():
        if not row[key] or not row["camera"]:
            raise ValueError(f"{where}: '{key}' and 'camera' must not be empty")
        try:
            place = normalise_file_name(row[key])
        except FileError as error:
            raise ValueError(f"{where}: {error}") from error
        if cameras.setdefault(place, row["camera"]) != row["camera"]:
            raise ValueError(f"{where}: {place!r} has two cameras")
    return cameras
