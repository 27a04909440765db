"""Simulated videos, read by the reader of the real data set."""

import hashlib
import json
import struct
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from context_rcnn.data.readers.imagenet_vid import (
    CLASS_NAMES,
    read_imagenet_vid,
    read_imagenet_vid_splits,
)
from context_rcnn.simulation import open_film, simulate_videos
from context_rcnn.simulation.flow_files import read_flow
from context_rcnn.simulation.videos import SYNSETS

SMALL = dict(videos=8, frames=(16, 24), seed=3, image_size=(128, 96), cell=8.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos") / "vid"
    return root, simulate_videos(root, **SMALL)


def digest(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def visibility(root):
    """Lines of the side files, by camera and frame."""
    return {
        (f"{path.relative_to(root).parts[2]}/{path.stem}", int(frame)): lines
        for path in (root / "Visibility" / "VID").rglob("*.json")
        for frame, lines in json.loads(path.read_text())["frames"].items()
    }


def test_the_real_reader_finds_everything(made):
    root, summary = made
    archive = read_imagenet_vid(root)
    assert archive.failures == [] and archive.images_listed == summary["frames"]
    assert sum(len(record.boxes) for record in archive.records) == summary["boxes"] > 100
    splits = read_imagenet_vid_splits(root).cameras
    assert {split: len(videos) for split, videos in splits.items()} == {"train": 6, "val": 2}
    lengths = defaultdict(list)
    for record in archive.records:
        lengths[record.camera].append(record.frame_num)
        for box in record.boxes:
            assert 0 <= box.xmin < box.xmax <= 128 and 0 <= box.ymin < box.ymax <= 96
    for numbers in lengths.values():
        assert numbers == list(range(len(numbers))) and 16 <= len(numbers) <= 24
    assert len({len(numbers) for numbers in lengths.values()}) > 2


def test_names_are_the_data_sets_own():
    assert set(SYNSETS.values()) <= set(CLASS_NAMES)
    assert len(set(SYNSETS.values())) == len(SYNSETS)


def test_the_side_file_has_each_box_in_its_order(made):
    root, summary = made
    lines = visibility(root)
    records = read_imagenet_vid(root).records
    assert len(lines) == len(records)
    looks = Counter()
    for record in records:
        found = lines[record.camera, record.frame_num]
        assert [line["trackid"] for line in found] == [box.track for box in record.boxes]
        looks.update(line["look"] for line in found)
        assert [box.seen.speed for box in record.boxes] == [line["speed"] for line in found]
        assert [box.seen.look for box in record.boxes] == [line["look"] for line in found]
        assert all(line["shows"] == (line["look"] == "clear") for line in found)
        assert all(0 <= line["occluded"] <= 1 and line["blur"] >= 0 for line in found)
    assert looks == summary["by_look"] and looks["clear"] > 20


def test_speeds_are_those_of_the_boxes(made):
    """Where nothing hides an animal, its box moves as the side file says, in cells of 8 pixels."""
    root, _ = made
    lines = visibility(root)
    boxes = {
        (record.camera, box.track, record.frame_num): (box, line)
        for record in read_imagenet_vid(root).records
        for box, line in zip(record.boxes, lines[record.camera, record.frame_num], strict=True)
    }
    compared = 0
    for (camera, track, frame), (box, line) in boxes.items():
        before = boxes.get((camera, track, frame - 1))
        if not before or line["occluded"] + before[1]["occluded"] > 0.02:
            continue
        if line["look"] != before[1]["look"] or line["blur"]:
            continue
        x = (box.xmin + box.xmax - before[0].xmin - before[0].xmax) / 2
        moved = np.hypot(x, box.ymax - before[0].ymax) / 8
        assert moved == pytest.approx(line["speed"], abs=0.35)  # rounding, and legs that swing
        compared += 1
    assert compared >= 5


def test_equal_seeds_give_equal_bytes_whatever_the_workers(made, tmp_path):
    root, _ = made
    simulate_videos(tmp_path / "again", **SMALL, workers=2)
    assert digest(tmp_path / "again") == digest(root)
    simulate_videos(tmp_path / "other", **{**SMALL, "videos": 1, "seed": 4, "frames": 4})
    other = digest(tmp_path / "other")
    shared = [name for name in other if name.endswith(".JPEG") and name in digest(root)]
    assert shared and all(other[name] != digest(root)[name] for name in shared)


def test_a_film_opened_again_is_the_video_that_was_written(made):
    root, _ = made
    record = next(r for r in read_imagenet_vid(root).records if len(r.boxes) and r.frame_num > 3)
    film = open_film(root, record.camera)
    shot = film.shot(record.frame_num)
    boxes = [(b.xmin, b.ymin, b.xmax - b.xmin, b.ymax - b.ymin) for b in record.boxes]
    assert [animal.box for animal in shot.animals] == boxes
    with Image.open(root / record.file_name) as photo:
        assert np.abs(np.asarray(photo, int) - shot.image).mean() < 8


@pytest.mark.parametrize("video", ["ILSVRC2015_val_00000099", "zoo"])
def test_a_video_that_is_not_there_is_named(made, video):
    with pytest.raises(ValueError, match=video):
        open_film(made[0], video)


def test_other_simulations_have_no_films(tmp_path):
    (tmp_path / "simulation.json").write_text('{"simulator": "simulate_traffic"}')
    with pytest.raises(ValueError, match="not of simulated videos"):
        open_film(tmp_path, "ILSVRC2015_val_00000000")


def test_flow_is_written_as_middlebury_has_it(tmp_path):
    root = tmp_path / "vid"
    simulate_videos(
        root, **{**SMALL, "videos": 1, "frames": 6}, flow_distances=(1, -2), val_fraction=0.5
    )
    folder = root / "Flow" / "VID" / "val" / "ILSVRC2015_val_00000000"
    names = sorted(path.stem for path in folder.glob("*.flo"))
    assert names == sorted([f"00000{t}_00000{t + 1}" for t in range(5)]
                           + [f"00000{t}_00000{t - 2}" for t in range(2, 6)])  # fmt: skip
    data = (folder / "000002_000003.flo").read_bytes()
    tag, width, height, u, v = struct.unpack("<fiiff", data[:20])
    assert data[:4] == b"PIEH" and tag == 202021.25 and (width, height) == (128, 96)
    film = open_film(root, "ILSVRC2015_val_00000000")
    flow, written = film.flow(2, 3), read_flow(folder / "000002_000003")
    assert (u, v) == tuple(flow.vectors[0, 0])
    np.testing.assert_array_equal(written.vectors, flow.vectors)
    np.testing.assert_array_equal(written.valid, flow.valid)
    (folder / "000002_000003.flo").write_bytes(data[:-4])
    with pytest.raises(ValueError, match="000002_000003.flo is not 128x96"):
        read_flow(folder / "000002_000003")


@pytest.mark.parametrize(
    "wrong",
    [{"videos": 0}, {"frames": 1}, {"frames": (9, 4)}, {"species": 11}, {"animals": 0},
     {"clear_fraction": 2}, {"scales": ("slow",)}, {"short": (0, 4)}, {"pan": 9},
     {"slowest": 3.0}, {"never_shown": ("unicorn",)}, {"flow_distances": (0,)},
     {"workers": 0}],
)  # fmt: skip
def test_arguments_out_of_range_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        simulate_videos(tmp_path / "vid", **wrong)
