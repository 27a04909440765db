"""Pairs of images with optical flow as batches: cut to one size, mirrored, lit differently.

In training the two windows may be cut out at different places: the flow changes by as much, and
flow of every length can be learned from few pairs.

now     float32 [batch, height, width, 3], 0..1, the image whose pixels have the flow
before  float32 [batch, height, width, 3], the image that it leads to
flow    float32 [batch, height, width, 2], (dy, dx) in pixels; zeros where it is not known
valid   bool [batch], False in rows that fill up the last batch
"""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Changes:
    """What is changed about pairs in training, at random.

    Attributes:
        shift: largest distance, in pixels, between the windows that are cut out of the two images.
        flip_probability: probability that a pair is mirrored, left and right.
        upside_down_probability: probability that a pair is mirrored, top and bottom.
        reverse_probability: probability of exchanged images, where no flow is known.
        brightness: largest change of brightness and contrast.
    """

    shift: int = 0
    flip_probability: float = 0.0
    upside_down_probability: float = 0.0
    reverse_probability: float = 0.0
    brightness: float = 0.0


def flow_batches(
    pairs: Sequence[Pair],
    *,
    size: tuple[int, int],
    batch_size: int,
    training: bool,
    shard: tuple[int, int] = (1, 0),
    seed: int = 0,
    shuffle_buffer_size: int = 1000,
    changes: Changes = Changes(),
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
        changes: what is changed in training.
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
        lots = tf.random.stateless_uniform([9], seed=[seed, index]) if training else None
        return _changed(pair, size, lots, changes)

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
    frame_size: tuple[int, int],
    size: tuple[int, int],
    distance: int,
    batch_size: int,
    seed: int = 0,
    shuffle_buffer_size: int = 1000,
    changes: Changes = Changes(),
) -> tf.data.Dataset:
    """Endless pairs of frames of videos in examples, without known flow, as batches.

    Args:
        files: TFRecord files of examples (`data.videos`).
        frame_size: height and width to which frames are stretched.
        distance: frames between the two images of a pair.
        size, batch_size, seed, shuffle_buffer_size, changes: see `flow_batches`.
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
            images.append(resize(image, frame_size, keep_aspect_ratio=False)[0])
        pair = (*images, tf.zeros([*frame_size, 2]))
        lots = tf.random.stateless_uniform([9], seed=[seed, index])
        return _changed(pair, size, lots, changes)

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
    changes: Changes,
) -> dict[str, tf.Tensor]:
    """A row of a batch; nine `lots` in 0..1 decide how it is changed, None leaves it as it is."""
    now, before, flow = _cut(pair, size, lots, changes.shift)
    if lots is not None:
        swap = lots[4] < changes.reverse_probability
        now, before = tf.where(swap, before, now), tf.where(swap, now, before)
        for axis, lot, probability in (
            (1, lots[5], changes.flip_probability),
            (0, lots[6], changes.upside_down_probability),
        ):
            flip = lot < probability
            now, before, flow = (
                tf.where(flip, tf.reverse(part, [axis]), part) for part in (now, before, flow)
            )
            flow *= tf.where(flip, 1.0 - 2.0 * tf.one_hot(axis, 2), 1.0)
        light = 1.0 + changes.brightness * (2.0 * lots[7] - 1.0)
        added = 0.5 * changes.brightness * (2.0 * lots[8] - 1.0)
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
            f"image_size {list(size)}"
        )
    return now, before, flow


def _image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _cut(
    pair: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    size: tuple[int, int],
    lots: tf.Tensor | None,
    shift: int,
) -> list[tf.Tensor]:
    """A window of both images and of the flow, images in 0..1.

    That of the image before is up to `shift` pixels away, and the flow leads to where it is there.
    """
    now, before, flow = pair
    room = tf.shape(now)[:2] - tf.constant(size)
    corner = other = room // 2
    if lots is not None:
        corner = _whole(lots[:2], 0, room)
        other = _whole(lots[2:4], tf.maximum(corner - shift, 0), tf.minimum(corner + shift, room))
    now, before, flow = (
        tf.ensure_shape(
            part[at[0] : at[0] + size[0], at[1] : at[1] + size[1]], [*size, part.shape[-1]]
        )
        for part, at in ((now, corner), (before, other), (flow, corner))
    )
    flow += tf.cast(corner - other, tf.float32)
    return [tf.cast(now, tf.float32) / 255.0, tf.cast(before, tf.float32) / 255.0, flow]


def _whole(lots: tf.Tensor, low: tf.Tensor | int, high: tf.Tensor) -> tf.Tensor:
    """Whole numbers from `low` to `high`, the ends included, by lots in 0..1."""
    return low + tf.cast(lots * tf.cast(high - low + 1, tf.float32), tf.int32)
