"""Stage 2: videos side by side through a model, frame by frame.

Each row of the batch is a video; where one ends, the next begins. The batch always has as many
rows, and a row that has no video rests, so that no video's numbers depend on the others.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol, TypeVar

from context_rcnn.data.paths import FileError
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.detect import detect_batch, to_result
from context_rcnn.runners.engine.model import Model, Outputs
from context_rcnn.runners.engine.prepared import Prepared
from context_rcnn.runners.engine.steps import (
    REST,
    Keyframes,
    Step,
    VideoModel,
    step_videos,
)
from context_rcnn.runners.videos.find import Video
from context_rcnn.runners.videos.frames import OpenVideo

T = TypeVar("T")


class Results(Protocol):
    """Takes what is found."""

    def write(self, video: Video, result: ImageResult) -> None:
        """What was found in a frame, or why nothing was."""

    def through(self, video: OpenVideo) -> None:
        """All frames of a video were written."""


def detect_videos(
    model: VideoModel, videos: Iterator[OpenVideo], rows: int, results: Results
) -> None:
    """Takes videos through a model that remembers what it saw of a video.

    Raises:
        ValueError: If the model does not detect in every frame it was given.
    """
    needs = model.description["stream"]
    state = model.initial_state(rows)
    table: list[_Row | None] = [None] * rows
    with ThreadPoolExecutor(rows) as pool:
        while True:
            steps = []
            for i, row in enumerate(table):
                step = None if row is None else row.next()
                while step is None:
                    if row is not None:
                        results.through(row.opened)
                    opened = next(videos, None)
                    row = table[i] = None if opened is None else _Row(opened, needs, pool, results)
                    step = REST if row is None else row.next()
                steps.append(step)
            if not any(table):
                return
            numbers = [row.number if row else 0 for row in table]
            found, state = step_videos(model, steps, numbers, state)
            for row, outputs in zip(table, found, strict=True):
                if row is not None:
                    row.take(outputs)


def _batches(frames: Iterator[Prepared], size: int) -> Iterator[list[Prepared]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch


def detect_images(
    model: Model, videos: Iterable[OpenVideo], batch_size: int, results: Results
) -> None:
    """Takes the frames of videos one by one through a model of single images."""
    with ThreadPoolExecutor(1) as pool:
        for opened in videos:
            frames = opened.frames()
            for batch in one_ahead(pool, _batches(frames, batch_size)):
                for result in detect_batch(model, None, batch, batch_size):
                    results.write(opened.video, result)
            results.through(opened)


def one_ahead(pool: Executor, items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while one is used; none may be None."""
    coming = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item


class _Row:
    """A video in a row of the batch, and its frames whose detections are not there yet."""

    def __init__(self, opened: OpenVideo, needs: Mapping, pool: Executor, results: Results):
        self.opened = opened
        self.number = _number(opened.video.path)
        others = opened.anywhere(needs["seed"]) if "elsewhere" in needs["inputs"] else iter(())
        self._frames = one_ahead(pool, _with_others(opened.frames(), others))
        self._results = results
        self._keyframes = Keyframes(opened.video.name)
        self._left = needs["latency"]

    def next(self) -> Step | None:
        """The next step, None if the video is through."""
        for prepared, other in self._frames:
            if prepared.problem is None:
                self._keyframes.waiting.append(prepared.image)
                return Step(prepared.encoded, other)
            self._write(prepared.image, prepared.problem)
        if not self._keyframes.waiting or self.opened.failure:
            return None
        if not self._left:
            raise ValueError(
                f"{self.opened.video.name}: the model returned nothing for frame "
                f"{self._keyframes.taken} and the frames after it; it needs a higher latency than "
                "its description says"
            )
        self._left -= 1
        return Step(ended=True)

    def take(self, outputs: Outputs | FileError) -> None:
        """Writes what was found in the keyframe, if there is one."""
        if (known := self._keyframes.take(outputs)) is not None:
            self._write(*known)

    def _write(self, image: ImageResult, found: Outputs | FileError) -> None:
        self._results.write(self.opened.video, to_result(image, found))


def _with_others(
    frames: Iterator[Prepared], others: Iterator[bytes]
) -> Iterator[tuple[Prepared, bytes]]:
    """Frames, each with one from anywhere in the video; frames that cannot be used get none."""
    for prepared in frames:
        yield prepared, b"" if prepared.problem else next(others, b"")


def _number(path: str) -> int:
    """A number that stands for a video."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
