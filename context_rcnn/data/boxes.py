"""Annotated boxes to upright, normalised, clipped ones.

Which way up are they? Annotation tools and browsers show photos upright, after EXIF rotation, and
so does MegaDetector. But some archives list the size of the unrotated file, and boxes in that
frame. The stated size decides: if its proportions are those of the unrotated file only, boxes turn
together with the image. Where that says nothing (no stated size, square images, upside-down
cameras) boxes are taken as upright.
"""

from collections.abc import Sequence

import numpy as np

from context_rcnn.data.records import Box

_SAME_PROPORTIONS = 0.02

# Where the point (x, y) of the unit square goes when EXIF orientation k is applied.
_TURN = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}


def normalise(
    boxes: Sequence[Box],
    stated_size: tuple[int, int] | None,
    file_size: tuple[int, int],
    orientation: int,
) -> np.ndarray:
    """Upright boxes [n, 4] (ymin, xmin, ymax, xmax) as fractions, float64, not yet clipped.

    Args:
        boxes: Boxes in the units of their source.
        stated_size: (width, height) the source gives for the image, or None. It may be that of a
            larger original: only its proportions have to be right.
        file_size: (width, height) stored in the file, before EXIF rotation.
        orientation: EXIF orientation, 1 to 8.

    Raises:
        ValueError: If the stated size has other proportions than the image.
    """
    upright_size = file_size[::-1] if orientation >= 5 else file_size
    in_file_frame = False
    if stated_size is not None and not _same_proportions(stated_size, upright_size):
        if not _same_proportions(stated_size, file_size):
            raise ValueError(
                f"annotations are for {stated_size[0]}x{stated_size[1]}, "
                f"the image is {upright_size[0]}x{upright_size[1]}"
            )
        in_file_frame = True
    width, height = stated_size or upright_size
    scale = [(1, 1) if box.relative else (width, height) for box in boxes]
    edges = np.array(
        [
            (box.ymin / sy, box.xmin / sx, box.ymax / sy, box.xmax / sx)
            for box, (sx, sy) in zip(boxes, scale, strict=True)
        ],
        np.float64,
    ).reshape(-1, 4)
    return turn(edges, orientation) if in_file_frame else edges


def turn(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Normalised boxes [n, 4] of a file's own frame, in the upright frame."""
    ymin, xmin, ymax, xmax = boxes.T
    x0, y0 = _TURN[orientation](xmin, ymin)
    x1, y1 = _TURN[orientation](xmax, ymax)
    corners = (np.minimum(y0, y1), np.minimum(x0, x1), np.maximum(y0, y1), np.maximum(x0, x1))
    return np.stack(corners, axis=-1)


def _same_proportions(a: tuple[int, int], b: tuple[int, int]) -> bool:
    ratio = (a[0] * b[1]) / (a[1] * b[0])
    return abs(ratio - 1) <= _SAME_PROPORTIONS
