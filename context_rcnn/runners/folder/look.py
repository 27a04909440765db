"""Stage 1, look: which images there are, of which camera, taken when.

A file that was seen before and has the same size and date of change is not opened again. One with
another date, as copying to another disk gives it, is opened; if its first and last bytes are those
of before it counts as the same.
"""

import functools
import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import read_clock
from context_rcnn.data.paths import FileError, normalise_file_name, resolve_inside
from context_rcnn.data.readers.image_folder import STAGE, walk_images
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.sequences import sequence_ids
from context_rcnn.data.timestamps import ClockError
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.folder.table import ImageTable, SeenImage

UNKNOWN_CAMERA = ""
NOT_A_NAME = "\N{REPLACEMENT CHARACTER}"
_CHUNK = 500
_NOT_ALLOWED = re.compile("[\\\\:\ud800-\udfff]")  # and halves of surrogate pairs
_HEAD, _TAIL = 1 << 16, 1 << 12  # bytes


class Bar(Protocol):
    """A progress bar, as tqdm has it."""

    def update(self, number: int) -> object:
        """So many images more."""


def look(
    table: ImageTable,
    root: str,
    namer: CameraNamer,
    *,
    sequence_gap: int,
    workers: int,
    bar: Bar,
) -> Counter:
    """Brings the table up to date with the folder.

    Args:
        table: of the run.
        root: folder of the images.
        namer: names the camera of a path. An image that it does not cover has no camera, and so no
            memory.
        sequence_gap: longest pause within a burst, in seconds.
        workers: threads that open files.
        bar: shows how far this is.

    Returns:
        Counts of what was passed over, and of images that are `gone` since the last look.

    Raises:
        ValueError: If there are no images at all. What is known of earlier ones stays then, since
            mostly a drive is missing.
    """
    notes: Counter = Counter()
    number = int(table.fact("look") or 0) + 1
    names, images = named(walk_images(Path(root), notes)), 0
    while chunk := dict(itertools.islice(names, _CHUNK)):
        known = table.known(list(chunk))
        see = functools.partial(see_file, root, namer, known)
        seen = list(ahead(see, chunk.items(), workers, most=_CHUNK))
        with table.change():
            table.see(seen, number)
        bar.update(len(chunk))
        images += len(chunk)
    if not images:
        passed_over = ", ".join(f"{name} {count}" for name, count in (+notes).items()) or "no files"
        raise ValueError(f"{root} holds no images ({passed_over}); is the drive connected?")
    with table.change():
        table.set_fact("look", str(number))
        notes["gone"] = table.forget_others(number)
    for camera in table.cameras():
        _set_bursts(table, camera.camera, sequence_gap)
    return +notes


def named(listed: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What a file is called in results, and in the folder.

    No result can hold a name that is not UTF-8, or that other programs would read as another path;
    such a name is shown with marks in place of what is wrong, and a hash to tell it from others.
    """
    for name in listed:
        if _is_normal(name):
            yield name, name
            continue
        digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
        stem, suffix = os.path.splitext(_NOT_ALLOWED.sub(NOT_A_NAME, name))
        yield f"{stem} [{digest}]{suffix}", name


def _is_normal(name: str) -> bool:
    try:
        return normalise_file_name(name) == name
    except FileError:
        return False


def see_file(
    root: str, namer: CameraNamer, known: Mapping[str, SeenImage], names: tuple[str, str]
) -> SeenImage:
    """What a look at one file tells.

    Args:
        root: folder of the images.
        namer: names the camera.
        known: what earlier looks told, by name.
        names: of the file, from `named`.
    """
    file, path = names
    camera = namer(file) or UNKNOWN_CAMERA
    if file != path:
        text = f"{path!r:.200} is no name that results can hold: rename the file"
        return _lost(file, camera, FileError(Reason.OUTSIDE_ROOT, text))
    try:
        place = resolve_inside(root, file)
        status = os.stat(place)
    except FileError as error:
        return _lost(file, camera, error)
    except OSError as error:
        return _lost(file, camera, FileError(Reason.MISSING_FILE, error.strerror or str(error)))
    before = known.get(file)
    state = (status.st_size, status.st_mtime_ns)
    if before and (before.size, before.changed) == state and not before.failure:
        # The names may have changed, by other flags.
        return SeenImage(file, camera, before.seconds, *state, before.digest, before.problem)
    seconds, problem = None, ""
    try:
        seconds = read_clock(place)
    except ClockError as error:
        detail = f"EXIF date: {error}"
        problem = Failure(STAGE, error.reason, detail, file, file, lost="date").to_json()
    return SeenImage(file, camera, seconds, *state, _digest(place, status.st_size), problem)


def _lost(file: str, camera: str, error: FileError) -> SeenImage:
    return SeenImage(
        file, camera, None, 0, 0, "", failure=str(error.reason), failure_text=error.detail
    )


def _digest(path: Path, size: int) -> str:
    """Hash of the size and of the first and last bytes; of the size alone if it cannot be read."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    try:
        if path.is_file():  # opening a pipe would wait for ever
            with path.open("rb") as file:
                digest.update(file.read(_HEAD))
                file.seek(max(0, size - _TAIL))
                digest.update(file.read(_TAIL))
    except OSError:
        pass
    return digest.hexdigest()


def _set_bursts(table: ImageTable, camera: str, gap_seconds: int) -> None:
    """Names the bursts of a camera; an image without a camera is in none."""
    images, again = itertools.tee(table.in_time(camera=camera))
    records = (ImageRecord(i.file, i.file, i.camera, i.seconds) for i in again)
    bursts = zip(sequence_ids(records, gap_seconds), images, strict=True)
    changed = (
        (new, image.file)
        for new, image in ((burst if camera else "", image) for burst, image in bursts)
        if new != image.burst
    )
    while some := list(itertools.islice(changed, _CHUNK)):
        with table.change():
            table.set_bursts(some)
