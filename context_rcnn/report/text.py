"""Numbers, times and untrusted names as people read them."""

import unicodedata
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
UNDEFINED = "\N{EN DASH}"
_UNITS = (("days", "day", 86400), ("hours", "hour", 3600), ("minutes", "minute", 60))


def number(value: float | None, digits: int = 3) -> str:
    """A number with a real minus sign, or a dash where it is not defined."""
    return UNDEFINED if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """A difference; zero has no sign."""
    if value is None:
        return UNDEFINED
    text = f"{value:+,.{digits}f}"
    return text[1:] if not float(text.replace(",", "")) else text.replace("-", MINUS)


def clean(name: object, longest: int = 120) -> str:
    """A name from data as one line that can be shown: no control characters, cut in the middle.

    What is not printable, unpaired surrogates among it, becomes the replacement character. Escaping
    is the template's work.
    """
    text = "".join(
        " " if c in "\t\n\r" else "\N{REPLACEMENT CHARACTER}" if _unprintable(c) else c
        for c in str(name)
    )
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def apart(seconds: int | None) -> str:
    """A memory's distance in time from its keyframe: 3.2 days before, 40 minutes after."""
    if seconds is None:
        return "time unknown"
    if seconds == 0:
        return "the same moment"
    return f"{duration(abs(seconds))} {'before' if seconds < 0 else 'after'}"


def duration(seconds: float) -> str:
    """The largest unit that fits, with one digit after the point where it tells something."""
    for many, one, size in _UNITS:
        if seconds >= size:
            value = f"{seconds / size:.1f}".removesuffix(".0")
            return f"{value} {one if value == '1' else many}"
    return f"{seconds:.0f} {'second' if seconds == 1 else 'seconds'}"


def count(value: int, one: str, many: str = "") -> str:
    """1 image, 2,655 images."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def listing(names: Sequence[str], longest: int = 5) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(clean(name, 60) for name in names[:longest])
    return shown + (f" and {len(names) - longest:,} more" if len(names) > longest else "")


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Cf", "Zl", "Zp")
