"""MemNet and ClockNet (sections 3.1 and 3.2), at port 1.

    M^_t = warp(M_{t-1}, D_(t,t-1))                     (1)  `layers.warp`, `layers.flow_net`
    M_t = psi(M^_t, F_t)                                (2)  `layers.feature_aggregation`
    M_1 = F_1
    M_t = M^_t where there is no evidence of the frame

A ClockNet has such a memory for each of its strides, and their mean is what is detected in. In
training each memory goes through a chain of frames of its own, which ends at the keyframe.

All maps that come to the port are remembered, side by side: conv5 behind FGFA's convolution
(`model.neck.type: fgfa`), of which one half goes to the first stage; conv4 and conv5 with another
neck; one earlier map with `model.backbone.port_behind`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.memory_warps import MemoryWarps as Settings
from context_rcnn.detectors import backbones
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import (
    Memory,
    Port,
    Proposals,
    Seen,
    Tensors,
    TwoStageDetector,
)
from context_rcnn.layers.feature_aggregation import AGGREGATIONS
from context_rcnn.layers.flow_net import FlowNetS, half
from context_rcnn.layers.warp import BORDERS, Border, seen_through, warp
from context_rcnn.models.streaming import where_rows

FIELD = "task.temporal.memory_warps"
SCHEDULES = ("hold", "interleaved")
SUPERVISED = ("last", "all")


class Kept(NamedTuple):
    """A memory of some rows."""

    maps: tf.Tensor  # [rows, height, width, channels]
    weight: tf.Tensor  # float32 [rows], what it weighs, see `feature_aggregation`
    there: tf.Tensor  # bool [rows], whether anything was seen yet


def chains(clocks: Sequence[int], frames: int, stride: int) -> dict[int, tuple[int, ...]]:
    """Offsets of the frames that each clock's memory goes through in training, the keyframe last.

    Of clocks 1, 4 and 8 and three frames each that is -2, -1, 0; -8, -4, 0; and -16, -8, 0.
    """
    return {
        clock: tuple(-n * clock * stride for n in range(frames - 1, -1, -1)) for clock in clocks
    }


class MemoryWarps(tf_keras.layers.Layer):
    """The map port.

    It reads `clip_valid`, bool [clips, frames], from `memory`. Clips have the frames of all chains
    in order, the keyframe last; without a clip nothing is remembered. A clip's output is that of
    its keyframe, or of each frame with `supervise: all`.

    Args:
        settings: its settings; read, never written.
        image_size: height and width of the images.
        regularizer: regularizer of all kernels.
    """

    def __init__(
        self,
        settings: Settings,
        image_size: Sequence[int],
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check(settings)
        training = settings.training
        self.clocks = tuple(settings.clocks)
        self.image_size = tuple(image_size)
        self._chains = chains(self.clocks, training.frames, training.stride)
        self.offsets = tuple(sorted({offset for c in self._chains.values() for offset in c}))
        self._drop, self._drop_last = training.drop_evidence, training.drop_last
        self._all = training.supervise == "all"
        self._border: Border = settings.border  # type: ignore[assignment]  # checked above
        self._fills, self._rate = settings.fill_unseen, settings.flow.rate
        self.flow_net = FlowNetS(
            settings.flow.width, settings.flow.levels, regularizer=regularizer, name="flow_net"
        )
        self.aggregation = AGGREGATIONS[settings.aggregation](
            regularizer,
            channels=settings.channels,
            embedding=settings.embedding,
            weight_limit=settings.weight_limit,
        )

    def build(self, input_shape):
        shapes = {level: tuple(shape[1:]) for level, shape in input_shape.items()}
        self.levels = sorted(shapes)
        self._depths = [shapes[level][2] for level in self.levels]
        sizes = {shape[:2] for shape in shapes.values()}
        if len(sizes) > 1:
            raise ValueError(
                f"{FIELD}: one flow moves maps of one size, here they have the sizes "
                f"{sorted(sizes)}: choose model.backbone.kind dc5 or rfcn"
            )
        (size,) = sizes
        self.map_shape = (*size, sum(self._depths))
        self.stride = 2 ** round(math.log2(self.image_size[0] / size[0]))
        self.flow_net.build(None)
        self.aggregation.build([None, *self.map_shape])
        super().build(input_shape)

    @property
    def teaching(self) -> tuple[int, ...]:
        """Places in a clip whose frames have an output."""
        last = len(self.offsets) - 1
        return tuple(range(last + 1)) if self._all else (last,)

    def join(self, maps: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """All maps side by side, [images, *map_shape]."""
        return tf.concat([maps[level] for level in self.levels], axis=-1)

    def split(self, joined: tf.Tensor) -> Tensors:
        """The maps by level again."""
        parts = tf.split(joined, self._depths, axis=-1)
        return dict(zip(self.levels, parts, strict=True))

    def flow(self, now: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        """D of pairs of half images, [pairs, height, width, 2] in cells of the maps."""
        return slowed(self.flow_net(now, before, self.stride), self._rate)

    def update(self, kept: Kept, flow: tf.Tensor, features: tf.Tensor, evidence: tf.Tensor) -> Kept:
        """Equations 1 and 2.

        Args:
            kept: M_{t-1}.
            flow: D_(t,t-1).
            features: F_t.
            evidence: bool [rows], where the frame is seen. The first frame of a memory is seen.
        """
        warped = self.move(kept.maps, flow)
        if self._fills:
            unseen = tf.cast(1.0 - seen_through(flow), features.dtype)
            filled = warped + unseen * features
        else:
            filled = warped
        merged, weight = self.aggregation(filled, features, kept.weight)
        maps = where_rows(kept.there, where_rows(evidence, merged, warped), features)
        changes = kept.there & evidence
        return Kept(maps, tf.where(changes, weight, kept.weight), kept.there | evidence)

    def move(self, maps: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
        """Equation 1."""
        return warp(maps, flow, self._border)

    def call(
        self,
        maps: Mapping[str, tf.Tensor],
        *,
        images: tf.Tensor | None = None,
        shapes: tf.Tensor | None = None,
        memory: Memory = None,
        training: bool | None = None,
    ) -> Tensors:
        """Returns the memories of clips, or the maps as they are where there are no clips."""
        there = (memory or {}).get("clip_valid")
        if there is None or there.shape[1] == 1:
            return dict(maps)
        if images is None or there.shape[1] != len(self.offsets):
            raise ValueError(
                f"clips have {there.shape[1]} frames, {FIELD}.training asks for "
                f"{len(self.offsets)}, at {list(self.offsets)}"
            )
        features = _in_clips(self.join(maps), there.shape[1])
        flows = self._flows(_in_clips(half(images), there.shape[1]))
        evidence = self._evidence(there) if training else there
        memories = [
            self._go_through(chain, features, flows, there, evidence)
            for chain in self._chains.values()
        ]
        if self._all:
            (each,) = memories
            return self.split(tf.reshape(tf.stack(each, axis=1), [-1, *self.map_shape]))
        return self.split(tf.add_n([each[-1] for each in memories]) / len(memories))

    def _flows(self, images: tf.Tensor) -> dict[tuple[int, int], tf.Tensor]:
        """D of all neighbours in chains, by their offsets, in one pass of the network."""
        pairs = sorted(
            {
                pair
                for chain in self._chains.values()
                for pair in zip(chain[1:], chain, strict=False)
            }
        )
        if not pairs:
            return {}
        place = {offset: i for i, offset in enumerate(self.offsets)}
        now, before = (
            tf.concat([images[:, place[pair[i]]] for pair in pairs], axis=0) for i in (0, 1)
        )
        flows = tf.split(self.flow(now, before), len(pairs), axis=0)
        return dict(zip(pairs, flows, strict=True))

    def _evidence(self, there: tf.Tensor) -> tf.Tensor:
        """Which frames are seen in training: one draw a frame, for all clocks."""
        kept = tf.random.uniform(tf.shape(there)) >= self._drop
        if not self._drop_last:
            kept |= tf.range(len(self.offsets)) == len(self.offsets) - 1
        return there & kept

    def _go_through(
        self,
        chain: Sequence[int],
        features: tf.Tensor,
        flows: Mapping[tuple[int, int], tf.Tensor],
        there: tf.Tensor,
        evidence: tf.Tensor,
    ) -> list[tf.Tensor]:
        """The memory of one clock after each frame of its chain."""
        place = {offset: i for i, offset in enumerate(self.offsets)}
        kept, after = None, []
        for i, offset in enumerate(chain):
            at = place[offset]
            frame, is_there = features[:, at], there[:, at]
            if kept is None:
                kept = Kept(frame, tf.ones_like(is_there, tf.float32), is_there)
            else:
                # The first frame that is there is seen, whatever was drawn.
                sees = evidence[:, at] | (is_there & ~kept.there)
                new = self.update(kept, flows[offset, chain[i - 1]], frame, sees)
                kept = Kept(*(where_rows(is_there, n, k) for n, k in zip(new, kept, strict=True)))
            after.append(kept.maps)
        return after


class MemoryWarpsDetector(TwoStageDetector):
    """The detector, whose clips have an output for the frames that teach."""

    def look(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Memory = None,
        training: bool | None = None,
        port: Port | None = None,
        given: Proposals | None = None,
    ) -> Seen:
        """As the detector's; of clips, what is returned has a row for each frame that teaches."""
        there = (memory or {}).get("clip_valid")
        if port is None and there is not None and there.shape[1] > 1:
            clips = _in_clips(shapes, there.shape[1])
            kept = tf.gather(clips, self.map_memory.teaching, axis=1)
            shapes = tf.reshape(kept, [-1, 2])
        return super().look(images, shapes, memory, training, port, given)


