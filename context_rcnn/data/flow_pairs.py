"""Pairs of images with optical flow as batches: cut to one size, mirrored, lit differently.

now     float32 [batch, height, width, 3], 0..1, the image whose pixels have the flow
before  float32 [batch, height, width, 3], the image that it leads to
flow    float32 [batch, height, width, 2], (dy, dx) in pixels; zeros where it is not known
valid   bool [batch], False in rows that fill up the last batch
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from context_rcnn.data import examples
from context_rcnn.data.input import resize
from context_rcnn.data.paths import FileError
from context_rcnn.data.readers.flying_chairs import Pair, read_vectors
from context_rcnn.data.videos import Run


def flow_batches(
    pairs: Sequence[Pair],
    *,
    size: tuple[int, int],
    batch_size: int,
    training: bool,
    shard: tuple[int, int] = (1, 0),
    seed: int = 0,
    shuffle_buffer_size: int = 1000,
    flip_probability: float = 0.0,
    reverse_probability: float = 0.0,
    brightness: float = 0.0,
    cache: bool = False,
) -> tf.data.Dataset:
    """Endless batches to train with, or the pairs once, in order.

    Args:
        pairs: the pairs.
        size: height and width of what is cut out: at random in training, else in the middle.
        batch_size: pairs in a batch.
        training: whether to shuffle, repeat and change them.
        shard: number of hosts, and which of them this is.
        seed: seed of order and changes.
        shuffle_buffer_size: pairs held while shuffling.
        flip_probability: probability of a mirrored pair.
        reverse_probability: probability of exchanged images, where no flow is known.
        brightness: largest change of brightness and contrast.
        cache: whether decoded pairs stay in RAM.
    """
    hosts, host = shard
    rows = -(-len(pairs) // hosts)
    dataset = tf.data.Dataset.from_tensor_slices(list(range(len(pairs)))).shard(hosts, host)

    def load(number):
        now, before, flow = tf.numpy_function(
            lambda i: _read(pairs[int(i)], size), [number], [tf.uint8, tf.uint8, tf.float32]
        )
        now.set_shape([None, None, 3])
        before.set_shape([None, None, 3])
        flow.set_shape([None, None, 2])
        return now, before, flow

    if training and cache:
        dataset = dataset.map(load, tf.data.AUTOTUNE, deterministic=True).cache()
    if training:
        dataset = dataset.shuffle(shuffle_buffer_size, seed=seed).repeat()
    if not (training and cache):
        dataset = dataset.map(load, tf.data.AUTOTUNE, deterministic=True)

    def row(index, pair):
        lots = tf.random.stateless_uniform([8], seed=[seed, index]) if training else None
        return _changed(pair, size, lots, flip_probability, reverse_probability, brightness)

    dataset = dataset.enumerate().map(row, tf.data.AUTOTUNE, deterministic=True)
    if not training:
        filling = tf.data.Dataset.from_tensors(
            tf.nest.map_structure(lambda x: tf.zeros(x.shape, x.dtype), dataset.element_spec)
        )
        steps = -(-rows // batch_size)
        dataset = dataset.concatenate(filling.repeat()).take(steps * batch_size)
    return _batched(dataset, batch_size)


def video_batches(
    files: Sequence[str],
    *,
    size: tuple[int, int],
    distance: int,
    batch_size: int,
    seed: int = 0,
    shuffle_buffer_size: int = 1000,
    flip_probability: float = 0.0,
    reverse_probability: float = 0.0,
    brightness: float = 0.0,
) -> tf.data.Dataset:
    """Endless pairs of frames of videos in examples, without known flow, as batches.

    Args:
        files: TFRecord files of examples (`data.videos`).
        size: height and width to which frames are stretched.
        distance: frames between the two images of a pair.
        batch_size, seed, shuffle_buffer_size, flip_probability: see `flow_batches`.
        reverse_probability, brightness: see `flow_batches`.
    """
    run = Run((-distance, 0), seed=seed)
    lots = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    names = tf.data.Dataset.from_tensor_slices(list(files)).shuffle(len(files), seed=seed)
    clips = tf.data.Dataset.zip(names, lots).flat_map(run.read)
    clips = clips.filter(lambda records, there, places: places[0] != places[1])

    def row(index, clip):
        records, _, _ = clip
        images = []
        for record in (records[1], records[0]):
            encoded = examples.parse_example(record)["image_bytes"]
            image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
            image.set_shape([None, None, 3])
            images.append(resize(image, size, keep_aspect_ratio=False)[0])
        pair = (*images, tf.zeros([*size, 2]))
        lots = tf.random.stateless_uniform([8], seed=[seed, index])
        return _changed(pair, size, lots, flip_probability, reverse_probability, brightness)

    clips = clips.shuffle(shuffle_buffer_size, seed=seed).repeat()
    dataset = clips.map(lambda *clip: clip).enumerate()
    return _batched(dataset.map(row, tf.data.AUTOTUNE, deterministic=True), batch_size)


def _batched(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False  # see `data.input`
    return dataset.batch(batch_size, drop_remainder=True).prefetch(4).with_options(options)


def _changed(
    pair: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    size: tuple[int, int],
    lots: tf.Tensor | None,
    flip_probability: float,
    reverse_probability: float,
    brightness: float,
) -> dict[str, tf.Tensor]:
    """A row of a batch; `lots` decide how it is changed, None leaves it as it is."""
    now, before, flow = _cut(pair, size, lots)
    if lots is not None:
        swap = lots[2] < reverse_probability
        now, before = tf.where(swap, before, now), tf.where(swap, now, before)
        flip = lots[3] < flip_probability
        now, before, flow = (tf.where(flip, part[:, ::-1], part) for part in (now, before, flow))
        flow *= tf.where(flip, [1.0, -1.0], [1.0, 1.0])
        light = 1.0 + brightness * (2.0 * lots[4] - 1.0)
        added = 0.5 * brightness * (2.0 * lots[5] - 1.0)
        now, before = (tf.clip_by_value(x * light + added, 0.0, 1.0) for x in (now, before))
    return {"now": now, "before": before, "flow": flow, "valid": tf.constant(True)}


def check_pairs(pairs: Sequence[Pair], size: tuple[int, int]) -> None:
    """Reads the first pair, so that what can be known is said before training.

    Raises:
        ValueError: If it is smaller than what is to be cut out of it.
    """
    _read(pairs[0], size)


def _read(pair: Pair, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        return _read_all(pair, size)
    except FileError as error:
        raise ValueError(error.detail) from None


def _read_all(pair: Pair, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    now, before = _image(pair.first), _image(pair.second)
    if now.shape != before.shape:
        raise ValueError(f"{pair.second} has another size than {pair.first}")
    flow = np.zeros((*now.shape[:2], 2), np.float32)
    if pair.flow is not None:
        flow = read_vectors(pair.flow)
        if flow.shape[:2] != now.shape[:2]:
            raise ValueError(f"{pair.flow} has another size than {pair.first}")
    if now.shape[0] < size[0] or now.shape[1] < size[1]:
        raise ValueError(
            f"{pair.first} is {now.shape[1]}x{now.shape[0]} pixels, smaller than "
            f"task.image_size {list(size)}"
        )
    return now, before, flow


def _image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _cut(
    pair: tuple[tf.Tensor, tf.Tensor, tf.Tensor], size: tuple[int, int], lots: tf.Tensor | None
) -> list[tf.Tensor]:
    """The same window of both images and the flow, images in 0..1."""
    parts = [
        tf.cast(part, tf.float32) / scale
        for part, scale in zip(pair, (255.0, 255.0, 1.0), strict=True)
    ]
    room = tf.shape(parts[0])[:2] - tf.constant(size)
    if lots is None:
        corner = room // 2
    else:
        corner = tf.cast(lots[:2] * tf.cast(room + 1, tf.float32), tf.int32)
    return [
        tf.ensure_shape(
            part[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]],
            [*size, part.shape[-1]],
        )
        for part in parts
    ]
