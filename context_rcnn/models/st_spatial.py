"""The baseline "ST Spatial" of Context R-CNN (arXiv 1912.03538, table 1(d)).

The paper: "we attempt to leverage the static-ness of the camera by taking a temporal-distance-
weighted average of the RPN box classifier features from the key frame with the cropped RPN features
from the same box locations from the surrounding frames". It gives no formula. Here:

- The weight of a frame is `decay ** distance`, the distance in frames, divided by the sum over the
  frames of the window that are there.
- The average is taken over the crops of the first stage's maps, before pooling and before the
  second stage, which runs once on what comes out. The first stage itself, and so the boxes, are
  those of the keyframe alone.

A crop is a bilinear reading of a map, which is linear in the map. So the average of crops at one
place is the crop of the averaged maps, and that is what is computed: it costs next to nothing.
"""

import functools

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.configs.temporal.st_spatial import StSpatial
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import Memory, Port, Seen, TwoStageDetector
from context_rcnn.models.temporal import TemporalModel


class StSpatialDetector(TwoStageDetector):
    """A detector whose second stage crops the average of the frames of a window.

    Args:
        window: frames that are averaged, the keyframe in their middle. Each frame of a clip is the
            keyframe of its own window.
        decay: the weight of a frame, relative to that of the frame before it on the way from the
            keyframe: 1 is the plain mean, 0 the single-frame detector.
        **kwargs: of the detector.
    """

    def __init__(self, *, window: int, decay: float, **kwargs):
        super().__init__(**kwargs)
        if window < 1 or window % 2 == 0:
            raise ValueError(
                "task.temporal.st_spatial.window must be odd, the keyframe in its middle, got "
                f"{window}"
            )
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"task.temporal.st_spatial.decay must lie in 0..1, got {decay}")
        self._window = window
        self._decay = decay

    def features(
        self,
        seen: Seen,
        memory: Memory = None,
        training: bool | None = None,
        port: Port | None = None,
    ) -> tf.Tensor:
        """As the detector's, from the maps of the window; `memory` has `clip_valid` or nothing."""
        clip_valid = (memory or {}).get("clip_valid")
        if clip_valid is not None:
            average = functools.partial(
                average_over_window, clip_valid=clip_valid, window=self._window, decay=self._decay
            )
            maps = {level: average(value) for level, value in seen.maps.items()}
            seen = seen._replace(maps=maps)
        return super().features(seen, memory, training, port)


def average_over_window(
    maps: tf.Tensor, clip_valid: tf.Tensor, *, window: int, decay: float
) -> tf.Tensor:
    """Averages each frame of a clip with those around it, weighted by distance in time.

    Args:
        maps: [clips * frames, height, width, channels], clip after clip.
        clip_valid: bool [clips, frames], which frames are there. The others are in no average but
            stay as they are: what stands in their place is as good an image.
        window: frames of an average.
        decay: weight of a frame, relative to its neighbour's on the side of the keyframe.

    Returns:
        As `maps`.
    """
    frames = clip_valid.shape[1]
    distance = tf.abs(tf.range(frames)[:, None] - tf.range(frames))
    weights = tf.pow(float(decay), tf.cast(distance, tf.float32))
    weights = tf.where(distance <= window // 2, weights, 0.0)
    # [clips, keyframes, frames]; absent keyframes have weights without meaning, but finite ones.
    weights = tf.where(clip_valid[:, None, :], weights, 0.0)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=-1, keepdims=True))
    clips = tf.reshape(maps, [-1, frames, *maps.shape[1:]])
    valid = clip_valid[:, :, None, None, None]
    # tf.where rather than a weight of zero: an absent frame may hold anything, NaN included.
    there = tf.where(valid, clips, 0)
    averaged = tf.einsum("ikf,ifhwc->ikhwc", tf.cast(weights, maps.dtype), there)
    return tf.reshape(tf.where(valid, averaged, clips), [-1, *maps.shape[1:]])


def build_st_spatial(
    model: configs.FasterRcnn, config: StSpatial, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """A Faster R-CNN, C4 or on a pyramid, that averages its box features over the window."""
    return build_faster_rcnn(
        model,
        weight_decay=weight_decay,
        detector_class=functools.partial(
            StSpatialDetector, window=config.window, decay=config.decay
        ),
    )


class StSpatialModel(TemporalModel):
    """The second stage crops the average of the window."""

    @property
    def window(self) -> int:
        return self.settings.window

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        return build_st_spatial(model, self.settings, weight_decay=weight_decay)


MODEL = StSpatialModel
