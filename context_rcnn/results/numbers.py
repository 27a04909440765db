"""Rounding of boxes and scores; a rounded box is still a box inside of the image."""

from collections.abc import Sequence

BOX_DIGITS = 4
"""A ten-thousandth of the image: less than a pixel."""


def corner_and_size(box: Sequence[float], digits: int = BOX_DIGITS) -> list[float]:
    """x, y, width, height of a box y1 x1 y2 x2 in 0..1.

    Edges are rounded, not sizes, so that x + width never passes 1; a side that would vanish is one
    unit of the last digit.
    """
    x, width = _side(box[1], box[3], digits)
    y, height = _side(box[0], box[2], digits)
    return [x, y, width, height]


def rounded_score(score: float, digits: int) -> float:
    """The score; one below 0 stays below 0, since its sign says that it is suspect."""
    rounded = round(float(score), digits)
    return rounded if score >= 0 else min(rounded, -(10.0**-digits))


def to_box(corner: Sequence[float]) -> tuple[float, float, float, float]:
    """y1, x1, y2, x2 of x, y, width, height."""
    x, y, width, height = corner
    return y, x, y + height, x + width


def _side(low: float, high: float, digits: int) -> tuple[float, float]:
    unit = 10**digits
    start, end = round(low * unit), round(high * unit)
    if end == start:
        start, end = (start, end + 1) if end < unit else (start - 1, end)
    return start / unit, (end - start) / unit
