"""A folder of videos through all stages, and what is said to the user on the way.

OUTPUT.state/videos          `state`: a journal for each video that is through
OUTPUT.state/journal.jsonl   all of them as one, from which all formats are written
OUTPUT.state/failures.jsonl  everything that could not be used
"""

import dataclasses
import functools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from tqdm import tqdm

from context_rcnn.data import console
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.walk import VIDEO_SUFFIXES, PassedOver, in_words
from context_rcnn.results.journal import Journal
from context_rcnn.results.records import NO_RATE, read_result
from context_rcnn.results.write import Summary, classes_of
from context_rcnn.runners.engine import words
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.detect import check_model, grey_image
from context_rcnn.runners.engine.files import not_listed
from context_rcnn.runners.engine.looks import looks_once
from context_rcnn.runners.engine.model import header_of, video_stream
from context_rcnn.runners.engine.outputs import (
    check_writable,
    files_of,
    refuse_strangers,
    write_all,
)
from context_rcnn.runners.engine.progress import bar as stage
from context_rcnn.runners.engine.state import FAILURES, JOURNAL
from context_rcnn.runners.engine.steps import VideoModel, check_video_model
from context_rcnn.runners.videos.find import Video, find_videos, measure
from context_rcnn.runners.videos.frames import OpenVideo, open_video
from context_rcnn.runners.videos.options import VideoOptions
from context_rcnn.runners.videos.rows import (
    detect_images,
    detect_videos,
)
from context_rcnn.runners.videos.sparing import MovingModel, SparingModel
from context_rcnn.runners.videos.state import VideoJournals, VideoState
from context_rcnn.runners.videos.two_speed import TwoSpeedModel, TwoSpeedRunner

STAGE = "videos"
_MOST_VIDEOS = 60  # that are printed, unless they are asked for
_OPENED = 2  # videos that wait for their turn


def detect_folder_of_videos(
    options: VideoOptions,
    model: VideoModel,
    *,
    say: Callable[[str], None] = print,
    created: str = "",
) -> Summary | None:
    """Detects in all videos of a folder, going on where an earlier run was stopped.

    Args:
        options: options of the run.
        model: an exported model.
        say: function that gets the messages.
        created: when the results were made, as the first run of a state keeps it; by default now.

    Returns:
        Counts of what was written, in frames; None for a dry run.

    Raises:
        ValueError: For what cannot be done, before anything that takes long.
    """
    if options.two_speed:
        with TwoSpeedRunner(cast(TwoSpeedModel, model), say=say) as runner:
            return _detect_folder(options, cast(VideoModel, runner), say, created)
    return _detect_folder(options, model, say, created)


def _detect_folder(
    options: VideoOptions, model: VideoModel, say: Callable[[str], None], created: str
) -> Summary | None:
    about: dict[str, dict] = {"images": dataclasses.asdict(options.images)}
    about["videos"] = {"fps": options.fps} | ({"two_speed": True} if options.two_speed else {})
    if options.is_sparing:
        moving = cast(MovingModel, model)
        sparing = SparingModel(moving, options.evidence_every, options.anticipate)
        model = cast(VideoModel, sparing)
        spared = {"evidence_every": options.evidence_every, "anticipate": options.anticipate}
        about["videos"] |= spared
    model = looks_once(model)
    header = header_of(model, about, memory=False, created=created)
    classes_of(header.label_map, options.results)
    state = VideoState(options.state_dir, header, options.restart, options.dry_run)
    passed = PassedOver([*files_of(options.outputs), *state.outputs])
    videos = find_videos(options.root, passed, options.frames)
    refuse_strangers(options.outputs, state.outputs, options.overwrite or options.restart)
    if not options.dry_run:
        check_writable(options.outputs)
    measured = look_at(options, videos, state, "1/3 Look")
    say(on_videos(measured, options.root, None if options.dry_run else _MOST_VIDEOS))
    if len(measured) < len(videos):
        say(f"{len(videos) - len(measured):,} videos were done before")
    for line in in_words(passed, VIDEO_SUFFIXES):
        say(f"passed over: {line}")
    if model.has_memory:
        say("the model's memory of cameras is not used: videos have none")
    if options.dry_run:
        frames = sum(video.frames for video in measured)
        seconds = frames * _seconds_a_frame(options, model)
        say(
            f"about {tqdm.format_interval(seconds)} (h:mm:ss) for {frames:,} frames on this machine"
        )
        say("This was a dry run. Run the command without --dry_run to detect in the videos.")
        return None

    gone, away = state.forget_changed(videos, passed.unlisted)
    if locked := not_listed(passed, len(away), "videos"):
        say(locked)
    if gone:
        say(
            f"{gone:,} videos of earlier runs are no longer there: they are left out of the "
            "results, and come back when the videos do"
        )
    if measured:
        detect_new(options, model, measured, state, "2/3 Detect")
    summary, failed = _write(options, videos, away, passed, state)
    say(on_results(summary, len(videos) + len(away), failed, options))
    if locked:
        say(locked)
    return dataclasses.replace(summary, unlisted=len(passed.unlisted))


