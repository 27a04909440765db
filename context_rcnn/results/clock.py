"""Camera clocks in a time zone, as standards for exchange want them.

A camera shows wall-clock time and does not know where it is. Two kinds of clock have to be told
apart, and only the owner can:

- One that is set once and left alone. Its zone is an offset, `+01:00`, all year round.
- One that somebody moves with daylight saving. Its zone has a name, `Europe/Berlin`; each reading
  gets the offset of its date. The hour that comes twice in autumn is taken for the first of the
  two; in the hour that is left out in spring, the offset is that of before.

The wall clock itself is never changed, only told which offset it has.
"""

import datetime
import re
import zoneinfo

from context_rcnn.data.timestamps import EPOCH

_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MAX_OFFSET = datetime.timedelta(hours=14)


class CameraClock:
    """Turns readings of camera clocks into points in time.

    Args:
        timezone: "Z", an offset such as "-07:00", or a name such as "America/Los_Angeles".

    Raises:
        ValueError: If it is none of these.
    """

    def __init__(self, timezone: str):
        self._zone = _zone(timezone)

    def at(self, seconds: int) -> datetime.datetime:
        """The reading `seconds` since 1970 as if UTC, with its offset."""
        reading = EPOCH + datetime.timedelta(seconds=seconds)
        return self._with_offset(reading)

    def parse(self, text: str, end_of_day: bool = False) -> datetime.datetime:
        """An ISO 8601 date and time; without an offset it is a reading of the clock.

        A bare date is its first second, or its last one.

        Raises:
            ValueError: If the text is no such date.
        """
        text = text.strip()
        if _DATE.fullmatch(text):
            text += "T23:59:59" if end_of_day else "T00:00:00"
        text = re.sub(r"[zZ]$", "+00:00", text)
        text = re.sub(r"([+-]\d{2})(\d{2})$", r"\1:\2", text) if "T" in text else text
        try:
            time = datetime.datetime.fromisoformat(text).replace(microsecond=0)
        except ValueError as error:
            raise ValueError(
                f"not a date such as 2013-10-01T12:00:00 or 2013-10-01T12:00:00-07:00: {text!r:.80}"
            ) from error
        return self._with_offset(time) if time.tzinfo is None else time

    def _with_offset(self, reading: datetime.datetime) -> datetime.datetime:
        offset = reading.replace(tzinfo=self._zone).utcoffset()
        return reading.replace(tzinfo=datetime.timezone(offset or datetime.timedelta(0)))


def iso(time: datetime.datetime) -> str:
    """ "2013-10-04T13:31:53-07:00", or with "Z"."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _zone(name: str) -> datetime.tzinfo:
    if name.upper() in ("Z", "UTC"):
        return datetime.timezone.utc
    match = _OFFSET.fullmatch(name)
    if match:
        sign, hours, minutes = match.groups()
        offset = datetime.timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset <= _MAX_OFFSET and int(minutes or 0) < 60:
            return datetime.timezone(-offset if sign == "-" else offset)
    elif name:
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise ValueError(
        f"timezone {name!r:.80} is not known; give the offset of the camera clocks, such as "
        "+01:00, or, if they follow daylight saving, a name such as Europe/Berlin"
    )
