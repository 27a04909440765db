"""FGFA, flow-guided feature aggregation (arXiv 1703.10025), with which Memory Warps compares.

The maps of a window of frames are moved to its keyframe, each by a flow of its own, and averaged
cell by cell with weights by the cosine of their embeddings with the keyframe's.

    after: 9              as published: half of the window comes later, and detections are late
    after: 0              causal FGFA
    accumulate_flow       causal FGFA*: flows to earlier frames are put together from single steps

As in the authors' code, embeddings are computed before maps are moved in evaluation, and of moved
maps in training; and the keyframe's own map takes part in evaluation alone. Frames beyond the ends
of a video do not take part.
"""

import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.fgfa import Fgfa as Settings
from context_rcnn.data.frames import FrameSampler
from context_rcnn.data.videos import Reach, VideoClips
from context_rcnn.detectors import backbones
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import Memory, Tensors, TwoStageDetector
from context_rcnn.layers.feature_aggregation import AdaptiveWeights, weighted
from context_rcnn.layers.flow_net import FlowNetS, half, half_size
from context_rcnn.layers.warp import BORDERS, Border, compose, warp
from context_rcnn.models.memory_warps.memory import MemoryWarpsDetector, check_base, slowed
from context_rcnn.models.memory_warps.model import load_flow_net
from context_rcnn.models.memory_warps.stream import MemoryView
from context_rcnn.models.streaming import (
    NO_FRAME,
    Detections,
    Extract,
    Frame,
    RowStream,
    State,
    push,
)
from context_rcnn.models.temporal import TemporalModel

FIELD = "task.temporal.fgfa"


