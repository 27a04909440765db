"""A folder through all stages, and what is said to the user on the way.

OUTPUT.state/images.sqlite   `table`: what is known of every image
OUTPUT.state/bank            the memory of the cameras, a memory bank as any other
OUTPUT.state/journal.jsonl   the results as a journal, from which all formats are written
OUTPUT.state/failures.jsonl  everything that could not be used
OUTPUT.state/embeddings.sqlite  `embeddings`: what a network has seen in given boxes
OUTPUT.state/explained.jsonl `explain`: what the memory did to some images
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.walk import IMAGE_SUFFIXES, VIDEO_SUFFIXES, in_words
from context_rcnn.memory_bank.curation import FrameOptions
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.store import Bank
from context_rcnn.results.atomic import Transaction
from context_rcnn.results.camtrap_dp import require
from context_rcnn.results.order import CameraSpan
from context_rcnn.results.records import ImageResult
from context_rcnn.results.write import Summary, classes_of
from context_rcnn.runners.engine.detect import check_model
from context_rcnn.runners.engine.files import not_listed
from context_rcnn.runners.engine.given import GivenBoxes, check_takes_boxes
from context_rcnn.runners.engine.model import (
    MemorySettings,
    Model,
    check_takes_images,
    header_of,
)
from context_rcnn.runners.engine.outputs import (
    check_writable,
    files_of,
    refuse_strangers,
    write_all,
)
from context_rcnn.runners.engine.progress import bar as stage
from context_rcnn.runners.engine.state import FAILURES, JOURNAL, begin_state, check_state
from context_rcnn.runners.engine.words import on_package, on_results
from context_rcnn.runners.folder import embeddings as embedding
from context_rcnn.runners.folder import explain as explaining
from context_rcnn.runners.folder import repeats, review, words
from context_rcnn.runners.folder.clips import (
    CLIPS,
    cameras_of,
    detect_clips,
    find_clips,
    results_of,
)
from context_rcnn.runners.folder.detect import count_undone, detect, memory_of_cameras
from context_rcnn.runners.folder.embeddings import Embeddings
from context_rcnn.runners.folder.estimate import tell_work
from context_rcnn.runners.folder.look import Looked, look
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.folder.remember import remember
from context_rcnn.runners.folder.table import TO_REMEMBER, ImageTable
from context_rcnn.runners.videos.run import STAGE as VIDEO_STAGE

TABLE = "images.sqlite"


def detect_folder(
    options: FolderOptions, model: Model, *, say: Callable[[str], None] = print, created: str = ""
) -> Summary | None:
    """Detects in all images of a folder, going on where an earlier run was stopped.

    Args:
        options: options of the run.
        model: an exported model.
        say: function that gets the messages.
        created: when the results were made, as the first run of a state keeps it; by default now.

    Returns:
        Counts of what was written; None for a dry run.

    Raises:
        ValueError: For what cannot be done, before anything that takes long.
    """
    check_takes_boxes(model, bool(options.detections))
    given = GivenBoxes(options.detections) if options.detections else None
    if options.memory:
        check_takes_images(model, "; --no_memory detects in single images")
    settings = MemorySettings.of(model) if options.memory and model.has_memory else None
    remembered = {"top_k": _top_k(options, model)} if settings else {}
    about = {"images": dataclasses.asdict(options.images), **remembered}
    about |= {"detections": given.hash} if given else {}
    header = header_of(model, about, memory=settings is not None, created=created)
    classes_of(header.label_map, options.results)
    namer = CameraNamer(options.camera_regex, options.camera_csv, Path(options.root).resolve().name)
    clocks = CameraClocks(options.clock_shifts, options.clock_csv)
    try:
        with _state(options) as state, ImageTable(state / TABLE, header) as table:
            replace = options.overwrite or options.restart
            refuse_strangers(options.outputs, table.outputs(), replace)
            if not options.dry_run:
                check_writable(options.outputs)
            return _run(options, model, settings, namer, clocks, table, given, say)
    except sqlite3.Error as error:
        raise ValueError(
            f"{Path(options.state_dir) / TABLE}: {error}; if this is a network drive, choose a "
            "--state_dir on a disk of this computer"
        ) from error


@contextlib.contextmanager
def _state(options: FolderOptions) -> Iterator[Path]:
    """The folder of the state; for a dry run a copy of its table, which is then thrown away."""
    kind = "a run with images"
    if not options.dry_run:
        yield begin_state(options.state_dir, kind, TABLE, restart=options.restart)
        return
    state = check_state(options.state_dir, kind, TABLE)
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as folder:
        for path in () if options.restart else state.glob(f"{TABLE}*"):  # with what a kill left
            shutil.copyfile(path, Path(folder) / path.name)
        yield Path(folder)


def _run(
    options: FolderOptions,
    model: Model,
    settings: MemorySettings | None,
    namer: CameraNamer,
    clocks: CameraClocks,
    table: ImageTable,
    given: GivenBoxes | None,
    say: Callable[[str], None],
) -> Summary | None:
    workers = options.workers or os.cpu_count() or 1
    looked, locked = _look(options, namer, clocks, table, given, workers, say)
    clips = None
    if looked.videos or options.videos and (Path(options.state_dir) / CLIPS).exists():
        created, state = table.header.created, Path(options.state_dir)
        clips = find_clips(options, model, looked.videos, state, created, say)
    _check_camtrap(options, table, cameras_of(clips, namer) if clips else ())
    check_model(model, settings, options.batch_size)
    tell_work(options, model, settings, table, say, workers, given)
    if options.dry_run:
        say("This was a dry run. Run the command without --dry_run to detect in the images.")
        return None

    shared: dict[str, Any] = {
        "images": options.images,
        "batch_size": options.batch_size,
        "workers": workers,
        "given": given,
    }
    bank = None
    with _embeddings(options, model, settings, table) as embeddings:
        shared["embeddings"] = embeddings
        if settings is not None:
            with stage("2/4 Remember", table.count(TO_REMEMBER)) as bar:
                bank = remember(
                    table,
                    model,
                    BankInfo(model.extractor_hash, settings.source, settings.depth),
                    options.root,
                    options.state_dir,
                    frames=FrameOptions(_top_k(options, model)),
                    bar=bar,
                    **shared,
                )
        memories = memory_of_cameras(table, bank)
        with stage("3/4 Detect", count_undone(table, memories)) as bar:
            detect(table, model, bank, settings, options.root, memories=memories, bar=bar, **shared)
        journals = detect_clips(clips, model, looked.passed.unlisted) if clips else []
        places, verdicts = _judge_places(options, model, table)
        # Afterwards: of a run that goes on, some detections may be put aside already.
        _explain(options, model, bank, settings, table, given, embeddings)
    summary = _write(options, table, results_of(journals, namer), given)
    if options.rde == "review":
        new = [p for p, verdict in zip(places, verdicts, strict=True) if verdict == words.NEW]
        review.show(new, options.review_dir, options.root, model.class_names, options.images)
    say(on_results(summary, options.results.typical_threshold, files_of(options.outputs)))
    if summary.failures:
        say(f"{os.path.join(options.state_dir, FAILURES)} names everything that could not be used")
    if options.rde != "off":
        say(words.on_places(options, verdicts))
    if locked:
        say(locked)
    for line in on_package(summary):
        say(line)
    return dataclasses.replace(summary, unlisted=len(looked.passed.unlisted))


def _look(
    options: FolderOptions,
    namer: CameraNamer,
    clocks: CameraClocks,
    table: ImageTable,
    given: GivenBoxes | None,
    workers: int,
    say: Callable[[str], None],
) -> tuple[Looked, str]:
    """Looks at the folder, and says what is in it; also returns what could not be listed."""
    with stage("1/4 Look") as bar:
        looked = look(
            table,
            options.root,
            namer,
            clocks,
            sequence_gap=options.sequence_gap,
            workers=workers,
            bar=bar,
            ours=[*files_of(options.outputs), *table.outputs(), options.repeats_table],
            with_videos=options.videos,
        )
    say(words.on_cameras(table, options.root))
    for line in clocks.in_words():
        say(line)
    taken = IMAGE_SUFFIXES + VIDEO_SUFFIXES * options.videos
    for line in in_words(looked.passed, taken):
        say(f"passed over: {line}")
    if looked.gone:
        say(f"{looked.gone:,} images of the last run are no longer there, and leave the results")
    locked = not_listed(looked.passed, looked.away, "images")
    if locked:
        say(locked)
    if given and (unnamed := given.unnamed(image.file for image in table.in_name_order())):
        say(unnamed)
    return looked, locked


@contextlib.contextmanager
def _embeddings(
    options: FolderOptions, model: Model, settings: MemorySettings | None, table: ImageTable
) -> Iterator[Embeddings | None]:
    """What was seen of the images, for a model that answers from that."""
    if settings is None or not model.description.get("embedded"):
        yield None
        return
    path = Path(options.state_dir) / embedding.FILE
    with Embeddings(path, settings.depth) as embeddings:
        embeddings.keep(image.file for image in table.in_name_order())
        yield embeddings


def _explain(
    options: FolderOptions,
    model: Model,
    bank: Bank | None,
    settings: MemorySettings | None,
    table: ImageTable,
    given: GivenBoxes | None,
    embeddings: Embeddings | None,
) -> None:
    path = Path(options.state_dir) / explaining.FILE
    mute = given is not None and embeddings is None
    if bank is None or settings is None or not options.explain or mute:
        path.unlink(missing_ok=True)  # it would tell of an earlier run
        return
    threshold = options.results.typical_threshold
    chosen = explaining.choose(table, bank, threshold, options.explain)
    with Transaction() as files, stage("Explain", len(chosen)) as bar:
        file = files.open(path)
        for line in explaining.explain(
            chosen,
            model,
            bank,
            settings,
            options.root,
            images=options.images,
            batch_size=options.batch_size,
            threshold=threshold,
            bar=bar,
            given=given,
            embeddings=embeddings,
        ):
            file.write(line + "\n")


def _top_k(options: FolderOptions, model: Model) -> int:
    wanted = options.top_k or model.description["memory"].get("top_k") or 1
    most = model.description["extractor"]["max_boxes"]
    if wanted > most:
        raise ValueError(
            f"top_k {wanted}: the extractor of this model returns at most {most} boxes of an image"
        )
    return wanted


def _check_camtrap(
    options: FolderOptions, table: ImageTable, cameras_of_videos: Iterable[str]
) -> None:
    """Finds out now, not after hours, whether what Camtrap DP requires is there."""
    if options.outputs.camtrap_dp:
        spans = {camera: CameraSpan() for camera in cameras_of_videos}
        spans |= {f.camera: CameraSpan(f.images, f.first, f.last) for f in table.cameras()}
        require(options.results.camtrap, spans, lambda name, where: None)


def _judge_places(
    options: FolderOptions, model: Model, table: ImageTable
) -> tuple[list[repeats.Place], list[str]]:
    """Finds suspicious places, makes suspects of what is background, and writes the table."""

    def judge(places: list[repeats.Place]) -> list[str]:
        if options.rde == "review":
            iou = options.repeats.iou
            return review.judge(places, options.review_dir, model.class_names, iou)
        return [words.BACKGROUND if options.rde == "auto" else words.NOT_ASKED] * len(places)

    if options.rde == "off":
        with table.change():
            table.clear_suspects()
        return [], []
    places, verdicts = repeats.judge_places(table, options.repeats, judge)
    repeats.write_table(options.repeats_table, places, verdicts, model.class_names)
    return places, verdicts


def _write(
    options: FolderOptions,
    table: ImageTable,
    frames: Iterable[ImageResult],
    given: GivenBoxes | None,
) -> Summary:
    """Writes the journal, and from it all results."""
    failures = []
    journal = Path(options.state_dir) / JOURNAL
    with Transaction() as files:
        file = files.open(journal)
        file.write(table.header.to_json() + "\n")
        with stage("4/4 Write", table.count()) as bar:
            for image in table.in_name_order():
                file.write(image.to_json() + "\n")
                bar.update(1)
            for frame in frames:
                file.write(frame.to_json() + "\n")
                if frame.failure:
                    names = (frame.file, frame.image_id, frame.camera)
                    reason = Reason(frame.failure)
                    failures.append(Failure(VIDEO_STAGE, reason, frame.failure_text, *names))
                bar.update(1)
    known = itertools.chain(table.failures(), failures, given.failures if given else ())
    return write_all(journal, options.outputs, options.results, known, table.add_outputs)
