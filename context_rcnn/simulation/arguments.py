"""Checks what a caller asks for."""

from __future__ import annotations

import datetime
from typing import Any


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
        raise ValueError(f"start must be an ISO date such as '2019-05-01', got {start!r}") from None
    return parsed.replace(tzinfo=None, microsecond=0)
