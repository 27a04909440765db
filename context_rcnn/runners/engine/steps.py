"""A step of a model that works frame by frame: its call, its state in a file, what goes wrong."""

import collections
import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank.files import LOCAL
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.model import Model, Outputs, checked, refusals, refused

NO_FRAME = -1  # of which there are detections
NO_SECONDS = -1  # as the model wants an undated image
FRAMES = "frames"  # in the file of a state, besides the names of the state

State = Mapping[str, Any]


class StreamModel(Model, Protocol):
    """What `export.exported.ExportedModel` has for images that come one after the other."""

    def initial_state(self, batch_size: int) -> State:
        """The state of cameras that have seen nothing."""

    def step(
        self,
        encoded: list[bytes],
        rows: np.ndarray,
        valid: np.ndarray,
        state: State,
        *,
        seconds: np.ndarray,
    ) -> tuple[Outputs, State]:
        """Detections in a frame of each camera, and the next state."""


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


class Step(NamedTuple):
    """What a row is given: a new frame and one from anywhere, or word that there are no more."""

    encoded: bytes = b""
    other: bytes = b""
    ended: bool = False


REST = Step()


def step_camera(
    model: StreamModel, encoded: bytes, camera: str, seconds: int | None, state: State
) -> tuple[Outputs | FileError, State]:
    """What the model finds in the next image of a camera, and its state with that image.

    An image that cannot be used, or that would spoil the next ones, leaves the state as it is.
    """
    try:
        outputs, after = model.step(
            [encoded],
            np.array([number_of(camera) >> 1], np.int64),
            np.array([True]),
            state,
            seconds=np.array([NO_SECONDS if seconds is None else seconds], np.int64),
        )
    except refusals() as error:
        return refused(error), state
    found = checked({name: value[0] for name, value in outputs.items()})
    return found, state if isinstance(found, FileError) else after


def step_videos(
    model: VideoModel, steps: Sequence[Step], numbers: Sequence[int], state: State
) -> tuple[list[Outputs | FileError], State]:
    """What each row of videos gives, or why its frame cannot be used; and the next state."""
    try:
        found, state = call_videos(model, steps, numbers, state)
        return [_row_of(found, i) for i in range(len(steps))], state
    except refusals():
        pass  # an image fails all that are with it
    rows: list[Outputs | FileError] = [{} for _ in steps]
    for i, step in enumerate(steps):
        if step != REST:
            rows[i], state = _step_alone(model, i, steps, numbers, state)
    return rows, state


def _step_alone(
    model: VideoModel, row: int, steps: Sequence[Step], numbers: Sequence[int], state: State
) -> tuple[Outputs | FileError, State]:
    """The same of one row while the others rest, if need be without the frame from anywhere."""
    for step in (steps[row], steps[row]._replace(other=b"")):
        alone = [step if i == row else REST for i in range(len(steps))]
        try:
            found, state = call_videos(model, alone, numbers, state)
            return _row_of(found, row), state
        except refusals() as error:
            if not step.encoded:
                raise  # no image is to blame
            problem = refused(error)
    return problem, state


def call_videos(
    model: VideoModel, steps: Sequence[Step], numbers: Sequence[int], state: State
) -> tuple[Outputs, State]:
    """One call of the model with a step of each video."""
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


def check_video_model(model: VideoModel, encoded: bytes, rows: int) -> None:
    """Runs the model once, so that one that cannot run at all is not taken for broken frames."""
    call_videos(model, [Step(encoded, encoded)] * rows, [0] * rows, model.initial_state(rows))


def _row_of(outputs: Outputs, row: int) -> Outputs:
    return {name: value[row] for name, value in outputs.items()}


class Keyframes:
    """The frames of a video whose detections are not there yet, in their order.

    Args:
        video: name of the video, for messages.

    Attributes:
        waiting: these frames.
        taken: number of frames whose detections were there.
    """

    def __init__(self, video: str):
        self._video = video
        self.waiting: collections.deque[ImageResult] = collections.deque()
        self.taken = 0

    def take(self, outputs: Outputs | FileError) -> tuple[ImageResult, Outputs | FileError] | None:
        """The frame that a step has detected in, and what it found; None if there is none yet.

        Raises:
            ValueError: If the model detected in another frame than the next one.
        """
        if isinstance(outputs, FileError):
            return self.waiting.pop(), outputs  # the model has not seen it
        number = int(outputs["frame"])
        if number == NO_FRAME:
            return None
        if number != self.taken or not self.waiting:
            raise ValueError(
                f"{self._video}: the model detected in frame {number}, expected was {self.taken}"
            )
        self.taken += 1
        return self.waiting.popleft(), checked(outputs)


def save_state(path: str | os.PathLike, state: State, frames: int, **more: Any) -> None:
    """Writes a state, and how many frames have gone into it, as an .npz file.

    Args:
        path: file to write, or to replace as a whole.
        state: state of one row.
        frames: number of frames.
        **more: arrays that belong to it, by names that begin with `_`.
    """
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
    with LOCAL.create(os.fspath(path), durable=True) as file:
        np.savez(file, **arrays, **{FRAMES: np.int64(frames)}, **more)


def load_state(path: str | os.PathLike) -> tuple[dict[str, Any], int]:
    """What `save_state` wrote, with the arrays that belong to it, and the number of frames.

    Raises:
        ValueError: If it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
        return state, int(state.pop(FRAMES))
    except KeyError:
        raise ValueError(f"{path} is not the file of a state") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def number_of(text: str) -> int:
    """A number that stands for a name: 64 bits of its hash."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
