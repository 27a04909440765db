"""Stage 1, look: which images there are, of which camera, taken when.

A file that was seen before and has the same size and date of change is not opened again. One with
another date, as copying to another disk gives it, is opened; if its first and last bytes are those
of before it counts as the same.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.sequences import sequence_ids
from context_rcnn.data.walk import (
    IMAGE_SUFFIXES,
    STAGE,
    VIDEO_SUFFIXES,
    PassedOver,
    walk_images,
)
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.files import SeenImage, name_of, named, nothing_found, see_file
from context_rcnn.runners.engine.progress import Bar
from context_rcnn.runners.folder.table import ImageTable
from context_rcnn.runners.videos.find import Video, video_of

_CHUNK = 500


@dataclasses.dataclass(frozen=True)
class Looked:
    """What a look found besides images.

    Attributes:
        passed: what it passed over.
        gone: number of images that are no longer there since the last look.
        away: number of images that could not be looked at, of which is kept what was known.
        videos: videos among the images.
    """

    passed: PassedOver
    gone: int
    away: int
    videos: list[Video]


def look(
    table: ImageTable,
    root: str,
    namer: CameraNamer,
    clocks: CameraClocks,
    *,
    sequence_gap: int,
    workers: int,
    bar: Bar,
    ours: Iterable[str] = (),
    with_videos: bool = False,
) -> Looked:
    """Brings the table up to date with the folder.

    Args:
        table: table of the run.
        root: folder of the images.
        namer: names the camera of a path. An image that it does not cover has no camera, and so no
            memory.
        clocks: corrections of clocks that were wrong.
        sequence_gap: longest pause within a burst, in seconds.
        workers: threads that open files.
        bar: shows how far this is.
        ours: files in the folder that this package wrote.
        with_videos: list videos, too, instead of passing them over.

    Raises:
        ValueError: If there are no images at all, or none of a camera whose clock is corrected.
            What is known of earlier ones stays then, since mostly a drive is missing.
    """
    passed, kept = PassedOver(ours), []
    videos: list[Video] = []

    def walk() -> Iterator[str]:
        suffixes = IMAGE_SUFFIXES + VIDEO_SUFFIXES if with_videos else IMAGE_SUFFIXES
        for path in walk_images(Path(root), passed, suffixes):
            if path.lower().endswith(IMAGE_SUFFIXES):
                yield path
            else:
                videos.extend(video_of(root, path, True, [path], passed))

    number = int(table.fact("look") or 0) + 1
    with table.change():
        table.set_fact("look", str(number))
    names, images = named(walk()), 0
    while chunk := dict(itertools.islice(names, _CHUNK)):
        known = table.known(list(chunk))
        see = functools.partial(see_file, root, namer, clocks, known)
        seen = list(ahead(see, chunk.items(), workers, most=_CHUNK))
        refused = [image for image in seen if _only_refused(image, known)]
        kept += [image.file for image in refused]
        with table.change():
            table.see((image for image in seen if image not in refused), number)
            table.pass_over([*_named(passed.take()), *map(_kept, refused)], number)
        bar.update(len(chunk))
        images += len(chunk)
    if not images and not videos:
        raise nothing_found(root, "images", passed)
    with table.change():
        table.pass_over(_named(passed.take()), number)
        gone = table.forget_others(number, passed.unlisted, kept)
    passed.unlisted += kept
    clocks.check([facts.camera for facts in table.cameras() if facts.camera])
    for camera in table.cameras():
        _set_bursts(table, camera.camera, sequence_gap)
    return Looked(passed, gone, len(table.away()), videos)


def _only_refused(image: SeenImage, known: dict[str, SeenImage]) -> bool:
    """Whether the file is there and the system does not give it now, but did before."""
    before = known.get(image.file)
    return image.failure == Reason.UNREADABLE and before is not None and not before.failure


def _kept(image: SeenImage) -> Failure:
    detail = f"{image.failure_text}; what was known before is kept"
    names = (image.file, image.file, image.camera)
    return Failure(STAGE, Reason.UNREADABLE, detail, *names, lost="nothing")


def _named(failures: Iterable[Failure]) -> list[Failure]:
    """The same with names that results can hold."""
    return [dataclasses.replace(f, file=name_of(f.file) if f.file else "") for f in failures]


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
