"""What is found wrong with the data of a JPEG is what libjpeg in TensorFlow writes on stderr."""

import io
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from context_rcnn.data import complaints, jpeg
from context_rcnn.data.images import ImageOptions, check_image, without_damage

KINDS = {
    "4:2:0": {"quality": 85},
    "4:4:4": {"quality": 92, "subsampling": 0},
    "grey": {"quality": 80, "mode": "L"},
    "a restart in every row": {"quality": 85, "restart_marker_rows": 1},
    "a restart after three blocks": {"quality": 85, "restart_marker_blocks": 3},
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
def test_sound_pictures_are_found_sound_and_pass(kind):
    for seed in range(30):
        data = photograph(np.random.default_rng(seed), **KINDS[kind])
        assert jpeg.find_damage(data) == ""
        checked = check_image(data, ImageOptions())
        assert checked.encoded is data and not checked.changes
        assert (checked.width, checked.height) == Image.open(io.BytesIO(data)).size


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
    counts = {"sound": 0, "found": 0, "missed": 0, "found by us alone": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = damaged(rng, photograph(rng, **KINDS[kind]))
        said = complaint(data, capfd)
        if said is None:
            continue
        found = jpeg.find_damage(data)
        for word, damage in words.items():  # libjpeg mentions the first thing alone
            assert word not in said or found in ("", damage, jpeg.MISPLACED), (seed, said)
        # libjpeg does not notice a few bytes too many that it has read ahead.
        assert said or found in ("", jpeg.GOES_ON), seed
        alone = "found by us alone" if found else "sound"
        counts[("found" if found else "missed") if said else alone] += 1
    assert min(counts["sound"], counts["found"]) >= 5 and counts["found by us alone"] <= 3, counts
    # Where all that is missing is a block of colour, what is read ahead may pass for it.
    assert counts["missed"] <= (2 if "restart" in kind else 0), counts


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


def test_a_restart_marker_that_is_missing_or_another_is_damage():
    data = photograph(np.random.default_rng(1), restart_marker_rows=1)
    places = [m.start() for m in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    assert len(places) > 2
    missing = data[: places[1]] + b"\x12\x34" + data[places[1] + 2 :]
    another = data[: places[1] + 1] + b"\xd6" + data[places[1] + 2 :]
    for changed in (missing, another):
        assert check_image(changed, ImageOptions()).damage == jpeg.MISPLACED


def test_of_pictures_that_cannot_be_checked_the_decoder_is_heard(monkeypatch, capfd):
    sound = photograph(np.random.default_rng(2), progressive=True)
    assert check_image(sound, ImageOptions()).encoded is sound
    heard = 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        data = damaged(rng, photograph(rng, progressive=True), 40)
        said = complaint(data, capfd)
        checked = check_image(data, ImageOptions())
        assert "JPEG" not in capfd.readouterr().err, "nothing reaches the terminal"
        if said is not None:
            assert checked.damage == said
            heard += bool(said)
        assert complaint(checked.encoded, capfd) == ""
    assert heard >= 4
    data = photograph(rng, restart_marker_rows=1)
    data = data[:-2] + bytes(40) + data[-2:]
    assert check_image(data, ImageOptions()).damage == jpeg.GOES_ON
    monkeypatch.setattr(jpeg, "MOST_PIECES", 1)  # too many to look at
    assert "extraneous bytes" in check_image(data, ImageOptions()).damage


def test_of_a_pillow_that_reads_on_the_other_decoder_is_heard(monkeypatch):
    data = photograph(np.random.default_rng(1))
    data = data[:-2] + bytes(40) + data[-2:]
    assert check_image(data, ImageOptions()).damage == jpeg.GOES_ON
    monkeypatch.setattr(jpeg, "_tells", lambda: False)
    assert "extraneous bytes" in check_image(data, ImageOptions()).damage


def test_what_is_written_while_a_decoder_is_heard_is_not_lost(monkeypatch, capfd):
    def decode(encoded, **options):
        os.write(2, b"another line\nCorrupt JPEG data: 3 extraneous bytes before marker 0xd9\n")

    monkeypatch.setattr(tf.io, "decode_image", decode)
    assert complaints.complaint(b"") == "Corrupt JPEG data: 3 extraneous bytes before marker 0xd9"
    assert capfd.readouterr().err == "another line\n"


def test_an_encoded_image_loses_its_damage_and_nothing_else(capfd):
    rng = np.random.default_rng(3)
    while not complaint(data := damaged(rng, photograph(rng, quality=85), 40), capfd):
        pass
    encoded, damage = without_damage(data)
    assert damage in (jpeg.GOES_ON, jpeg.ENDS_EARLY) and complaint(encoded, capfd) == ""
    ours = np.asarray(Image.open(io.BytesIO(encoded)), np.float64)
    assert np.abs(ours - np.asarray(Image.open(io.BytesIO(data)))).mean() < 4
    for other in (photograph(rng), b"", b"no image", b"\xff\xd8\xff broken"):
        assert without_damage(other) == (other, "")
