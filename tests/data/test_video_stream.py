"""Videos side by side, each frame once, keyframes behind."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.data.input import image_key
from context_rcnn.data.video_stream import count_steps, stream_batches
from tests.data.test_videos import write

LENGTHS = [3, 1, 4, 2]


@pytest.fixture
def file(tmp_path):
    frames = [
        ("cam", f"v{v}", count, f"v{v}f{f}")
        for v, count in enumerate(LENGTHS)
        for f in range(count)
    ]
    return write(tmp_path / "a", frames)


def fake_image(example):
    """The hash of its name stands for the image."""
    return {"image": image_key(example["image_id"]), "image_shape": tf.ones([2])}


@pytest.mark.parametrize("rows, delay", [([0, 1], 0), ([0, 1], 2), ([0], 0), ([1], 2)])
def test_each_frame_comes_once_in_order_and_is_the_keyframe_later(file, rows, delay):
    steps = count_steps(LENGTHS, 2, delay)
    assert steps == max(3 + 4 + 2 * delay, 1 + 2 + 2 * delay)
    batches = list(
        stream_batches(
            [file],
            fake_image,
            rows=rows,
            all_rows=2,
            steps=steps,
            delay=delay,
            anywhere=True,
            seed=1,
        ).as_numpy_iterator()
    )
    assert len(batches) == steps
    names = {
        int(image_key(tf.constant(f"v{v}f{f}"))): (v, f)
        for v, n in enumerate(LENGTHS)
        for f in range(n)
    }
    for i, row in enumerate(rows):
        seen = {name: [batch[name][i] for batch in batches] for name in batches[0]}
        t, videos = 0, set()
        for v in range(row, 4, 2):
            part = slice(t, t + LENGTHS[v] + delay)
            t = part.stop
            length = LENGTHS[v]
            assert [names[int(key)] for key in seen["image"][part][:length]] == [
                (v, f) for f in range(length)
            ]
            assert seen["valid"][part] == [True] * length + [False] * delay
            assert seen["ended"][part] == [False] * length + [True] * delay
            assert seen["keyed"][part] == [False] * delay + [True] * length
            keys = [names[int(key)] for key in seen["key"][part][delay:]]
            assert keys == [(v, f) for f in range(length)]
            assert len(set(seen["video"][part])) == 1 and seen["video"][part][0] not in videos
            videos.add(seen["video"][part][0])
            others = [names[int(key)] for key in seen["anywhere_image"][part][:length]]
            assert sorted(others) == [(v, f) for f in range(length)]
            assert seen["anywhere_valid"][part] == seen["valid"][part]
        assert not np.any(seen["valid"][t:]) and not np.any(seen["ended"][t:])
        assert not np.any(seen["keyed"][t:])
