"""Untrusted image files, checked once: RGB or grey JPEG, upright, of bounded size.

A JPEG that already is all that passes through byte by byte. Everything else is decoded with Pillow
and encoded anew. What cannot be used raises `FileError` with one of the fixed reasons. A JPEG whose
data is damaged (`jpeg`) is used as Pillow decodes it, and `damage` says so: encoded anew, it looks
the same to every decoder, and no library writes about it on stderr.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import io
import logging
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from context_rcnn.data import jpeg
from context_rcnn.data.failures import Reason
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.timestamps import ClockError, parse_timestamp

_ALWAYS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
}
_PLUGIN = "pillow_heif"


def _formats() -> dict[str, tuple[str, ...]]:
    """Suffixes of the formats that can be read here; HEIC needs a plug-in, AVIF a recent Pillow."""
    found = dict(_ALWAYS)
    if features.check("avif"):
        found["AVIF"] = (".avif",)
    if importlib.util.find_spec(_PLUGIN):
        importlib.import_module(_PLUGIN).register_heif_opener()
        found["HEIF"] = (".heic", ".heif")
    return found


FORMATS = tuple(_formats())
"""What Pillow may open; formats that call other programs (EPS) are not among them."""
IMAGE_SUFFIXES = tuple(suffix for suffixes in _formats().values() for suffix in suffixes)

# Pillow warns of large and of odd files without their names; here each has a named record.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

_EXIF_IFD = 0x8769
_ORIENTATION = 0x0112
_DATE_TAGS = ((_EXIF_IFD, 0x9003), (_EXIF_IFD, 0x9004), (None, 0x0132))  # Original, Digitized, Date
_JPEG_KINDS = ("JPEG", "MPO")  # a JPEG with further pictures behind it is opened as "MPO"


@dataclasses.dataclass(frozen=True, slots=True)
class ImageOptions:
    """Rules for the images that are accepted, and for their conversion.

    Attributes:
        max_megapixels: Larger images are refused before they are decoded.
        max_side: Longer images are reduced to this many pixels; smaller ones are never enlarged.
        keep_truncated: Decode what is there of a JPEG that ends early; the rest is grey.
        jpeg_quality: Quality of images that have to be encoded anew.
        max_file_megabytes: Larger files are refused before they are read.
    """

    max_megapixels: float = 100.0
    max_side: int | None = None
    keep_truncated: bool = False
    jpeg_quality: int = 95
    max_file_megabytes: float = 512.0

    def __post_init__(self):
        for name in ("max_megapixels", "jpeg_quality", "max_file_megabytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.max_side is not None and self.max_side < 1:
            raise ValueError(f"max_side must be at least 1, got {self.max_side}")


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedImage:
    """A JPEG that any decoder reads the same way.

    Attributes:
        encoded: The JPEG file.
        width, height: Size of the image.
        upright_size: (width, height) after EXIF rotation, before any reduction.
        orientation: EXIF orientation of the original file, 1 to 8.
        changes: Why it was encoded anew ("rotated", "reduced", ...); empty if it was not.
        damage: What is wrong with the data of the original file, in words; "" if nothing is.
    """

    encoded: bytes
    width: int
    height: int
    upright_size: tuple[int, int]
    orientation: int = 1
    changes: tuple[str, ...] = ()
    damage: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.encoded).hexdigest()

    @property
    def file_size(self) -> tuple[int, int]:
        """(width, height) as stored in the original file, before EXIF rotation."""
        width, height = self.upright_size
        return (height, width) if self.orientation >= 5 else (width, height)


def read_file(root: str | Path, file_name: str, options: ImageOptions) -> bytes:
    """Bytes of an image file below `root`; raises FileError."""
    path = resolve_inside(root, file_name)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise FileError(Reason.UNREADABLE, "not a regular file")
        if status.st_size == 0:
            raise FileError(Reason.EMPTY_FILE, "the file has no content")
        if status.st_size > options.max_file_megabytes * 1e6:
            raise FileError(
                Reason.TOO_LARGE,
                f"{status.st_size / 1e6:.0f} MB; the limit is {options.max_file_megabytes:g} MB",
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(Reason.MISSING_FILE, "no such file below the image root") from error
    except OSError as error:
        raise FileError(Reason.UNREADABLE, error.strerror or type(error).__name__) from error


def check_image(data: bytes, options: ImageOptions) -> CheckedImage:
    """Upright RGB or grey JPEG from the bytes of any supported image file; raises FileError."""
    image = _open(data, options)
    # Pillow opens lazily: everything about the file is read here, before pixels are.
    orientation = _orientation(image)
    is_jpeg = image.format in _JPEG_KINDS
    damage = _find_damage(data) if is_jpeg else ""
    if damage == "" and is_jpeg and _passes(image, orientation, data, options):
        return CheckedImage(data, *image.size, upright_size=image.size)
    changes = [] if is_jpeg else [f"from_{str(image.format).lower()}"]
    image, truncated = _decode(image, data, options)
    if damage and not truncated:
        changes.append("damaged_data")
    if truncated:
        changes.append("truncated_kept")
    elif is_jpeg and not _has_end_marker(data):
        changes.append("end_marker_added")  # complete pixels, but strict decoders refuse the file
    if image.mode not in ("RGB", "L"):
        changes.append(f"from_mode_{image.mode.lower()}")
        image = _to_rgb(image)
    if orientation != 1:
        changes.append("rotated")
        image = ImageOps.exif_transpose(image)
    upright_size = image.size
    if options.max_side is not None and max(image.size) > options.max_side:
        changes.append("reduced")
        image = _reduce(image, options.max_side)
    return CheckedImage(
        encoded=_encode(image, options.jpeg_quality) if changes else data,
        width=image.width,
        height=image.height,
        upright_size=upright_size,
        orientation=orientation,
        changes=tuple(changes),
        damage="" if truncated else damage or "",
    )


def without_damage(data: bytes) -> tuple[bytes, str]:
    """An encoded image that no decoder complains of, and what was wrong with the data of this one.

    Sound images, and those that cannot be decoded at all, stay as they are.
    """
    damage = _find_damage(data) if data.startswith(jpeg.START) else ""
    if not damage:
        return data, ""
    try:
        image, _ = _decode(_open(data, ImageOptions()), data, ImageOptions(keep_truncated=True))
        return _encode(image, ImageOptions().jpeg_quality), damage
    except (FileError, OSError):
        return data, ""


def decode_rgb(data: bytes, options: ImageOptions) -> Image.Image:
    """The upright RGB pixels of any supported image file; raises FileError."""
    image = _open(data, options)
    orientation = _orientation(image)
    image, _ = _decode(image, data, options)
    if image.mode != "RGB":
        image = _to_rgb(image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return ImageOps.exif_transpose(image) if orientation != 1 else image


def read_clock(path: Path, correct: Callable[[int], int] | None = None) -> int | None:
    """EXIF time of an image file as seconds; None if it has none or cannot be opened.

    Takes DateTimeOriginal, else DateTimeDigitized, else DateTime; never the file's own date, which
    copying changes. An unreadable image is not reported here, since its check reports it later.

    Args:
        path: image file.
        correct: turns readings of a clock that was wrong into right ones.

    Raises:
        ClockError: If none of the dates that are there can be used.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        return None
    try:
        with Image.open(path, formats=FORMATS) as image:
            exif = image.getexif()
            texts = [
                (exif.get_ifd(ifd) if ifd is not None else exif).get(tag) for ifd, tag in _DATE_TAGS
            ]
    except Exception:  # decoders of untrusted files raise anything
        return None
    problem = None
    for text in texts:
        try:
            seconds = parse_timestamp(text, correct=correct)
        except ClockError as error:
            problem = problem or error
        else:
            if seconds is not None:
                return seconds
    if problem:
        raise problem
    return None


