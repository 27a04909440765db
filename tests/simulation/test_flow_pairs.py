"""Simulated pairs: what the flow says is what the images show."""

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.readers.flying_chairs import read_flying_chairs, read_vectors
from context_rcnn.simulation import simulate_flow_pairs

OPTIONS = {"videos": 4, "frames": 8, "pairs": 3, "image_size": (96, 64), "cell": 8.0, "species": 2}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    summary = simulate_flow_pairs(folder, flow_distances=(-1, -2), jitter=0.5, **OPTIONS)
    return folder, summary


def test_whole_videos_are_held_out(pairs):
    folder, summary = pairs
    held_out, _ = read_flying_chairs(str(folder), split="val")
    assert [pair.name for pair in held_out] == ["00001", "00002", "00003"]
    assert (summary["pairs"], summary["held_out"]) == (12, 3)
    assert summary["mean_motion"]["-2"] > 0


def test_the_second_image_moved_by_the_flow_is_the_first(pairs):
    """What moves is where the flow leads, but for what is hidden there or lit differently."""
    moved, still = [], []
    for pair in read_flying_chairs(str(pairs[0]))[0]:
        now, before = (np.asarray(Image.open(p), float) for p in (pair.first, pair.second))
        flow = read_vectors(pair.flow)
        rows, columns = np.mgrid[: now.shape[0], : now.shape[1]]
        y, x = np.rint(rows + flow[..., 0]).astype(int), np.rint(columns + flow[..., 1]).astype(int)
        inside = np.hypot(*np.moveaxis(flow, -1, 0)) > 1
        inside &= (y >= 0) & (y < now.shape[0]) & (x >= 0) & (x < now.shape[1])
        there = before[np.clip(y, 0, now.shape[0] - 1), np.clip(x, 0, now.shape[1] - 1)]
        if inside.any():
            moved.append(np.abs(there - now)[inside].mean())
            still.append(np.abs(before - now)[inside].mean())
    assert len(moved) > 6 and np.median(moved) < 0.5 * np.median(still)


def test_equal_settings_give_equal_bytes(pairs, tmp_path):
    simulate_flow_pairs(tmp_path, flow_distances=(-1, -2), jitter=0.5, **OPTIONS)
    for path in (pairs[0] / "data").iterdir():
        assert path.read_bytes() == (tmp_path / "data" / path.name).read_bytes()


def test_distances_that_are_too_long_are_refused(tmp_path):
    with pytest.raises(ValueError, match="flow_distances must be shorter than 8 frames"):
        simulate_flow_pairs(tmp_path, flow_distances=(-8,), **OPTIONS)
