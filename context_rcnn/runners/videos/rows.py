"""Stage 2: videos side by side through a model, frame by frame.

Each row of the batch is a video; where one ends, the next begins. The batch always has as many
rows, and a row that has no video rests, so that no video's numbers depend on the others.
"""

import collections
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from context_rcnn.data.paths import FileError
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.detect import detect_batch, to_result
from context_rcnn.runners.engine.model import Model, Outputs, checked, refusals, refused
from context_rcnn.runners.engine.prepared import Prepared
from context_rcnn.runners.videos.find import Video
from context_rcnn.runners.videos.frames import OpenVideo

NO_FRAME = -1  # of which there are detections

State = Mapping[str, Any]
T = TypeVar("T")


class VideoModel(Model, Protocol):
    """What `export.exported.ExportedModel` has for videos.

    `description["stream"]` says what it needs: `latency`, frames that a keyframe waits for those
    after it; whether it takes frames from `elsewhere` in the video, and the `seed` of their order.
    It is None for models of single images.
    """

    def initial_state(self, batch_size: int) -> State:
        """The state of videos of which nothing was seen."""

    def step(
        self,
        encoded: list[bytes],
        rows: np.ndarray,
        valid: np.ndarray,
        state: State,
        *,
        ended: np.ndarray,
        elsewhere: list[bytes] | None,
        elsewhere_valid: np.ndarray | None,
    ) -> tuple[Outputs, State]:
        """Detections in a keyframe of each video, with its number `frame`, and the next state."""


class Results(Protocol):
    """Takes what is found."""

    def write(self, video: Video, result: ImageResult) -> None:
        """What was found in a frame, or why nothing was."""

    def through(self, video: OpenVideo) -> None:
        """All frames of a video were written."""


class _Step(NamedTuple):
    """What a row is given: a new frame and one from anywhere, or word that there are no more."""

    encoded: bytes = b""
    other: bytes = b""
    ended: bool = False


_REST = _Step()


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
                    step = _REST if row is None else row.next()
                steps.append(step)
            if not any(table):
                return
            numbers = [row.number if row else 0 for row in table]
            found, state = _step_rows(model, steps, numbers, state)
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


def check_video_model(model: VideoModel, encoded: bytes, rows: int) -> None:
    """Runs the model once, so that one that cannot run at all is not taken for broken frames."""
    _call(model, [_Step(encoded, encoded)] * rows, [0] * rows, model.initial_state(rows))


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
        self._waiting: collections.deque[ImageResult] = collections.deque()
        self._taken = 0
        self._left = needs["latency"]

    def next(self) -> _Step | None:
        """The next step, None if the video is through."""
        for prepared, other in self._frames:
            if prepared.problem is None:
                self._waiting.append(prepared.image)
                return _Step(prepared.encoded, other)
            self._write(prepared.image, prepared.problem)
        if not self._waiting or self.opened.failure:
            return None
        if not self._left:
            raise ValueError(
                f"{self.opened.video.name}: the model returned nothing for frame {self._taken} "
                "and the frames after it; it needs a higher latency than its description says"
            )
        self._left -= 1
        return _Step(ended=True)

    def take(self, outputs: Outputs | FileError) -> None:
        """Writes what was found in the keyframe, if there is one."""
        if isinstance(outputs, FileError):
            self._write(self._waiting.pop(), outputs)  # the model has not seen it
            return
        number = int(outputs["frame"])
        if number == NO_FRAME:
            return
        if number != self._taken or not self._waiting:
            raise ValueError(
                f"{self.opened.video.name}: the model detected in frame {number}, expected was "
                f"{self._taken}"
            )
        self._taken += 1
        self._write(self._waiting.popleft(), checked(outputs))

    def _write(self, image: ImageResult, found: Outputs | FileError) -> None:
        self._results.write(self.opened.video, to_result(image, found))


def _with_others(
    frames: Iterator[Prepared], others: Iterator[bytes]
) -> Iterator[tuple[Prepared, bytes]]:
    """Frames, and with each that can be used one from anywhere."""
    for prepared in frames:
        yield prepared, b"" if prepared.problem else next(others, b"")


def _step_rows(
    model: VideoModel, steps: Sequence[_Step], numbers: Sequence[int], state: State
) -> tuple[list[Outputs | FileError], State]:
    """What each row gives, or why its frame cannot be used; and the next state."""
    try:
        found, state = _call(model, steps, numbers, state)
        return [_row_of(found, i) for i in range(len(steps))], state
    except refusals():
        pass  # an image fails all that are with it
    rows: list[Outputs | FileError] = [{} for _ in steps]
    for i, step in enumerate(steps):
        if step != _REST:
            rows[i], state = _step_alone(model, i, steps, numbers, state)
    return rows, state


def _step_alone(
    model: VideoModel, row: int, steps: Sequence[_Step], numbers: Sequence[int], state: State
) -> tuple[Outputs | FileError, State]:
    """The same of one row while the others rest, if need be without the frame from anywhere."""
    for step in (steps[row], steps[row]._replace(other=b"")):
        alone = [step if i == row else _REST for i in range(len(steps))]
        try:
            found, state = _call(model, alone, numbers, state)
            return _row_of(found, row), state
        except refusals() as error:
            if not step.encoded:
                raise  # no image is to blame
            problem = refused(error)
    return problem, state


def _call(
    model: VideoModel, steps: Sequence[_Step], numbers: Sequence[int], state: State
) -> tuple[Outputs, State]:
    elsewhere = "elsewhere" in model.description["stream"]["inputs"]
    return model.step(
        [step.encoded for step in steps],
        np.array(numbers, np.int64),
        np.array([bool(step.encoded) for step in steps]),
        state,
        ended=np.array([step.ended for step in steps]),
        elsewhere=[step.other for step in steps] if elsewhere else None,
        elsewhere_valid=np.array([bool(step.other) for step in steps]) if elsewhere else None,
    )


def _row_of(outputs: Outputs, row: int) -> Outputs:
    return {name: value[row] for name, value in outputs.items()}


def _number(path: str) -> int:
    """A number that stands for a video."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
