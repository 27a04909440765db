"""Images sorted into a folder for each class, as links or copies; the originals stay.

TARGET/CLASS/PATH    an image, below the class of its best detection that counts, `empty` without
                     one, and `failed` where it could not be used
"""

import contextlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.walk import OWN_FOLDER
from context_rcnn.results.records import ImageResult

How = Literal["link", "copy"]
HOW: tuple[How, ...] = get_args(How)
STAGE = "sort"
EMPTY, FAILED = "empty", "failed"
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]+|^[.\s]+|[.\s]+$')


def sort_images(
    images: Iterable[ImageResult],
    root: str | Path,
    target: str | Path,
    class_names: Mapping[int, str],
    *,
    how: How,
    threshold: float,
    report: Callable[[Failure], None],
) -> Counter[str]:
    """Links or copies images; returns how many are in each folder. What is there already stays.

    Args:
        images: images of the results; frames of videos are passed over.
        root: folder that their names start from.
        target: folder to write, new or of an earlier call.
        class_names: names of the classes.
        how: link (hard links, which need no space; copies where the disk has none) or copy.
        threshold: lowest score of a detection that counts.
        report: gets every image that cannot be sorted.

    Raises:
        ValueError: If the folder holds something else.
    """
    target = Path(target)
    if target.is_dir() and any(target.iterdir()) and not (target / OWN_FOLDER).exists():
        raise ValueError(f"{target} holds something else: choose a new folder to sort into")
    target.mkdir(parents=True, exist_ok=True)
    (target / OWN_FOLDER).touch()  # so that its images are never taken for photographs
    counts: Counter[str] = Counter()
    for image in images:
        if image.frame_rate is not None:
            continue
        folder = _folder_of(image, class_names, threshold)
        try:
            _place(resolve_inside(root, image.file), target / folder / image.file, how)
        except FileError as error:
            report(Failure(STAGE, error.reason, error.detail, image.file, lost="nothing"))
        except OSError as error:
            detail = error.strerror or str(error)
            report(Failure(STAGE, Reason.UNREADABLE, detail, image.file, lost="nothing"))
        else:
            counts[folder] += 1
    return counts


def _folder_of(image: ImageResult, class_names: Mapping[int, str], threshold: float) -> str:
    if image.failure:
        return FAILED
    counting = [found for found in image.detections if found.score >= threshold]
    if not counting:
        return EMPTY
    best = max(counting, key=lambda found: found.score)
    return _UNSAFE.sub("_", class_names[best.class_id]) or "_"


def _place(source: Path, target: Path, how: How) -> None:
    if target.exists():
        return
    if not source.is_file():
        raise FileError(Reason.MISSING_FILE, "no such file")
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(source, target)
            return
    unfinished = target.with_name(f"{target.name}.partial")
    shutil.copy2(source, unfinished)
    os.replace(unfinished, target)
