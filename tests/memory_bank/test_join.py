"""Windows as tensors."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.memory_bank import encoding
from context_rcnn.memory_bank.buffers import Buffers
from context_rcnn.memory_bank.join import MemoryJoin, flip_entries
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.window import WindowOptions, window

START = 1_600_000_000


def keyframes(bank, per_camera=12):
    """Keyframes of every camera, some undated, as one batch of parsed examples."""
    rows = []
    for camera in bank:
        for index in np.linspace(0, len(camera) - 1, per_camera).astype(int):
            seconds = int(camera.seconds[index]) if camera.dated[index] else -1
            rows.append((camera.name, camera.image_ids[index], seconds))
    names, images, seconds = zip(*rows, strict=True)
    seconds = np.array(seconds)
    return {
        "camera": list(names),
        "image_id": list(images),
        "seconds": seconds,
        "has_seconds": seconds >= 0,
        "flip": np.arange(len(rows)) % 3 == 0,
    }


def expected_memory(bank, row, options, limit, variant):
    """The same from NumPy alone, entry by entry."""
    camera = bank.camera(row["camera"].decode())
    seconds = int(row["seconds"]) if row["has_seconds"] else None
    indices = window(
        camera.timeline, seconds, row["image_id"].decode(), options, limit, camera.features.read
    )
    depth = bank.info.depth
    features = np.zeros([limit, depth + 9], np.float32)
    boxes, seconds, ids = np.zeros([limit, 4], np.float32), np.full(limit, -1), [b""] * limit
    stored = camera.stored().float_features()
    for place, index in enumerate(indices):
        ymin, xmin, ymax, xmax = camera.boxes[index]
        if row["flip"]:
            xmin, xmax = 1 - xmax, 1 - xmin
        box = np.array([[ymin, xmin, ymax, xmax]])
        time = camera.seconds[index : index + 1], camera.dated[index : index + 1]
        features[place, :depth] = stored[index]
        features[place, depth:] = encoding.encode(box, *time, variant)
        boxes[place] = box
        seconds[place] = camera.seconds[index] if camera.dated[index] else -1
        ids[place] = camera.image_ids[index].encode()
    return {
        "context_features": features,
        "context_valid": np.arange(limit) < len(indices),
        "context_size": len(indices),
        "context_seconds": seconds,
        "context_boxes": boxes,
        "context_image_ids": np.array(ids, object),
    }


@pytest.mark.parametrize("cache_bytes", [0, 30_000, 1 << 30])
@pytest.mark.parametrize(
    ("options", "limit", "variant"),
    [
        (WindowOptions("minute"), 5, "paper"),
        (WindowOptions("hour", policy="newest", include_keyframe=False), 9, "released"),
        (WindowOptions("day", causal=True), 30, "paper"),
        (WindowOptions("week", calendar=True, policy="uniform"), 40, "released"),
        (WindowOptions("any", policy="diverse"), 20, "paper"),
        (WindowOptions("any"), 100, "paper"),
    ],
)
def test_joining_in_tf_data_equals_numpy(cache_bytes, options, limit, variant, write_bank):
    bank = Bank.open(write_bank())
    join = MemoryJoin(
        bank,
        options,
        max_entries=limit,
        variant=variant,
        with_image_ids=True,
        cache_bytes=cache_bytes,
    )
    dataset = tf.data.Dataset.from_tensor_slices(keyframes(bank))
    dataset = dataset.map(lambda example: join(example, example["flip"]), 4, deterministic=True)
    assert dataset.element_spec["context_features"].shape == [limit, 41]
    found = list(dataset.as_numpy_iterator())  # held together: no two may share memory
    assert len(found) == 60
    for row in found:
        expected = expected_memory(bank, row, options, limit, variant)
        for name, values in expected.items():
            if row["flip"] and name in ("context_features", "context_boxes"):
                np.testing.assert_allclose(row[name], values, atol=1e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(row[name], values, err_msg=name)
    sizes = [int(row["context_size"]) for row in found]
    assert join.counts["windows"] == 60
    assert join.counts["empty"] == sizes.count(0)
    assert join.counts["full"] == sizes.count(limit)
    assert join.counts["undated_keyframe"] == sum(not row["has_seconds"] for row in found)


def test_parallel_calls_are_deterministic(write_bank):
    bank = Bank.open(write_bank())
    rows = keyframes(bank)

    def run(parallel):
        join = MemoryJoin(bank, WindowOptions("week"), max_entries=32, cache_bytes=60_000)
        dataset = tf.data.Dataset.from_tensor_slices(rows).repeat(3)
        dataset = dataset.map(join, parallel, deterministic=True).batch(7)
        return [batch["context_features"] for batch in dataset.as_numpy_iterator()]

    for one, many in zip(run(1), run(8), strict=True):
        np.testing.assert_array_equal(one, many)


def test_cameras_beyond_the_cache_are_read_from_the_bank(write_bank):
    bank = Bank.open(write_bank())
    of_one_camera = 80 * 41 * 4
    join = MemoryJoin(bank, WindowOptions("any"), cache_bytes=2 * of_one_camera, max_entries=9)
    for _ in range(2):
        for camera in bank.cameras:
            join.read(camera, START, "x")
    assert sorted(join._rows) == ["camera 0", "camera 1"]


def test_a_missing_camera_is_an_empty_window_counted_and_told_once(write_bank, caplog):
    join = MemoryJoin(write_bank(), max_entries=4)
    with caplog.at_level(logging.WARNING):
        for camera in ("ghost", "ghost", "phantom", "camera 1"):
            memory = join.read(camera, START + 9000, "x")
            assert (memory["context_size"] == 0) == (camera != "camera 1")
    assert dict(join.missing_cameras) == {"ghost": 2, "phantom": 1}
    assert join.counts["missing_camera"] == 3
    assert len(caplog.records) == 1 and "'ghost'" in caplog.text
    np.testing.assert_array_equal(join.read("ghost", START, "x")["context_features"], 0)


def test_a_missing_camera_is_an_error_if_strict(write_bank):
    join = MemoryJoin(write_bank(), max_entries=4, strict=True)
    example = {"camera": ["ghost"], "image_id": ["x"], "seconds": [1], "has_seconds": [True]}
    dataset = tf.data.Dataset.from_tensor_slices(example).map(join)
    with pytest.raises(tf.errors.OpError, match="the bank has no camera 'ghost'"):
        list(dataset)


def test_tensor_flip_equals_numpy_flip():
    random = np.random.default_rng(0)
    entries = random.uniform(size=[3, 7, 12]).astype(np.float32)
    valid = random.uniform(size=[3, 7]) < 0.6
    entries[~valid] = 0
    flipped = flip_entries(tf.constant(entries), tf.constant(valid)).numpy()
    np.testing.assert_array_equal(flipped, encoding.flip(entries, valid))
    assert np.all(flipped[valid][:, 3] == 1 - entries[valid][:, 3])
    twice = flip_entries(tf.constant(flipped), tf.constant(valid)).numpy()
    np.testing.assert_allclose(twice, entries, rtol=0, atol=3e-7)


def test_buffers_are_used_again_only_when_nobody_holds_them():
    buffers = Buffers([3, 5])
    first, second = buffers.take(), buffers.take()
    first[:], second[:] = 1, 2
    part = first[1:2, 2:]
    del first
    third = buffers.take()
    third[:] = 3
    assert np.all(part == 1) and len(buffers) == 3
    del part
    fourth = buffers.take()
    assert len(buffers) == 3
    assert all(array.ctypes.data % 64 == 0 for array in (second, third, fourth))


def test_tensors_hold_the_buffer_they_took_over():
    buffers = Buffers([300, 500])
    numbers = iter(range(10))

    def fill():
        array = buffers.take()
        array[:] = next(numbers)
        return array

    take = tf.function(lambda: tf.numpy_function(fill, [], tf.float32))
    tensors = [take() for _ in range(4)]
    assert len(buffers) == 4  # not copied
    assert [float(tensor[-1, -1]) for tensor in tensors] == [0, 1, 2, 3]
    del tensors
    tensors = [take() for _ in range(4)]
    assert [float(tensor[-1, -1]) for tensor in tensors] == [4, 5, 6, 7]
    assert len(buffers) <= 5  # TensorFlow lets go of one when the next call comes


@pytest.mark.parametrize("bad", [{"max_entries": 0}, {"variant": "papre"}])
def test_bad_options_are_named(bad, write_bank):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        MemoryJoin(write_bank(), **bad)
