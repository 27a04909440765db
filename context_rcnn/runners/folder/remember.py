"""Stage 2, remember: every new image through the frozen extractor, into the memory bank.

    bank/     the bank of all cameras
    parts/    what is not in it yet, some hundred images each, small banks of their own

A part is written when some hundred images are done or a minute has passed, so a killed run loses
little. When no image is left the parts go into the bank; entries of images that are no longer in
the folder, or are no longer what they were, go out of it.
"""

import collections
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Sequence

import numpy as np

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.export.exported import EmbeddedImage
from context_rcnn.memory_bank import writer
from context_rcnn.memory_bank.curation import FrameOptions
from context_rcnn.memory_bank.entries import Entries, concatenate
from context_rcnn.memory_bank.manifest import (
    FILE_NAME,
    BankInfo,
    Manifest,
    read_manifest,
    shard_name,
    shard_of,
)
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.writer import BankWriter, ShardWriter
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.extract import entries_of
from context_rcnn.runners.engine.given import GivenBoxes
from context_rcnn.runners.engine.model import Model, Outputs, run
from context_rcnn.runners.engine.prepared import Prepared, prepare_image
from context_rcnn.runners.engine.progress import Bar
from context_rcnn.runners.folder.embeddings import Embeddings
from context_rcnn.runners.folder.table import REMEMBERED, TO_REMEMBER, ImageTable

BANK, PARTS = "bank", "parts"
NUM_SHARDS = 16
_IN_BANK = 0
_PART_IMAGES, _PART_SECONDS = 512, 60.0


def remember(
    table: ImageTable,
    model: Model,
    info: BankInfo,
    root: str,
    folder: str,
    *,
    frames: FrameOptions,
    images: ImageOptions,
    batch_size: int,
    workers: int,
    bar: Bar,
    given: GivenBoxes | None = None,
    embeddings: Embeddings | None = None,
) -> Bank:
    """Brings the bank up to date with the table, and opens it.

    Args:
        table: table of the run.
        model: model with the extractor.
        info: facts about the bank.
        root: folder of the images.
        folder: folder of the bank and its parts.
        frames: rules for the boxes of an image that are stored.
        images: rules for the images that are accepted.
        batch_size: images per call of the model.
        workers: threads that read images.
        bar: shows how far this is.
        given: boxes of another detector, for a model that names them.
        embeddings: gets all that the extractor sees, if anybody needs it again.
    """
    bank = os.path.join(folder, BANK)
    writer.recover(bank)
    if not os.path.exists(os.path.join(bank, FILE_NAME)) and table.fact("bank"):
        with table.change():  # somebody removed it
            table.set_fact("bank", "")
            table.forget_remembered()
            table.forget_parts()
    _remove_leftovers(table, folder)
    todo = ahead(
        lambda i: prepare_image(i, root, images, given), table.in_time(TO_REMEMBER), workers
    )
    for done in _parts(model, todo, batch_size, bar):
        if embeddings is not None:
            seen = ((p.image.file, out) for p, out in done if not isinstance(out, FileError))
            embeddings.add((file, EmbeddedImage.of(out)) for file, out in seen)
        _write_part(table, info, folder, done, frames)
    if table.parts() or table.fact("bank") != table.fingerprint(REMEMBERED):
        _write_bank(table, info, folder)
    _remove_leftovers(table, folder)
    return Bank.open(bank, info.extractor_hash, cache_bytes=0)


def _parts(
    model: Model, todo: Iterator[Prepared], batch_size: int, bar: Bar
) -> Iterator[list[tuple[Prepared, Outputs | FileError]]]:
    """Images with what the extractor gives, in lists worth writing."""
    done: list[tuple[Prepared, Outputs | FileError]] = []
    since = time.monotonic()
    while batch := list(itertools.islice(todo, batch_size)):
        usable = [p for p in batch if p.encoded]
        outputs = run(model.extract, [p.row for p in usable], batch_size) if usable else []
        done += [(p, p.problem) for p in batch if p.problem]
        done += list(zip(usable, outputs, strict=True))
        bar.update(len(batch))
        if len(done) >= _PART_IMAGES or time.monotonic() - since > _PART_SECONDS:
            yield done
            done, since = [], time.monotonic()
    if done:
        yield done


