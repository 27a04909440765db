"""The frames of a video, in their order, and again in any order.

A folder of frames is read as it lies. A file can be read from its beginning only, so that its
frames are put aside as JPEGs where a model asks for frames from anywhere.
"""

import hashlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from context_rcnn.data.failures import Reason
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.results.records import ImageResult, frame_name
from context_rcnn.runners.engine.files import missing, named, unusable_name
from context_rcnn.runners.engine.prepared import Prepared, prepare_image
from context_rcnn.runners.engine.video_file import encode, read_facts, read_frames
from context_rcnn.runners.videos.find import Video, list_frames, place_of

T = TypeVar("T")


class OpenVideo(Protocol):
    """A video that is being read.

    Attributes:
        video: which.
        failure: why it cannot be used as a whole, None if it can; certain when all frames are read.
    """

    @property
    def video(self) -> Video: ...

    @property
    def failure(self) -> FileError | None: ...

    def frames(self) -> Iterator[Prepared]:
        """All frames in their order, with those that cannot be used."""

    def anywhere(self, seed: int) -> Iterator[bytes]:
        """Those that can be used, each once, in an order that looks random."""

    def close(self) -> None:
        """Gives back what it takes."""


class FrameFolder:
    """A folder of frames."""

    def __init__(self, video: Video, root: str, images: ImageOptions):
        self.video, self.failure = video, None
        self._root, self._images = root, images
        self._files: list[tuple[str, str]] = []
        try:
            self._files = list(named(list_frames(root, video.path)))
        except OSError as error:
            self.failure = missing(error)

    def frames(self) -> Iterator[Prepared]:
        return map(self._prepare, self._files)

    def anywhere(self, seed: int) -> Iterator[bytes]:
        # A frame that cannot be used leaves the order of the others as it is.
        for names in shuffled(self._files, seed, self.video.name):
            prepared = self._prepare(names)
            if not prepared.problem:
                yield prepared.encoded

    def close(self) -> None:
        """Nothing was taken."""

    def _prepare(self, names: tuple[str, str]) -> Prepared:
        file, path = names
        image = ImageResult(file, file, burst=self.video.name)
        if file != path:
            return Prepared(image, problem=unusable_name(path))
        return prepare_image(image, self._root, self._images)


class VideoFile:
    """A file.

    Args:
        video: which.
        root: folder that its path starts from.
        images: what frames are accepted.
        fps: frames to take of each second, None for all.
        aside: folder to put the frames in, before the first one is given; None for a model that
            asks for none from anywhere.
        stop: ends this early, when the run has ended.
    """

    def __init__(
        self,
        video: Video,
        root: str,
        images: ImageOptions,
        *,
        fps: float | None = None,
        aside: Path | None = None,
        stop: threading.Event | None = None,
    ):
        self.video = video
        self.failure: FileError | None = None
        self._root, self._images, self._fps = root, images, fps
        self._rate, self._size = 0.0, (0, 0)
        self._aside = aside
        self._put: list[tuple[int, float]] = []
        if aside is None:
            return
        aside.mkdir(parents=True)
        for number, at, encoded in self._read():
            self._put.append((number, at))
            _place(aside, number).write_bytes(encoded)
            if stop is not None and stop.is_set():
                return

    def frames(self) -> Iterator[Prepared]:
        if self._aside is None:
            for number, at, encoded in self._read():
                yield Prepared(self._image(number, at), encoded)
        elif not self.failure:
            for number, at in self._put:
                yield Prepared(self._image(number, at), _place(self._aside, number).read_bytes())

    def anywhere(self, seed: int) -> Iterator[bytes]:
        if self._aside is None:
            return
        for number, _ in shuffled(self._put, seed, self.video.name):
            yield _place(self._aside, number).read_bytes()

    def close(self) -> None:
        if self._aside is not None:
            shutil.rmtree(self._aside)

    def _image(self, number: int, at: float) -> ImageResult:
        name = frame_name(self.video.name, at)
        width, height = self._size
        return ImageResult(
            name,
            name,
            burst=self.video.name,
            width=width,
            height=height,
            frame=number,
            frame_rate=self._rate,
        )

    def _read(self) -> Iterator[tuple[int, float, bytes]]:
        """Number, second and JPEG of the frames; what ends them early becomes the failure."""
        last = None
        try:
            place = place_of(self._root, self.video)
            facts = read_facts(place)
            megapixels = facts.width * facts.height / 1e6
            if megapixels > self._images.max_megapixels:
                limit = f"the limit is {self._images.max_megapixels:g}"
                text = f"{facts.width}x{facts.height} is {megapixels:.1f} megapixels; {limit}"
                raise FileError(Reason.TOO_LARGE, text)
            self._rate = facts.rate
            for last in read_frames(place, self._fps):
                self._size = last.picture.size
                yield last.number, last.at, encode(last.picture, self._images.max_side)
            if last is None:
                raise ValueError("no frame can be decoded")
        except FileError as error:
            self.failure = error
        except ValueError as error:
            if last is not None and self._images.keep_truncated:
                return
            reason = Reason.UNREADABLE if last is None else Reason.TRUNCATED
            self.failure = FileError(reason, str(error).replace(place, self.video.name))


def _place(aside: Path, number: int) -> Path:
    return aside / f"{number}.jpg"


def open_video(
    video: Video,
    root: str,
    images: ImageOptions,
    *,
    fps: float | None = None,
    aside: Path | None = None,
    stop: threading.Event | None = None,
) -> OpenVideo:
    """Opens a video of either kind; see `VideoFile`."""
    if not video.is_file:
        return FrameFolder(video, root, images)
    return VideoFile(video, root, images, fps=fps, aside=aside, stop=stop)


def shuffled(items: Sequence[T], seed: int, name: str) -> list[T]:
    """Items in an order that a seed and a name decide, and no other item changes."""

    def lot(item: T) -> bytes:
        text = f"{seed}\n{name}\n{item}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=8).digest()

    return sorted(items, key=lot)
