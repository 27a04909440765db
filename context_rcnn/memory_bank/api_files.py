"""Whole files to and from the Object Detection API's Context R-CNN; `api_compat` has the examples.

Nothing is passed over in silence: what cannot be used is named in `failures.jsonl` of the folder
that is written, and counted.
"""

import contextlib
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data import input as input_lib
from context_rcnn.data.failures import Failure, Lost, Reason, to_jsonl
from context_rcnn.data.timestamps import ClockError, parse_timestamp
from context_rcnn.memory_bank import api_compat, api_sequences, encoding, maintenance, wire
from context_rcnn.memory_bank.entries import Entries, concatenate
from context_rcnn.memory_bank.features import StorageDtype
from context_rcnn.memory_bank.files import LOCAL
from context_rcnn.memory_bank.manifest import BankInfo, Manifest
from context_rcnn.memory_bank.store import Bank, CameraBank
from context_rcnn.memory_bank.window import WindowOptions, window
from context_rcnn.memory_bank.writer import BankWriter

KINDS = ("embedding", "context")
FAILURES = "failures.jsonl"
IMPORTED = "imported"
_IMPORT, _EXPORT = "import", "export"
_RECORD_FILE = re.compile(r"(.*\.tfrecords?)|(.*-\d+-of-\d+)|(.*\.record)")


def find_files(source: str) -> list[str]:
    """TFRecord files of a folder, or those that patterns match; a ValueError where none are."""
    if os.path.isdir(source):
        names = filter(_RECORD_FILE.fullmatch, sorted(os.listdir(source)))
        found = [os.path.join(source, name) for name in names]
        if not found:
            raise ValueError(f"{source}: no TFRecord file is in it")
        return found
    return input_lib.find_files(source, "--examples")


def export_examples(
    folder: str,
    files: Sequence[str],
    output_dir: str,
    kind: str,
    *,
    options: WindowOptions | None = None,
    max_entries: int = 2000,
    variant: encoding.Variant = "released",
    progress: Callable[[], object] = lambda: None,
) -> Counter:
    """Writes examples files again, under their names, with the memory the old tools look for.

    Args:
        folder: Folder of the bank.
        files: Examples files; their names must differ.
        output_dir: Folder to write to.
        kind: "embedding", each image's own entries, or "context", a copy of its camera's bank.
        options: Window that a copy holds; None for the calendar month, as in the old tool.
        max_entries: Largest number of entries in a copy.
        variant: Variant of the encoding.
        progress: Called after each image.

    Returns:
        Counts of `images`, of `entries` written, of images `without_entries`, of failures by
        reason.
    """
    _check_kind(kind)
    names = [os.path.basename(file) for file in files]
    if len(set(names)) != len(names):
        raise ValueError("two of the examples files have one name; export them one by one")
    if any(
        os.path.realpath(os.path.dirname(f) or ".") == os.path.realpath(output_dir) for f in files
    ):
        raise ValueError(f"{output_dir}: the examples lie there; give another folder")
    bank = Bank.open(folder)
    options = options or WindowOptions("month", calendar=True)
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    for file, name in zip(files, names, strict=True):
        with LOCAL.create(os.path.join(output_dir, name)) as target:
            for example, _ in _examples(file, failures, _EXPORT):
                camera = _camera(bank, example, file, failures)
                if kind == "embedding":
                    example = api_compat.add_embedding(example, camera, variant)
                    added = example.features.feature[api_compat.EMBEDDING_COUNT].int64_list.value[0]
                else:
                    image_id, seconds = _text(example, examples.SOURCE_ID), _seconds(example)
                    seen = window(
                        camera.timeline,
                        seconds,
                        image_id,
                        options,
                        max_entries,
                        camera.features.read,
                    )
                    example = api_compat.add_context(example, camera, seen, variant)
                    added = len(seen)
                target.writelines(wire.frame([example.SerializeToString(deterministic=True)]))
                counts.update(images=1, entries=added, without_entries=not added)
                progress()
    return _finish(output_dir, failures, counts)


