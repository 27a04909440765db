"""A camera or a video, frame by frame, for programs.

    model = load_model("export")
    gate = model.session(camera="gate")
    found = gate(frame, time)

A session is what `watch` and `videos` do with one camera or video, without folders, journals and
flags: the same preparation of images, the same step, and the same numbers.
"""

import dataclasses
import datetime
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.data.failures import Reason
from context_rcnn.data.images import ImageOptions, check_image, read_file
from context_rcnn.data.paths import FileError
from context_rcnn.data.prepare import damage_of
from context_rcnn.data.timestamps import EPOCH
from context_rcnn.export.exported import ExportedModel
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.detect import detect_batch, to_result
from context_rcnn.runners.engine.detections import Detections
from context_rcnn.runners.engine.model import check_fills_memory, video_stream
from context_rcnn.runners.engine.prepared import Prepared
from context_rcnn.runners.engine.steps import (
    NO_SECONDS,
    Keyframes,
    State,
    Step,
    load_state,
    number_of,
    save_state,
    step_camera,
    step_videos,
)
from context_rcnn.runners.engine.video_file import encode

_MODEL, _CAMERA, _WAITING, _ENDED = "_model", "_camera", "_waiting", "_ended"

FrameLike = bytes | str | os.PathLike | np.ndarray | Image.Image


class FrameError(ValueError):
    """A frame cannot be used; the session is as it was before it.

    Attributes:
        reason: word of `data.failures.Reason`.
    """

    def __init__(self, frame: int, problem: FileError):
        super().__init__(f"frame {frame}: {problem.reason}: {problem.detail}")
        self.reason = str(problem.reason)


class SessionModel(ExportedModel):
    """An exported model with sessions."""

    def session(self, camera: str = "camera", images: ImageOptions | None = None) -> "Session":
        """A camera or a video of which nothing was seen yet; see `Session`."""
        return Session(self, camera, images)

    def restore(self, path: str | os.PathLike, images: ImageOptions | None = None) -> "Session":
        """The session that `Session.save` wrote, as it was.

        Raises:
            ValueError: If the file is none, or of another model.
        """
        return Session.restore(self, path, images)


def load_model(folder: str | os.PathLike) -> SessionModel:
    """The model of an export, with sessions; ValueError if the folder is none."""
    return SessionModel(folder)


