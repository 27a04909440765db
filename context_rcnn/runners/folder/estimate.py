"""What is to be done, and about how long that takes on this machine."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from context_rcnn.runners.engine.given import GivenBoxes
from context_rcnn.runners.engine.model import MemorySettings, Model
from context_rcnn.runners.engine.prepared import prepare_image
from context_rcnn.runners.folder.embeddings import embed
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.folder.table import READABLE, TO_REMEMBER, ImageTable

_WORTH_MEASURING = 100  # images


def tell_work(
    options: FolderOptions,
    model: Model,
    settings: MemorySettings | None,
    table: ImageTable,
    say: Callable[[str], None],
    workers: int,
    given: GivenBoxes | None = None,
) -> None:
    """Says what is to be done, and about how long that takes."""
    images = table.count(READABLE)
    new = table.count(f"{READABLE} AND detections IS NULL")
    to_remember = table.count(TO_REMEMBER) if settings else 0
    if new < images:
        say(
            f"{images - new:,} images were detected before; their results stay if the memory of "
            "their camera stays"
        )
    if max(new, to_remember) < _WORTH_MEASURING and not options.dry_run:
        return
    remembering, detecting = _seconds_an_image(options, model, settings, table, workers, given)
    seconds = remembering * to_remember + detecting * new
    say(
        f"about {tqdm.format_interval(seconds)} (h:mm:ss) for {new:,} images on this machine, at "
        f"{seconds / max(new, 1):.2g} seconds per image"
    )


def _seconds_an_image(
    options: FolderOptions,
    model: Model,
    settings: MemorySettings | None,
    table: ImageTable,
    workers: int,
    given: GivenBoxes | None,
) -> tuple[float, float]:
    """Measured on the first batch that can be read: to remember, and to detect."""
    since = time.perf_counter()
    sample = [
        prepare_image(image, options.root, options.images, given)
        for image in itertools.islice(table.in_time(READABLE), options.batch_size)
    ]
    reading = (time.perf_counter() - since) / max(len(sample), 1) / workers
    encoded = [prepared.row for prepared in sample if prepared.encoded]
    if not encoded:
        return 0.0, 0.0
    encoded = (encoded * options.batch_size)[: options.batch_size]

    def measure(call: Callable[[], object]) -> float:
        call()  # the first one is slower
        since = time.perf_counter()
        call()
        return max((time.perf_counter() - since) / options.batch_size, reading)

    if settings is None:
        return 0.0, measure(lambda: model.detect(encoded))
    memory, cameras = model.description["memory"], max(len(table.cameras()), 1)
    entries = max(1, min(settings.max_entries, table.count() // cameras))
    keys = np.zeros([1, memory["blocks"], entries, memory["depth"]], np.float32)
    valid = np.ones([options.batch_size, entries], bool)
    rows: list[Any] = list(encoded)
    if model.description.get("embedded"):
        rows = [p.embedded for p in embed(model, sample, options.batch_size) if p.embedded]
        if not rows:
            return 0.0, 0.0
        rows = (rows * options.batch_size)[: options.batch_size]
    return (
        measure(lambda: model.extract(encoded)),
        measure(lambda: model.detect_with_projected(rows, keys, keys, valid)),
    )