def build_memory_warps(
    model: configs.FasterRcnn, settings: Settings, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """A detector whose maps are remembered."""
    check_base(model, FIELD)
    port = MemoryWarps(settings, model.image_size, backbones.l2(weight_decay), name="memory_warps")
    port.flow_net.trainable = settings.flow.train
    return build_faster_rcnn(
        model,
        weight_decay=weight_decay,
        map_memory=port,
        detector_class=MemoryWarpsDetector,
    )


def check_base(model: configs.FasterRcnn, field: str) -> None:
    """Raises a ValueError for a detector that cannot detect in frames that it does not look at."""
    if model.proposals.source == "given":
        raise ValueError(
            f"{field}: its first stage works on the memory, and model.proposals.source given has "
            "none"
        )


def _check(settings: Settings) -> None:
    """Raises a ValueError for settings that mean nothing."""
    training = settings.training
    choices: tuple[tuple[str, Any, Sequence[str]], ...] = (
        ("aggregation", settings.aggregation, tuple(AGGREGATIONS)),
        ("schedule", settings.schedule, SCHEDULES),
        ("border", settings.border, BORDERS),
        ("training.supervise", training.supervise, SUPERVISED),
    )
    for name, value, known in choices:
        if value not in known:
            raise ValueError(f"{FIELD}.{name} must be one of {', '.join(known)}, got {value!r}")
    clocks = list(settings.clocks)
    if not clocks or clocks != sorted(set(clocks)) or clocks[0] != 1:
        raise ValueError(f"{FIELD}.clocks must ascend from 1, as [1, 4, 8] do, got {clocks}")
    if settings.weight_limit < 0:
        raise ValueError(f"{FIELD}.weight_limit must not be negative, got {settings.weight_limit}")
    for name in ("frames", "stride", "keyframes"):
        if getattr(training, name) < 1:
            raise ValueError(
                f"{FIELD}.training.{name} must be at least 1, got {getattr(training, name)}"
            )
    if not 0 <= training.drop_evidence <= 1:
        raise ValueError(
            f"{FIELD}.training.drop_evidence must be in 0..1, got {training.drop_evidence}"
        )
    if training.supervise == "all" and len(clocks) > 1:
        raise ValueError(f"{FIELD}.training.supervise all is for one clock, here are {clocks}")


def slowed(flow: tf.Tensor, rate: float) -> tf.Tensor:
    """The same flow, through which a share of the gradients goes."""
    return flow if rate == 1.0 else rate * flow + tf.stop_gradient((1.0 - rate) * flow)


def _in_clips(images: tf.Tensor, frames: int) -> tf.Tensor:
    """[clips * frames, ...] to [clips, frames, ...]."""
    return tf.reshape(images, [-1, frames, *images.shape[1:]])
