"""Checking untrusted image files."""

import importlib.machinery
import importlib.util
import io
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, features

from context_rcnn.data import images
from context_rcnn.data.failures import Reason
from context_rcnn.data.images import ImageOptions, check_image, read_clock, read_file
from context_rcnn.data.paths import FileError
from context_rcnn.data.timestamps import ClockError

OPTIONS = ImageOptions()


def decode(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def save(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def reason_of(data: bytes, options: ImageOptions = OPTIONS) -> Reason:
    with pytest.raises(FileError) as error:
        check_image(data, options)
    return error.value.reason


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_good_jpeg_passes_through_byte_by_byte(jpeg, mode):
    data = jpeg(mode=mode)
    image = check_image(data, OPTIONS)
    assert image.encoded == data
    assert image.changes == ()
    assert (image.width, image.height) == (64, 48)


def test_padding_after_the_end_marker_is_left_alone(jpeg):
    data = jpeg() + b"\x00" * 100
    assert check_image(data, OPTIONS).encoded == data


# Where the upper left pixel of the file is shown, by EXIF orientation (y, x).
SHOWN_AT = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1)}
SHOWN_AT[8] = (-1, 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotation_is_applied_to_the_pixels(orientation):
    stored = Image.new("RGB", (64, 48), "black")
    ImageDraw.Draw(stored).rectangle((0, 0, 15, 15), fill="white")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = check_image(save(stored, "JPEG", exif=exif, quality=95), OPTIONS)
    pixels = decode(image.encoded)
    assert pixels.shape[:2] == ((64, 48) if orientation >= 5 else (48, 64))
    assert pixels.shape[:2] == (image.height, image.width)
    corners = {corner: pixels[corner].mean() for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]}
    assert max(corners, key=corners.get) == SHOWN_AT[orientation]
    assert Image.open(io.BytesIO(image.encoded)).getexif().get(0x0112, 1) == 1
    assert image.file_size == (64, 48)


def test_cmyk_becomes_rgb_of_the_same_colours(jpeg, gradient):
    image = check_image(jpeg(mode="CMYK"), OPTIONS)
    assert Image.open(io.BytesIO(image.encoded)).mode == "RGB"
    assert np.abs(decode(image.encoded) - gradient).mean() < 4


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_upper_bits(file_format):
    values = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    image = check_image(save(Image.fromarray(values), file_format), OPTIONS)
    assert np.abs(decode(image.encoded)[..., 0] - values / 257).max() < 4


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_other_modes_become_rgb_or_grey(gradient, mode):
    image = check_image(save(Image.fromarray(gradient).convert(mode), "PNG"), OPTIONS)
    assert Image.open(io.BytesIO(image.encoded)).format == "JPEG"
    assert Image.open(io.BytesIO(image.encoded)).mode in ("RGB", "L")


def test_transparent_pixels_become_black():
    pixels = np.full((48, 64, 4), 255, np.uint8)
    pixels[:, :32, 3] = 0
    image = decode(check_image(save(Image.fromarray(pixels), "PNG"), OPTIONS).encoded)
    assert image[:, :16].max() < 10
    assert image[:, 48:].min() > 245


@pytest.mark.parametrize("mode", ["P", "I;16", "RGBA"])
def test_rotation_survives_a_change_of_mode(mode):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = check_image(save(Image.new(mode, (64, 48)), "PNG", exif=exif), OPTIONS)
    assert (image.width, image.height) == (48, 64)


def test_a_bomb_is_refused_before_it_is_decoded():
    assert reason_of(png_header(50_000, 50_000)) is Reason.TOO_LARGE
    assert reason_of(png_header(12_000, 9_000)) is Reason.TOO_LARGE
    assert reason_of(png_header(64, 48), ImageOptions(max_megapixels=0.001)) is Reason.TOO_LARGE


