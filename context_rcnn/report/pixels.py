"""Images by their id, from examples or a folder, written as small files with names of our own.

Ids are data: they are looked up, and never become a part of a name that is written.
"""

import dataclasses
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from PIL import Image, ImageOps, UnidentifiedImageError

from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.walk import VIDEO_SUFFIXES
from context_rcnn.report.text import clean

SUFFIXES = ("", ".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")
ReadFrame = Callable[[str, float], bytes]
"""Reads the JPEG of a frame from a video file, by its path and the seconds since the first one."""
MAX_PIXELS = 200_000_000
_FRAME = re.compile(r"[0-9]{9}\.jpg")
FULL = 1920  # columns of an image that is opened by itself
_DAMAGED = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Photo:
    """A written image; `file` and the larger `full` are relative to the page."""

    file: str
    width: int
    height: int
    full: str


class Album:
    """The images a page wants, and then has.

    First everything wanted is named (`want`), then `fill` reads the sources once and writes each
    image at the largest width that was asked for.

    Args:
        read_frame: reads frames of videos; without it they have no pictures.
    """

    def __init__(self, read_frame: ReadFrame | None = None) -> None:
        self._read_frame = read_frame
        self._widths: dict[str, int] = {}
        self._photos: dict[str, Photo] = {}
        self.failures: dict[str, str] = {}

    def want(self, image_id: str, width: int) -> None:
        self._widths[image_id] = max(width, self._widths.get(image_id, 0))

    def __len__(self) -> int:
        return len(self._widths)

    def get(self, image_id: str) -> Photo | None:
        return self._photos.get(image_id)

    def fill(
        self,
        folder: str,
        *,
        examples: str = "",
        image_root: str = "",
        progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    ) -> None:
        """Writes what the sources have into FOLDER/images; the rest goes to `failures`.

        Args:
            folder: Folder of the page.
            examples: TFRecord files with examples; a pattern, or several separated by commas.
            image_root: Folder whose files are named like the ids, with or without a suffix.
            progress: Wraps the images as they come, with their number.
        """
        os.makedirs(os.path.join(folder, "images"), exist_ok=True)
        numbers = {image_id: i for i, image_id in enumerate(self._widths, 1)}
        for image_id, data in progress(self._read(examples, image_root), len(self)):
            file, full = (f"images/{numbers[image_id]:04}{end}.jpg" for end in ("", "-full"))
            try:
                _write(data, os.path.join(folder, full), FULL)
                size = _write(data, os.path.join(folder, file), self._widths[image_id])
            except _DAMAGED as error:
                self.failures[image_id] = f"cannot be decoded: {error}"
            else:
                self._photos[image_id] = Photo(file, *size, full)
                self.failures.pop(image_id, None)

    def in_words(self, examples: str, image_root: str) -> str:
        """A warning if images that were wanted are missing from the sources; "" if none are."""
        missing = [name for name in self._widths if name in self.failures]
        if not missing or not (examples or image_root):
            return ""
        flags = {"--examples": examples, "--image_root": image_root}
        given = " and ".join(f"{flag}={place}" for flag, place in flags.items() if place)
        if len(missing) == len(self):
            return (
                f"WARNING: none of the images is in {given}, such as {clean(missing[0], 200)}: the "
                "page has no pictures"
            )
        return f"{len(missing):,} of {len(self):,} images are not in {given}; the page names them"

    def _read(self, examples: str, image_root: str) -> Iterator[tuple[str, bytes]]:
        """Bytes of each wanted image that is found."""
        missing = dict.fromkeys(self._widths)
        if examples and missing:
            for image_id, data in read_examples(examples, missing):
                del missing[image_id]
                yield image_id, data
        if image_root:
            for image_id in list(missing):
                try:
                    data = self._from_root(image_root, image_id)
                except (FileError, OSError, ValueError) as error:
                    self.failures[image_id] = str(error)
                    del missing[image_id]
                else:
                    del missing[image_id]
                    yield image_id, data
        for image_id in missing:
            self.failures[image_id] = (
                "not in the examples" if examples else "neither --examples nor --image_root given"
            )

    def _from_root(self, root: str, image_id: str) -> bytes:
        frame = _frame_of(root, image_id, self._read_frame) if self._read_frame else None
        return frame or read_from_root(root, image_id)


def read_examples(pattern: str, wanted: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    """Encoded images with these ids, each once; stops when all are found.

    Raises:
        ValueError: If there are no such files, or one is damaged.
    """
    import tensorflow as tf

    from context_rcnn.data import examples
    from context_rcnn.data import input as input_lib

    files = input_lib.find_files(pattern, "--examples")
    spec = {
        examples.SOURCE_ID: tf.io.FixedLenFeature([], tf.string, ""),
        examples.ENCODED: tf.io.FixedLenFeature([], tf.string),
    }
    left = set(wanted)
    for file in files:
        try:
            for record in tf.data.TFRecordDataset(file):
                if not left:
                    return
                example = tf.io.parse_single_example(record, spec)
                image_id = example[examples.SOURCE_ID].numpy().decode("utf-8", "replace")
                if image_id in left:
                    left.remove(image_id)
                    yield image_id, example[examples.ENCODED].numpy()
        except tf.errors.OpError as error:
            raise ValueError(f"--examples: {file} is damaged: {error.message}") from error


def read_from_root(root: str, image_id: str) -> bytes:
    """Bytes of the file below `root` that is named like the id.

    Raises:
        FileError: If there is none, or the id leads out of `root`.
    """
    for suffix in SUFFIXES:
        path = resolve_inside(root, image_id + suffix)
        try:
            if path.is_file():
                return path.read_bytes()
        except OSError as error:
            raise FileError(Reason.MISSING_FILE, f"cannot be read: {error.strerror}") from error
    raise FileError(Reason.MISSING_FILE, "no file of this name below --image_root")


def _frame_of(root: str, image_id: str, read_frame: ReadFrame) -> bytes | None:
    """The frame VIDEO/000012500.jpg of a video file below `root`; None if it is no such name."""
    video, _, name = image_id.rpartition("/")
    if not video.lower().endswith(VIDEO_SUFFIXES) or not _FRAME.fullmatch(name):
        return None
    place = resolve_inside(root, video)
    return read_frame(str(place), int(name[:9]) / 1000) if place.is_file() else None


def _write(data: bytes, path: str, width: int) -> tuple[int, int]:
    """Writes a JPEG no wider than `width`, upright and without metadata; returns its size."""
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are too many")
        image.draft("RGB", (width, width))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
    upright.save(path, "JPEG", quality=85)
    return upright.size
