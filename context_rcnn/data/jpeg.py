"""Whether the data of a JPEG fits its picture, which no decoder says in a way that can be caught.

Behind damaged data a decoder goes on and fills up what is missing. libjpeg mentions it on stderr,
without the name of a file ("Corrupt JPEG data: premature end of data segment"); Pillow's libjpeg
says nothing. But damage moves what follows: the data ends before the picture is complete, or is
still going on when it is. So Pillow reads the file in three portions: the picture's data without
its last byte, then that byte and a few more, then the end marker. A sound picture is complete with
the second one. Data between restart markers is looked at piece by piece, each as a picture of its
own. Only the means of 8x8 pixels are computed, so this takes less time than decoding.

Pictures in one scan are checked; of progressive ones the caller may ask a decoder that complains.
Little damage is missed: if all that is missing is a block of colour, what is read ahead may pass
for it.
"""

import functools
import io
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # restart markers carry no segment
ENDS_EARLY = "its data ends before the picture is complete"
GOES_ON = "its data goes on when the picture is complete"
MISPLACED = "its restart markers are not where they should be"
MOST_PIECES = 500
"""Pictures with more restarts are not looked at piece by piece, which would take too long."""

_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_SEQUENTIAL = (0xC0, 0xC1)  # frames with Huffman codes, in one pass
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the others there are tables
_SCAN, _RESTARTS, _COMMENT = 0xDA, 0xDD, 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
# Behind a scan that is not the last one. Any other marker there is damage.
_BETWEEN_SCANS = {_SCAN, _RESTARTS, _COMMENT, 0xC4, 0xCC, 0xDB, 0xDC, *_APPLICATIONS}
# As much as a decoder reads ahead: bits 010010010..., in which the usual tables find no end of a
# block of brightness, and mostly none of colour.
_AHEAD = bytes.fromhex("4924924924924924")
_LONGEST = 65_500  # pixels in a row of a JPEG


class _Scan(NamedTuple):
    """The only scan of a picture.

    Attributes:
        segments: what stands before its data and decides how it is decoded, in order.
        frame: which of the segments has the size.
        start, end: where the data is.
        interval: blocks of pixels between two restarts, 0 for none.
    """

    segments: list[bytes]
    frame: int
    start: int
    end: int
    interval: int


def find_damage(data: bytes, otherwise: Callable[[bytes], str] = lambda data: "") -> str:
    """What is wrong with the data of a JPEG, in words; "" if nothing shows.

    Args:
        data: the file.
        otherwise: is asked about pictures that cannot be checked here.

    Raises:
        Exception: Whatever Pillow raises for what it cannot decode.
    """
    scan = _only_scan(data)
    if scan is None or not _tells():
        _decode(io.BytesIO(data))
        return otherwise(data)
    if not scan.interval:
        return _damage(data, scan.start, scan.end)
    return _damage_between_restarts(data, scan, otherwise)


def _damage_between_restarts(data: bytes, scan: _Scan, otherwise: Callable[[bytes], str]) -> str:
    frame = scan.segments[scan.frame]
    height, width = (int.from_bytes(frame[i : i + 2], "big") for i in (5, 7))
    factors = frame[11 : 10 + 3 * frame[9] : 3]  # of each component, across and down
    across, down = max(f >> 4 for f in factors), max(f & 15 for f in factors)
    if len(factors) == 1:
        across = down = 1
    blocks = -(-width // (8 * across)) * -(-height // (8 * down))
    pieces = list(_pieces(data, scan))
    numbers = [number for _, _, number in pieces[:-1]]
    if len(pieces) != -(-blocks // scan.interval) or numbers != [
        i % 8 for i in range(len(numbers))
    ]:
        return MISPLACED
    if len(pieces) > MOST_PIECES or 8 * across * scan.interval > _LONGEST:
        _decode(io.BytesIO(data))
        return otherwise(data)
    for i, (start, end, _) in enumerate(pieces):
        wide = 8 * across * min(scan.interval, blocks - i * scan.interval)
        size = (8 * down).to_bytes(2, "big") + wide.to_bytes(2, "big")
        segments = [*scan.segments]
        segments[scan.frame] = frame[:5] + size + frame[9:]
        before = b"".join(segments)
        piece = before + data[start:end] + END
        if damage := _damage(piece, len(before), len(piece) - len(END)):
            return damage
    return ""


def _pieces(data: bytes, scan: _Scan) -> Iterator[tuple[int, int, int]]:
    """Where the data between restarts is, and the number of the restart behind it, -1 for none."""
    start = scan.start
    for marker in _RESTART.finditer(data, scan.start, scan.end):
        yield start, _without_fill(data, marker.start()), marker[1][0] & 7
        start = marker.end()
    yield start, scan.end, -1


def _damage(jpeg: bytes, start: int, end: int) -> str:
    """What is wrong with a picture whose data is there, without restarts."""
    stuffed = jpeg[start:end].endswith(b"\xff\x00")  # which stands for one byte
    before, behind = end - 1 - stuffed, end + len(_AHEAD)
    file = _Portions(jpeg[:end] + _AHEAD + jpeg[end:], before, behind)
    _decode(file)
    if file.read_to > behind:
        return ENDS_EARLY
    return GOES_ON if file.read_to <= before else ""


def _decode(file: io.BytesIO) -> None:
    with Image.open(file, formats=("JPEG",)) as image:
        image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()


class _Portions(io.BytesIO):
    """A file that is read in portions, and how far it has been read."""

    def __init__(self, data: bytes, *stops: int):
        super().__init__(data)
        self._stops, self.read_to = stops, 0

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        if size is not None and size > 0:
            size = min([size, *(stop - at for stop in self._stops if stop > at)])
        read = super().read(size)
        self.read_to = self.tell()
        return read


def _only_scan(data: bytes) -> _Scan | None:
    """The scan of a sequential picture that has one; None of any other."""
    position, frame, interval, segments = len(START), -1, 0, [START]
    while marker := MARKER.search(data, position):
        kind = marker[1][0]
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        position = marker.end() + max(2, length)
        segment = data[marker.start() : position]
        if kind == _RESTARTS:
            interval = int.from_bytes(segment[4:6], "big")
        elif kind != _COMMENT and kind not in _APPLICATIONS:
            if kind in _FRAMES:
                frame = len(segments) if kind in _SEQUENTIAL and len(segment) > 12 else -1
            segments.append(segment)
        if kind == _SCAN:
            behind = MARKER.search(data, position) if frame >= 0 else None
            if behind is None or behind[1][0] in _BETWEEN_SCANS:
                return None
            end = _without_fill(data, behind.start())
            return _Scan(segments, frame, position, end, interval)
    return None


def _without_fill(data: bytes, end: int) -> int:
    """Where the data ends before a marker, which may be filled up."""
    while data[end - 1] == 0xFF:
        end -= 1
    return end


@functools.cache
def _tells() -> bool:
    """Whether this Pillow's decoder ends as soon as the picture is complete, as it should."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((48, 48)).save(buffer, "JPEG")
    sound = buffer.getvalue()
    long = sound[: -len(END)] + bytes(40) + END
    scans = [(data, _only_scan(data)) for data in (sound, long)]
    found = [_damage(data, scan.start, scan.end) if scan else None for data, scan in scans]
    return found == ["", GOES_ON]
