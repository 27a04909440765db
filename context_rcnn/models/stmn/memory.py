"""STMN: Video Object Detection with an Aligned Spatial-Temporal Memory (arXiv 1712.06317).

The sections of the paper, in its order:

    3.1  one memory in each direction of time, side by side: `SpatialTemporalMemory`
    3.2  the memory module, `layers.stmm`; it starts with the weights of the convolution whose place
         it takes: `start_from`
    3.3  MatchTrans: `layers.match_trans`
    4    training on sequences: `data.ordered_clips`; sliding windows: `stream`

The memory works on the map that boxes are cropped from. The first stage has another one, but for
VGG-16, where it sees the memory, too: the paper takes its proposals from elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.stmn import Stmn
from context_rcnn.detectors import backbones
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.layers.linear_squash import Variant
from context_rcnn.layers.stmm import Start, Stmm, Unit

LEVEL, FIRST_STAGE = "5", "4"
"""The map of the boxes, and that of the first stage."""
DIRECTIONS = ("both", "forward")


class SpatialTemporalMemory(tf_keras.layers.Layer):
    """The map port: the map of each frame becomes the memory of its sequence.

    It reads `clip_valid`, bool [clips, frames], from `memory`; without it each image is a sequence
    of one frame. Frames that are not there change nothing.

    Args:
        channels: channels of the memory in one direction.
        directions: `both`, or `forward`: one memory of twice as many channels.
        **options: of each `Stmm`.
    """

    def __init__(self, channels: int, *, directions: str = "both", name=None, **options: Any):
        super().__init__(name=name)
        if directions not in DIRECTIONS:
            raise ValueError(
                f"directions must be one of {', '.join(DIRECTIONS)}, got {directions!r}"
            )
        both = directions == "both"
        self.channels = 2 * channels
        self.forward = Stmm(channels if both else self.channels, name="forward", **options)
        self.backward = Stmm(channels, name="backward", **options) if both else None

    @property
    def units(self) -> list[Stmm]:
        """One for each direction."""
        return [self.forward] if self.backward is None else [self.forward, self.backward]

    def build(self, input_shape):
        self.map_shape = tuple(input_shape[LEVEL][1:])
        for unit in self.units:
            unit.build([None, 1, *self.map_shape])
        super().build(input_shape)

    def start_from(self, kernel: tf.Tensor, bias: tf.Tensor) -> None:
        """Takes the weights of the convolution whose place this is.

        The first half of its channels goes to the forward memory, the second to the backward one.
        """
        expected = (*kernel.shape[:2], self.map_shape[-1], self.channels)
        if tuple(kernel.shape) != expected:
            raise ValueError(
                f"the convolution that becomes the memory has the shape {tuple(kernel.shape)}, "
                f"expected {expected}"
            )
        count = len(self.units)
        kernels, biases = tf.split(kernel, count, axis=-1), tf.split(bias, count, axis=-1)
        for unit, *weights in zip(self.units, kernels, biases, strict=True):
            unit.start_from(*weights)

    def call(
        self,
        maps: Mapping[str, tf.Tensor],
        *,
        images: tf.Tensor | None = None,
        shapes: tf.Tensor | None = None,
        memory: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns the maps, that of the boxes changed."""
        features = maps[LEVEL]
        there = (memory or {}).get("clip_valid")
        if there is None:
            there = tf.ones([tf.shape(features)[0], 1], tf.bool)
        frames = there.shape[1]
        inside = None
        if images is not None and shapes is not None:
            inside = cells_inside(shapes, images.shape[1:3], features.shape[1:3])
            inside = tf.reshape(inside, [-1, frames, *inside.shape[1:]])
        clips = tf.reshape(features, [-1, frames, *features.shape[1:]])
        memories = self.remember(clips, there, inside)
        return {**maps, LEVEL: tf.reshape(memories, [-1, *memories.shape[2:]])}

    def remember(
        self, features: tf.Tensor, there: tf.Tensor, inside: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The memories of each frame of sequences, forward and backward one side by side.

        Args:
            features: [batch, frames, height, width, depth].
            there: bool [batch, frames].
            inside: bool [batch, frames, height, width], cells of the image; all by default.

        Returns:
            [batch, frames, height, width, channels].
        """
        memories = self.forward(features, there, inside)
        if self.backward is None:
            return memories
        back = [None if part is None else part[:, ::-1] for part in (features, there, inside)]
        return tf.concat([memories, self.backward(*back)[:, ::-1]], axis=-1)

    def remember_one(
        self, features: tf.Tensor, there: tf.Tensor, inside: tf.Tensor, place: int
    ) -> tf.Tensor:
        """The same for one frame, at about half of the cost: [batch, height, width, channels]."""
        memories = self.forward(*(part[:, : place + 1] for part in (features, there, inside)))
        if self.backward is None:
            return memories[:, -1]
        later = (part[:, place:][:, ::-1] for part in (features, there, inside))
        return tf.concat([memories[:, -1], self.backward(*later)[:, -1]], axis=-1)


def cells_inside(
    shapes: tf.Tensor, image_size: Sequence[int], map_size: Sequence[int]
) -> tf.Tensor:
    """Cells whose centre lies in the image and not in its padding, bool [batch, height, width].

    Args:
        shapes: [batch, 2], height and width of what is not padding.
        image_size: height and width with padding.
        map_size: height and width of the map.
    """
    inside = []
    for axis in range(2):
        cells = map_size[axis]
        centres = (tf.range(cells, dtype=tf.float32) + 0.5) * (image_size[axis] / cells)
        inside.append(centres[None] < tf.cast(shapes[:, axis, None], tf.float32))
    return inside[0][:, :, None] & inside[1][:, None]


def build_stmn(
    model: configs.FasterRcnn, config: Stmn, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """A detector with a memory in the place of its neck's 3x3 convolution, or of VGG-16's last."""
    replaced = ("task.model.neck.width", model.neck.width)
    if model.backbone.kind == "vgg16":
        replaced = ("the width of conv5/3", round(512 * model.backbone.depth_multiplier))
    if replaced[1] != 2 * config.channels:
        raise ValueError(
            f"task.temporal.stmn.channels is {config.channels}, of one direction: it must be half "
            f"of {replaced[0]}, which is {replaced[1]}"
        )
    try:
        port = SpatialTemporalMemory(
            config.channels,
            directions=config.directions,
            unit=cast(Unit, config.unit),
            match_trans=config.match_trans,
            reach=config.reach,
            sharpness=config.sharpness,
            deviations=config.deviations,
            variant=cast(Variant, config.variant),
            initial_memory=cast(Start, config.initial_memory),
            regularizer=backbones.l2(weight_decay),
            name="spatial_temporal_memory",
        )
    except ValueError as error:
        raise ValueError(f"task.temporal.stmn: {error}") from None
    return build_faster_rcnn(
        model, weight_decay=weight_decay, map_memory=port, swaps_convolution=True
    )
