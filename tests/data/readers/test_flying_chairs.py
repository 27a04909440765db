"""Pairs of images with flow, in FlyingChairs' own layout, whole and damaged."""

import struct

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.failures import Reason
from context_rcnn.data.flow_pairs import Changes, flow_batches
from context_rcnn.data.paths import FileError
from context_rcnn.data.readers.flying_chairs import SPLIT_FILE, read_flying_chairs, read_vectors


def write_flo(path, vectors):
    """As the format says: a tag, width, height, then columns and rows of each pixel."""
    height, width, _ = vectors.shape
    data = struct.pack("<fii", 202021.25, width, height) + vectors.astype("<f4").tobytes()
    path.write_bytes(data)


@pytest.fixture
def chairs(tmp_path):
    """Three pairs of 8x12; every pixel of pair i moves by i columns and -2 i rows."""
    folder = tmp_path / "FlyingChairs_release"
    (folder / "data").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in (1, 2, 3):
        for k in (1, 2):
            image = rng.integers(0, 255, (8, 12, 3)).astype(np.uint8)
            Image.fromarray(image).save(folder / "data" / f"{i:05d}_img{k}.ppm")
        flow = np.tile(np.float32([i, -2 * i]), (8, 12, 1))
        write_flo(folder / "data" / f"{i:05d}_flow.flo", flow)
    (tmp_path / SPLIT_FILE).write_text("1\n2\n1\n")
    return folder


def test_the_split_is_that_of_the_file_beside_the_release(chairs):
    for split, names in (("train", ["00001", "00003"]), ("val", ["00002"])):
        pairs, failures = read_flying_chairs(str(chairs), split=split)
        assert [pair.name for pair in pairs] == names and not failures
    assert len(read_flying_chairs(str(chairs / "data"), split="all")[0]) == 3


def test_vectors_are_rows_and_columns(chairs):
    vectors = read_vectors(chairs / "data" / "00002_flow.flo")
    np.testing.assert_array_equal(vectors, np.tile(np.float32([-4, 2]), (8, 12, 1)))


def batches(chairs, **options):
    pairs, _ = read_flying_chairs(str(chairs), split="all")
    return flow_batches(pairs, size=(4, 8), batch_size=2, **options)


def test_an_evaluation_sees_each_pair_once_in_the_middle(chairs):
    found = list(batches(chairs, training=False).as_numpy_iterator())
    valid = np.concatenate([batch["valid"] for batch in found])
    np.testing.assert_array_equal(valid, [True, True, True, False])
    flow = np.concatenate([batch["flow"] for batch in found])[valid]
    np.testing.assert_array_equal(flow[:, 0, 0], [[-2, 1], [-4, 2], [-6, 3]])
    image = np.asarray(Image.open(chairs / "data" / "00001_img2.ppm"))
    np.testing.assert_allclose(found[0]["before"][0], image[2:6, 2:10] / 255, rtol=1e-6)


@pytest.mark.parametrize(
    "change, axis, signs",
    [("flip_probability", 2, [1, -1]), ("upside_down_probability", 1, [-1, 1])],
)
def test_a_mirrored_pair_has_mirrored_flow(chairs, change, axis, signs):
    plain, mirrored = (
        next(iter(batches(chairs, training=True, seed=3, changes=changes).as_numpy_iterator()))
        for changes in (Changes(), Changes(**{change: 1.0}))
    )
    for name in ("now", "before"):
        np.testing.assert_array_equal(mirrored[name], np.flip(plain[name], axis))
    np.testing.assert_array_equal(mirrored["flow"], np.flip(plain["flow"], axis) * signs)


def test_the_flow_leads_to_where_the_other_window_is(chairs):
    """The windows are looked for in the images, whose 8x12 pixels are all different."""
    images = {
        (i, k): np.asarray(Image.open(chairs / "data" / f"{i:05d}_img{k}.ppm"))
        for i in (1, 2, 3)
        for k in (1, 2)
    }

    def place(window, k):
        for i in (1, 2, 3):
            for y in range(5):
                for x in range(5):
                    if (images[i, k][y : y + 4, x : x + 8] == window).all():
                        return i, np.array([y, x])
        raise AssertionError("no window of any image")

    found, apart = batches(chairs, training=True, seed=5, changes=Changes(shift=2)), []
    for batch in found.take(20).as_numpy_iterator():
        for now, before, flow in zip(
            *(batch[name] for name in ("now", "before", "flow")), strict=True
        ):
            (i, here), (same, there) = (
                place(np.rint(255 * part), k) for part, k in ((now, 1), (before, 2))
            )
            assert i == same
            # The pixel at `here` is at `here + (-2 i, i)` in the other image, less `there` there.
            expected = here + [-2 * i, i] - there
            np.testing.assert_array_equal(flow, np.broadcast_to(expected, flow.shape))
            apart.append(there - here)
    assert np.abs(apart).max() == 2 and np.unique(apart, axis=0).shape[0] > 12  # of 25


def test_equal_seeds_give_equal_batches(chairs):
    changes = Changes(flip_probability=0.5, brightness=0.2, shift=1)
    one, again, other = (
        next(iter(batches(chairs, training=True, seed=seed, changes=changes).as_numpy_iterator()))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one["now"], again["now"])
    np.testing.assert_array_equal(one["flow"], again["flow"])
    assert (one["now"] != other["now"]).any()


def test_pairs_that_lack_a_file_are_failures(chairs):
    (chairs / "data" / "00001_flow.flo").unlink()
    pairs, failures = read_flying_chairs(str(chairs), split="all")
    assert [pair.name for pair in pairs] == ["00002", "00003"]
    assert (failures[0].reason, failures[0].detail) == (
        Reason.MISSING_FILE,
        "00001_flow.flo is not there",
    )
    pairs, failures = read_flying_chairs(str(chairs), split="all", needs_flow=False)
    assert pairs[0].flow is None and not failures


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda data: data[:-4], Reason.TRUNCATED),
        (lambda data: b"PNG " + data[4:], Reason.UNREADABLE),
        (lambda data: data[:8], Reason.UNREADABLE),
        (lambda data: data[:12] + struct.pack("<f", np.nan) + data[16:], Reason.NOT_FINITE),
    ],
)
def test_damaged_flow_is_named(chairs, change, reason):
    path = chairs / "data" / "00001_flow.flo"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FileError, match="00001_flow.flo") as error:
        read_vectors(path)
    assert error.value.reason == reason


def test_a_split_that_does_not_fit_is_named(chairs, tmp_path):
    (tmp_path / SPLIT_FILE).write_text("1\n2\n")
    with pytest.raises(ValueError, match="has 2 lines, and there are 3 pairs"):
        read_flying_chairs(str(chairs), split="train")
    (tmp_path / SPLIT_FILE).write_text("1\n2\n3\n")
    with pytest.raises(ValueError, match="has lines with 1 or 2, not '3'"):
        read_flying_chairs(str(chairs), split="train")
    (tmp_path / SPLIT_FILE).unlink()
    with pytest.raises(ValueError, match=f"there is no .*{SPLIT_FILE}"):
        read_flying_chairs(str(chairs), split="train")
    with pytest.raises(ValueError, match="has no pairs, such as"):
        read_flying_chairs(str(tmp_path), split="all")
