"""Corrections of camera clocks that were wrong, camera by camera.

A correction is added to what the clock showed. It may hold for a while only, such as from a change
of batteries, after which the clock began in 1970, to the next visit.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from context_rcnn.data.tables import Table
from context_rcnn.data.timestamps import (
    UNITS,
    ClockError,
    format_timestamp,
    parse_reading,
    shift_in_words,
)

_SHIFT = re.compile(r"([+-])(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_MOST = 100 * 366 * UNITS["d"]
_SHAPE = "such as +365d3h, -1h or +2d30m15s: a sign, then days, hours, minutes, seconds"
_SHOWN = 10  # cameras that an error names


@dataclasses.dataclass(frozen=True)
class ClockShift:
    """A correction.

    Attributes:
        seconds: seconds that are added.
        first, last: first and last reading of the wrong clock that is corrected, None for all.
    """

    seconds: int
    first: int | None = None
    last: int | None = None

    def holds(self, reading: int) -> bool:
        """Whether it corrects this reading of the wrong clock."""
        after = self.first is None or reading >= self.first
        return after and (self.last is None or reading <= self.last)

    def __str__(self) -> str:
        words = shift_in_words(self.seconds)
        if self.first is not None:
            words += f" from {format_timestamp(self.first)}"
        if self.last is not None:
            words += f" to {format_timestamp(self.last)}"
        return words


class CameraClocks:
    """Which readings of which camera are corrected, and by how much.

    Args:
        given: texts such as "north=+365d3h", each for all images of a camera.
        csv_path: table with the columns `camera` and `shift`, or `camera`, `shown` and `actual`;
            `from` and `to`, in readings of the wrong clock, may follow.

    Raises:
        ValueError: Naming the text, or file and line, for what is not a correction, and for two
            corrections of one reading.
    """

    def __init__(self, given: Iterable[str] = (), csv_path: str | Path | None = None):
        self._shifts: dict[str, list[ClockShift]] = defaultdict(list)
        for text in given:
            camera, sign, shift = text.rpartition("=")
            where = f"--clock_shift {text!r:.200}"
            if not sign or not camera.strip():
                raise ValueError(f"{where}: must be CAMERA=SHIFT, {_SHAPE}")
            self._add(where, camera.strip(), ClockShift(_parse_shift(where, shift)))
        if csv_path:
            self._read(Path(csv_path))

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras that are corrected."""
        return list(self._shifts)

    def rule(self, camera: str) -> str:
        """The corrections of a camera as one text, "" without any."""
        return "; ".join(map(str, self._shifts.get(camera, ())))

    def corrector(self, camera: str) -> Callable[[int], int] | None:
        """From readings of a camera's clock to right ones; None if it was right."""
        shifts = self._shifts.get(camera)
        if not shifts:
            return None

        def correct(reading: int) -> int:
            held = (shift.seconds for shift in shifts if shift.holds(reading))
            return reading + next(held, 0)

        return correct

    def check(self, cameras: Sequence[str]) -> None:
        """Raises ValueError, with the camera's name, if a corrected one is not among these."""
        if missing := sorted(set(self._shifts) - set(cameras)):
            shown = ", ".join(map(repr, cameras[:_SHOWN])) + ", ..." * (len(cameras) > _SHOWN)
            raise ValueError(
                f"the clock of {missing[0]!r} is to be corrected, but there is no such camera; "
                f"there are {shown or 'none'}"
            )

    def in_words(self) -> list[str]:
        """A line for each corrected camera."""
        return [f"clock of {camera} corrected: {self.rule(camera)}" for camera in self.cameras]

    def _read(self, path: Path) -> None:
        table = Table(path)
        columns = set(table.columns)
        if "camera" not in columns or ("shift" in columns) == ({"shown", "actual"} <= columns):
            raise ValueError(
                f"{path}: needs the columns 'camera' and 'shift', or 'camera', 'shown' and "
                f"'actual', found {table.columns}"
            )
        for where, row in table.rows():
            if not row["camera"]:
                raise ValueError(f"{where}: 'camera' must not be empty")
            if "shift" in columns:
                seconds = _parse_shift(where, row["shift"])
            else:
                shown, actual = (_reading(where, row, name) for name in ("shown", "actual"))
                if shown is None or actual is None:
                    raise ValueError(f"{where}: 'shown' and 'actual' must not be empty")
                seconds = actual - shown
            first, last = (_reading(where, row, name) for name in ("from", "to"))
            if first is not None and last is not None and first > last:
                raise ValueError(f"{where}: 'from' is later than 'to'")
            self._add(where, row["camera"], ClockShift(seconds, first, last))

    def _add(self, where: str, camera: str, shift: ClockShift) -> None:
        for other in self._shifts[camera]:
            if _meet(shift, other):
                raise ValueError(f"{where}: {camera!r} has two corrections at once: {other} before")
        self._shifts[camera].append(shift)


UNCORRECTED = CameraClocks()
"""No clock was wrong."""


def _parse_shift(where: str, text: str) -> int:
    match = _SHIFT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{where}: {text!r:.80} is no shift {_SHAPE}")
    sign, *counts = match.groups()
    seconds = sum(
        int(count or 0) * size for count, size in zip(counts, UNITS.values(), strict=True)
    )
    if seconds > _MOST:
        raise ValueError(f"{where}: {text!r:.80} is more than a hundred years")
    return -seconds if sign == "-" else seconds


def _reading(where: str, row: dict[str, str], name: str) -> int | None:
    try:
        return parse_reading(row.get(name))
    except ClockError as error:
        raise ValueError(f"{where}: {name!r}: {error}") from error


def _meet(one: ClockShift, other: ClockShift) -> bool:
    def begins_in_time(a: ClockShift, b: ClockShift) -> bool:
        return a.first is None or b.last is None or a.first <= b.last

    return begins_in_time(one, other) and begins_in_time(other, one)
