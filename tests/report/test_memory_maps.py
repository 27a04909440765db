"""Pictures of a memory of maps on the page, from lines written by hand."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from context_rcnn.report.memory_maps import choose_sequences, read_memory_maps, show_memory_maps

FRAME = {
    "video": "first",
    "image_id": "first/0",
    "place": 0,
    "objects": [{"box": [0.1, 0.2, 0.5, 0.6], "track": "a"}],
    "maps": {"aligned": [[0, 1], [2, 4]], "not aligned": [[0, 0], [0, 2]]},
    "trails": [],
}
MOVED = {"track": "a", "moved": 3.0, "trail": {"aligned": 1.0, "not aligned": 2.0}}


def write(tmp_path, *lines):
    path = tmp_path / "maps.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return str(path)


@pytest.fixture
def frames(tmp_path):
    other = {"video": "second", "image_id": "second/0"}
    far = MOVED | {"moved": 5.0, "trail": {"aligned": 0.0, "not aligned": 4.0}}
    return read_memory_maps(
        write(tmp_path, FRAME, FRAME | {"trails": [MOVED]}, FRAME | other | {"trails": [far]})
    )


def test_trails_are_averaged_over_all_objects(frames, tmp_path):
    shown = show_memory_maps(frames, [], str(tmp_path))
    assert shown["frames"] == 3 and shown["videos"] == 2
    assert [(row["name"], row["objects"], row["moved"], row["trail"]) for row in shown["rows"]] == [
        ("aligned", 2, 4.0, 0.5),
        ("not aligned", 2, 4.0, 3.0),
    ]


def test_the_video_with_the_longest_way_comes_first(frames):
    chosen = choose_sequences(frames, 5)
    assert [sequence[0].video for sequence in chosen] == ["second", "first"]
    assert [len(sequence) for sequence in chosen] == [1, 2]
    assert len(choose_sequences(frames, 1)) == 1


def test_the_maps_of_a_sequence_are_drawn_on_one_scale(frames, tmp_path):
    shown = show_memory_maps(frames, choose_sequences(frames, 1), str(tmp_path))
    (sequence,) = shown["sequences"]
    (frame,) = sequence["frames"]
    pixels = [np.asarray(Image.open(tmp_path / one["file"])) for one in frame["maps"]]
    assert pixels[0].shape == (16, 16)
    assert pixels[0][::8, ::8].tolist() == [[0, 63], [127, 255]]
    assert pixels[1][::8, ::8].tolist() == [[0, 0], [0, 127]]
    assert frame["picture"].boxes[0]["x"] == 20 and frame["picture"].boxes[0]["y"] == 10


@pytest.mark.parametrize(
    "change, message",
    [
        ({"maps": {}}, "line 1: 'maps' is empty"),
        ({"maps": {"aligned": [[1], [1, 2]]}}, "map 'aligned': expected rows of numbers"),
        ({"maps": {"aligned": [[-1.0]]}}, "map 'aligned': expected rows of numbers from 0 on"),
        ({"objects": [{"box": [1, 2, 3]}]}, "object 0: 'box' is .1, 2, 3., expected 4 numbers"),
        ({"video": 5}, "'video' is 5"),
        ({"trails": [{"moved": 1.0}]}, "trail 0: 'trail' is None"),
        ({"trails": [MOVED | {"moved": "far"}]}, "trail 0: 'moved' is 'far'"),
    ],
)
def test_bad_lines_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_memory_maps(write(tmp_path, FRAME | change))


def test_files_without_lines_are_named(tmp_path):
    path = pathlib.Path(write(tmp_path))
    with pytest.raises(ValueError, match="--memory_maps=.*maps.jsonl has no lines"):
        read_memory_maps(str(path))
    path.write_text("[")
    with pytest.raises(ValueError, match="line 1: not JSON"):
        read_memory_maps(str(path))
    with pytest.raises(ValueError, match="cannot be read"):
        read_memory_maps(str(tmp_path / "none.jsonl"))
