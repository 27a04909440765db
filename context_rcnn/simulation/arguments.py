"""Settings of a simulation: their fields, with the help text of each, and their checks."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any

SMALLEST_SIDE, LARGEST_SIDE = 64, 4096  # pixels of an image


def setting(default: Any, help: str, parse: Callable[[str], Any] | None = None) -> Any:
    """A field of a class of settings.

    Args:
      default: its default.
      help: what it does, as the help text of its flag.
      parse: makes its value from text; by default the type of `default` does.
    """
    return dataclasses.field(default=default, metadata={"help": help, "parse": parse})


def image_size(text: str) -> tuple[int, int]:
    """Parses WIDTHxHEIGHT."""
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise ValueError(f"expected WIDTHxHEIGHT, got {text!r}") from None


def whole_range(text: str) -> tuple[int, int]:
    """Parses `40-60`, or `40` for a range of one number."""
    first, _, last = text.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise ValueError(f"expected a number or FIRST-LAST, got {text!r}") from None


def numbers(text: str) -> tuple[int, ...]:
    """Parses whole numbers with commas between them; nothing for no number."""
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise ValueError(f"expected whole numbers with commas, got {text!r}") from None


def names(text: str) -> tuple[str, ...]:
    """Parses names with commas between them; nothing for no name."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def shown(field: dataclasses.Field) -> str:
    """The default of a field as its flag takes it."""
    value = field.default
    if isinstance(value, tuple):
        between = {image_size: "x", whole_range: "-"}.get(field.metadata["parse"], ",")
        return between.join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check(name: str, value: Any, valid: bool, expected: str) -> None:
    """Raises a ValueError that names the argument unless it is `valid`."""
    if not valid:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_whole(settings: Any, least: int, *fields: str) -> None:
    """Checks that settings are integers of at least `least`."""
    for name in fields:
        value = getattr(settings, name)
        whole = isinstance(value, int) and value >= least
        check(name, value, whole, f"an integer of at least {least}")


def check_shares(settings: Any, *fields: str) -> None:
    """Checks that settings are in 0..1."""
    for name in fields:
        value = getattr(settings, name)
        check(name, value, 0 <= value <= 1, "in 0..1")


def check_range(settings: Any, least: int, most: int, *fields: str) -> None:
    """Checks that settings are ranges within `least`..`most`."""
    for name in fields:
        value = getattr(settings, name)
        valid = len(value) == 2 and all(isinstance(number, int) for number in value)
        valid = valid and least <= value[0] <= value[1] <= most
        check(name, value, valid, f"a range (first, last) within {least}..{most}")


def check_image_size(value: Any, smallest: int = SMALLEST_SIDE) -> None:
    """Checks width and height of images."""
    sides = tuple(value)
    fits = len(sides) == 2 and all(isinstance(s, int) and smallest <= s <= LARGEST_SIDE
                                   for s in sides)  # fmt: skip
    expected = f"(width, height) with sides of {smallest}..{LARGEST_SIDE} pixels"
    check("image_size", value, fits, expected)


def first_day(start: Any) -> datetime.datetime:
    """The first day of a study."""
    try:
        parsed = datetime.datetime.fromisoformat(start)
    except (TypeError, ValueError):
        raise ValueError(f"start must be an ISO date such as '2019-05-01', got {start!r}") from None
    return parsed.replace(tzinfo=None, microsecond=0)


def parameters(settings: Any) -> dict[str, Any]:
    """Settings as JSON has them; `restored` reads them back."""
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in dataclasses.fields(settings)
        for value in [getattr(settings, field.name)]
    }


def restored(kind: type, values: Mapping[str, Any]) -> Any:
    """Settings of a class from their `parameters`."""
    lists = {name: tuple(value) if isinstance(value, list) else value
             for name, value in values.items()}  # fmt: skip
    return kind(**lists)