class FlowGuided(tf_keras.layers.Layer):
    """The map port, of one map. It reads `clip_valid`; a clip begins with its keyframe.

    Args:
        settings: its settings; read, never written.
        image_size: height and width of the images.
        regularizer: regularizer of all kernels.
    """

    teaching = (0,)

    def __init__(
        self,
        settings: Settings,
        image_size: Sequence[int],
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self._border: Border = settings.border  # type: ignore[assignment]  # checked before
        self._rate, self._own = settings.flow.rate, settings.training.include_keyframe
        self.flow_net = FlowNetS(
            settings.flow.width, settings.flow.levels, regularizer=regularizer, name="flow_net"
        )
        self.weights_of = AdaptiveWeights(tuple(settings.embedding), regularizer, name="adaptive")

    def build(self, input_shape):
        if len(input_shape) > 1:
            raise ValueError(
                f"{FIELD}: it works on one map, here are {sorted(input_shape)}: choose "
                "model.neck.type fgfa"
            )
        ((self.level, shape),) = input_shape.items()
        self.map_shape = tuple(shape[1:])
        self.stride = 2 ** round(math.log2(self.image_size[0] / shape[1]))
        self.flow_net.build(None)
        self.weights_of.build([None, *self.map_shape])
        super().build(input_shape)

    def join(self, maps: Tensors) -> tf.Tensor:
        """The map."""
        return maps[self.level]

    def split(self, joined: tf.Tensor) -> Tensors:
        """The map, by its level."""
        return {self.level: joined}

    def flow(self, now: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        """D of pairs of half images, [pairs, height, width, 2] in cells of the map."""
        return slowed(self.flow_net(now, before, self.stride), self._rate)

    def move(self, maps: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
        """Maps of other frames as the keyframe sees them."""
        return warp(maps, flow, self._border)

    def embed(self, maps: tf.Tensor) -> tf.Tensor:
        """What weights are computed from, [images, height, width, depth]."""
        return self.weights_of.embed(maps)

    def call(
        self,
        maps: Tensors,
        *,
        images: tf.Tensor | None = None,
        shapes: tf.Tensor | None = None,
        memory: Memory = None,
        training: bool | None = None,
    ) -> Tensors:
        """Returns the aggregated maps of keyframes, or the maps as they are without clips."""
        there = (memory or {}).get("clip_valid")
        if there is None or images is None or there.shape[1] == 1:
            return dict(maps)
        frames = there.shape[1]
        clips, shown = (
            tf.reshape(part, [-1, frames, *part.shape[1:]])
            for part in (self.join(maps), half(images))
        )
        key, others = clips[:, 0], frames - 1
        now = tf.repeat(shown[:, :1], others, axis=1)
        flow = self.flow(*(tf.reshape(x, [-1, *x.shape[2:]]) for x in (now, shown[:, 1:])))
        rest = tf.reshape(clips[:, 1:], [-1, *self.map_shape])
        moved = self.move(rest, flow)
        embedded = tf.reshape(self.embed(moved), [-1, others, *self.map_shape[:2], self.depth])
        moved = tf.reshape(moved, [-1, others, *self.map_shape])
        reference = self.embed(key)
        # The keyframe is alone where no other frame is there.
        own = tf.fill(tf.shape(there[:, :1]), self._own)
        own |= ~tf.reduce_any(there[:, 1:], axis=1, keepdims=True)
        moved = tf.concat([key[:, None], moved], axis=1)
        embedded = tf.concat([reference[:, None], embedded], axis=1)
        takes_part = tf.concat([own, there[:, 1:]], axis=1)
        return self.split(weighted(moved, embedded, reference, takes_part))

    @property
    def depth(self) -> int:
        """Length of embeddings."""
        return self.weights_of.depth


class FgfaStream(RowStream, MemoryView):
    """A window of frames slides through each video.

    Args:
        detector: an FGFA.
        settings: its settings.
    """

    def __init__(self, detector: TwoStageDetector, settings: Settings):
        super().__init__(name="fgfa_stream")
        self.detector, self.port = detector, detector.map_memory
        self._before, self._accumulates = settings.before, settings.accumulate_flow
        self._window = settings.before + 1 + settings.after
        self.latency = settings.after
        self.inputs = ("ended",) if settings.after else ()

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows remember of the last frames, oldest first.

        maps      float32 [rows, window, height, width, channels]
        embedded  float32 [rows, window, height, width, depth]
        images    float32 [rows, window, ...], half images
        there     bool [rows, window]
        shapes    float32 [rows, window, 2]
        flows     float32 [rows, before, height, width, 2], accumulated, from the last frame
        """
        room, (height, width, depth) = [rows, self._window], self.port.map_shape
        state = {
            "maps": tf.zeros([*room, height, width, depth]),
            "embedded": tf.zeros([*room, height, width, self.port.depth]),
            "images": tf.zeros([*room, *half_size(self.port.image_size), 3]),
            "there": tf.zeros(room, tf.bool),
            "shapes": tf.ones([*room, 2]),
        }
        if self._accumulates:
            state["flows"] = tf.zeros([rows, self._before, height, width, 2])
        return state

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in the one `latency` frames before."""
        heard = {}

        def listen(maps, **given):
            heard["maps"] = tf.cast(self.port.join(maps), tf.float32)
            return maps

        self.detector.look(frame.image, frame.shape, training=False, port=listen)
        new = {
            "maps": heard["maps"],
            "embedded": tf.cast(self.port.embed(heard["maps"]), tf.float32),
            "images": half(frame.image),
            "there": frame.valid,
            "shapes": frame.shape,
        }
        changed = {name: push(state[name], part) for name, part in new.items()}
        key, others = self._before, [i for i in range(self._window) if i != self._before]
        if self._accumulates:
            flow = self._accumulated(state, new["images"], changed)
        else:
            images = tf.gather(changed["images"], others, axis=1)
            now = tf.repeat(changed["images"][:, key, None], len(others), axis=1)
            flow = self.port.flow(*(_flat(part) for part in (now, images)))
        both = tf.concat([changed["maps"], changed["embedded"]], axis=-1)
        moved = self.port.move(_flat(tf.gather(both, others, axis=1)), flow)
        moved = tf.reshape(moved, [-1, len(others), *moved.shape[1:]])
        window = tf.concat([both[:, key, None], moved], axis=1)
        maps, embedded = tf.split(window, [self.port.map_shape[-1], self.port.depth], axis=-1)
        there = tf.gather(changed["there"], [key, *others], axis=1)
        aggregated = weighted(maps, embedded, embedded[:, 0], there)
        shapes = changed["shapes"][:, key]
        found = self.detect(self.see(self.port.split(aggregated), shapes), there[:, 0])
        number = state["frame"] - self.latency
        here = {
            "frame": tf.where(there[:, 0] & (number >= 0), number, NO_FRAME),
            "image_shape": shapes,
        }
        return found | here, changed

    def _accumulated(self, state: State, image: tf.Tensor, changed: State) -> tf.Tensor:
        """Flows from this frame to all before it, oldest first, by one pass of the network."""
        step = self.port.flow(image, state["images"][:, -1])
        older = state["flows"][:, 1:]
        count = self._before - 1
        again = tf.repeat(step[:, None], count, axis=1)
        composed = compose(_flat(again), _flat(older))
        composed = tf.reshape(composed, [-1, count, *step.shape[1:]])
        changed["flows"] = tf.concat([composed, step[:, None]], axis=1)
        return _flat(changed["flows"])


class FgfaModel(TemporalModel):
    """Maps of a window, moved to its keyframe; evaluated frame by frame."""

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        settings = self.settings
        _check(settings)
        check_base(model, FIELD)
        port = FlowGuided(settings, model.image_size, backbones.l2(weight_decay), name="fgfa")
        port.flow_net.trainable = settings.flow.train
        return build_faster_rcnn(
            model,
            weight_decay=weight_decay,
            map_memory=port,
            detector_class=MemoryWarpsDetector,
        )

    def training_frames(self, clip: configs.Clip, seed: int) -> FrameSampler:
        training = self.settings.training
        reach = Reach(training.frames, training.first, training.last)
        return VideoClips((reach,), training.keyframes, seed)

    def evaluation_window(self, clip: configs.Clip) -> None:
        return None

    def start(self, detector: TwoStageDetector) -> None:
        field = f"{FIELD}.flow.init_checkpoint"
        load_flow_net(detector.map_memory.flow_net, self.settings.flow.init_checkpoint, field)

    def stream(self, detector: TwoStageDetector, extract: Extract | None = None) -> FgfaStream:
        return FgfaStream(detector, self.settings)


MODEL = FgfaModel


def _check(settings: Settings) -> None:
    """Raises a ValueError for settings that mean nothing."""
    for name, least in (("before", 0), ("after", 0)):
        if getattr(settings, name) < least:
            raise ValueError(f"{FIELD}.{name} must be at least {least}")
    if settings.before + settings.after < 1:
        raise ValueError(f"{FIELD}: before and after are 0: there is nothing to average")
    if settings.accumulate_flow and (settings.after or settings.before < 2):
        raise ValueError(
            f"{FIELD}.accumulate_flow needs after 0 and before of at least 2, got after "
            f"{settings.after}, before {settings.before}"
        )
    if settings.border not in BORDERS:
        raise ValueError(
            f"{FIELD}.border must be one of {', '.join(BORDERS)}, got {settings.border!r}"
        )


def _flat(frames: tf.Tensor) -> tf.Tensor:
    """[rows, frames, ...] to [rows * frames, ...]."""
    return tf.reshape(frames, [-1, *frames.shape[2:]])
