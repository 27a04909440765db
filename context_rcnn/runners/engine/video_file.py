"""Frames of a video file, and as if a camera had taken them one by one.

Animated GIF, PNG and WebP and TIFF files of many pages are read by Pillow, all other videos by
OpenCV, which comes with tf-models-official.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import Image, ImageSequence

from context_rcnn.data.failures import Reason
from context_rcnn.data.images import FORMATS
from context_rcnn.data.paths import FileError
from context_rcnn.data.walk import PassedOver
from context_rcnn.results.records import ImageResult, frame_name
from context_rcnn.runners.engine.prepared import Prepared

_PICTURES = (".gif", ".tif", ".tiff", ".webp", ".png", ".apng")
_QUALITY = 95
_USUAL_RATE = 10.0  # what browsers give pictures that say nothing of time
_HIGHEST_RATE = 1000.0  # more is no rate, but the unit of the file's clock
_ROUNDED = 0.0005  # seconds; names of frames have milliseconds
_MOST_MISSING = 1.0  # seconds; what files say of their length is not exact


class EndsEarly(ValueError):
    """A video does not have the frames that it says it has."""


class VideoFacts(NamedTuple):
    """What a video file says of itself; 0 frames where it does not say how many."""

    rate: float
    frames: int
    width: int
    height: int


class Frame(NamedTuple):
    """A frame: its number in the file, seconds after the first, and the picture, of any mode."""

    number: int
    at: float
    picture: Image.Image


def read_facts(path: str) -> VideoFacts:
    """Opens a video and reads no frame of it; raises ValueError if it is none."""
    return _picture_facts(path) if _is_picture(path) else _video_facts(path)


def read_frames(path: str, fps: float | None = None) -> Iterator[Frame]:
    """The frames of a video, one after the other.

    Args:
        path: path of the video.
        fps: frames to take of each second; None for all, as where the video has fewer.

    Raises:
        ValueError: If there is no video in it, or something is broken on the way.
        EndsEarly: After the last frame, if there should be more.
    """
    due = 0.0
    rate = fps or _USUAL_RATE
    for frame in _read_pictures(path, rate) if _is_picture(path) else _read_video(path, rate):
        if fps is None:
            yield frame
        elif frame.at >= due - 1e-6:
            due = max(due + 1 / fps, frame.at)
            yield frame


def frame_at(path: str, seconds: float) -> bytes:
    """The JPEG of the frame so many seconds after the first one.

    Raises:
        ValueError: If the video cannot be read that far.
    """
    for frame in read_frames(path):
        if frame.at >= seconds - _ROUNDED:
            return encode(frame.picture)
    raise ValueError(f"{path} has no frame after {seconds:g} seconds")


def encode(picture: Image.Image, max_side: int | None = None) -> bytes:
    """A JPEG; a longer picture is reduced to `max_side`."""
    picture = picture.convert("RGB")
    if max_side is not None:
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


class VideoFrames:
    """The frames of a video, so many a second.

    A frame is called VIDEO/000012500.jpg, after its time in milliseconds.

    Args:
        path: path of the video.
        camera: camera that took the video.
        fps: frames to take of each second; all if the video has fewer.
        start: camera clock of the first frame in seconds, None if unknown.

    Raises:
        ValueError: If there is no such file, or no video in it.
    """

    def __init__(self, path: str, camera: str, fps: float, start: int | None):
        if not os.path.isfile(path):
            raise ValueError(f"{path}: no such video")
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self._path, self._camera, self._fps, self._start = path, camera, fps, start
        self.passed = PassedOver()

    def new(self, seen: Callable[[str], bool]) -> Iterator[Prepared]:
        for image, picture in self._chosen():
            if not seen(image.file):
                yield _prepared(image, picture)

    def again(self, image: ImageResult) -> Prepared:
        for other, picture in self._chosen():
            if other.file == image.file:
                return _prepared(image, picture)
        return Prepared(image, problem=FileError(Reason.MISSING_FILE, "no such frame"))

    def _chosen(self) -> Iterator[tuple[ImageResult, Image.Image]]:
        name = os.path.basename(self._path)
        with contextlib.suppress(EndsEarly):
            for frame in read_frames(self._path, self._fps):
                file = frame_name(name, frame.at)
                seconds = None if self._start is None else self._start + int(frame.at)
                yield ImageResult(file, file, self._camera, seconds), frame.picture


def _prepared(image: ImageResult, picture: Image.Image) -> Prepared:
    image = dataclasses.replace(image, width=picture.width, height=picture.height)
    return Prepared(image, encode(picture))


def _is_picture(path: str) -> bool:
    return path.lower().endswith(_PICTURES)


def _picture_facts(path: str) -> VideoFacts:
    try:
        with Image.open(path, formats=FORMATS) as file:
            frames = getattr(file, "n_frames", 1)
            rate = 1000 / (file.info.get("duration") or 1000 / _USUAL_RATE)
            return VideoFacts(rate, frames, file.width, file.height)
    except Exception as error:  # decoders of untrusted files raise anything
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read_pictures(path: str, fps: float) -> Iterator[Frame]:
    """Pictures with their times; those that say nothing of time are `fps` a second."""
    at = 0.0
    try:
        with Image.open(path, formats=FORMATS) as file:
            for number, picture in enumerate(ImageSequence.Iterator(file)):
                picture.load()
                yield Frame(number, at, picture)
                at += (picture.info.get("duration") or 1000 / fps) / 1000
    except Exception as error:  # decoders of untrusted files raise anything
        raise ValueError(f"{path} cannot be read: {error}") from error


def _video_facts(path: str) -> VideoFacts:
    import cv2

    video = _open_video(path)
    try:
        names = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        frames, width, height = (max(0, int(video.get(name))) for name in names)
        return VideoFacts(_rate(video, _USUAL_RATE), frames, width, height)
    finally:
        video.release()


def _read_video(path: str, fps: float) -> Iterator[Frame]:
    import cv2

    video = _open_video(path)
    try:
        rate, number, clock = _rate(video, fps), 0, 0.0
        while True:
            there, pixels = video.read()
            if not there:
                break
            clock = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            picture = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            yield Frame(number, number / rate, picture)
            number += 1
        # Where frames are not evenly spaced their number is a guess, and the clock is right.
        frames = video.get(cv2.CAP_PROP_FRAME_COUNT)
        if max(number / rate, clock) < frames / rate - _MOST_MISSING:
            raise EndsEarly(f"{path} ends early: {number} of {frames:.0f} frames can be decoded")
    finally:
        video.release()


def _open_video(path: str):
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # failures have records
    import cv2  # of use here alone

    video = cv2.VideoCapture(path)
    if not video.isOpened():
        raise ValueError(f"{path} cannot be read as a video")
    return video


def _rate(video, unknown: float) -> float:
    import cv2

    rate = video.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= _HIGHEST_RATE else unknown
