"""Which frames stand for a tracklet, and which clips come together in a batch."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from context_rcnn.data.tracklets import Tracklet, identities

STRIDES = (8, 4, 2, 1)  # the release's, longest first
TRAINING = ("restricted", "interval")
EVALUATION = ("restricted", "first_interval", "dense")


def restricted(length: int, frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """One frame of each of `frames` equal parts of a tracklet (the paper's, of its [28]).

    At random in training, the first one without a generator. Of a tracklet that is too short for
    parts, frames are drawn with replacement and kept in order; without a generator they are
    repeated in a loop.
    """
    if length < frames:
        return _short(length, frames, rng)
    edges = np.arange(frames + 1) * length // frames
    if rng is None:
        return edges[:-1]
    return rng.integers(edges[:-1], edges[1:])


def interval(length: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """One frame at random of each of `frames` windows that follow each other (as released).

    Windows are as long as the longest stride of `STRIDES` that the tracklet has room for.
    """
    if length < frames:
        return _short(length, frames, rng)
    stride = next(stride for stride in STRIDES if frames * stride <= length)
    start = rng.integers(length - frames * stride + 1)
    return start + np.arange(frames) * stride + rng.integers(stride, size=frames)


def first_interval(length: int, frames: int) -> np.ndarray:
    """The first frames at the longest stride that fits (as released for MARS)."""
    if length < frames:
        return _short(length, frames, None)
    stride = next(stride for stride in STRIDES if (frames - 1) * stride < length)
    return np.arange(frames) * stride


def dense(length: int, frames: int, max_clips: int) -> np.ndarray:
    """Interleaved clips that have almost all frames, [clips, frames] (as released for Duke).

    Of more than `max_clips` clips, so many are taken evenly.
    """
    if length < frames:
        return _short(length, frames, None)[None]
    stride = length // frames
    count = min(stride, max_clips)
    starts = np.arange(count) * stride // count
    return starts[:, None] + np.arange(frames) * stride


def evaluation_clips(sampling: str, length: int, frames: int, max_clips: int) -> np.ndarray:
    """The clips that stand for a tracklet of this length, [clips, frames]."""
    if sampling == "dense":
        return dense(length, frames, max_clips)
    function = {"restricted": restricted, "first_interval": first_interval}[sampling]
    return function(length, frames)[None]


def _short(length: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
    if rng is None:
        return np.arange(frames) % length
    return np.sort(rng.integers(length, size=frames))


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How clips are varied in training; the same for all frames of a clip.

    Attributes:
        flip_probability: probability that a clip is mirrored.
        erase_probability: probability that a rectangle is erased.
        erase_area: smallest and largest area of the rectangle, as shares of the image.
        erase_aspect: smallest ratio of its height to its width; the largest is the inverse.
    """

    flip_probability: float = 0.5
    erase_probability: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: float = 0.3

    def __post_init__(self):
        low, high = self.erase_area
        if not 0 < low <= high <= 1:
            raise ValueError(f"erase_area must be two shares, 0 < a <= b <= 1, got {low}, {high}")
        if not 0 < self.erase_aspect <= 1:
            raise ValueError(f"erase_aspect must be in 0..1, got {self.erase_aspect}")

    def rectangle(self, size: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Top, left, height, width of a rectangle to erase, or zeros for none."""
        none = np.zeros(4, np.int32)
        if rng.random() >= self.erase_probability:
            return none
        height, width = size
        low, high = self.erase_area
        for _ in range(100):
            area = rng.uniform(low, high) * height * width
            aspect = rng.uniform(self.erase_aspect, 1 / self.erase_aspect)
            rows, columns = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            fits = 0 < rows < height and 0 < columns < width
            if fits and low <= rows * columns / (height * width) <= high:
                top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
                return np.array([top, left, rows, columns], np.int32)
        return none


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """A batch before its pixels are read.

    Attributes:
        tracklet: number of each clip's tracklet, [clips].
        label: number of its identity, [clips].
        numbers: numbers of its frames, [clips, frames].
        flip: whether it is mirrored, [clips].
        erase: the rectangle to erase, [clips, 4].
    """

    tracklet: np.ndarray
    label: np.ndarray
    numbers: np.ndarray
    flip: np.ndarray
    erase: np.ndarray


class PkBatches:
    """Batches of P identities with K clips each; in an epoch each identity comes once.

    An identity with fewer than K tracklets has some of them twice. Identities that are left at the
    end of an epoch wait for the next one.

    Args:
        tracklets: those to learn from.
        persons: P.
        clips: K.
        frames: number of frames in a clip.
        size: height and width of the frames.
        sampling: one of `TRAINING`.
        augmentation: how clips are varied.
        seed: seed of everything.

    Raises:
        ValueError: If the tracklets cannot make such batches.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        *,
        persons: int,
        clips: int,
        frames: int,
        size: Sequence[int],
        sampling: str,
        augmentation: Augmentation,
        seed: int,
    ):
        if sampling not in TRAINING:
            raise ValueError(
                f"task.train_data.sampling must be one of {', '.join(TRAINING)}, got {sampling!r}"
            )
        self.names = identities(tracklets)
        if len(self.names) < persons:
            raise ValueError(
                f"task.train_data.persons is {persons}, but the training data has "
                f"{len(self.names)} identities"
            )
        labels = {name: label for label, name in enumerate(self.names)}
        self.of_label: list[list[int]] = [[] for _ in self.names]
        for number, tracklet in enumerate(tracklets):
            if tracklet.identity in labels:
                self.of_label[labels[tracklet.identity]].append(number)
        self._lengths = [len(tracklet.frames) for tracklet in tracklets]
        self._persons, self._clips, self.frames, self.size = persons, clips, frames, size
        self._sample = {"restricted": restricted, "interval": interval}[sampling]
        self._augmentation, self._seed = augmentation, seed

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which each identity comes at most once."""
        return len(self.names) // self._persons

    def __iter__(self) -> Iterator[BatchPlan]:
        """Batches without end."""
        epoch = 0
        while True:
            yield from self.epoch(epoch)
            epoch += 1

    def epoch(self, number: int) -> Iterator[BatchPlan]:
        """The batches of an epoch."""
        rng = np.random.default_rng([self._seed, number])
        order = rng.permutation(len(self.names))
        for step in range(self.steps_per_epoch):
            labels = order[step * self._persons : (step + 1) * self._persons]
            yield self._batch(labels, rng)

    def _batch(self, labels: np.ndarray, rng: np.random.Generator) -> BatchPlan:
        chosen = np.concatenate([self._choose(self.of_label[label], rng) for label in labels])
        count = len(chosen)
        augmentation = self._augmentation
        return BatchPlan(
            tracklet=chosen.astype(np.int64),
            label=np.repeat(labels, self._clips).astype(np.int64),
            numbers=np.stack(
                [self._sample(self._lengths[i], self.frames, rng) for i in chosen]
            ).astype(np.int64),
            flip=rng.random(count) < augmentation.flip_probability,
            erase=np.stack([augmentation.rectangle(self.size, rng) for _ in range(count)]),
        )

    def _choose(self, members: list[int], rng: np.random.Generator) -> np.ndarray:
        return rng.choice(members, self._clips, replace=len(members) < self._clips)
