"""Splits by camera."""

import json

import pytest

from context_rcnn.data.splits import Splits, hash_splits, lopsided, read_splits

CAMERAS = [f"camera {i}" for i in range(400)]


@pytest.mark.parametrize("wrap", [lambda s: {"splits": s, "info": {}}, lambda s: {**s, "info": {}}])
def test_both_layouts_are_read_and_numbers_become_names(tmp_path, wrap):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(wrap({"train": [1, "2"], "val": ["3"]})))
    assert read_splits(path).by_camera() == {"1": "train", "2": "train", "3": "val"}


def test_what_is_written_can_be_read(tmp_path):
    splits = Splits({"val": {"b"}, "train": ["c", "a"]}, source="x")
    (tmp_path / "splits.json").write_text(splits.to_json())
    again = read_splits(tmp_path / "splits.json")
    assert again.by_camera() == splits.by_camera()
    assert again.cameras["train"] == ["a", "c"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"splits": {"train": [1], "val": ["1"]}}, "camera '1' is in the splits 'train' and 'val'"),
        ({"splits": []}, "'splits' must be an object"),
        ({"splits": {"train": "a"}}, "must be a list of cameras, found a string"),
        ({"splits": {"train": ["a", None]}}, "entry 1 is no camera"),
        ({"splits": {"../train": ["a"]}}, "use letters, digits"),
        ({}, "no splits found"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path, document, message):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message) as error:
        read_splits(path)
    assert str(path) in str(error.value)


def test_the_share_of_validation_cameras_is_near_the_fraction():
    splits = hash_splits(CAMERAS, val_fraction=0.2, seed=0)
    # Four standard deviations of a binomial around 80.
    assert abs(len(splits.cameras["val"]) - 80) < 4 * (400 * 0.2 * 0.8) ** 0.5
    assert sorted([*splits.cameras["train"], *splits.cameras["val"]]) == sorted(CAMERAS)


def test_cameras_keep_their_split_when_others_are_added():
    few = hash_splits(CAMERAS[:200], 0.2, seed=3).by_camera()
    many = hash_splits(CAMERAS, 0.2, seed=3).by_camera()
    assert all(many[camera] == split for camera, split in few.items())
    assert many != hash_splits(CAMERAS, 0.2, seed=4).by_camera()


def test_known_values_stay_the_same():
    """The split of a published archive must not change with a new version."""
    splits = hash_splits([f"{i}" for i in range(10)], 0.3, seed=0)
    assert sorted(splits.cameras["val"]) == ["3", "7", "8", "9"]


@pytest.mark.parametrize("seed", range(20))
def test_neither_split_of_two_cameras_is_empty(seed):
    splits = hash_splits(["a", "b"], 0.1, seed)
    assert [len(splits.cameras[split]) for split in ("train", "val")] == [1, 1]


def test_one_camera_is_for_training_and_no_fraction_gives_no_validation():
    assert hash_splits(["a"], 0.9, 0).cameras == {"train": ["a"]}
    assert set(hash_splits(CAMERAS, 0.0, 0).cameras) == {"train"}
    with pytest.raises(ValueError, match="val_fraction"):
        hash_splits(CAMERAS, 1.0, 0)


@pytest.mark.parametrize(
    ("images", "fraction", "warned"),
    [
        ({"train": 80, "val": 20}, 0.2, False),
        ({"train": 70, "val": 30}, 0.2, False),
        ({"train": 60, "val": 26}, 0.2, True),
        ({"train": 60}, 0.2, True),
        ({"train": 95, "val": 5}, 0.2, True),
        ({"train": 60}, 0.0, False),
        ({}, 0.2, False),
    ],
)
def test_a_lopsided_split_is_said_with_its_counts(images, fraction, warned):
    splits = hash_splits(["a", "b", "c"], fraction, 0)
    said = lopsided(splits, images, fraction)
    assert bool(said) == warned
    if warned:
        assert f"train {images['train']}" in said[0] and "3 cameras" in said[0]
    chosen = Splits({"train": ["a"], "val": ["b"]}, "a file")
    assert not lopsided(chosen, images, fraction), "somebody chose them"
