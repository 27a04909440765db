"""Frames of a video as if a camera had taken them one by one.

Animated GIF, PNG and WebP and TIFF files of many pages are read by Pillow, all other videos by
OpenCV, which comes with tf-models-official.
"""

import dataclasses
import io
import os
from collections.abc import Callable, Iterator

from PIL import Image, ImageSequence

from context_rcnn.data.failures import Reason
from context_rcnn.data.images import FORMATS
from context_rcnn.data.paths import FileError
from context_rcnn.inference.folder.prepared import Prepared
from context_rcnn.inference.results.records import ImageResult

_PICTURES = (".gif", ".tif", ".tiff", ".webp", ".png", ".apng")
_QUALITY = 95


class VideoFrames:
    """The frames of a video, so many a second.

    A frame is called VIDEO/000012500.jpg, after its time in milliseconds.

    Args:
        path: of the video.
        camera: that took it.
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
        self._read = _read_pictures if path.lower().endswith(_PICTURES) else _read_video

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
        due = 0.0
        for at, picture in self._read(self._path, self._fps):
            if at < due - 1e-6:
                continue
            due = max(due + 1 / self._fps, at)
            file = f"{name}/{round(at * 1000):09d}.jpg"
            seconds = None if self._start is None else self._start + int(at)
            yield ImageResult(file, file, self._camera, seconds), picture


def _prepared(image: ImageResult, picture: Image.Image) -> Prepared:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY)
    image = dataclasses.replace(image, width=picture.width, height=picture.height)
    return Prepared(image, buffer.getvalue())


def _read_pictures(path: str, fps: float) -> Iterator[tuple[float, Image.Image]]:
    """Pictures with their times; those that say nothing of time are `fps` a second."""
    at = 0.0
    try:
        with Image.open(path, formats=FORMATS) as file:
            for picture in ImageSequence.Iterator(file):
                yield at, picture
                at += (picture.info.get("duration") or 1000 / fps) / 1000
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read_video(path: str, fps: float) -> Iterator[tuple[float, Image.Image]]:
    import cv2  # of use here alone

    video = cv2.VideoCapture(path)
    if not video.isOpened():
        raise ValueError(f"{path} cannot be read as a video")
    try:
        rate, number = video.get(cv2.CAP_PROP_FPS) or fps, 0
        while True:
            there, pixels = video.read()
            if not there:
                return
            yield number / rate, Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            number += 1
    finally:
        video.release()
