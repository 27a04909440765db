"""Batches of clips in tf.data: decided in NumPy, read by Pillow in parallel, in a fixed order."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from context_rcnn.data import tracklet_sampling
from context_rcnn.data.paths import FileError
from context_rcnn.data.tracklet_images import ClipReader
from context_rcnn.data.tracklet_sampling import PkBatches
from context_rcnn.data.tracklets import Tracklet


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a global batch that this host and its replicas make.

    Attributes:
        hosts: number of hosts.
        host: number of this host.
        replicas: number of replicas of all hosts.
    """

    hosts: int = 1
    host: int = 0
    replicas: int = 1

    def rows(self, batch_size: int) -> slice:
        """This host's rows of a global batch."""
        rows = batch_size // self.hosts
        return slice(self.host * rows, (self.host + 1) * rows)


def training_batches(
    plans: PkBatches,
    tracklets: Sequence[Tracklet],
    reader: ClipReader,
    part: Part,
    *,
    batch_size: int,
    read_ahead: int,
) -> tf.data.Dataset:
    """Batches of one replica, without end.

    Each has `clips` uint8 [batch, frames, height, width, 3], `label` int64 [batch] and `erase`
    int32 [batch, 4].

    Args:
        plans: what is in the batches.
        tracklets: the tracklets that they number.
        reader: what reads them.
        part: this host's part.
        batch_size: clips of a global batch.
        read_ahead: number of clips read ahead.
    """
    rows = part.rows(batch_size)

    def clips() -> Iterator[tuple]:
        for plan in plans:
            for i in range(rows.start, rows.stop):
                yield tuple(getattr(plan, field.name)[i] for field in dataclasses.fields(plan))

    def read(number, label, numbers, flip):
        """The clip, or one of another tracklet of the identity where none of it can be read."""
        others = [i for i in plans.of_label[label] if i != number]
        for i in [number, *others]:
            length = len(tracklets[i].frames)
            frames = numbers if i == number else evenly(length, len(numbers))
            try:
                clip = reader.clip(tracklets[i], frames)
            except FileError:
                continue
            return np.ascontiguousarray(clip[:, :, ::-1]) if flip else clip
        name = plans.names[label]
        raise ValueError(f"no image of identity {name!r:.200} can be read")

    def evenly(length: int, frames: int) -> np.ndarray:
        return tracklet_sampling.restricted(length, frames)

    frames, shape = plans.frames, (plans.frames, *plans.size, 3)
    dataset = tf.data.Dataset.from_generator(
        clips,
        output_signature=(
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([frames], tf.int64),
            tf.TensorSpec([], tf.bool),
            tf.TensorSpec([4], tf.int32),
        ),
    )

    def to_row(number, label, numbers, flip, erase):
        clip = tf.numpy_function(read, [number, label, numbers, flip], tf.uint8)
        return {"clips": tf.ensure_shape(clip, shape), "label": label, "erase": erase}

    dataset = dataset.map(to_row, num_parallel_calls=tf.data.AUTOTUNE).prefetch(read_ahead)
    return dataset.batch(batch_size // part.replicas, drop_remainder=True).prefetch(1)


@dataclasses.dataclass(frozen=True)
class EvaluationClips:
    """The clips that stand for tracklets.

    Attributes:
        tracklet: number of each clip's tracklet, [clips].
        numbers: numbers of its frames, [clips, frames].
    """

    tracklet: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(
        cls, tracklets: Sequence[Tracklet], *, sampling: str, frames: int, max_clips: int
    ) -> "EvaluationClips":
        """The clips of tracklets.

        Args:
            tracklets: the tracklets.
            sampling: one of `tracklet_sampling.EVALUATION`.
            frames: number of frames in a clip.
            max_clips: largest number of clips of a tracklet, with `dense`.
        """
        if sampling not in tracklet_sampling.EVALUATION:
            known = ", ".join(tracklet_sampling.EVALUATION)
            raise ValueError(f"task.evaluation.sampling must be one of {known}, got {sampling!r}")
        found = [
            tracklet_sampling.evaluation_clips(sampling, len(t.frames), frames, max_clips)
            for t in tracklets
        ]
        counts = [len(clips) for clips in found]
        return cls(
            np.repeat(np.arange(len(found)), counts),
            np.concatenate([np.zeros((0, frames), np.int64), *found]).astype(np.int64),
        )

    def steps(self, batch_size: int) -> int:
        """Global steps that see all clips."""
        return -(-len(self.tracklet) // batch_size)


def evaluation_batches(
    clips: EvaluationClips,
    tracklets: Sequence[Tracklet],
    reader: ClipReader,
    shape: tuple[int, ...],
    part: Part,
    *,
    batch_size: int,
) -> tf.data.Dataset:
    """Batches of one replica: `clips`, `tracklet` int64 [batch], and `valid` bool [batch].

    A clip without a readable frame is not valid, nor are those that fill up the last step.

    Args:
        clips: what to read.
        tracklets: the tracklets that they number.
        reader: what reads them.
        shape: shape of a clip.
        part: this host's part.
        batch_size: clips of a global step.
    """
    rows, steps = part.rows(batch_size), clips.steps(batch_size)
    places = np.arange(steps * batch_size).reshape(steps, batch_size)[:, rows].ravel()

    def read(place):
        if place < len(clips.tracklet):
            number = clips.tracklet[place]
            try:
                clip = reader.clip(tracklets[number], clips.numbers[place])
                return clip, np.int64(number), np.True_
            except FileError:
                return np.zeros(shape, np.uint8), np.int64(number), np.False_
        return np.zeros(shape, np.uint8), np.int64(0), np.False_

    def to_row(place):
        clip, number, valid = tf.numpy_function(read, [place], [tf.uint8, tf.int64, tf.bool])
        return {
            "clips": tf.ensure_shape(clip, shape),
            "tracklet": tf.ensure_shape(number, []),
            "valid": tf.ensure_shape(valid, []),
        }

    dataset = tf.data.Dataset.from_tensor_slices(places)
    dataset = dataset.map(to_row, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size // part.replicas, drop_remainder=True).prefetch(2)
