"""What an exported model does frame by frame: `initial_state` and `step`, of encoded images.

Cameras and videos are asked alike, but for what comes with a frame. Rows of a batch are cameras or
videos side by side.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow as tf

from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.models.context_rcnn.stream import ContextStream
from context_rcnn.models.mega.stream import MegaStream

Tensors = dict[str, tf.Tensor]
# From encoded images to images in the network's size, and the shapes of what is not padding.
Prepare = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Steps(Protocol):
    """What is served of a stream.

    Attributes:
        inputs: what comes with each step, besides the state.
    """

    inputs: list[tf.TensorSpec]

    def initial_state(self, batch_size: int | tf.Tensor) -> Tensors:
        """The state of rows that have seen nothing."""

    def step(self, *inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, Tensors, tf.Tensor]:
        """Detections with boxes in pixels, the next state, and the shapes boxes are relative to."""


def _rows(name: str, dtype: tf.DType) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name)


class CameraSteps:
    """A frame of each camera after the other, with a memory that grows.

    Args:
        model: a Context R-CNN.
        settings: of `ContextStream`.
        prepare: decodes.
        extractor: the frozen extractor, or None without long-term memory.
        decode_once: whether the extractor takes images as the detector does.
    """

    inputs = [
        _rows("encoded_images", tf.string),
        _rows("cameras", tf.int64),
        _rows("seconds", tf.int64),
        _rows("valid", tf.bool),
    ]

    def __init__(
        self,
        model: TwoStageDetector,
        settings: Mapping[str, Any],
        prepare: Prepare,
        extractor: Any,
        decode_once: bool,
    ):
        self._model, self._settings, self._prepare = model, dict(settings), prepare
        self._extractor, self._decode_once = extractor, decode_once

    def initial_state(self, batch_size):
        return self._stream().initial_state(batch_size)

    def step(self, encoded_images, cameras, seconds, valid, *, state):
        encoded_images = _blank_where_none(encoded_images, valid)
        images, shapes = self._prepare(encoded_images)
        stream = self._stream(encoded_images)
        return *stream.step(images, shapes, cameras, seconds, valid, state), shapes

    def _stream(self, encoded_images: tf.Tensor | None = None) -> ContextStream:
        def extract(images, shapes):
            if self._decode_once:
                return self._extractor.extract_from_images(images, shapes)
            return self._extractor.extract(encoded_images)

        return ContextStream(self._model, extract, **self._settings)


class VideoSteps:
    """A frame of each video after the other; detections may come some frames late.

    Args:
        stream: of the model.
        prepare: decodes.
        anywhere: whether each step comes with one frame from anywhere in each video, too.
    """

    def __init__(self, stream: MegaStream, prepare: Prepare, anywhere: bool):
        self._stream, self._prepare = stream, prepare
        self.inputs = [
            _rows("encoded_images", tf.string),
            _rows("videos", tf.int64),
            _rows("valid", tf.bool),
            _rows("ended", tf.bool),
        ]
        if anywhere:
            self.inputs += [_rows("anywhere_images", tf.string), _rows("anywhere_valid", tf.bool)]

    def initial_state(self, batch_size):
        return self._stream.initial_state(batch_size)

    def step(self, encoded_images, videos, valid, ended, *anywhere, state):
        images, shapes = self._prepare(_blank_where_none(encoded_images, valid))
        if anywhere:
            others, there = anywhere
            anywhere = (*self._prepare(_blank_where_none(others, there)), there)
        found, state = self._stream.step(
            images, shapes, videos, valid, state, ended=ended, anywhere=anywhere or None
        )
        return found, state, found["image_shape"]


def _blank_where_none(encoded: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Where there is no frame, there need not be an image."""
    blank = tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8))
    return tf.where(valid, encoded, blank)
