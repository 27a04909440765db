"""Frames that a model sees together: the common base of clips and of draws from whole videos."""

from typing import Protocol

import tensorflow as tf


class FrameSampler(Protocol):
    """Chooses the frames of a keyframe's clip, in training or in evaluation.

    Attributes:
        frames: number of frames, the keyframe included.
        keyframe: place of the keyframe in the clip.
        teaching: places in the clip whose labels teach; the model has outputs of these.
        redraws: whether each pass over the data draws other frames.
    """

    @property
    def frames(self) -> int: ...

    @property
    def keyframe(self) -> int: ...

    @property
    def teaching(self) -> tuple[int, ...]: ...

    @property
    def redraws(self) -> bool: ...

    def read(self, file: tf.Tensor, lot: tf.Tensor) -> tf.data.Dataset:
        """The clips of a TFRecord file of examples, keyframe after keyframe.

        Args:
            file: path.
            lot: int64, a random number, another one for each file in each pass over the data; what
                is drawn follows from it and from the sampler's seed.

        Returns:
            A dataset of serialized examples [frames]; which of them are there, bool [frames]; and,
            from samplers that know them, their places in the video, int32 [frames].
        """
