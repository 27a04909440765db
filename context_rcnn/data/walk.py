"""A walk through a folder that names everything it passes over."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.images import IMAGE_SUFFIXES

STAGE = "folder"
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".asf", ".flv"),
    *(".3gp", ".mts", ".m2ts", ".ogv", ".gif"),
)
OWN_FOLDER = ".context-rcnn"
"""A file that says: this folder was written by us, and what lies below are no photographs."""

_HEIC = (".heic", ".heif")
_UNREAD = (
    *(".avif", ".jxl", ".jp2", ".psd"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"),
)
# What systems keep on every card and disk, mostly locked.
_SYSTEM = {"system volume information", "$recycle.bin", "lost+found", "@eadir", "#recycle"}
_OTHER_WORDS = {
    Reason.HIDDEN: ("hidden file or folder", "hidden files or folders"),
    Reason.LINKED_FOLDER: ("link to a folder", "links to folders, which are not followed"),
}


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
        lost: Lost = "folder" if reason == Reason.NOT_LISTED else "nothing"
        self.found.append(Failure(STAGE, reason, detail, file=path, lost=lost))
        self.counts[reason] += 1
        if reason == Reason.NOT_LISTED:
            self.unlisted.append(path)

    def add_other(self, path: str, taken: Collection[str]) -> None:
        """A file with another suffix than those that are taken."""
        suffix = os.path.splitext(path)[1].lower()
        self.suffixes[suffix] += 1
        self.add(path, Reason.OTHER_FILE, what_are(suffix, taken) or "no photograph or video")

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


def what_are(suffix: str, taken: Collection[str]) -> str:
    """What files with this suffix are, and what to do with them; "" for no pictures.

    Args:
        suffix: suffix in small letters.
        taken: suffixes of the files that a walk yields.
    """
    if suffix in VIDEO_SUFFIXES and suffix not in taken:
        return "videos, for context-rcnn videos"
    if suffix in IMAGE_SUFFIXES and suffix not in taken:
        return "photographs, for context-rcnn detect"
    if suffix in _HEIC and suffix not in taken:
        return 'photographs that need pip install "context-rcnn[heic]"'
    if suffix in _UNREAD and suffix not in taken:
        return "photographs that cannot be read; export them as JPEG"
    return ""


def in_words(passed: PassedOver, taken: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """What was passed over, a line for each kind, with advice; empty if that was nothing."""
    kinds: dict[str, list[str]] = {}
    for suffix, count in sorted(passed.suffixes.items()):
        kinds.setdefault(what_are(suffix, taken), []).append(
            f"{count:,} {suffix or 'without a suffix'}"
        )
    others = kinds.pop("", None)
    lines = [f"{', '.join(counts)}: {what}" for what, counts in sorted(kinds.items())]
    lines += [f"{', '.join(others)}: no photographs"] if others else []
    for reason, (one, many) in _OTHER_WORDS.items():
        if count := passed.counts[reason]:
            lines.append(f"{count:,} {one if count == 1 else many}")
    return lines


def _same(path: str | Path) -> str:
    """Names that a system takes for the same become the same."""
    return os.path.normcase(os.path.abspath(path))
