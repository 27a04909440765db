"""Simulated videos, read by the reader of the real data set."""

import hashlib
from collections import defaultdict

import numpy as np
import pytest

from context_rcnn.data.readers.imagenet_vid import (
    CLASS_NAMES,
    read_imagenet_vid,
    read_imagenet_vid_splits,
)
from context_rcnn.simulation import simulate_videos
from context_rcnn.simulation.videos import SYNSETS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos") / "vid"
    return root, simulate_videos(root, videos=12, frames=24, seed=3, clear_fraction=0.5)


def digest(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def overlap(a, b):
    width = min(a.xmax, b.xmax) - max(a.xmin, b.xmin)
    height = min(a.ymax, b.ymax) - max(a.ymin, b.ymin)
    both = max(width, 0) * max(height, 0)
    area = sum((box.xmax - box.xmin) * (box.ymax - box.ymin) for box in (a, b))
    return both / (area - both)


def test_the_real_reader_finds_everything(made):
    root, summary = made
    archive = read_imagenet_vid(root)
    assert archive.failures == [] and archive.images_listed == summary["frames"]
    assert sum(len(record.boxes) for record in archive.records) == summary["boxes"] > 100
    assert set(summary["by_speed"]) == {"slow", "medium", "fast"}
    splits = read_imagenet_vid_splits(root).cameras
    assert {split: len(videos) for split, videos in splits.items()} == {"train": 9, "val": 3}
    lengths = defaultdict(list)
    for record in archive.records:
        lengths[record.camera].append(record.frame_num)
        for box in record.boxes:
            assert 0 <= box.xmin < box.xmax <= 160 and 0 <= box.ymin < box.ymax <= 120
    for numbers in lengths.values():
        assert numbers == list(range(len(numbers))) and 12 <= len(numbers) <= 36


def test_names_are_the_data_sets_own():
    assert set(SYNSETS.values()) <= set(CLASS_NAMES)
    assert len(set(SYNSETS.values())) == len(SYNSETS)


def test_a_track_is_one_animal_that_moves_without_jumps(made):
    root, _ = made
    tracks = defaultdict(dict)
    for record in read_imagenet_vid(root).records:
        for box in record.boxes:
            tracks[record.camera, box.track][record.frame_num] = box
    assert all(len({box.label for box in track.values()}) == 1 for track in tracks.values())
    near = [
        overlap(track[t], track[t + 1])
        for track in tracks.values()
        for t in track
        if t + 1 in track
    ]
    assert np.mean(near) > 0.75
    means = {
        key: np.mean(
            [
                overlap(a, b)
                for t, a in track.items()
                for u, b in track.items()
                if 0 < abs(t - u) <= 10
            ]
        )
        for key, track in tracks.items()
        if len(track) > 10
    }
    # Slow and fast ones in the sense of the evaluation by motion.
    assert max(means.values()) > 0.85 and min(means.values()) < 0.6


def test_equal_seeds_give_equal_bytes_whatever_the_workers(made, tmp_path):
    root, _ = made
    simulate_videos(tmp_path / "again", videos=12, frames=24, seed=3, clear_fraction=0.5, workers=2)
    assert digest(tmp_path / "again") == digest(root)
    simulate_videos(tmp_path / "other", videos=2, frames=4, seed=4)
    assert digest(tmp_path / "other").keys() != digest(root).keys()


@pytest.mark.parametrize(
    "wrong", [{"videos": 0}, {"frames": 1}, {"species": 9}, {"animals": 0}, {"clear_fraction": 2}]
)
def test_arguments_out_of_range_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        simulate_videos(tmp_path / "vid", **wrong)
