"""A walk through a folder that names everything it passes over."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from context_rcnn.data.failures import Failure, Reason

STAGE = "folder"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".asf", ".flv"),
    *(".3gp", ".mts", ".m2ts", ".ogv", ".gif"),
)
OWN_FOLDER = ".context-rcnn"
"""A file that says: this folder was written by us, and what lies below are no photographs."""

_RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw")
_NEWER = (".heic", ".heif", ".avif")
_OTHER_PICTURES = (".jxl", ".jp2", ".psd")
# What systems keep on every card and disk, mostly locked.
_SYSTEM = {"system volume information", "$recycle.bin", "lost+found", "@eadir", "#recycle"}


class PassedOver:
    """What a walk does not yield, and why.

    Args:
        ours: files that this package wrote; they are passed over without a word.

    Attributes:
        found: a failure for each file and folder, in the order of the walk; `take` empties it.
        counts: numbers by reason.
        suffixes: numbers of other files by their suffix.
        unlisted: folders that could not be listed, relative to the root.
    """

    def __init__(self, ours: Iterable[str | Path] = ()):
        self.found: list[Failure] = []
        self.counts: Counter[Reason] = Counter()
        self.suffixes: Counter[str] = Counter()
        self.unlisted: list[str] = []
        self._ours = {_same(path) for path in ours}

    def is_ours(self, path: str) -> bool:
        return bool(self._ours) and _same(path) in self._ours

    def add(self, path: str, reason: Reason, detail: str) -> None:
        lost = "folder" if reason == Reason.NOT_LISTED else "nothing"
        self.found.append(Failure(STAGE, reason, detail, file=path, lost=lost))
        self.counts[reason] += 1
        if reason == Reason.NOT_LISTED:
            self.unlisted.append(path)

    def add_other(self, path: str, taken: Collection[str]) -> None:
        """A file with another suffix than those that are taken."""
        suffix = os.path.splitext(path)[1].lower()
        self.suffixes[suffix] += 1
        self.add(path, Reason.OTHER_FILE, what_is(suffix, taken))

    def take(self) -> list[Failure]:
        """What was found since the last call."""
        found, self.found = self.found, []
        return found


def walk_images(
    root: Path, passed: PassedOver, suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> Iterator[str]:
    """Relative paths of images folder by folder, without holding the names of all.

    Args:
        root: folder to walk through.
        passed: takes what is passed over.
        suffixes: suffixes of the files that are yielded.
    """

    def unlisted(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename)).relative_to(root).as_posix()
        passed.add(path, Reason.NOT_LISTED, error.strerror or str(error))

    for folder, subfolders, files in os.walk(root, onerror=unlisted):
        if OWN_FOLDER in files:
            subfolders.clear()
            continue
        relative = Path(folder).relative_to(root)
        subfolders[:] = sorted(_entered(folder, relative, subfolders, passed))
        for name in files:
            path = (relative / name).as_posix()
            if passed.is_ours(os.path.join(folder, name)):
                continue
            if name.startswith("."):
                passed.add(path, Reason.HIDDEN, "a hidden file")
            elif not name.lower().endswith(suffixes):
                passed.add_other(path, suffixes)
            else:
                yield path


def _entered(
    folder: str, relative: Path, subfolders: list[str], passed: PassedOver
) -> Iterator[str]:
    for name in sorted(subfolders):
        path = (relative / name).as_posix()
        if name.startswith(".") or name.lower() in _SYSTEM:
            passed.add(path, Reason.HIDDEN, "a hidden folder, or one of the system")
        elif os.path.islink(os.path.join(folder, name)):
            passed.add(path, Reason.LINKED_FOLDER, "links to folders are not followed")
        else:
            yield name


def what_is(suffix: str, taken: Collection[str] = IMAGE_SUFFIXES) -> str:
    """What a file with this suffix is, and what to do to have it detected in.

    Args:
        suffix: suffix in small letters.
        taken: suffixes of the files that are taken.
    """
    if suffix in VIDEO_SUFFIXES:
        return "a video: see context-rcnn videos"
    if suffix in IMAGE_SUFFIXES:
        return "a photograph: see context-rcnn detect"
    if suffix in _RAW or suffix in _OTHER_PICTURES:
        return "a photograph that cannot be read: export it as JPEG"
    if suffix in _NEWER:
        return "a photograph that needs another package: export it as JPEG"
    return f"no file with {suffix} is read" if suffix else "a file without a suffix"


def _same(path: str | Path) -> str:
    """Names that a system takes for the same become the same."""
    return os.path.normcase(os.path.abspath(path))
