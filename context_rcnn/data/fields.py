"""Values out of JSON files nobody has checked."""

import json
import math
from pathlib import Path
from typing import Any

MAX_INT64 = 2**63 - 1


def load_json_object(path: str | Path) -> dict[str, Any]:
    """A JSON file whose top level is an object.

    Raises:
        ValueError: Naming the file, if it is not JSON or not an object.
    """
    document = _load_json(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path}: the top level must be an object, found {kind(document)}")
    return document


def load_json_list(path: str | Path) -> list:
    """A JSON file whose top level is a list.

    Raises:
        ValueError: Naming the file, if it is not JSON or not a list.
    """
    document = _load_json(path)
    if not isinstance(document, list):
        raise ValueError(f"{path}: the top level must be a list, found {kind(document)}")
    return document


def list_field(document: dict[str, Any], field: str, path: str | Path, required: bool) -> list:
    """A list at the top level of a file; [] if absent and not required, else ValueError."""
    value = document.get(field)
    if value is None and not required:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{path}: field {field!r} must be a list, found {kind(value)}")
    return value


def kind(value: object) -> str:
    """What a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value"}
    return "nothing" if value is None else names.get(type(value), "a number")


def text(value: object) -> str | None:
    """A non-blank string that can be written as UTF-8, or None."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return value


def identifier(value: object) -> str | None:
    """An id or a location: a string, or a whole number as older archives have it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and abs(value) <= MAX_INT64 else text(value)


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def whole_number(value: object, minimum: int) -> int | None:
    """A whole number from `minimum` to the largest int64, or None."""
    value = number(value)
    if value is None or not value.is_integer() or not minimum <= value < MAX_INT64:
        return None
    return int(value)


def quadruple(value: object) -> tuple[float, float, float, float] | None:
    """Four finite numbers, or None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    a, b, c, d = (number(item) for item in value)
    return None if a is None or b is None or c is None or d is None else (a, b, c, d)


def _load_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise ValueError(f"{path}: JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