def read_size(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright image in a file, without its pixels; None if unreadable."""
    if not path.is_file():
        return None
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            return (height, width) if _orientation(image) >= 5 else (width, height)
    except Exception:  # decoders of untrusted files raise anything
        return None


def _find_damage(data: bytes) -> str | None:
    """What is wrong with the data of a JPEG; None if it cannot be decoded."""
    try:
        return jpeg.find_damage(data, _complaint)
    except Exception:  # decoders of untrusted files raise anything
        return None


def _complaint(data: bytes) -> str:
    """What TensorFlow's decoder has against a JPEG; it takes seconds to import, if need be.

    That the end marker is missing is said elsewhere.
    """
    from context_rcnn.data import complaints

    ends = _has_end_marker(data)
    try:
        return complaints.complaint(data if ends else data + jpeg.END)
    except Exception:  # decoders of untrusted files raise anything
        return "TensorFlow cannot decode it" if ends else ""


def _passes(image: Image.Image, orientation: int, data: bytes, options: ImageOptions) -> bool:
    """Whether a sound JPEG is one that passes through byte by byte."""
    small = options.max_side is None or max(image.size) <= options.max_side
    usual = image.mode in ("RGB", "L") and orientation == 1
    return small and usual and _has_end_marker(data)


def _open(data: bytes, options: ImageOptions) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise FileError(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:  # decoders of untrusted files raise anything
        raise FileError(Reason.UNREADABLE, "not an image file of a known format") from error
    megapixels = image.width * image.height / 1e6
    if megapixels > options.max_megapixels:
        raise FileError(
            Reason.TOO_LARGE,
            f"{image.width}x{image.height} is {megapixels:.1f} megapixels; "
            f"the limit is {options.max_megapixels:g}",
        )
    return image


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF does not spoil the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def _decode(image: Image.Image, data: bytes, options: ImageOptions) -> tuple[Image.Image, bool]:
    """Loads the pixels; returns the image and whether it ended early."""
    try:
        image.load()
        return image, False
    except Exception as error:  # decoders of untrusted files raise anything
        if not _looks_truncated(error):
            raise FileError(Reason.UNREADABLE, f"cannot be decoded: {error}") from error
        if not (options.keep_truncated and image.format in _JPEG_KINDS):
            raise FileError(Reason.TRUNCATED, str(error)) from error
    # With an end marker the decoder fills what is missing with grey. Pillow's own switch for this
    # is global, which threads would share.
    image = Image.open(io.BytesIO(data + jpeg.END), formats=("JPEG",))
    try:
        image.load()
    except Exception as error:
        raise FileError(Reason.TRUNCATED, f"nothing can be decoded: {error}") from error
    return image, True


def _has_end_marker(data: bytes) -> bool:
    """Whether the segments of a JPEG, each as long as it says, lead to an end marker."""
    position = len(jpeg.START)
    while match := jpeg.MARKER.search(data, position):
        if match[0].endswith(jpeg.END):
            return True
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + max(2, length)
    return False


def _looks_truncated(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("truncated", "unexpected end", "broken png", "incomplete"))


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any other mode; transparent pixels become black."""
    if image.mode.startswith("I"):
        # Whole numbers of 16 bits: the upper 8 bits, whatever the picture's own range.
        high = np.clip(np.asarray(image), 0, 65535).astype(np.uint16) >> 8
        converted = Image.fromarray(high.astype(np.uint8))
    elif image.mode == "F":
        raise FileError(Reason.UNSUPPORTED_PIXELS, "floating-point pixels have no known range")
    elif image.has_transparency_data:
        colour = image.convert("RGBA")
        converted = Image.new("RGB", image.size)
        converted.paste(colour, mask=colour.getchannel("A"))
    else:
        converted = image.convert("RGB")
    if _ORIENTATION in image.getexif():
        converted.getexif()[_ORIENTATION] = image.getexif()[_ORIENTATION]
    return converted


def _reduce(image: Image.Image, max_side: int) -> Image.Image:
    scale = max_side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.info.clear()  # no EXIF, profile or comment of the original
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
