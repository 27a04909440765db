"""Stage 3, detect: every image with the memory of its camera.

A camera is done again when its memory has changed, and only then: all its images see it. Batches
are of one camera, always the same images together, so that they share their keys and values.
"""

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank.store import Bank
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.detect import detect_batch
from context_rcnn.runners.engine.given import GivenBoxes
from context_rcnn.runners.engine.memory import CameraMemory
from context_rcnn.runners.engine.model import MemorySettings, Model
from context_rcnn.runners.engine.prepared import Prepared, prepare_image
from context_rcnn.runners.engine.progress import Bar
from context_rcnn.runners.folder.embeddings import Embeddings, embed
from context_rcnn.runners.folder.table import READABLE, ImageTable

NO_MEMORY = "none"
_COMMIT_IMAGES, _COMMIT_SECONDS = 256, 10.0


def memory_of_cameras(table: ImageTable, bank: Bank | None) -> dict[str, str]:
    """What the results of each camera depend on besides the image, as a hash.

    With a memory these are its entries, and which images make a batch; without one, nothing.
    """
    memories = {}
    for facts in table.cameras(READABLE):
        memories[facts.camera] = NO_MEMORY
        if bank is not None and facts.camera in bank:
            known = (
                bank.manifest.cameras[facts.camera].hash,
                table.fingerprint(READABLE, facts.camera),
            )
            memories[facts.camera] = hashlib.blake2b(repr(known).encode()).hexdigest()[:32]
    return memories


def count_undone(table: ImageTable, memories: dict[str, str]) -> int:
    return sum(len(table.undone(camera, memory)) for camera, memory in memories.items())


def detect(
    table: ImageTable,
    model: Model,
    bank: Bank | None,
    settings: MemorySettings | None,
    root: str,
    *,
    memories: dict[str, str],
    images: ImageOptions,
    batch_size: int,
    workers: int,
    bar: Bar,
    given: GivenBoxes | None = None,
    embeddings: Embeddings | None = None,
) -> None:
    """Fills in the detections of all readable images.

    Args:
        table: table of the run.
        model: model to run.
        bank: memory of the model, None for none.
        settings: settings of the memory.
        root: folder of the images.
        memories: the result of `memory_of_cameras`.
        images: rules for the images that are accepted.
        batch_size: images per call of the model.
        workers: threads that read images.
        bar: shows how far this is.
        given: boxes of another detector, for a model that names them.
        embeddings: what was seen of images, which are then not opened again.
    """

    def prepare(image: ImageResult) -> Prepared:
        known = embeddings.prepared(image) if embeddings else None
        return known or prepare_image(image, root, images, given)

    batches, again = itertools.tee(_batches(table, memories, batch_size))
    flat = (image for batch in again for image in batch)
    prepared = ahead(prepare, flat, workers)
    away = table.away()
    memory: CameraMemory | None = None
    owner: str | None = None
    done: list[ImageResult] = []
    damaged: list[tuple[str, FileError | None]] = []
    since = time.monotonic()
    for batch in batches:
        camera = batch[0].camera
        if (
            done
            and owner is not None
            and (
                camera != owner
                or len(done) >= _COMMIT_IMAGES
                or time.monotonic() - since > _COMMIT_SECONDS
            )
        ):
            _commit(table, done, damaged, memories[owner])
            done, damaged, since = [], [], time.monotonic()
        if camera != owner:
            owner, memory = camera, None
            if bank is not None and settings is not None and memories[camera] != NO_MEMORY:
                # Opened for this camera alone: what is mapped for others is given back.
                mapped = Bank(bank.folder, bank.manifest, cache_bytes=0, check=True)
                memory = CameraMemory(model, mapped.camera(camera), settings)
        ready = list(itertools.islice(prepared, len(batch)))
        opened = [p for p in ready if p.embedded is None]
        if embeddings is not None and memory is not None:
            ready = embed(model, ready, batch_size)
            files = {p.image.file for p in opened}
            new = [(p.image.file, p.embedded) for p in ready if p.image.file in files]
            embeddings.add((file, seen) for file, seen in new if seen is not None)
        found = detect_batch(model, memory, ready, batch_size)
        done += [image for image in found if image.file not in away]
        damaged += [(p.image.file, p.damage) for p in opened if p.image.file not in away]
        bar.update(len(batch))
    if done and owner is not None:
        _commit(table, done, damaged, memories[owner])


def _batches(
    table: ImageTable, memories: dict[str, str], batch_size: int
) -> Iterator[list[ImageResult]]:
    """Batches in which an image has no results from the memory that its camera has now."""
    for camera, memory in memories.items():
        undone = table.undone(camera, memory)
        if not undone:
            continue
        images = table.in_time(READABLE, camera)
        while batch := list(itertools.islice(images, batch_size)):
            if any(image.file in undone for image in batch):
                yield batch


def _commit(
    table: ImageTable,
    done: Sequence[ImageResult],
    damaged: Sequence[tuple[str, FileError | None]],
    memory: str,
) -> None:
    with table.change():
        table.set_damaged(damaged)
        table.set_failures((i.failure, i.failure_text, i.file) for i in done if i.failure)
        table.set_detections((i for i in done if not i.failure), memory)
