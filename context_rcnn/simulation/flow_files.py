"""Optical flow on disk, as Middlebury and Sintel have it: vectors as `.flo`, the mask as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from context_rcnn.simulation.film import Flow

_TAG = np.float32(202021.25)  # "PIEH", the first bytes of every .flo file


def write_flow(path: Path, flow: Flow) -> None:
    """Writes `path`.flo and `path`.png, which is 255 where the flow is valid and 0 elsewhere."""
    write_vectors(path.with_suffix(".flo"), flow.vectors)
    Image.fromarray(np.uint8(255) * flow.valid).save(path.with_suffix(".png"))


def write_vectors(path: Path, vectors: np.ndarray) -> None:
    """Writes columns and rows, float32 `[height, width, 2]`, as a .flo file."""
    height, width = vectors.shape[:2]
    with open(path, "wb") as file:
        file.write(_TAG.astype("<f4").tobytes())
        file.write(np.array((width, height), "<i4").tobytes())
        file.write(vectors.astype("<f4").tobytes())


def read_flow(path: Path) -> Flow:
    """Reads what `write_flow` wrote; raises ValueError where it is no flow, or cut off."""
    data = path.with_suffix(".flo").read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != _TAG:
        raise ValueError(f"{path.with_suffix('.flo')} is not a .flo file")
    width, height = np.frombuffer(data, "<i4", 2, offset=4).tolist()
    if len(data) != 12 + 8 * width * height:
        raise ValueError(f"{path.with_suffix('.flo')} is not {width}x{height}, as it says")
    vectors = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    with Image.open(path.with_suffix(".png")) as mask:
        valid = np.asarray(mask) > 0
    if valid.shape != (height, width):
        raise ValueError(f"{path.with_suffix('.png')} is not {width}x{height}, as the flow is")
    return Flow(vectors, valid)
