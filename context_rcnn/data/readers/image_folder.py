"""Reader of bare folders of camera-trap images: no labels, cameras by folder, time by EXIF."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import read_clock
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.records import Archive, ImageRecord
from context_rcnn.data.timestamps import ClockError

STAGE = "image_folder"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
OWN_FOLDER = ".context-rcnn"
"""A file that says: this folder was written by us, and what lies below are no photographs."""


def read_image_folder(root: str | Path, camera_namer: CameraNamer | None = None) -> Archive:
    """All images below a folder, in the order of their paths.

    The path relative to `root` is the image id. Files that are no images, hidden files and links
    to folders are counted in `notes`, not reported one by one.

    Raises:
        ValueError: If `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    camera_namer = camera_namer or CameraNamer(root_camera=root.resolve().name)
    notes: Counter = Counter()
    records, failures = [], []
    file_names = list_images(root, notes)
    for file_name in file_names:
        names: dict[str, Any] = {"file": file_name, "image_id": file_name}
        camera = camera_namer(file_name)
        if camera is None:
            failures.append(
                Failure(STAGE, Reason.NO_CAMERA, "no camera rule covers this path", **names)
            )
            continue
        seconds = None
        try:
            seconds = read_clock(resolve_inside(root, file_name))
        except FileError as error:
            failures.append(Failure(STAGE, error.reason, error.detail, camera=camera, **names))
            continue
        except ClockError as error:
            detail = f"EXIF date: {error}"
            failures.append(
                Failure(STAGE, error.reason, detail, camera=camera, lost="date", **names)
            )
        records.append(
            ImageRecord(image_id=file_name, file_name=file_name, camera=camera, seconds=seconds)
        )
    return Archive(records, failures, (), images_listed=len(file_names), notes=notes)


def list_images(root: Path, notes: Counter) -> list[str]:
    """Relative paths of the image files below `root`, sorted; what is passed over is counted."""
    found = sorted(walk_images(root, notes))
    for name in [name for name, count in notes.items() if not count]:
        del notes[name]
    return found


def walk_images(
    root: Path, notes: Counter, suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> Iterator[str]:
    """The same folder by folder, without holding the names of all; or files of other suffixes."""

    def unreadable(_: OSError) -> None:
        notes["unreadable_folders"] += 1

    for folder, subfolders, files in os.walk(root, onerror=unreadable):
        if OWN_FOLDER in files:
            subfolders.clear()
            notes["own_folders_ignored"] += 1
            continue
        hidden = [name for name in subfolders if name.startswith(".")]
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        notes["hidden_folders_ignored"] += len(hidden)
        notes["linked_folders_ignored"] += len(set(links) - set(hidden))
        subfolders[:] = sorted(set(subfolders) - set(hidden) - set(links))
        relative = Path(folder).relative_to(root)
        for name in files:
            if name.startswith("."):
                notes["hidden_files_ignored"] += 1
            elif not name.lower().endswith(suffixes):
                notes["other_files_ignored"] += 1
            else:
                yield (relative / name).as_posix()
