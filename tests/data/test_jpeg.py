"""What is found wrong with the data of a JPEG is what libjpeg in TensorFlow writes on stderr."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from context_rcnn.data import jpeg
from context_rcnn.data.images import ImageOptions, check_image

KINDS = {
    "4:2:0": {"quality": 85},
    "4:4:4": {"quality": 92, "subsampling": 0},
    "grey": {"quality": 80, "mode": "L"},
}


def photograph(rng, mode="RGB", **options):
    """A JPEG of a picture with large shapes and noise."""
    width, height = rng.integers(40, 300, 2).tolist()
    shapes = rng.integers(0, 255, (5, 7, 3), np.uint8)
    large = np.asarray(Image.fromarray(shapes).resize((width, height)), np.float64)
    noisy = np.clip(large + rng.normal(0, 6, large.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def damaged(rng, data, size=8):
    """The same with other bytes somewhere in the middle of its data."""
    start = data.rindex(b"\xff\xda") + 40
    at = int(rng.integers(start, len(data) - 40))
    return data[:at] + rng.integers(0, 255, size, np.uint8).tobytes() + data[at + size :]


def complaint(data, capfd):
    """What libjpeg says of the data, "" if nothing; None where TensorFlow refuses it."""
    capfd.readouterr()
    try:
        tf.io.decode_jpeg(data)
    except tf.errors.InvalidArgumentError:
        return None
    return "".join(line for line in capfd.readouterr().err.splitlines() if "Corrupt" in line)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_pictures_are_found_sound_and_decoded_as_ever(kind):
    for seed in range(30):
        data = photograph(np.random.default_rng(seed), **KINDS[kind])
        file = jpeg.JpegFile(data)
        image = Image.open(file)
        pixels = np.asarray(image)
        assert file.damage == ""
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))
        assert check_image(data, ImageOptions()).encoded is data


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (97, 61)], ids=str)
@pytest.mark.parametrize("colour", ["black", "white", "#3a7f11"])
def test_pictures_without_detail_are_sound(size, colour):
    for options in KINDS.values():
        options = dict(options)
        buffer = io.BytesIO()
        Image.new(options.pop("mode", "RGB"), size, colour).save(buffer, "JPEG", **options)
        data = buffer.getvalue()
        assert check_image(data, ImageOptions()).encoded is data


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_where_libjpeg_finds_it(kind, capfd):
    tf.io.decode_jpeg(photograph(np.random.default_rng(0)))  # what TensorFlow says when it starts
    words = {"extraneous": jpeg.GOES_ON, "premature": jpeg.ENDS_EARLY}
    counts = {"sound": 0, "found": 0, "found by us alone": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = damaged(rng, photograph(rng, **KINDS[kind]))
        said = complaint(data, capfd)
        if said is None:
            continue
        file = jpeg.JpegFile(data)
        with Image.open(file) as image:
            image.load()
        assert file.damage or not said, (seed, said)
        for word, damage in words.items():  # libjpeg mentions the first thing alone
            assert word not in said or file.damage == damage, (seed, said)
        # libjpeg does not notice a few bytes too many that it has read ahead.
        assert said or file.damage in ("", jpeg.GOES_ON), seed
        alone = "found by us alone" if file.damage else "sound"
        counts["found" if said else alone] += 1
    assert counts["sound"] >= 5 and counts["found"] >= 5 and counts["found by us alone"] <= 3, (
        counts
    )


def test_a_damaged_picture_becomes_one_that_no_decoder_complains_of(capfd):
    rng = np.random.default_rng(3)
    while not complaint(data := damaged(rng, photograph(rng, quality=85), 40), capfd):
        pass
    checked = check_image(data, ImageOptions())
    assert checked.changes == ("damaged_data",)
    assert checked.damage in (jpeg.GOES_ON, jpeg.ENDS_EARLY)
    assert complaint(checked.encoded, capfd) == ""
    again = check_image(checked.encoded, ImageOptions())
    assert again.damage == "" and again.encoded is checked.encoded
    # What Pillow made of it, but for the loss of one more encoding.
    ours = np.asarray(Image.open(io.BytesIO(checked.encoded)), np.float64)
    assert np.abs(ours - np.asarray(Image.open(io.BytesIO(data)))).mean() < 4


@pytest.mark.parametrize("marker", [b"\xff\xd9", b"\xff\x01"], ids=["end", "unused"])
def test_a_marker_in_the_middle_of_the_data_is_damage(marker):
    data = photograph(np.random.default_rng(1))
    middle = len(data) * 2 // 3
    data = data[:middle] + marker + data[middle + 2 :]
    assert check_image(data, ImageOptions()).damage == jpeg.ENDS_EARLY


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}], ids=str)
def test_what_cannot_be_checked_passes(options):
    rng = np.random.default_rng(2)
    data = photograph(rng, **options)
    assert check_image(data, ImageOptions()).encoded is data
    assert check_image(damaged(rng, data), ImageOptions()).damage == ""


def test_a_decoder_that_reads_on_tells_nothing(monkeypatch):
    monkeypatch.setattr(jpeg, "_tells", lambda: False)
    data = photograph(np.random.default_rng(1))
    assert check_image(data[:-2] + bytes(40) + data[-2:], ImageOptions()).damage == ""
    monkeypatch.undo()
    assert check_image(data[:-2] + bytes(40) + data[-2:], ImageOptions()).damage == jpeg.GOES_ON
