"""A baseline in the manner of S3D (arXiv 1712.04851), as Context R-CNN compares with in table 1(d).

S3D is a network for whole videos: Inception with separable 3D convolutions. Its authors found that
convolving in time pays at the top of the network, on small maps ("top-heavy"). How Context R-CNN's
authors made a detector of it they do not say, nor is there code. This is one reading, and not a
reproduction of their row:

    theirs   S3D as the feature extractor, presumably; which weights, depth and head is not said
    here     the same ResNet as every other row up to conv4, in 2D, frame by frame; then S3D's
             separable Inception blocks over the frames of the window, in the widths of Mixed_5c;
             then first and second stage of the same detector on the keyframe's map

So what differs from the single-frame row are the 3D blocks alone, trained from scratch. Their depth
comes on top: with `window: 1` the same blocks see one frame, which tells what time adds.
"""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.s3d import S3d
from context_rcnn.detectors import backbones
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.layers.separable_conv3d import SeparableInception
from context_rcnn.models.temporal import TemporalModel


class WindowConvolutions(tf_keras.layers.Layer):
    """The map port: each frame's map becomes what 3D blocks make of its window.

    Each frame of a clip is the keyframe of a window of its own, which goes through the blocks by
    itself: what a model learns on longer clips is what it computes on windows, whatever the number
    of blocks.

    It reads `clip_valid`, bool [clips, frames], from `memory`; without it each image is a clip of
    one frame. A frame that is not there gets the map of the clip's middle frame, as its image is a
    copy of that one's (`data/clips.py`), so that later batch statistics see real maps only.

    Args:
        window: frames that the blocks see, the keyframe in their middle.
        blocks: one after the other.
        **options: of each `SeparableInception`.
    """

    def __init__(self, window: int, blocks: int, *, name=None, **options):
        super().__init__(name=name)
        if window < 1 or window % 2 == 0:
            raise ValueError(
                f"task.temporal.s3d.window must be odd, the keyframe in its middle, got {window}"
            )
        if blocks < 1:
            raise ValueError(f"task.temporal.s3d.blocks must be at least 1, got {blocks}")
        self._window = window
        self._count = blocks
        self._options = options

    def build(self, input_shape):
        (shape,) = input_shape.values()
        self._blocks = [
            SeparableInception(shape[-1], name=f"block_{i}", **self._options)
            for i in range(self._count)
        ]
        super().build(input_shape)

    def call(
        self,
        maps: Mapping[str, tf.Tensor],
        *,
        images: tf.Tensor | None = None,
        shapes: tf.Tensor | None = None,
        memory: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns maps of the same shapes; of the one level that there is."""
        ((level, frames),) = maps.items()
        shape = frames.shape[1:]
        clip_valid = (memory or {}).get("clip_valid")
        if clip_valid is None:
            clip_valid = tf.ones([tf.shape(frames)[0], 1], tf.bool)
        count = clip_valid.shape[1]
        clips = tf.reshape(frames, [-1, count, *shape])
        windows = tf.reshape(windows_of(clips, self._window), [-1, self._window, *shape])
        valid = windows_of(clip_valid, self._window) & clip_valid[..., None]
        valid = tf.reshape(valid, [-1, self._window])
        for block in self._blocks:
            windows = block(windows, valid, training=training)
        convolved = tf.reshape(windows[:, self._window // 2], [-1, count, *shape])
        convolved = tf.where(
            clip_valid[:, :, None, None, None],
            convolved,
            convolved[:, count // 2, None],
        )
        return {level: tf.reshape(convolved, [-1, *shape])}


def windows_of(frames: tf.Tensor, window: int) -> tf.Tensor:
    """[clips, frames, ...] to [clips, frames, window, ...]: each frame between its neighbours.

    Where there are none, zeros (False).
    """
    half, count = window // 2, frames.shape[1]
    around = tf.pad(frames, [[0, 0], [half, half]] + [[0, 0]] * (len(frames.shape) - 2))
    return tf.stack([around[:, i : i + count] for i in range(window)], axis=2)


def build_s3d(
    model: configs.FasterRcnn, config: S3d, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """A C4 Faster R-CNN with 3D convolutions over the window between conv4 and the first stage."""
    if model.backbone.kind != "c4":
        raise ValueError(
            "task.temporal.type s3d needs task.model.backbone.kind c4, one map of one stride; got "
            f"{model.backbone.kind!r}"
        )
    port = WindowConvolutions(
        config.window,
        config.blocks,
        gating=config.gating,
        regularizer=backbones.l2(weight_decay),
        norm_momentum=model.backbone.norm_momentum,
        norm_epsilon=model.backbone.norm_epsilon,
        sync_batch_norm=model.backbone.sync_batch_norm,
        name="window_convolutions",
    )
    return build_faster_rcnn(model, weight_decay=weight_decay, map_memory=port)


class S3dModel(TemporalModel):
    """Port 1 convolves over the window."""

    @property
    def window(self) -> int:
        return self.settings.window

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        return build_s3d(model, self.settings, weight_decay=weight_decay)


MODEL = S3dModel
