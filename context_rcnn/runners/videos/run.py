"""A folder of videos through all stages, and what is said to the user on the way.

OUTPUT.state/videos          `state`: a journal for each video that is through
OUTPUT.state/journal.jsonl   all of them as one, from which all formats are written
OUTPUT.state/failures.jsonl  everything that could not be used
"""

import dataclasses
import functools
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from PIL import Image
from tqdm import tqdm

from context_rcnn.data.failures import Failure, Reason
from context_rcnn.results.classes import Classes
from context_rcnn.results.journal import Journal
from context_rcnn.results.records import NO_RATE, read_result
from context_rcnn.results.write import Summary, write_results
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.model import header_of
from context_rcnn.runners.engine.video_file import encode
from context_rcnn.runners.folder.estimate import check_model
from context_rcnn.runners.videos.find import Video, find_videos, measure
from context_rcnn.runners.videos.frames import OpenVideo, open_video
from context_rcnn.runners.videos.options import VideoOptions
from context_rcnn.runners.videos.rows import (
    VideoModel,
    check_video_model,
    detect_images,
    detect_videos,
)
from context_rcnn.runners.videos.state import VideoJournals, VideoState

JOURNAL, FAILURES = "journal.jsonl", "failures.jsonl"
STAGE = "videos"
_MOST_VIDEOS = 60  # that are printed, unless they are asked for
_OPENED = 2  # videos that wait for their turn
_PLAIN_SECONDS = 30.0  # between two lines of progress where there is no terminal
_EXPECTED = ("own_folders_ignored",)  # nothing to tell


def detect_folder_of_videos(
    options: VideoOptions,
    model: VideoModel,
    *,
    say: Callable[[str], None] = print,
    created: str = "",
) -> Summary | None:
    """Detects in all videos of a folder, going on where an earlier run was stopped.

    Args:
        options: what and how.
        model: an exported model.
        say: takes what there is to say.
        created: when the results were made, as the first run of a state keeps it; by default now.

    Returns:
        Counts of what was written, in frames; None for a dry run.

    Raises:
        ValueError: For what cannot be done, before anything that takes long.
    """
    about = {"images": dataclasses.asdict(options.images), "videos": {"fps": options.fps}}
    header = header_of(model, about, memory=False, created=created)
    Classes(header.label_map, options.results.kinds, options.results.taxa)
    notes: Counter = Counter()
    videos = find_videos(options.root, notes)
    state = VideoState(options.state_dir, header, options.restart)
    _check_outputs(options, state)
    undone = [video for video in videos if not state.is_through(video)]
    with _bar("1/3 Look", " videos", len(undone)) as bar:
        look = functools.partial(measure, options.root, options.fps)
        measured = []
        for video in ahead(look, undone, os.cpu_count() or 1):
            measured.append(video)
            bar.update(1)
    say(on_videos(measured, options.root, None if options.dry_run else _MOST_VIDEOS))
    if len(undone) < len(videos):
        say(f"{len(videos) - len(undone):,} videos were done before")
    if others := [f"{n} {c}" for n, c in sorted((+notes).items()) if n not in _EXPECTED]:
        say(f"passed over: {', '.join(others)}")
    if model.has_memory:
        say("the model's memory of cameras is not used: videos have none")
    if options.dry_run:
        say("This was a dry run. Without --dry_run the videos are detected.")
        return None

    state.keep(videos)
    if measured:
        _detect(options, model, measured, state)
    summary, failed = _write(options, videos, state)
    say(on_results(summary, len(videos), failed, options))
    return summary


def _detect(
    options: VideoOptions, model: VideoModel, videos: Sequence[Video], state: VideoState
) -> None:
    needs = model.description.get("video")
    grey = encode(Image.new("RGB", (64, 48), "#808080"))
    if needs is None:
        check_model(model, None, options.batch_size)
    else:
        check_video_model(model, grey, options.batch_size)
    stop = threading.Event()

    def opened(video: Video) -> OpenVideo:
        aside = state.aside(video) if needs and needs["anywhere"] else None
        return open_video(
            video, options.root, options.images, fps=options.fps, aside=aside, stop=stop
        )

    with _bar("2/3 Detect", " frames", sum(video.frames for video in videos)) as bar:
        done = 0

        def count(frames: int, through: int) -> None:
            nonlocal done
            done += through
            bar.set_postfix_str(f"{done:,} of {len(videos):,} videos", refresh=False)
            bar.update(frames)

        journals = VideoJournals(state, count)
        coming: Iterator[OpenVideo] = ahead(opened, videos, 1, most=_OPENED)
        try:
            if needs is None:
                detect_images(model, coming, options.batch_size, journals)
            else:
                detect_videos(model, coming, options.batch_size, journals)
        finally:
            stop.set()
            coming.close()
            journals.close()
            state.clear()


