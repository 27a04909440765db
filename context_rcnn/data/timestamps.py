"""Clock readings to whole seconds, free of time zones.

Camera clocks show local wall time and do not know where they are. So a reading becomes the number
of seconds from 1970-01-01 00:00:00 to that reading *as if both were UTC*. A time-zone suffix is
dropped and the wall clock kept: two readings of one camera stay comparable, and the machine's own
time zone never enters.
"""

import datetime
import re
from collections.abc import Callable

from context_rcnn.data.failures import Reason

EPOCH = datetime.datetime(1970, 1, 1)
EARLIEST_YEAR = 2001  # clocks that lost power restart at 1970, 1980 or 2000-01-01
UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Seconds of the units in which differences of clocks are written."""
NO_DATE_TEXT = frozenset({"", "0000:00:00 00:00:00", "0000-00-00 00:00:00"})

_PATTERN = re.compile(
    r"(\d{4})[-:/.](\d{1,2})[-:/.](\d{1,2})"
    r"(?:[T\s]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d*)?)?)?"
    r"\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)


class ClockError(ValueError):
    """A date was given but cannot be used; `reason` says whether it is malformed or junk."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


def parse_timestamp(
    text: object,
    *,
    this_year: int | None = None,
    correct: Callable[[int], int] | None = None,
) -> int | None:
    """Seconds of a clock reading; None if there is none.

    Reads "2022-12-31 09:52:50", ISO 8601 with "T", fractional seconds (cut off), EXIF's
    "2022:12:31 09:52:50" and a bare date (midnight).

    Args:
        text: a date.
        this_year: the year in which nothing later than the next year is believed; by default now.
        correct: turns readings of a clock that was wrong into right ones.

    Raises:
        ClockError: `bad_date` for what is not a date, `junk_date` for years before 2001 or after
            next year, which are those of a camera clock that was never set.
    """
    reading = parse_reading(text)
    if reading is None:
        return None
    seconds = reading if correct is None else correct(reading)
    this_year = this_year or datetime.date.today().year
    if not EARLIEST_YEAR <= _year(seconds) <= this_year + 1:
        detail = f"camera clock was not set: {text!r:.80}"
        if seconds != reading:
            detail += f", with its correction {shift_in_words(seconds - reading)}"
        raise ClockError(Reason.JUNK_DATE, detail)
    return seconds


def parse_reading(text: object) -> int | None:
    """The same, of any year: what a clock showed, even one that was never set.

    Raises:
        ClockError: `bad_date` for what is not a date.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise ClockError(Reason.BAD_DATE, f"expected a date string, got {text!r:.80}")
    text = text.replace("\x00", " ").strip()
    if text in NO_DATE_TEXT:
        return None
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ClockError(Reason.BAD_DATE, f"not a date like 2022-12-31 09:52:50: {text!r:.80}")
    try:
        year, month, day, hour, minute, second = (int(field or 0) for field in match.groups())
        reading = datetime.datetime(year, month, day, hour, minute, second)
    except ValueError as error:
        raise ClockError(Reason.BAD_DATE, f"{error}: {text!r:.80}") from error
    return (reading - EPOCH) // datetime.timedelta(seconds=1)


def _year(seconds: int) -> int:
    try:
        return (EPOCH + datetime.timedelta(seconds=seconds)).year
    except OverflowError:
        return 0


def shift_in_words(seconds: int) -> str:
    """What is added to a reading: +365d3h."""
    rest, words = abs(seconds), "-" if seconds < 0 else "+"
    for unit, size in UNITS.items():
        count, rest = divmod(rest, size)
        words += f"{count}{unit}" if count else ""
    return words if len(words) > 1 else "+0s"


def format_timestamp(seconds: int) -> str:
    """The reading in the form that Object Detection API tools expect: 2022-12-31 09:52:50."""
    return str(EPOCH + datetime.timedelta(seconds=seconds))