def import_examples(
    files: Sequence[str],
    folder: str,
    kind: str | None = None,
    *,
    extractor_hash: str = IMPORTED,
    dtype: StorageDtype = "float16",
    num_shards: int = 16,
    variant: encoding.Variant = "released",
    images_dir: str = "",
    unboxed_are_empty: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> tuple[Manifest, Counter]:
    """Makes a bank of what the old tools keep in examples and sequence examples.

    An image that is there several times, as each is in copies of a bank, is taken once. Entries of
    one file are in memory at a time.

    Args:
        files: Examples files.
        folder: Folder of the bank; an earlier bank is replaced.
        kind: Kind of memory to read, of `KINDS`; None for that of the first example.
        extractor_hash: Hash of the extractor that made the features, to recognise the bank later.
        dtype: Storage dtype.
        num_shards: Files of the bank.
        variant: Variant of the encoding in the examples.
        images_dir: Folder to write the images of sequence examples to, as examples, under the
            names of the files; empty writes none.
        unboxed_are_empty: See `api_sequences.images`.
        progress: Called after each example.

    Returns:
        The manifest; counts of `images` read, of `images_written` and of failures by reason.

    Raises:
        ValueError: If nothing could be imported, or images would be written over each other.
    """
    if kind is not None:
        _check_kind(kind)
    if images_dir and len({os.path.basename(file) for file in files}) != len(files):
        raise ValueError("two of the files have one name; import them one by one")
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    parts = []
    info = None
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as temporary:
        for number, file in enumerate(files):
            collected: dict[str, dict[str, Entries]] = defaultdict(dict)
            with _SequenceImages(images_dir, file, unboxed_are_empty, counts, failures) as images:
                for example, sequence in _examples(file, failures, _IMPORT):
                    kind = kind or _kind_of(example, file)
                    counts["images"] += 1 if sequence is None else api_sequences.count(sequence)
                    progress()
                    images.write(sequence)
                    try:
                        camera, entries = _read(example, sequence, kind, variant)
                        if info is None:
                            origin = f"{IMPORTED} {kind}"
                            info = BankInfo(extractor_hash, origin, entries.depth, dtype)
                        if entries.depth != info.depth:
                            raise ValueError(
                                f"features of length {entries.depth}, before it were {info.depth}"
                            )
                        _collect(collected[camera], entries)
                    except ValueError as error:
                        failures.append(
                            _failure(example, file, _IMPORT, Reason.BAD_FIELD, str(error))
                        )
            if info is not None:
                part = os.path.join(temporary, str(number))
                with BankWriter(part, info, num_shards=1) as writer:
                    for camera in sorted(filter(collected.get, collected)):
                        writer.add(camera, concatenate(list(collected[camera].values())))
                parts.append(part)
        if info is None:
            counts = _finish(folder, failures, counts)
            raise ValueError(
                f"nothing could be imported of {counts['images']} images; "
                f"{os.path.join(folder, FAILURES)} says why"
            )
        maintenance.merge(parts, folder, num_shards)
    counts = _finish(folder, failures, counts)
    return Bank.open(folder).manifest, counts


class _SequenceImages(contextlib.ExitStack):
    """Writes the images of a file's sequence examples to a file of the same name in a folder."""

    def __init__(
        self,
        folder: str,
        file: str,
        unboxed_are_empty: bool,
        counts: Counter,
        failures: list[Failure],
    ):
        super().__init__()
        self._folder, self._file, self._unboxed_are_empty = folder, file, unboxed_are_empty
        self._counts, self._failures = counts, failures
        self._target: BinaryIO | None = None

    def write(self, sequence: tf.train.SequenceExample | None) -> None:
        if sequence is None or not self._folder:
            return
        if self._target is None:
            path = os.path.join(self._folder, os.path.basename(self._file))
            self._target = self.enter_context(LOCAL.create(path))
        for image in api_sequences.images(sequence, self._unboxed_are_empty):
            if isinstance(image, str):
                failure = Failure(_IMPORT, Reason.UNREADABLE, image, file=self._file)
                self._failures.append(failure)
            else:
                self._target.writelines(wire.frame([image]))
                self._counts["images_written"] += 1


def _read(
    example: tf.train.Example,
    sequence: tf.train.SequenceExample | None,
    kind: str,
    variant: encoding.Variant,
) -> tuple[str, Entries]:
    if kind == "embedding":
        camera, entries = api_compat.read_embedding(example, variant)
    else:
        dates = None if sequence is None else api_sequences.dates(sequence)
        camera, entries = api_compat.read_context(example, variant, dates)
    if not camera:
        raise ValueError(f"{examples.LOCATION}: it names no camera")
    return camera, entries


def _collect(images: dict[str, Entries], entries: Entries) -> None:
    """Adds the entries of images that are not there yet."""
    for image_id in dict.fromkeys(entries.image_ids):
        if image_id not in images:
            images[image_id] = entries.take(entries.image_ids == image_id)


def _kind_of(example: tf.train.Example, file: str) -> str:
    found = [
        kind
        for kind, key in zip(KINDS, (api_compat.EMBEDDING, api_compat.CONTEXT), strict=True)
        if key in example.features.feature
    ]
    if len(found) != 1:
        raise ValueError(
            f"{file}: the first example has {' and '.join(found) or 'no embedding, no context'}; "
            "say with --kind what to read"
        )
    return found[0]


def _examples(
    file: str, failures: list[Failure], stage: str
) -> Iterator[tuple[tf.train.Example, tf.train.SequenceExample | None]]:
    """Examples of a file up to the first damaged record, and the sequences that they stand for."""
    number, records = 0, iter(tf.data.TFRecordDataset(file))
    while True:
        try:
            record = next(records, None)
            if record is None:
                return
            sequence = api_sequences.parse(record.numpy())
            if sequence is None:
                example = tf.train.Example.FromString(record.numpy())
            else:
                example = api_sequences.context(sequence)
        except tf.errors.OpError as error:
            detail = f"record {number} and all behind it: {error.message.splitlines()[0][:200]}"
            failures.append(Failure(stage, Reason.UNREADABLE, detail, file=file))
            return
        except Exception as error:  # protobuf's own, which has no public name in all versions
            detail = f"record {number}: not a tf.Example: {error}"
            failures.append(Failure(stage, Reason.BAD_RECORD, detail, file=file))
        else:
            yield example, sequence
        number += 1


def _camera(
    bank: Bank, example: tf.train.Example, file: str, failures: list[Failure]
) -> CameraBank:
    """The camera of an image; one without entries where the bank has none of this name."""
    name = _text(example, examples.LOCATION)
    if name in bank:
        return bank.camera(name)
    detail = f"the bank has no camera {name!r}; written with an empty memory"
    failures.append(_failure(example, file, _EXPORT, Reason.NO_CAMERA, detail, lost="nothing"))
    return CameraBank(name, [], bank.info)


def _failure(
    example: tf.train.Example,
    file: str,
    stage: str,
    reason: Reason,
    detail: str,
    lost: Lost = "image",
) -> Failure:
    image_id, camera = _text(example, examples.SOURCE_ID), _text(example, examples.LOCATION)
    return Failure(stage, reason, detail, file=file, image_id=image_id, camera=camera, lost=lost)


def _finish(folder: str, failures: list[Failure], counts: Counter) -> Counter:
    with LOCAL.create(os.path.join(folder, FAILURES)) as file:
        file.write(to_jsonl(failures).encode())
    counts.update(str(failure.reason) for failure in failures)
    return +counts


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: must be one of {', '.join(KINDS)}")


def _seconds(example: tf.train.Example) -> int | None:
    stated = example.features.feature[examples.UNIX_SECONDS].int64_list.value
    if stated:
        return int(stated[0])
    try:
        return parse_timestamp(_text(example, examples.DATE_CAPTURED))
    except ClockError:
        return None


def _text(example: tf.train.Example, key: str) -> str:
    values = example.features.feature[key].bytes_list.value
    return values[0].decode(errors="replace") if values else ""