def _check_outputs(options: VideoOptions, state: VideoState) -> None:
    """Refuses to replace files that no earlier run has written."""
    strangers = [p for p in _written(options) if os.path.exists(p) and p not in state.outputs]
    if strangers and not (options.overwrite or options.restart):
        raise ValueError(
            f"{', '.join(strangers)}: there already, and not of this run. Choose another name, or "
            "give --overwrite to replace it when the results are ready"
        )


def _written(options: VideoOptions) -> list[str]:
    return [os.path.abspath(p) for p in dataclasses.asdict(options.outputs).values() if p]


def _write(
    options: VideoOptions, videos: Sequence[Video], state: VideoState
) -> tuple[Summary, int]:
    """Writes the journal, and from it all results; returns how many videos failed, too."""
    journal = Journal(state.join(videos, state.folder / JOURNAL))
    failed = 0

    def failures() -> Iterator[Failure]:
        nonlocal failed
        for line in journal.lines():
            if b'"failure": {' not in line:
                continue
            image = read_result(line, journal.header.label_map, lambda _: None, Counter())
            failed += image.frame_rate == NO_RATE
            yield Failure(
                STAGE, Reason(image.failure), image.failure_text, image.file, image.image_id
            )

    # Before the files are there, so that a run that is killed in between knows them as its own.
    state.add_outputs(_written(options))
    outputs = dataclasses.replace(options.outputs, failures=state.folder / FAILURES)
    progress = sys.stderr.isatty()
    summary = write_results(
        journal.path, outputs, options.results, known=failures(), progress=progress
    )
    return summary, failed


def on_videos(videos: Sequence[Video], root: str, most: int | None) -> str:
    """The videos that are to be done, with frames and lengths."""
    rows = [("video", "frames", "length")]
    rows += [
        (
            video.name.encode("unicode_escape").decode(),
            f"{video.frames:,}" if video.frames else "unknown",
            "-" if video.seconds is None else tqdm.format_interval(video.seconds),
        )
        for video in videos[:most]
    ]
    width = max(len(row[0]) for row in rows)
    lines = [f"{row[0]:{width}} {row[1]:>9} {row[2]:>9}" for row in rows]
    if most is not None and len(videos) > most:
        lines.append(f"... and {len(videos) - most:,} videos more; --dry_run shows all")
    frames = sum(video.frames for video in videos)
    lines += ["", f"{len(videos):,} videos with {frames:,} frames to do in {root}"]
    return "\n".join(lines)


def on_results(summary: Summary, videos: int, failed: int, options: VideoOptions) -> str:
    """What was found, and where it is."""
    frames, threshold = summary.images - failed, options.results.typical_threshold
    found = summary.images - summary.empty - summary.failed
    lines = [
        "",
        f"{videos:,} videos, {failed:,} of which could not be used",
        f"{frames:,} frames: {found:,} with a detection of at least {threshold:g}, "
        f"{summary.empty:,} without, {summary.failed - failed:,} that could not be used",
        *(f"  {name}: {count:,}" for name, count in sorted(summary.detections.items())),
    ]
    reasons = [f"{reason} ({count:,})" for reason, count in sorted(summary.failures.items())]
    if reasons:
        lines.append(f"failures: {', '.join(reasons)}")
        lines.append(f"  named in {os.path.join(options.state_dir, FAILURES)}")
    return "\n".join([*lines, "written:", *(f"  {path}" for path in _written(options))])


def _bar(stage: str, unit: str, total: int) -> tqdm:
    """A progress bar on a terminal; elsewhere, as in a log, a line now and then."""
    every = 0.1 if sys.stderr.isatty() else _PLAIN_SECONDS
    return tqdm(desc=stage, total=total, unit=unit, mininterval=every, maxinterval=every)
