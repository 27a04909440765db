"""Frames of tracklets as arrays; a frame that cannot be read is replaced by its nearest."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import ImageOptions, decode_rgb, read_file
from context_rcnn.data.paths import FileError
from context_rcnn.data.tracklets import Tracklet


class ClipReader:
    """Reads clips of tracklets below a folder.

    Args:
        root: the folder.
        size: height and width to which frames are stretched.
        smooth: bicubic rather than bilinear interpolation: the release trains with the one and
            tests with the other.
        options: rules for the images that are accepted.

    Attributes:
        failures: what could not be read, by file; each file is tried once.
    """

    def __init__(
        self,
        root: str,
        size: Sequence[int],
        *,
        smooth: bool = False,
        options: ImageOptions | None = None,
    ):
        self._root = root
        self._height, self._width = size
        self._filter = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
        self._options = options or ImageOptions()
        self.failures: dict[str, Failure] = {}

    def clip(self, tracklet: Tracklet, numbers: Iterable[int]) -> np.ndarray:
        """Frames of a tracklet by number, uint8 [frames, height, width, 3].

        Raises:
            FileError: If no frame of the tracklet can be read.
        """
        return np.stack([self._nearest(tracklet, int(number)) for number in numbers])

    def frame(self, file: str) -> np.ndarray:
        """An image, uint8 [height, width, 3]; raises FileError."""
        image = decode_rgb(read_file(self._root, file, self._options), self._options)
        return np.asarray(image.resize((self._width, self._height), self._filter))

    def _nearest(self, tracklet: Tracklet, number: int) -> np.ndarray:
        for place in _outwards(number, len(tracklet.frames)):
            file = tracklet.frames[place]
            if file in self.failures:
                continue
            try:
                return self.frame(file)
            except FileError as error:
                self.failures[file] = Failure(
                    "tracklet",
                    error.reason,
                    error.detail,
                    file=file,
                    image_id=tracklet.name,
                    camera=tracklet.camera,
                )
        raise FileError(
            Reason.NO_FRAMES, f"no frame of tracklet {tracklet.name!r:.200} can be read"
        )


def check_tracklets(root: str, tracklets: Iterable[Tracklet]) -> Iterator[Failure]:
    """Opens every image of tracklets; yields a failure for each that cannot be used."""
    reader = ClipReader(root, (8, 8))
    for tracklet in tracklets:
        broken = 0
        for file in tracklet.frames:
            try:
                reader.frame(file)
            except FileError as error:
                broken += 1
                yield Failure(
                    "tracklet",
                    error.reason,
                    error.detail,
                    file=file,
                    image_id=tracklet.name,
                    camera=tracklet.camera,
                )
        if broken == len(tracklet.frames):
            yield Failure(
                "tracklet",
                Reason.NO_FRAMES,
                "none of its frames can be read",
                file=tracklet.name,
                camera=tracklet.camera,
                lost="tracklet",
            )


def _outwards(start: int, length: int) -> Iterator[int]:
    """All places of a list, the nearest to `start` first."""
    yield start
    for distance in range(1, length):
        for place in (start - distance, start + distance):
            if 0 <= place < length:
                yield place
