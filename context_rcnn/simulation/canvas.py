"""Small image operations the simulators share: seeded noise, resizing, blending, boxes of masks.

Images are float32 `[height, width, 3]` in 0..1 unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter


def generator(seed: int, *key: int) -> np.random.Generator:
    """Returns the random generator that belongs to `key` under `seed`.

    The key names a purpose (camera 3, its weather on day 12), so what is drawn for one purpose
    depends neither on the order of the work nor on the number of workers.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes one float plane to `size` (width, height) with bicubic interpolation."""
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3
) -> np.ndarray:
    """Returns zero-mean fractal noise `[height, width]`, standard deviation 1.

    Args:
      rng: source of randomness.
      shape: height and width.
      cell: size in pixels of the largest blobs; each octave halves it.
      octaves: number of scales that are added up.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 1.0)
        coarse = rng.standard_normal((int(height / step) + 2, int(width / step) + 2))
        total += resize(coarse, (width, height)) / 2**octave
    total -= total.mean()
    return total / max(float(total.std()), 1e-6)


def blend(under: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lays `over` on `under` with opacity `alpha` `[height, width]`."""
    return under + alpha[..., None] * (over - under)


def motion_blur(plane: np.ndarray, pixels: int) -> np.ndarray:
    """Averages `[height, width, channels]` over `pixels` columns and widens it by as many."""
    if pixels < 2:
        return plane
    padded = np.pad(plane, ((0, 0), (pixels, pixels - 1), (0, 0)))
    sums = np.cumsum(padded, axis=1, dtype=np.float32)
    return (sums[:, pixels:] - sums[:, :-pixels]) / pixels


def defocus(image: np.ndarray, radius: float) -> np.ndarray:
    """Blurs an RGB or RGBA image, its opacity multiplied in, with a Gaussian of that radius."""
    blurred = Image.fromarray(to_uint8(image)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, np.float32) / 255


def grey(image: np.ndarray) -> np.ndarray:
    """The mean of the channels, `[height, width, 1]`."""
    return (image[..., 0:1] + image[..., 1:2] + image[..., 2:3]) / 3


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds a 0..1 image to bytes."""
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns the tight box (x, y, width, height) of a boolean mask, or None if it is empty."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def filled_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Returns the tight box, as `mask_box` does, of a mask that is known to have pixels."""
    box = mask_box(mask)
    if box is None:
        raise ValueError("the mask has no pixels")
    return box


def visible_window(
    left: int, top: int, size: Sequence[int], frame: Sequence[int]
) -> tuple[slice, slice, slice, slice] | None:
    """Clips a patch to a frame.

    Args:
      left, top: position of the patch's corner in the frame; may be negative.
      size: height and width of the patch.
      frame: height and width of the frame.

    Returns:
      Row and column slices into the frame, then into the patch; None if nothing overlaps.
    """
    y0, y1 = max(top, 0), min(top + size[0], frame[0])
    x0, x1 = max(left, 0), min(left + size[1], frame[1])
    if y0 >= y1 or x0 >= x1:
        return None
    return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