def _write_part(
    table: ImageTable,
    info: BankInfo,
    folder: str,
    done: Sequence[tuple[Prepared, Outputs | FileError]],
    frames: FrameOptions,
) -> None:
    """Writes the entries of some images, and then notes that these are done."""
    cameras = collections.defaultdict(list)
    for prepared, found in done:
        if isinstance(found, FileError):
            continue
        image = prepared.image
        entries, _ = entries_of(image.image_id, image.seconds, found, frames, info.dtype)
        if entries is not None:
            cameras[image.camera].append(entries)
    number = int(table.fact("last_part") or 0) + 1
    with BankWriter(_part_folder(folder, number), info, num_shards=1) as part:
        for camera in sorted(cameras):
            part.add(camera, concatenate(cameras[camera]))
    failed = [(p.image, error) for p, error in done if isinstance(error, FileError)]
    usable = [p.image for p, found in done if not isinstance(found, FileError)]
    with table.change():
        table.add_part(number)
        table.set_damaged((p.image.file, p.damage) for p, _ in done)
        table.set_failures((str(e.reason), e.detail, image.file) for image, e in failed)
        table.set_remembered(number, ((i.width, i.height, i.file) for i in usable))


def _write_bank(table: ImageTable, info: BankInfo, folder: str) -> None:
    """Makes a bank of the images that are there now, out of the earlier bank and the parts.

    Of an image that has changed there may be entries in several; the table knows the latest, and
    when an image was taken, which a corrected clock changes.
    """
    bank = os.path.join(folder, BANK)
    os.makedirs(bank, exist_ok=True)
    sources = {number: _part_folder(folder, number) for number in table.parts()}
    if table.fact("bank"):
        sources[_IN_BANK] = bank
    holding = collections.defaultdict(list)
    for number, source in sources.items():
        for camera in read_manifest(source).cameras:
            holding[camera].append(number)
    in_bank = int(table.fact("bank_part") or 0)
    cameras = [facts.camera for facts in table.cameras(REMEMBERED)]
    sizes, infos = [], {}
    for shard in range(NUM_SHARDS):
        with writer.staged(bank, shard_name(shard, NUM_SHARDS)) as file:
            shard_writer = ShardWriter(file, info, shard)
            for camera in cameras:
                if shard_of(camera, NUM_SHARDS) != shard:
                    continue
                holder, times = {}, {}
                for name, number, seconds in table.remembered(camera):
                    holder[name] = _IN_BANK if number <= in_bank else number
                    times[name] = seconds
                kept = [
                    found.take(np.array([holder.get(i) == n for i in found.image_ids], bool))
                    for n in holding[camera]
                    for found in [_read(sources[n], info, camera)]
                ]
                if sum(map(len, kept)):
                    entries = concatenate(kept).dated_by(times)
                    infos[camera] = shard_writer.add(camera, entries, {})
            sizes.append(shard_writer.bytes)
    writer.commit(bank, Manifest(info, tuple(sizes), dict(sorted(infos.items()))))
    with table.change():
        table.set_fact("bank", table.fingerprint(REMEMBERED))
        table.set_fact("bank_part", table.fact("last_part") or "0")
        table.forget_parts()


def _read(bank: str, info: BankInfo, camera: str) -> Entries:
    return Bank.open(bank, info.extractor_hash).camera(camera).stored()


def _remove_leftovers(table: ImageTable, folder: str) -> None:
    """Removes parts that are in the bank, and what a killed run did not finish."""
    parts = os.path.join(folder, PARTS)
    known = {os.path.basename(_part_folder(folder, number)) for number in table.parts()}
    for name in os.listdir(parts) if os.path.isdir(parts) else ():
        if name not in known:
            shutil.rmtree(os.path.join(parts, name), ignore_errors=True)


def _part_folder(folder: str, number: int) -> str:
    return os.path.join(folder, PARTS, f"{number:06d}")
