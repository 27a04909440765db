"""Sequences of ordered frames from whole videos, all of which teach.

A sequence is every `stride`-th frame of a video from some frame on, as many as `frames`. Where a
video is too short, the sequence ends earlier: its last frames are missing, and the first one stands
in their place, so that the backbone's batch norms see real images.
"""

import dataclasses

import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data.videos import draw_from_parts, lot_of, read_videos

SAMPLINGS = ("uniform", "released")
STILLS = ("none", "single", "copies")
_CLASSES = 4096  # that take turns; of more, some share a place


@dataclasses.dataclass(frozen=True)
class OrderedClips:
    """Which sequences are drawn.

    Attributes:
        frames: Number of frames in a sequence.
        stride: Distance between them, in frames of the video.
        sequences: Largest number of sequences per video in one pass over the data. Their first
            frames are drawn from equal parts of the video, anew in each pass.
        sampling: `uniform`, or `released`: sequences start only where one object is in all frames
            from the first to the last, its class is the one that had the fewest sequences so far,
            and a class that had more than its share waits.
        stills: Treatment of videos of one frame: `none` leaves them out, `single` makes a sequence
            of one frame, `copies` repeats the frame.
        seed: Seed of the draws.
        field: The settings that these values come from, for messages.
    """

    frames: int = 7
    stride: int = 10
    sequences: int = 15
    sampling: str = "uniform"
    stills: str = "single"
    seed: int = 0
    field: str = "task.clip"

    keyframe = 0
    redraws = True

    def __post_init__(self):
        for name in ("frames", "stride", "sequences"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{self.field}.{name} must be at least 1, got {getattr(self, name)}"
                )
        for name, choices in (("sampling", SAMPLINGS), ("stills", STILLS)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{self.field}.{name} must be one of {', '.join(choices)}, got "
                    f"{getattr(self, name)!r}"
                )

    @property
    def teaching(self) -> tuple[int, ...]:
        """All frames."""
        return tuple(range(self.frames))

    @property
    def span(self) -> int:
        """Frames of the video from the first to the last of a sequence."""
        return (self.frames - 1) * self.stride + 1

    def read(self, file: tf.Tensor, lot: tf.Tensor) -> tf.data.Dataset:
        """Serialized examples [frames], which are there, and their places in the video."""
        videos = read_videos(file).enumerate().map(lambda i, video: (video, lot_of(lot, i)))
        if self.stills == "none":
            videos = videos.filter(lambda video, lot: tf.size(video) > 1)
        if self.sampling == "uniform":
            drawn = videos.map(lambda video, lot: (video, self._starts(tf.size(video), lot)))
        else:
            turns = tf.zeros([_CLASSES], tf.int32)
            drawn = videos.scan(turns, self._in_turn)

        def clips(video, starts):
            dataset = tf.data.Dataset.from_tensor_slices(starts)
            return dataset.map(lambda start: self._clip(video, start))

        return drawn.flat_map(clips)

    def _clip(self, video: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        count = tf.size(video)
        places = start + self.stride * tf.range(self.frames)
        there = places < count
        places = tf.where(there, places, start)
        if self.stills == "copies":
            there |= count == 1
        size = [self.frames]
        return (
            tf.ensure_shape(tf.gather(video, places), size),
            tf.ensure_shape(there, size),
            tf.ensure_shape(places, size),
        )

    def _starts(self, count: tf.Tensor, lot: tf.Tensor) -> tf.Tensor:
        """First frames of sequences, of a video with so many frames.

        Of a video that is shorter than a sequence spans, each phase is a sequence.
        """
        whole = count - self.span + 1
        choices = tf.where(whole > 0, whole, tf.minimum(count, self.stride))
        return self._drawn(choices, lot)

    def _drawn(self, choices: tf.Tensor, lot: tf.Tensor) -> tf.Tensor:
        """Numbers below `choices`, one from each of as many equal parts as are wanted."""
        seed = tf.stack([tf.cast(self.seed, tf.int64), lot])
        return draw_from_parts(choices, self.sequences, seed)

    def _in_turn(self, turns: tf.Tensor, drawn: tuple[tf.Tensor, tf.Tensor]):
        """One video by the release's rule; the state counts the sequences of each class."""
        video, lot = drawn
        count = tf.size(video)
        label, starts = tf.cond(
            count >= self.span,
            lambda: self._with_an_object(video, turns),
            # A still image needs no object; other videos are too short.
            lambda: (tf.constant(-1), tf.zeros([tf.cast(count == 1, tf.int32)], tf.int32)),
        )
        chosen = tf.gather(starts, self._drawn(tf.size(starts), lot))
        had = tf.where(label >= 0, turns[tf.maximum(label, 0)], 0)
        known = tf.cast(turns > 0, tf.float32)
        share = tf.reduce_sum(tf.cast(turns, tf.float32)) / tf.maximum(tf.reduce_sum(known), 1.0)
        waits = (label >= 0) & (tf.cast(had, tf.float32) > share)
        chosen = chosen[: tf.where(waits, 0, tf.size(chosen))]
        added = tf.one_hot(label, _CLASSES, dtype=tf.int32) * tf.size(chosen)
        return turns + added, (video, chosen)

    def _with_an_object(self, video: tf.Tensor, turns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The class of which there were fewest sequences, and where one of it is in all frames."""
        spec = {
            examples.OBJECT_TRACK: tf.io.RaggedFeature(tf.string),
            examples.OBJECT_LABEL: tf.io.RaggedFeature(tf.int64),
        }
        parsed = tf.io.parse_example(video, spec)
        tracks, labels = parsed[examples.OBJECT_TRACK], parsed[examples.OBJECT_LABEL]
        message = ["training.sampling released needs image/object/track with every object"]
        same = tf.size(tracks.flat_values) == tf.size(labels.flat_values)
        with tf.control_dependencies([tf.debugging.Assert(same, message)]):
            names, which = tf.unique(tracks.flat_values)
        count, number = tf.size(video), tf.size(names)
        places = tf.stack([which, tf.cast(tracks.value_rowids(), tf.int32)], axis=1)
        present = tf.scatter_nd(places, tf.ones_like(which), [number, count]) > 0
        # Without a name it is nobody. Sums are those of the frames before each.
        sums = tf.cumsum(tf.cast(present & (names != "")[:, None], tf.int32), axis=1)
        sums = tf.pad(sums, [[0, 0], [1, 0]])
        whole = sums[:, self.span :] - sums[:, : count + 1 - self.span] == self.span
        classes = tf.cast(labels.flat_values, tf.int32)
        classes = tf.math.unsorted_segment_max(classes, which, number)
        classes = tf.clip_by_value(classes, 0, _CLASSES - 1)
        usable = tf.reduce_any(whole, axis=1)
        had = tf.where(usable, tf.gather(turns, classes), tf.int32.max)
        label = tf.cond(
            tf.reduce_any(usable),
            lambda: tf.gather(classes, tf.argmin(had)),
            lambda: tf.constant(-1),
        )
        of_class = whole & (classes == label)[:, None]
        starts = tf.where(tf.reduce_any(of_class, axis=0))
        return label, tf.cast(tf.reshape(starts, [-1]), tf.int32)
