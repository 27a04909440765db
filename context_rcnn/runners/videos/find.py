"""Stage 1, find: which videos there are.

A video is a file, or a folder whose images are its frames, as in ImageNet VID. Photographs are no
frames: they have a date, or names as cameras give them.
"""

import dataclasses
import hashlib
import itertools
import os
import posixpath
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from context_rcnn.data.failures import Reason
from context_rcnn.data.images import read_clock
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.timestamps import ClockError
from context_rcnn.data.walk import IMAGE_SUFFIXES, VIDEO_SUFFIXES, PassedOver, walk_images
from context_rcnn.runners.engine.files import (
    missing,
    name_of,
    nothing_found,
    size_and_date,
    unusable_name,
)
from context_rcnn.runners.engine.video_file import VideoFacts, read_facts

FRAME_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in VIDEO_SUFFIXES)

_NUMBER = re.compile("([0-9]+)")
_FRAME = re.compile(
    "((frame|fr|f|out|still|thumb|image)[ _-]?)?[0-9]+|img[0-9]{5,}", flags=re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Video:
    """A video that was found.

    Attributes:
        name: name in the results, relative to the root.
        path: path in the folder; the same unless results cannot hold it.
        is_file: whether it is a file, not a folder of frames.
        frames: images of a folder, 0 for a file that was not opened yet.
        key: a hash of the path, and of size and date of change of all its files.
        seconds: length of the video, None if unknown.
    """

    name: str
    path: str
    is_file: bool
    frames: int
    key: str
    seconds: float | None = None


def find_videos(root: str, passed: PassedOver, frames: bool = False) -> list[Video]:
    """All videos below a folder, by name; `passed` takes everything else.

    Args:
        root: folder of the videos.
        passed: takes what is passed over.
        frames: whether the images of every folder are frames, whatever they are called.

    Raises:
        ValueError: If there are none.
    """
    videos = []
    listed = walk_images(Path(root), passed, VIDEO_SUFFIXES + FRAME_SUFFIXES)
    for folder, paths in itertools.groupby(listed, posixpath.dirname):
        images = []
        for path in sorted(paths):
            if is_video_file(path):
                videos += video_of(root, path, True, [path], passed)
            else:
                images.append(path)
        if images and (frames or _are_frames(root, images)):
            videos += video_of(root, folder, False, images, passed)
        else:
            for path in images:
                passed.add_other(path, VIDEO_SUFFIXES)
    if not videos:
        what = f"videos, neither files ({' '.join(VIDEO_SUFFIXES)}) nor folders of numbered frames"
        raise nothing_found(root, what, passed, VIDEO_SUFFIXES)
    return sorted(videos, key=lambda video: (video.name, video.path))


def list_frames(root: str, folder: str) -> list[str]:
    """Paths of the frames in a folder below `root`, 2.jpg before 10.jpg."""
    names = [
        entry.name
        for entry in os.scandir(os.path.join(root, folder))
        if entry.name.lower().endswith(FRAME_SUFFIXES) and not entry.name.startswith(".")
        if not entry.is_dir()
    ]
    return [posixpath.join(folder, name) for name in sorted(names, key=_natural)]


def is_video_file(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)


def place_of(root: str, video: Video) -> str:
    """Where the file of a video is; FileError if it cannot be one."""
    if video.name != video.path:
        raise unusable_name(video.path)
    place = resolve_inside(root, video.path)
    try:
        status = place.stat()
    except OSError as error:
        raise missing(error) from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise FileError(Reason.UNREADABLE, "not a regular file")
    if not status.st_size:
        raise FileError(Reason.EMPTY_FILE, "the file has no content")
    return str(place)


def measure(root: str, fps: float | None, video: Video) -> Video:
    """The video with frames to detect in and length, as its file says; unchanged if it does not."""
    if not video.is_file:
        return video
    try:
        facts: VideoFacts = read_facts(place_of(root, video))
    except (FileError, ValueError):
        return video  # its turn comes, with a failure record
    seconds = facts.frames / facts.rate
    frames = facts.frames if fps is None else min(facts.frames, int(seconds * fps) + 1)
    return dataclasses.replace(video, frames=frames, seconds=seconds)


def _are_frames(root: str, images: Sequence[str]) -> bool:
    """Whether images are numbered like frames, and the first one has no date of a photograph."""
    stems = (posixpath.splitext(posixpath.basename(path))[0] for path in images)
    if not all(map(_FRAME.fullmatch, stems)):
        return False
    try:
        return read_clock(Path(root, images[0])) is None
    except ClockError:
        return False


def video_of(
    root: str, path: str, is_file: bool, files: Sequence[str], passed: PassedOver
) -> list[Video]:
    """The video of these files; none if the system does not let them be looked at."""
    digest = hashlib.blake2b(b"" if is_file else os.fsencode(path), digest_size=16)
    try:
        for file in files:
            digest.update(b"%s\0%d %d\n" % (os.fsencode(file), *size_and_date(root, file)))
    except OSError as error:
        passed.add(path or ".", Reason.NOT_LISTED, error.strerror or str(error))
        return []
    name = name_of(path) if path else "."
    return [Video(name, path, is_file, 0 if is_file else len(files), digest.hexdigest())]


def _natural(name: str) -> tuple[list, str]:
    """A key in which numbers count by their value; names that differ have different keys."""
    parts = _NUMBER.split(name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