def look_at(
    options: VideoOptions, videos: Sequence[Video], state: VideoState, name: str
) -> list[Video]:
    """The videos that are to be done, with what their files say of frames and lengths."""
    undone = [video for video in videos if not state.is_through(video)]
    look = functools.partial(measure, options.root, options.fps)
    measured = []
    with stage(name, len(undone), " videos") as bar:
        for video in ahead(look, undone, os.cpu_count() or 1):
            measured.append(video)
            bar.update(1)
    return measured


def _seconds_a_frame(options: VideoOptions, model: VideoModel) -> float:
    """Measured on a grey frame; the first call is slower and does not count."""
    seconds = 0.0
    for _ in range(2):
        since = time.perf_counter()
        _check(options, model)
        seconds = time.perf_counter() - since
    return seconds / options.batch_size


def _check(options: VideoOptions, model: VideoModel) -> None:
    """Runs the model once."""
    if video_stream(model.description) is None:
        check_model(model, None, options.batch_size)
    else:
        check_video_model(model, grey_image(), options.batch_size)


def detect_new(
    options: VideoOptions,
    model: VideoModel,
    videos: Sequence[Video],
    state: VideoState,
    name: str,
) -> None:
    """Takes videos through a model, and their results into the state.

    Args:
        options: options of the run.
        model: an exported model.
        videos: videos to do.
        state: state of the run.
        name: name of the stage.
    """
    needs = video_stream(model.description)
    _check(options, model)
    stop = threading.Event()

    def opened(video: Video) -> OpenVideo:
        aside = state.aside(video) if needs and "elsewhere" in needs["inputs"] else None
        return open_video(
            video, options.root, options.images, fps=options.fps, aside=aside, stop=stop
        )

    with stage(name, sum(video.frames for video in videos), " frames") as bar:
        done = 0

        def count(frames: int, through: int) -> None:
            nonlocal done
            done += through
            bar.set_postfix_str(f"{done:,} of {len(videos):,} videos", refresh=False)
            bar.update(frames)

        journals = VideoJournals(state, count)
        coming = ahead(opened, videos, 1, most=_OPENED)
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


def _write(
    options: VideoOptions,
    videos: Sequence[Video],
    away: Sequence[Path],
    passed: PassedOver,
    state: VideoState,
) -> tuple[Summary, int]:
    """Writes the journal, and from it all results; returns how many videos failed, too."""
    journal = Journal(state.join(videos, away, state.folder / JOURNAL))
    failed = 0

    def failures() -> Iterator[Failure]:
        nonlocal failed
        yield from passed.take()
        for line in journal.lines():
            if b'"failure": {' not in line and b'"damage": "' not in line:
                continue
            image = read_result(line, journal.header.label_map, lambda _: None, Counter())
            if image is None:
                continue
            names = (image.file, image.image_id)
            if image.damage:
                yield Failure(STAGE, Reason.DAMAGED_DATA, image.damage, *names, lost="nothing")
                continue
            failed += image.frame_rate == NO_RATE
            yield Failure(STAGE, Reason(image.failure), image.failure_text, *names)

    summary = write_all(
        journal.path, options.outputs, options.results, failures(), state.add_outputs
    )
    return summary, failed


def on_videos(videos: Sequence[Video], root: str, most: int | None) -> str:
    """The videos that are to be done, with frames and lengths."""
    rows = [("video", "frames", "length")]
    rows += [
        (
            video.name,
            f"{video.frames:,}" if video.frames else "unknown",
            "-" if video.seconds is None else tqdm.format_interval(video.seconds),
        )
        for video in videos[:most]
    ]
    lines = [console.table(rows)]
    if most is not None and len(videos) > most:
        lines.append(f"... and {len(videos) - most:,} videos more; --dry_run shows all")
    frames = sum(video.frames for video in videos)
    lines += ["", f"{len(videos):,} videos with {frames:,} frames to do in {root}"]
    return "\n".join(lines)


def on_results(summary: Summary, videos: int, failed: int, options: VideoOptions) -> str:
    """What was found, and where it is."""
    frames = summary.images - failed
    lines = [
        "",
        f"{videos:,} videos, {failed:,} of which could not be used",
        f"{frames:,} frames: "
        f"{words.found_and_empty(summary, options.results.typical_threshold)}, "
        f"{summary.failed - failed:,} that could not be used",
        *words.by_class(summary),
        *words.on_taxa(summary),
    ]
    if reasons := words.by_reason(summary):
        lines.append(f"failures: {reasons}")
        lines.append(f"  named in {os.path.join(options.state_dir, FAILURES)}")
    return "\n".join([*lines, *words.written(files_of(options.outputs))])
