"""Tables for a terminal, and names of cameras and files as every command shows them."""

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence

CUT = "\N{HORIZONTAL ELLIPSIS}"
_NARROWEST = 16  # a first column is never cut to less
_FALLBACK = (100, 24)


def shown(text: str) -> str:
    """Text as it is, but for control characters and what the terminal cannot show, as escapes."""
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def table(rows: Iterable[Sequence[str]]) -> str:
    """Aligned lines: names in the first column, all others to the right of theirs.

    On a terminal, names that leave no room for the others are cut in the middle; in a file or a
    pipe they stay whole.
    """
    lines = [[shown(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    others = sum(w + 2 for w in widths[1:])
    room = max(_NARROWEST, shutil.get_terminal_size(_FALLBACK).columns - others)
    first = min(widths[0], room)
    cut = sys.stdout.isatty()
    return "\n".join(
        "  ".join(
            [_padded(shortened(row[0], first) if cut else row[0], first)]
            + [" " * (w - width(cell)) + cell for cell, w in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in lines
    )


def shortened(text: str, most: int) -> str:
    """The text, without its middle if it is wider than so many columns."""
    if width(text) <= most:
        return text
    head, tail = text, text
    while width(head) > most // 2:
        head = head[:-1]
    while width(tail) > most - width(head) - width(CUT):
        tail = tail[1:]
    return shown(f"{head}{CUT}{tail}")


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