class Session:
    """One camera or one video through a model, frame by frame.

    Args:
        model: an exported model.
        camera: name of the camera, or of the video.
        images: rules for the images that are accepted.

    Attributes:
        camera: name of the camera or the video.
        frames: number of frames that have gone into it.
        latency: by how many frames detections are late; 0 for cameras.

    Raises:
        ValueError: If the model cannot work frame by frame.
    """

    def __init__(self, model: Any, camera: str = "camera", images: ImageOptions | None = None):
        check_fills_memory(model)
        if model.description.get("proposals"):
            raise ValueError(
                "this model names the boxes of another detector, which a session does not have: "
                "call its detect with each image and its boxes"
            )
        if not camera:
            raise ValueError("camera: name the camera or the video")
        self.camera, self.frames = camera, 0
        self._model, self._images = model, images or ImageOptions()
        video = video_stream(model.description)
        remembers = model.has_memory or bool(model.description.get("short_term_window"))
        self._kind = "video" if video else "camera" if remembers else "image"
        self.latency = video["latency"] if video else 0
        self._elsewhere = video is not None and "elsewhere" in video["inputs"]
        self._keyframes, self._ended = Keyframes(camera), False
        self._state: State = {} if self._kind == "image" else model.initial_state(1)

    @property
    def nbytes(self) -> int:
        """Bytes of the state. They stay the same however long the session is."""
        return sum(np.asarray(value).nbytes for value in self._state.values())

    def __call__(
        self,
        frame: FrameLike,
        time: datetime.datetime | np.datetime64 | float | None = None,
        *,
        elsewhere: FrameLike | None = None,
    ) -> Detections | None:
        """Detects in a frame with what was seen before it, and remembers the frame.

        Args:
            frame: image file as bytes, or its path; or pixels, as a Pillow image or uint8
                [height, width, 3] in RGB.
            time: time of the frame by the camera's clock, in seconds since 1970 or as a datetime,
                whose time zone does not count; None if unknown.
            elsewhere: a frame from anywhere in the video, for models that look at such frames.

        Returns:
            Detections in this frame, or, of a model with a latency, in the frame so many before;
            None as long as there is none.

        Warns:
            UserWarning: If the data of an image file is damaged; it is used in spite of that.

        Raises:
            FrameError: If the frame cannot be used.
            ValueError: If the session has ended, or an argument is wrong.
        """
        if self._ended:
            raise ValueError(f"the session of {self.camera} has ended: begin another one")
        if elsewhere is not None and not self._elsewhere:
            raise ValueError("elsewhere: this model looks at no frames from anywhere in a video")
        prepared = self._prepared(frame, _seconds(time))
        if self._kind == "video":
            other = b"" if elsewhere is None else self._prepared(elsewhere, None).encoded
            self._keyframes.waiting.append(prepared.image)
            return self._step(Step(prepared.encoded, other))
        if self._kind == "camera":
            image = prepared.image
            found, self._state = step_camera(
                self._model, prepared.encoded, self.camera, image.seconds, self._state
            )
            result = to_result(image, found)
        else:
            (result,) = detect_batch(self._model, None, [prepared], 1)
        detections = self._detections(result)
        self.frames += 1
        return detections

    def finish(self) -> Iterator[Detections]:
        """The detections that are still late, one frame after the other; the session then ends.

        A model without latency has none, and its session goes on.
        """
        for _ in range(self.latency if self._keyframes.waiting else 0):
            self._ended = True
            if (detections := self._step(Step(ended=True))) is not None:
                yield detections

    def save(self, path: str | os.PathLike) -> None:
        """Writes the session as an .npz file of about `nbytes`; see `SessionModel.restore`."""
        waiting = [
            (image.frame, NO_SECONDS if image.seconds is None else image.seconds, *image.size)
            for image in self._keyframes.waiting
        ]
        more = {
            _MODEL: np.array(self._model.description["hash"]),
            _CAMERA: np.array(self.camera),
            _WAITING: np.array(waiting, np.int64).reshape(-1, 4),
            _ENDED: np.array(self._ended),
        }
        save_state(path, self._state, self.frames, **more)

    @classmethod
    def restore(
        cls, model: Any, path: str | os.PathLike, images: ImageOptions | None = None
    ) -> "Session":
        """A session as it was when it was saved; see `SessionModel.restore`."""
        arrays, frames = load_state(path)
        try:
            made_by, camera, waiting, ended = (
                arrays.pop(name) for name in (_MODEL, _CAMERA, _WAITING, _ENDED)
            )
        except KeyError:
            raise ValueError(f"{path} is not the file of a session") from None
        if str(made_by) != model.description["hash"]:
            raise ValueError(
                f"{path} is a session of the model {made_by}, not of {model.description['hash']}"
            )
        session = cls(model, str(camera), images)
        session._state, session.frames, session._ended = arrays, frames, bool(ended)
        images_of = (session._image(*map(int, row)) for row in waiting)
        session._keyframes.waiting.extend(images_of)
        session._keyframes.taken = frames - len(waiting)
        return session

    def _step(self, step: Step) -> Detections | None:
        """One step of a video."""
        row = number_of(self.camera) >> 1
        (found,), self._state = step_videos(self._model, [step], [row], self._state)
        self.frames += bool(step.encoded) and not isinstance(found, FileError)
        known = self._keyframes.take(found)
        return None if known is None else self._detections(to_result(*known))

    def _detections(self, result: ImageResult) -> Detections:
        if result.failure:
            problem = FileError(Reason(result.failure), result.failure_text)
            raise FrameError(result.frame or 0, problem)
        return Detections.of(result, self._model.class_names)

    def _prepared(self, frame: FrameLike, seconds: int | None) -> Prepared:
        """A frame as the model takes it: as `watch` has files, and `videos` pixels."""
        try:
            if isinstance(frame, np.ndarray | Image.Image):
                picture = _picture(frame)
                encoded, (width, height) = encode(picture, self._images.max_side), picture.size
            else:
                if not isinstance(frame, bytes):
                    place = Path(frame)
                    frame = read_file(place.parent, place.name, self._images)
                checked = check_image(frame, self._images)
                encoded, (width, height) = checked.encoded, checked.upright_size
                if checked.damage:
                    name = f"{self.camera}, frame {self.frames}"
                    warnings.warn(f"{name}: {damage_of(checked.damage)[1]}", stacklevel=3)
        except FileError as error:
            raise FrameError(self.frames, error) from error
        known = NO_SECONDS if seconds is None else seconds
        return Prepared(self._image(self.frames, known, width, height), encoded)

    def _image(self, number: int, seconds: int, width: int, height: int) -> ImageResult:
        image = ImageResult(f"{self.camera}/{number}", camera=self.camera, frame=number)
        known = None if seconds == NO_SECONDS else seconds
        return dataclasses.replace(image, seconds=known, width=width, height=height)


def _picture(frame: np.ndarray | Image.Image) -> Image.Image:
    if isinstance(frame, Image.Image):
        return frame
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(
            f"frame: expected pixels uint8 [height, width, 3], got {frame.dtype} "
            f"{list(frame.shape)}"
        )
    return Image.fromarray(frame)


def _seconds(time: Any) -> int | None:
    """Seconds of a camera's clock."""
    if time is None:
        return None
    if isinstance(time, datetime.datetime):
        time = (time.replace(tzinfo=None) - EPOCH).total_seconds()
    elif isinstance(time, np.datetime64):
        time = time.astype("datetime64[s]").astype(np.int64)
    if not isinstance(time, int | float | np.integer | np.floating) or not np.isfinite(time):
        raise ValueError(f"time: expected seconds since 1970 or a datetime, got {time!r:.80}")
    return int(np.floor(time))
