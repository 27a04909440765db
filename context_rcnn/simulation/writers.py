"""Puts simulated data on disk: output folders, photographs with EXIF times, JSON."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

MARKER = "simulation.json"  # marks a folder as one of ours
JPEG_QUALITY = 90

_EXIF_MAKE, _EXIF_MODEL, _EXIF_DATETIME = 0x010F, 0x0110, 0x0132
_EXIF_IFD, _EXIF_DATETIME_ORIGINAL = 0x8769, 0x9003

# Called with a camera that is done, the frames done so far, and the frames there will be.
Progress = Callable[[str, int, int], None]


class Job(Protocol):
    """The work on one camera; picklable."""

    name: str
    frames: int

    def __call__(self) -> Any: ...


Result = TypeVar("Result")


def prepare_folder(folder: Path, simulator: str, contents: Iterable[str], overwrite: bool) -> None:
    """Makes `folder` ready to be written.

    An earlier simulation in it is replaced: its `contents` (names in the folder) are deleted, and
    nothing else. A folder with other things in it is refused unless `overwrite`.
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


def write_photo(
    path: Path, image: np.ndarray, taken: datetime.datetime, make: str, model: str
) -> None:
    """Writes a JPEG that says when and by which camera it was taken, as camera traps do."""
    exif = Image.Exif()
    stamp = taken.strftime("%Y:%m:%d %H:%M:%S")
    exif[_EXIF_MAKE], exif[_EXIF_MODEL], exif[_EXIF_DATETIME] = make, model, stamp
    exif.get_ifd(_EXIF_IFD)[_EXIF_DATETIME_ORIGINAL] = stamp
    Image.fromarray(image).save(path, "JPEG", quality=JPEG_QUALITY, exif=exif)


def run_jobs(jobs: Sequence[Job], workers: int, progress: Progress | None) -> list[Any]:
    """Runs one job a camera, in `workers` processes, and returns their results in order."""
    total = sum(job.frames for job in jobs)
    results: list[Any] = [None] * len(jobs)
    done = 0

    def finish(index: int, result: Any) -> None:
        nonlocal done
        results[index] = result
        done += jobs[index].frames
        if progress:
            progress(jobs[index].name, done, total)

    if workers == 1:
        for index, job in enumerate(jobs):
            finish(index, job())
        return results
    # A fresh interpreter for each worker: a forked one may inherit locks of TensorFlow's threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(job): index for index, job in enumerate(jobs)}
        for future in as_completed(futures):
            finish(futures[future], future.result())
    return results


def check(name: str, value: Any, valid: bool, expected: str) -> None:
    """Raises a ValueError that names the argument unless it is `valid`."""
    if not valid:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_common(
    *, seed: int, workers: int, image_size: tuple[int, int], smallest: int, start: str
) -> datetime.datetime:
    """Checks the arguments all simulators share and returns the parsed start."""
    check("seed", seed, isinstance(seed, int) and seed >= 0, "an integer of at least 0")
    check("workers", workers, isinstance(workers, int) and workers >= 1, "an integer of at least 1")
    sides = tuple(image_size)
    fits = len(sides) == 2 and all(isinstance(s, int) and smallest <= s <= 4096 for s in sides)
    check("image_size", image_size, fits, f"(width, height) with sides of {smallest}..4096 pixels")
    try:
        parsed = datetime.datetime.fromisoformat(start)
    except (TypeError, ValueError):
        parsed = None
    check("start", start, parsed is not None, "an ISO date such as '2019-05-01'")
    return parsed.replace(tzinfo=None, microsecond=0)
