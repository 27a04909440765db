"""Whole videos, for models that see more than neighbouring frames.

Example files hold a video (a burst of a camera) side by side in time order. To learn, a keyframe is
drawn with frames from around it and from anywhere in its video; to detect, videos go by frame
after frame, several side by side.
"""

import dataclasses

import tensorflow as tf

from context_rcnn.data import examples

_MAX_FRAMES_BITS = 20  # of a video: a million frames are nine hours


@dataclasses.dataclass(frozen=True)
class Reach:
    """Frames to draw, from so far before the keyframe to so far after it; None is the whole video.

    Attributes:
        count: Number of frames, all different, without the keyframe.
        first, last: Relative to the keyframe.
    """

    count: int
    first: int | None = None
    last: int | None = None


@dataclasses.dataclass(frozen=True)
class VideoClips:
    """Keyframes, each with frames of its video drawn at random.

    Attributes:
        reaches: Frames that are drawn.
        keyframes: Largest number of keyframes per video, evenly spaced, so that long videos do not
            outweigh others.
        seed: Seed of the draws. Each pass over the data, each file and each video draws others.
    """

    reaches: tuple[Reach, ...]
    keyframes: int = 15
    seed: int = 0

    keyframe = 0
    teaching = (0,)
    redraws = True

    @property
    def frames(self) -> int:
        """Of a clip, the keyframe included."""
        return 1 + sum(reach.count for reach in self.reaches)

    def read(self, file: tf.Tensor, lot: tf.Tensor) -> tf.data.Dataset:
        """Serialized examples [frames], which are there, and their places in the video."""
        lot_of_file = lot

        def clips(place, video):
            lot = lot_of(lot_of_file, place)
            count = tf.shape(video)[0]
            number = tf.minimum(count, self.keyframes)
            # The middles of as many equal parts.
            keyframes = (2 * tf.range(number) + 1) * count // (2 * number)
            dataset = tf.data.Dataset.from_tensor_slices(keyframes)
            return dataset.map(lambda keyframe: self._clip(video, keyframe, lot))

        return read_videos(file).enumerate().flat_map(clips)

    def _clip(self, video, keyframe, lot):
        # `draw_frames` counts on from the second number, once for each reach.
        number = tf.cast(keyframe * len(self.reaches), tf.int64)
        seed = tf.stack([lot + self.seed, number])
        places, there = draw_frames(tf.shape(video)[0], keyframe, list(self.reaches), seed)
        count = [self.frames]
        return (
            tf.ensure_shape(tf.gather(video, places), count),
            tf.ensure_shape(there, count),
            tf.ensure_shape(places, count),
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """Keyframes, each with frames at fixed distances before it, in order.

    Before a video begins frames are missing, and the keyframe stands in their place. A still image
    is a video that does not move: all its frames are copies.

    Attributes:
        offsets: Places of the frames, relative to the keyframe: ascending, the last one 0.
        keyframes: Largest number of keyframes per video in one pass over the data, one from each of
            as many equal parts, drawn anew in each pass.
        teaching: Places in the clip whose labels teach.
        seed: Seed of the draws.
    """

    offsets: tuple[int, ...]
    keyframes: int = 15
    teaching: tuple[int, ...] = ()
    seed: int = 0

    redraws = True

    def __post_init__(self):
        if list(self.offsets) != sorted(set(self.offsets)) or self.offsets[-1:] != (0,):
            raise ValueError(f"offsets must ascend to 0, got {self.offsets}")
        if self.keyframes < 1:
            raise ValueError(f"keyframes must be at least 1, got {self.keyframes}")
        if not self.teaching:
            object.__setattr__(self, "teaching", (self.keyframe,))

    @property
    def frames(self) -> int:
        """Of a clip, the keyframe included."""
        return len(self.offsets)

    @property
    def keyframe(self) -> int:
        """The last frame."""
        return len(self.offsets) - 1

    def read(self, file: tf.Tensor, lot: tf.Tensor) -> tf.data.Dataset:
        """Serialized examples [frames], which are there, and their places in the video."""
        lot_of_file = lot

        def clips(place, video):
            seed = tf.stack([tf.cast(self.seed, tf.int64), lot_of(lot_of_file, place)])
            drawn = draw_from_parts(tf.size(video), self.keyframes, seed)
            keyframes = tf.data.Dataset.from_tensor_slices(drawn)
            return keyframes.map(lambda keyframe: self._clip(video, keyframe))

        return read_videos(file).enumerate().flat_map(clips)

    def _clip(self, video, keyframe):
        places = keyframe + tf.constant(self.offsets)
        there = (places >= 0) | (tf.size(video) == 1)
        places = tf.where(places >= 0, places, keyframe)
        size = [self.frames]
        return (
            tf.ensure_shape(tf.gather(video, places), size),
            tf.ensure_shape(there, size),
            tf.ensure_shape(places, size),
        )


def lot_of(lot: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """A random number, int64, for one of several things that share a random number.

    `tf.data.Dataset.random` takes no seed from a graph where TensorFlow's own seed is 0.
    """
    return tf.random.stateless_uniform(
        [], seed=tf.stack([lot, place]), minval=None, maxval=None, dtype=tf.int64
    )


def draw_from_parts(choices: tf.Tensor, most: int, seed: tf.Tensor) -> tf.Tensor:
    """Numbers below `choices`, int32, one from each of as many equal parts, but at most `most`."""
    number = tf.minimum(choices, most)
    within = tf.random.stateless_uniform([number], seed=seed, dtype=tf.float64)
    part = tf.cast(choices, tf.float64) / tf.cast(tf.maximum(number, 1), tf.float64)
    drawn = tf.cast((tf.cast(tf.range(number), tf.float64) + within) * part, tf.int32)
    return tf.minimum(drawn, choices - 1)


def read_videos(file: tf.Tensor) -> tf.data.Dataset:
    """Serialized examples [frames] of each video of a TFRecord file.

    A video comes when its last frame was read, or, where some of its frames were left out of the
    file, at the end. What has no burst is a video of one frame.
    """
    mask = (1 << _MAX_FRAMES_BITS) - 1
    keys = (examples.LOCATION, examples.SEQ_ID)
    spec = {key: tf.io.FixedLenFeature([], tf.string, "") for key in keys} | {
        examples.SOURCE_ID: tf.io.FixedLenFeature([], tf.string, ""),
        examples.SEQ_NUM_FRAMES: tf.io.FixedLenFeature([], tf.int64, 0),
    }

    def video_of(record):
        parsed = tf.io.parse_single_example(record, spec)
        camera, burst = (parsed[key] for key in keys)
        alone = burst == ""
        name = tf.where(alone, parsed[examples.SOURCE_ID], burst)
        frames = tf.where(alone, tf.constant(1, tf.int64), parsed[examples.SEQ_NUM_FRAMES])
        number = tf.strings.to_hash_bucket_fast(
            tf.strings.join([camera, name], "\n"), 1 << (62 - _MAX_FRAMES_BITS)
        )
        # How long it is goes with it: the key is all that the size of a group may depend on.
        return number * (mask + 1) + tf.clip_by_value(frames, 0, mask)

    def frames_of(key):
        frames = key & mask
        return tf.where(frames > 0, frames, mask)

    return tf.data.TFRecordDataset(file).group_by_window(
        video_of,
        lambda key, records: records.batch(1 << _MAX_FRAMES_BITS),
        window_size_func=frames_of,
    )


def draw_frames(
    frames: tf.Tensor, keyframe: tf.Tensor, reaches: list[Reach], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the frames that a keyframe is learned with.

    Args:
        frames: int32, how many the video has.
        keyframe: int32, which of them.
        reaches: frames to draw.
        seed: int [2], of the draw.

    Returns:
        Places in the video, int32 [1 + drawn], the keyframe first, and which are there. Where there
        are too few, the keyframe stands in their place; of a still image, all are copies of it.
    """
    places, there = [keyframe[None]], [tf.constant([True])]
    for i, reach in enumerate(reaches):
        lots = tf.random.stateless_uniform([frames], seed=tf.stack([seed[0], seed[1] + i]))
        number = tf.range(frames)
        candidates = number != keyframe
        if reach.first is not None:
            candidates &= number >= keyframe + reach.first
        if reach.last is not None:
            candidates &= number <= keyframe + reach.last
        lots = tf.pad(tf.where(candidates, lots, -1.0), [[0, reach.count]], constant_values=-1.0)
        lot, place = tf.math.top_k(lots, reach.count)
        places.append(tf.where(lot >= 0, place, keyframe))
        there.append((lot >= 0) | (frames == 1))
    return tf.concat(places, axis=0), tf.concat(there, axis=0)
