"""Pairs of images with optical flow, as FlyingChairs has them.

    data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo
    FlyingChairs_train_val.txt    a line for each pair in order: 1 to train with, 2 to validate

The flow leads from the first image to the second, in columns and rows. Pairs without a .flo file
can be learned from by how they look alone. The images may be .ppm, .png or .jpg.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np

from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError

SPLIT_FILE = "FlyingChairs_train_val.txt"
SPLITS = ("train", "val", "all")
STAGE = "flow"
_TAG = 202021.25
_FIRST = re.compile(r"(.+)_img1\.(ppm|png|jpg)")
_CODES = {"1": "train", "2": "val"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Files of a pair; `flow` is None where there is none."""

    name: str
    first: Path
    second: Path
    flow: Path | None


def read_flying_chairs(
    folder: str, *, split: str = "all", split_file: str = "", needs_flow: bool = True
) -> tuple[list[Pair], list[Failure]]:
    """Pairs of a folder in order of their names, and what cannot be used.

    Args:
        folder: folder with the files, or with a folder `data` of them.
        split: `train`, `val` or `all`.
        split_file: file with the split; by default `SPLIT_FILE` in the folder or above it.
        needs_flow: whether pairs without flow are failures.

    Raises:
        ValueError: If there are no pairs, or the split does not fit them.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    root = Path(folder)
    files = root / "data" if (root / "data").is_dir() else root
    if not files.is_dir():
        raise ValueError(f"{folder} is no folder of pairs")
    found = sorted(
        (match[1], path) for path in files.iterdir() if (match := _FIRST.fullmatch(path.name))
    )
    if not found:
        raise ValueError(f"{files} has no pairs, such as 00001_img1.ppm and 00001_img2.ppm")
    wanted = ["all"] * len(found)
    if split != "all":
        wanted = _read_split(_find_split(root, split_file), len(found))
    pairs, failures = [], []
    for (name, first), part in zip(found, wanted, strict=True):
        if part != split:
            continue
        second = first.with_name(f"{name}_img2{first.suffix}")
        flow = first.with_name(f"{name}_flow.flo")
        missing = [path for path in (second, *([flow] * needs_flow)) if not path.is_file()]
        if missing:
            detail = f"{missing[0].name} is not there"
            failures.append(Failure(STAGE, Reason.MISSING_FILE, detail, str(missing[0]), name))
        else:
            pairs.append(Pair(name, first, second, flow if flow.is_file() else None))
    if not pairs:
        raise ValueError(f"{files} has no usable pair for {split}: {len(failures)} lack a file")
    return pairs, failures


def read_vectors(path: Path) -> np.ndarray:
    """Flow of a .flo file as rows and columns, float32 [height, width, 2].

    Raises:
        FileError: If it is none, cut off, or holds what is no number.
    """
    data = path.read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != np.float32(_TAG):
        raise FileError(Reason.UNREADABLE, f"{path} is not a .flo file")
    width, height = np.frombuffer(data, "<i4", 2, offset=4).tolist()
    if len(data) != 12 + 8 * width * height:
        raise FileError(Reason.TRUNCATED, f"{path} is not {width}x{height}, as it says")
    vectors = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    if not np.isfinite(vectors).all():
        raise FileError(Reason.NOT_FINITE, f"{path} holds NaN or infinity")
    return vectors[..., ::-1].astype(np.float32)


def _find_split(root: Path, split_file: str) -> Path:
    choices = [Path(split_file)] if split_file else [root / SPLIT_FILE, root.parent / SPLIT_FILE]
    for path in choices:
        if path.is_file():
            return path
    raise ValueError(
        f"there is no {' nor '.join(map(str, choices))}, which says what is to train with: name it "
        "as split_file, or take split all"
    )


def _read_split(path: Path, count: int) -> list[str]:
    words = path.read_text(encoding="utf-8").split()
    if unknown := sorted(set(words) - set(_CODES)):
        raise ValueError(f"{path} has lines with 1 or 2, not {unknown[0]!r}")
    if len(words) != count:
        raise ValueError(f"{path} has {len(words)} lines, and there are {count} pairs")
    return [_CODES[word] for word in words]
