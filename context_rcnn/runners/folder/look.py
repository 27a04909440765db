"""Stage 1, look: which images there are, of which camera, taken when.

A file that was seen before and has the same size and date of change is not opened again. One with
another date, as copying to another disk gives it, is opened; if its first and last bytes are those
of before it counts as the same.
"""

import functools
import itertools
from collections import Counter
from pathlib import Path

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.readers.image_folder import walk_images
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.sequences import sequence_ids
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.files import named, nothing_found, see_file
from context_rcnn.runners.engine.progress import Bar
from context_rcnn.runners.folder.table import ImageTable

_CHUNK = 500


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
        table: table of the run.
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
        raise nothing_found(root, "images", notes)
    with table.change():
        table.set_fact("look", str(number))
        notes["gone"] = table.forget_others(number)
    for camera in table.cameras():
        _set_bursts(table, camera.camera, sequence_gap)
    return +notes


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
