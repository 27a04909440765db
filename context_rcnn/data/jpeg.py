"""Whether the data of a JPEG fits its picture, which no decoder says in a way that can be caught.

Behind damaged data a decoder goes on and fills up what is missing. libjpeg mentions it on stderr,
without the name of a file ("Corrupt JPEG data: premature end of data segment"); Pillow's libjpeg
says nothing. But damage moves what follows: the data ends before the picture is complete, or is
still going on when it is. So Pillow reads the file in three portions: the picture's data without
its last byte, then that byte and a few more, then the end marker. A sound picture is complete with
the second one. This costs nothing, since the file is decoded once as before.

Pictures of one scan without restart markers are checked; progressive ones are not.
"""

import functools
import io
import re
from typing import NamedTuple

from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # restart markers carry no segment
ENDS_EARLY = "its data ends before the picture is complete"
GOES_ON = "its data goes on when the picture is complete"

_SEQUENTIAL = (0xC0, 0xC1)  # frames with Huffman codes, in one pass
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables, among the markers of frames
_SCAN, _RESTARTS, _LENGTH = 0xDA, 0xDD, 2
# Behind a scan that is not the last one. Any other marker there is damage.
_BETWEEN_SCANS = {_SCAN, _RESTARTS, 0xC4, 0xCC, 0xDB, 0xDC, 0xFE, *range(0xE0, 0xF0)}
# As much as a decoder reads ahead. Zeros are no end of a block in the usual tables.
_AHEAD = bytes(8)


class _Scan(NamedTuple):
    """Where the data of the only scan begins, and where the marker behind it is."""

    start: int
    end: int


class JpegFile(io.BytesIO):
    """A JPEG as a file for Pillow, which notices what has to be read until it is decoded.

    Args:
        data: the file.
    """

    def __init__(self, data: bytes):
        scan = _only_scan(data)
        self._stops: tuple[int, ...] = ()
        self._last = 0
        if scan is not None:
            stuffed = data[: scan.end].endswith(b"\xff\x00")  # which stands for one byte
            self._stops = (scan.end - 1 - stuffed, scan.end + len(_AHEAD))
            data = data[: scan.end] + _AHEAD + data[scan.end :]
        super().__init__(data)

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        if size is not None and size > 0:
            size = min([size, *(stop - at for stop in self._stops if stop > at)])
        read = super().read(size)
        self._last = self.tell()
        return read

    @property
    def damage(self) -> str:
        """What is wrong with the data of a picture that has been decoded; "" if nothing shows."""
        if not self._stops or not _tells():
            return ""
        before, behind = self._stops
        if self._last > behind:
            return ENDS_EARLY
        return GOES_ON if self._last <= before else ""


def _only_scan(data: bytes) -> _Scan | None:
    """The scan of a sequential picture that has one, and no restarts; else None."""
    position, frame = len(START), False
    while marker := MARKER.search(data, position):
        kind = marker[1][0]
        length = int.from_bytes(data[marker.end() : marker.end() + _LENGTH], "big")
        position = marker.end() + max(_LENGTH, length)
        if kind == _SCAN:
            behind = MARKER.search(data, position) if frame else None
            if behind is None or behind[1][0] in _BETWEEN_SCANS:
                return None
            end = behind.start()
            while data[end - 1] == 0xFF:  # which may fill up before a marker
                end -= 1
            return _Scan(position, end)
        if kind == _RESTARTS and any(data[position - 2 : position]):
            return None
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            frame = kind in _SEQUENTIAL
    return None


@functools.cache
def _tells() -> bool:
    """Whether this Pillow's decoder ends as soon as the picture is complete, as it should."""
    noise = Image.effect_noise((48, 48), 60)
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG")
    data = buffer.getvalue()
    found = []
    for tail in (b"", bytes(40)):
        file = JpegFile(data[: -len(END)] + tail + END)
        with Image.open(file, formats=("JPEG",)) as image:
            image.load()
        before, behind = file._stops
        found.append((file._last <= before, file._last <= behind))
    return found == [(False, True), (True, True)]
