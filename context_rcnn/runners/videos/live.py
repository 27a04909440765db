"""A camera's stream, or a video file, frame by frame as it comes: `context-rcnn watch --two_speed`.

Each frame is answered before the next one is taken. What becomes of frames of a stream that come in
the meantime is up to its driver; of a file none is left out.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from context_rcnn.data.paths import FileError
from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import ImageResult, frame_name
from context_rcnn.runners.engine.detect import to_result
from context_rcnn.runners.engine.model import Model, Outputs, checked, header_of, refusals, refused
from context_rcnn.runners.engine.state import JOURNAL, begin_state
from context_rcnn.runners.engine.video_file import Frame, encode, read_frames
from context_rcnn.runners.videos.two_speed import TwoSpeedRunner

_VIDEO = np.array([1], np.int64)
_THERE, _NOT = np.array([True]), np.array([False])


def stream_of(source: str) -> Iterator[Frame]:
    """Frames of a video file, of a camera by its number, or of a stream by its address.

    Raises:
        ValueError: If it cannot be opened, or, of a file, where it is broken.
    """
    return read_frames(source) if os.path.isfile(source) else _captured(source)


def watch_stream(
    runner: TwoSpeedRunner,
    source: str,
    frames: Iterator[Frame],
    *,
    max_side: int | None = None,
    state_dir: str = "",
) -> Iterator[str]:
    """Detects in frames as they come; yields a line of JSON for each.

    Args:
        runner: the two detectors.
        source: name of the stream, for the names of its frames.
        frames: its frames.
        max_side: longest side of a frame; longer ones are reduced.
        state_dir: new folder for a journal of the lines; "" keeps none.
    """
    name = os.path.basename(source.rstrip("/")) or source
    journal = _journal(runner, state_dir) if state_dir else None
    state = runner.initial_state(1)
    try:
        for frame in frames:
            file = frame_name(name, frame.at)
            width, height = frame.picture.size
            image = ImageResult(file, file, burst=name, width=width, height=height)
            found: Outputs | FileError
            try:
                outputs, state = runner.step(
                    [encode(frame.picture, max_side)],
                    _VIDEO,
                    _THERE,
                    state,
                    ended=_NOT,
                    elsewhere=None,
                    elsewhere_valid=None,
                )
                found = checked({part: value[0] for part, value in outputs.items()})
            except refusals() as error:
                found = refused(error)
            result = to_result(image, found)
            if journal is not None:
                journal.append(result)
            yield result.to_json(runner.class_names)
    finally:
        if journal is not None:
            journal.close()


def _journal(runner: TwoSpeedRunner, state_dir: str) -> JournalWriter:
    folder = begin_state(state_dir, "a run of watch on a stream", JOURNAL)
    path = Path(folder) / JOURNAL
    if path.exists():
        raise ValueError(
            f"--state {state_dir} has a journal already: a stream cannot be continued, name a new "
            "folder"
        )
    return JournalWriter(path, header_of(cast(Model, runner), {"two_speed": True}, memory=False))


def _captured(source: str) -> Iterator[Frame]:
    import cv2

    video = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not video.isOpened():
        raise ValueError(f"{source} is no video file, and no camera or stream that can be read")
    try:
        number, since = 0, cv2.getTickCount()
        while True:
            there, pixels = video.read()
            if not there:
                return
            at = (cv2.getTickCount() - since) / cv2.getTickFrequency()
            yield Frame(number, at, Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))
            number += 1
    finally:
        video.release()