def test_truncated_files_fail_unless_they_are_to_be_kept(jpeg, gradient):
    data = jpeg()[: len(jpeg()) * 3 // 4]
    assert reason_of(data) is Reason.TRUNCATED
    image = check_image(data, ImageOptions(keep_truncated=True))
    assert image.changes == ("truncated_kept",)
    # What was there is kept.
    assert np.abs(decode(image.encoded)[:8] - gradient[:8]).mean() < 6


def test_a_truncated_png_fails(gradient):
    data = save(Image.fromarray(gradient), "PNG")
    for options in (OPTIONS, ImageOptions(keep_truncated=True)):
        assert reason_of(data[: len(data) // 2], options) is Reason.TRUNCATED


@pytest.mark.parametrize("tail", [b"", b"\xff\xe3\xff\xff hides the end marker \xff\xd9"])
def test_complete_pixels_without_end_marker_are_encoded_anew(jpeg, gradient, tail):
    """Pillow may take such a file as it is; TensorFlow's decoder refuses it."""
    image = check_image(jpeg()[:-2] + tail, ImageOptions(keep_truncated=True))
    assert image.changes in [("end_marker_added",), ("truncated_kept",)]
    assert np.abs(decode(image.encoded) - gradient).mean() < 2


@pytest.mark.parametrize("data", [b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xff\xd8\xff"])
def test_what_is_no_image_is_unreadable(data):
    assert reason_of(data) is Reason.UNREADABLE


def test_large_images_are_reduced_and_small_ones_never_enlarged(jpeg):
    reduced = check_image(jpeg(), ImageOptions(max_side=32))
    assert (reduced.width, reduced.height) == (32, 24)
    assert reduced.upright_size == (64, 48)
    assert check_image(jpeg(), ImageOptions(max_side=640)).encoded == jpeg()


def test_missing_empty_and_odd_files_are_told_apart(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "big.jpg").write_bytes(b"x" * 2000)
    expected = {
        "gone.jpg": Reason.MISSING_FILE,
        "empty.jpg": Reason.EMPTY_FILE,
        "empty.jpg/a.jpg": Reason.MISSING_FILE,
        "folder.jpg": Reason.UNREADABLE,
        "big.jpg": Reason.TOO_LARGE,
        "../a.jpg": Reason.OUTSIDE_ROOT,
    }
    for name, reason in expected.items():
        with pytest.raises(FileError) as error:
            read_file(tmp_path, name, ImageOptions(max_file_megabytes=0.001))
        assert error.value.reason is reason, name


def test_the_exif_clock_is_read_and_the_file_date_is_not(tmp_path, jpeg):
    (tmp_path / "dated.jpg").write_bytes(jpeg(date="2013:10:04 13:31:53"))
    (tmp_path / "undated.jpg").write_bytes(jpeg())
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    assert read_clock(tmp_path / "dated.jpg") == 1380893513
    assert read_clock(tmp_path / "undated.jpg") is None
    assert read_clock(tmp_path / "broken.jpg") is None


def test_the_original_date_goes_before_the_others(tmp_path, gradient):
    exif = Image.Exif()
    exif[0x0132] = "2015:01:01 00:00:00"
    exif.get_ifd(0x8769)[0x9004] = "2014:01:01 00:00:00"
    Image.fromarray(gradient).save(tmp_path / "a.jpg", exif=exif)
    assert read_clock(tmp_path / "a.jpg") == 1388534400
    exif.get_ifd(0x8769)[0x9003] = "1970:01:01 00:00:00"
    Image.fromarray(gradient).save(tmp_path / "b.jpg", exif=exif)
    assert read_clock(tmp_path / "b.jpg") == 1388534400, "a junk date gives way to a good one"


def test_a_junk_clock_is_reported(tmp_path, jpeg):
    (tmp_path / "a.jpg").write_bytes(jpeg(date="2000:01:01 00:00:00"))
    with pytest.raises(ClockError) as error:
        read_clock(tmp_path / "a.jpg")
    assert error.value.reason is Reason.JUNK_DATE


@settings(max_examples=150)
@given(data=st.data())
def test_damage_gives_an_image_or_a_named_failure(jpeg, data):
    damaged = bytearray(jpeg())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = check_image(bytes(damaged), ImageOptions(max_megapixels=1))
    except FileError as error:
        assert isinstance(error.reason, Reason)
    else:
        assert decode(image.encoded).shape == (image.height, image.width, 3)


@pytest.mark.parametrize(
    ("kind", "suffix", "installed"),
    [
        ("AVIF", ".avif", features.check("avif")),
        ("HEIF", ".heic", importlib.util.find_spec("pillow_heif") is not None),
    ],
)
def test_formats_of_telephones_are_read_where_they_can_be(kind, suffix, installed):
    assert (suffix in images.IMAGE_SUFFIXES) == (kind in images.FORMATS) == installed
    if installed:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, kind)
        checked = images.check_image(buffer.getvalue(), images.ImageOptions())
        assert checked.upright_size == (64, 48)
        red = Image.open(io.BytesIO(checked.encoded)).getpixel((30, 20))
        assert abs(red[0] - 200) < 12 and red[1] < 50


def test_the_plug_in_for_heic_is_registered_if_it_is_there(monkeypatch):
    called = []
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: called.append(True)
    plugin.__spec__ = importlib.machinery.ModuleSpec("pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    assert images._formats()["HEIF"] == (".heic", ".heif") and called
