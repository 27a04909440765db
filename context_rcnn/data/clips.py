"""Clips: a keyframe with the frames around it, of the same burst.

Example files hold bursts whole and in time order, so clips are read in one pass. A burst may be
shorter than a clip, and a keyframe may be its first: a clip says which of its frames are there. In
the place of the others the keyframe stands again, so that batch statistics only see real images.
"""

import dataclasses

import tensorflow as tf

from context_rcnn.data import examples


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """Which frames make a clip.

    Attributes:
        frames: Number of frames.
        spacing: Every so many-th frame of the burst.
    """

    frames: int = 1
    spacing: int = 1

    def __post_init__(self):
        for name in ("frames", "spacing"):
            if getattr(self, name) < 1:
                raise ValueError(f"clip.{name} must be at least 1, got {getattr(self, name)}")

    @property
    def keyframe(self) -> int:
        """Where in the clip the keyframe is: in the middle."""
        return self.frames // 2

    @property
    def teaching(self) -> tuple[int, ...]:
        """All frames."""
        return tuple(range(self.frames))

    redraws = False

    def read(self, file: tf.Tensor, lot: tf.Tensor) -> tf.data.Dataset:
        """See `read_clips`; nothing is drawn."""
        return read_clips(file, self)


STILL = ClipOptions()


def read_clips(file: tf.Tensor, clip: ClipOptions = STILL) -> tf.data.Dataset:
    """The clip around each example of a TFRecord file, in file order.

    Returns:
        A dataset of serialized examples [frames] and which of them are there, bool [frames].
    """
    records = tf.data.TFRecordDataset(file)
    if clip.frames == 1:
        return records.map(lambda record: (record[None], tf.constant([True])))
    later = (clip.frames - 1 - clip.keyframe) * clip.spacing
    length = (clip.frames - 1) * clip.spacing + 1
    nothing = tf.data.Dataset.from_tensors("").repeat(later)

    def slide(before, record):
        run = tf.ensure_shape(tf.concat([before, record[None]], axis=0), [length])
        return run[1:], run[:: clip.spacing]

    runs = records.concatenate(nothing).scan(tf.fill([length - 1], ""), slide).skip(later)
    return runs.map(lambda run: _one_burst(run, clip.keyframe))


def _one_burst(run: tf.Tensor, keyframe: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts the keyframe where a frame is missing or of another burst."""
    there = run != ""
    run = tf.where(there, run, run[keyframe])
    keys = (examples.LOCATION, examples.SEQ_ID)
    spec = {key: tf.io.FixedLenFeature([], tf.string, "") for key in keys}
    parsed = tf.io.parse_example(run, spec)
    camera, burst = (parsed[key] for key in keys)
    same = (camera == camera[keyframe]) & (burst == burst[keyframe]) & (burst != "")
    valid = there & (same | (tf.range(run.shape[0]) == keyframe))
    return tf.where(valid, run, run[keyframe]), valid
