"""Puts simulated data on disk: output folders, photographs with EXIF times, JSON, matrices."""

from __future__ import annotations

import datetime
import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.simulation.arguments import check, parameters

MARKER = "simulation.json"  # marks a folder as one of ours
JPEG_QUALITY = 90

_EXIF_MAKE, _EXIF_MODEL, _EXIF_DATETIME = 0x010F, 0x0110, 0x0132
_EXIF_IFD, _EXIF_DATETIME_ORIGINAL = 0x8769, 0x9003


def begin(
    output_dir: str | os.PathLike[str],
    simulator: str,
    settings: Any,
    contents: Iterable[str],
    overwrite: bool,
    **also: Any,
) -> tuple[Path, dict[str, Any]]:
    """Makes a folder ready to be written, and marks it; returns it, and what the marker says.

    The marker holds the settings that the folder is written with, and what `also` adds.
    """
    root = Path(output_dir)
    _prepare(root, simulator, (*contents, MARKER), overwrite)
    marker = {"simulator": simulator, "parameters": parameters(settings), **also}
    write_json(root / MARKER, marker)
    return root, marker


def _prepare(folder: Path, simulator: str, contents: Iterable[str], overwrite: bool) -> None:
    """Makes `folder` ready to be written.

    An earlier simulation in it is replaced: its `contents` (names in the folder) are deleted, and
    nothing else. A folder with other things in it is refused unless `overwrite`; even then nothing
    is deleted that a simulation did not write.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"output_dir {folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    ours = _marked_by(folder / MARKER) == simulator
    if any(folder.iterdir()) and not (ours or overwrite):
        raise FileExistsError(
            f"output_dir {folder} is not empty and was not written by {simulator}; "
            "name another folder, or pass overwrite=True to write into this one"
        )
    for name in contents:
        path = folder / name
        if path.exists() and not ours:
            raise FileExistsError(f"{path} was not written by {simulator}; move it away")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _marked_by(marker: Path) -> str | None:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))["simulator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(path: Path, data: Any) -> None:
    """Writes JSON, the same bytes for the same data."""
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def write_matlab(path: Path, name: str, rows: Sequence[Sequence[int]]) -> None:
    """Writes a matrix as a MATLAB 5 file, the same bytes for the same numbers; needs SciPy."""
    import scipy.io

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {name: np.asarray(rows, np.float64)})
    data = buffer.getvalue()
    # The first 116 bytes are a text with the time of day.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + data[116:])


def write_photo(
    path: Path, image: np.ndarray, taken: datetime.datetime, make: str, model: str
) -> None:
    """Writes a JPEG that says when and by which camera it was taken, as camera traps do."""
    exif = Image.Exif()
    stamp = taken.strftime("%Y:%m:%d %H:%M:%S")
    exif[_EXIF_MAKE], exif[_EXIF_MODEL], exif[_EXIF_DATETIME] = make, model, stamp
    exif.get_ifd(_EXIF_IFD)[_EXIF_DATETIME_ORIGINAL] = stamp
    Image.fromarray(image).save(path, "JPEG", quality=JPEG_QUALITY, exif=exif)


def check_workers(workers: int) -> None:
    """Checks the number of processes."""
    valid = isinstance(workers, int) and workers >= 1
    check("workers", workers, valid, "an integer of at least 1")
