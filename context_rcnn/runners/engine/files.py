"""Files below a folder: what they are called in results, and what a look at one tells."""

import dataclasses
import errno
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import read_clock
from context_rcnn.data.paths import FileError, normalise_file_name, resolve_inside
from context_rcnn.data.readers.image_folder import STAGE
from context_rcnn.data.timestamps import ClockError
from context_rcnn.data.walk import IMAGE_SUFFIXES, PassedOver, in_words

UNKNOWN_CAMERA = ""
NOT_A_NAME = "\N{REPLACEMENT CHARACTER}"
_NOT_ALLOWED = re.compile("[\\\\:\ud800-\udfff]")  # and halves of surrogate pairs
_HEAD, _TAIL = 1 << 16, 1 << 12  # bytes
_SHOWN = 3  # folders that are named in a message


@dataclasses.dataclass(frozen=True, slots=True)
class SeenImage:
    """What a look at a file tells.

    Attributes:
        file: name in the results.
        camera: "" if unknown.
        seconds: None if undated.
        clock: correction of the camera's clock that `seconds` holds, "" without one.
        size, changed: size of the file in bytes, and time of its last change in nanoseconds.
        digest: hash of the content, as far as it was read.
        problem: a `Failure` as JSON, of a date that cannot be used; "" without one.
        failure, failure_text: why it cannot be used at all.
    """

    file: str
    camera: str
    seconds: int | None
    size: int
    changed: int
    digest: str
    problem: str = ""
    failure: str = ""
    failure_text: str = ""
    clock: str = ""


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


def name_of(path: str) -> str:
    """What one file is called in results."""
    return next(named([path]))[0]


def unusable_name(path: str) -> FileError:
    """Why a file is not used whose two names from `named` differ."""
    text = f"{path!r:.200} is no name that results can hold: rename the file"
    return FileError(Reason.OUTSIDE_ROOT, text)


def see_file(
    root: str,
    namer: CameraNamer,
    clocks: CameraClocks,
    known: Mapping[str, SeenImage],
    names: tuple[str, str],
) -> SeenImage:
    """What a look at one file tells.

    Args:
        root: folder of the images.
        namer: names the camera.
        clocks: corrections of clocks that were wrong.
        known: results of earlier looks, by name.
        names: names of the file, from `named`.
    """
    file, path = names
    camera = namer(file) or UNKNOWN_CAMERA
    if file != path:
        return _lost(file, camera, unusable_name(path))
    try:
        place = resolve_inside(root, file)
        status = os.stat(place)
    except FileError as error:
        return _lost(file, camera, error)
    except OSError as error:
        return _lost(file, camera, missing(error))
    before = known.get(file)
    state = (status.st_size, status.st_mtime_ns)
    clock = clocks.rule(camera)
    unchanged = before and (before.size, before.changed) == state and not before.failure
    if before and unchanged and before.clock == clock:
        # The names may have changed, by other flags.
        facts = (before.digest, before.problem)
        return SeenImage(file, camera, before.seconds, *state, *facts, clock=clock)
    seconds, problem = None, ""
    try:
        seconds = read_clock(place, clocks.corrector(camera))
    except ClockError as error:
        detail = f"EXIF date: {error}"
        problem = Failure(STAGE, error.reason, detail, file, file, lost="date").to_json()
    digest = _digest(place, status.st_size)
    return SeenImage(file, camera, seconds, *state, digest, problem, clock=clock)


def missing(error: OSError) -> FileError:
    """Why a file is not used that the system does not give."""
    reason = Reason.UNREADABLE if _is_refused(error) else Reason.MISSING_FILE
    return FileError(reason, error.strerror or str(error))


def _is_refused(error: OSError) -> bool:
    """Whether something is there that the system does not give, perhaps only now."""
    return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def size_and_date(root: str, path: str) -> tuple[int, int]:
    """Bytes of a file below `root` and nanoseconds of its last change; -1 for one that is gone.

    Raises:
        OSError: If the file is there, and the system does not let it be looked at.
    """
    try:
        status = os.stat(os.path.join(root, path))
    except OSError as error:
        if _is_refused(error):
            raise
        return -1, -1
    return status.st_size, status.st_mtime_ns


def not_listed(passed: PassedOver, kept: int, things: str) -> str:
    """Which folders could not be listed, and what that means; "" if all could.

    Args:
        passed: what a walk passed over.
        kept: number of things whose earlier results are kept.
        things: name of these things.
    """
    if not (folders := passed.unlisted):
        return ""
    shown = ", ".join(folders[:_SHOWN]) + (", ..." if len(folders) > _SHOWN else "")
    many = f"{len(folders):,} folders" if len(folders) > 1 else "1 folder"
    known = f"What is known of {kept:,} {things} there is kept. " if kept else ""
    return (
        f"{many} could not be listed: {shown}. {known}Run the same command again when this can be "
        "read"
    )


def nothing_found(
    root: str, what: str, passed: PassedOver, taken: Collection[str] = IMAGE_SUFFIXES
) -> ValueError:
    """The error for a folder without anything to detect in; mostly a drive is missing."""
    there = "; ".join(in_words(passed, taken)) or "no files"
    if locked := not_listed(passed, 0, "files"):
        there += f"; {locked}"
    return ValueError(f"{root} holds no {what} ({there}); is the drive connected?")


def _is_normal(name: str) -> bool:
    try:
        return normalise_file_name(name) == name
    except FileError:
        return False


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
