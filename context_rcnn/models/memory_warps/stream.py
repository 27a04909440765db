"""MemNet and ClockNet through videos, frame by frame, with a state of fixed size.

    step         looks at a frame: its features go into the memory
    propagate    sees how a frame has moved, and no more: no trunk runs
    anticipate   foretells a coming frame; the memory stays as it is

`schedule: hold` keeps one memory for each clock, of its last own frame; at other frames it is moved
there for detection alone. `schedule: interleaved` keeps as many memories for a clock as its stride
says, and every frame updates the one of so many frames ago.
"""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from context_rcnn.configs.temporal.memory_warps import MemoryWarps as Settings
from context_rcnn.detectors.two_stage import Seen, Tensors, TwoStageDetector
from context_rcnn.layers.flow_net import half, half_size
from context_rcnn.layers.warp import Placement, extrapolate
from context_rcnn.models.memory_warps.memory import Kept, MemoryWarps
from context_rcnn.models.streaming import (
    NO_FRAME,
    Detections,
    Frame,
    RowStream,
    State,
    where_rows,
)

Scored = tuple[tf.Tensor, tf.Tensor]


class Remembered(NamedTuple):
    """What a frame did to the memories of some rows."""

    maps: tf.Tensor  # M_t, [rows, height, width, channels]
    there: tf.Tensor  # bool [rows], whether anything was seen yet
    changed: State


class MemoryView:
    """From maps that a memory holds to detections.

    Attributes:
        detector: the detector whose maps they are.
    """

    detector: TwoStageDetector

    def see(self, maps: Tensors, shapes: tf.Tensor) -> Seen:
        """What the detector sees of maps that a memory holds."""
        return self.detector.seen_in(maps, shapes, training=False)

    def detect(self, seen: Seen, there: tf.Tensor) -> Detections:
        """Detections, none in rows in which nothing was seen yet."""
        found = self.detector.best(*self.scored(seen))
        nothing = {"detection_scores": -1}
        return {
            name: where_rows(there, part, tf.zeros_like(part) + nothing.get(name, 0))
            for name, part in found.items()
        }

    def scored(self, seen: Seen) -> Scored:
        """Boxes and scores before suppression."""
        return self.detector.candidates(seen, training=False)


class MemoryStream(RowStream, MemoryView):
    """The stream of a detector.

    Args:
        detector: a MemNet or ClockNet (`models.memory_warps`).
        settings: its settings.
    """

    def __init__(self, detector: TwoStageDetector, settings: Settings):
        super().__init__(name="memory_warps_stream")
        self.detector = detector
        self.port: MemoryWarps = detector.map_memory
        self._strides = self.port.clocks
        holds = settings.schedule == "hold"
        self._rings = tuple(1 if holds else stride for stride in self._strides)
        self._placement: Placement = settings.without_evidence.placement  # type: ignore[assignment]

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows remember of a video of which nothing was seen; R memories of all clocks.

        memory   float32 [rows, R, height, width, channels]
        images   float32 [rows, R, ...], the half image of the frame that each memory is of
        there    bool [rows, R]
        weight   float32 [rows, R], what each weighs
        flows    float32 [rows, 2, height, width, 2], those to the last frame and to the one before
        shapes   float32 [rows, 2], of the last frame
        mean     float32 [rows, height, width, channels], M_t, of several clocks
        """
        room, size = [rows, sum(self._rings)], self.port.map_shape
        state = {
            "memory": tf.zeros([*room, *size]),
            "images": tf.zeros([*room, *half_size(self.port.image_size), 3]),
            "there": tf.zeros(room, tf.bool),
            "weight": tf.ones(room),
            "flows": tf.zeros([rows, 2, *size[:2], 2]),
            "shapes": tf.ones([rows, 2]),
        }
        return state | ({"mean": tf.zeros([rows, *size])} if len(self._strides) > 1 else {})

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Looks at one frame of each video, and detects in it."""
        seen, remembered = self.look(frame, state)
        return self.detect(seen, remembered.there), remembered.changed

    def evidence(self, frame: Frame, state: State) -> tf.Tensor:
        """Which rows look at the frame, bool [rows]."""
        return tf.ones_like(frame.valid) if frame.evidence is None else frame.evidence

    def look(self, frame: Frame, state: State) -> tuple[Seen, Remembered]:
        """The first half of the pass, through the memory."""
        heard: list[Remembered] = []
        evidence = self.evidence(frame, state)

        def recall(maps, **given):
            features = self.port.join(maps)
            heard.append(self.remember(features, frame, state, evidence))
            return self.port.split(heard[0].maps)

        seen = self.detector.look(frame.image, frame.shape, training=False, port=recall)
        return seen, heard[0]

    def propagate(self, frame: Frame, state: Mapping[str, tf.Tensor]) -> tuple[Detections, State]:
        """A step that sees nothing of a frame but its motion; as `step` without evidence.

        A video cannot begin with it: there are no detections before something was seen.
        """

        def advance(frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
            remembered = self.remember(None, frame, state, tf.zeros_like(frame.valid))
            seen = self.see(self.port.split(remembered.maps), frame.shape)
            return self.detect(seen, remembered.there), remembered.changed

        return self.step_by(advance, frame, state)

    def anticipate(self, state: Mapping[str, tf.Tensor], ahead: tf.Tensor | int) -> Detections:
        """Detections in a coming frame of each video, `ahead` frames after the last one."""
        seen, there = self.foretell(state, ahead)
        number = tf.where(there, state["frame"] - 1 + tf.cast(ahead, tf.int32), NO_FRAME)
        return self.detect(seen, there) | {
            "frame": number,
            "image_shape": tf.identity(state["shapes"]),
        }

    def foretell(
        self, state: Mapping[str, tf.Tensor], ahead: tf.Tensor | int
    ) -> tuple[Seen, tf.Tensor]:
        """A coming frame as the memory expects it, and whether there is a memory."""
        flows = state["flows"]
        flow = extrapolate(flows[:, 0], flows[:, 1], ahead, self._placement)
        maps = self.port.move(self.current(state), flow)
        there = tf.reduce_any(state["there"], axis=1)
        return self.see(self.port.split(maps), state["shapes"]), there

    def current(self, state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """M_t of the last frame."""
        return state["mean"] if "mean" in state else state["memory"][:, 0]

    def remember(
        self, features: tf.Tensor | None, frame: Frame, state: State, evidence: tf.Tensor
    ) -> Remembered:
        """Takes a frame into all memories: one flow and one warp for each clock.

        Args:
            features: its maps side by side; None where none is looked at.
            frame: frame of each row.
            state: state after the last frame.
            evidence: bool [rows], rows that look at it.
        """
        count = len(self._strides)
        now = half(frame.image)
        slots = self._slots(state["frame"])
        at = {
            name: tf.gather(state[name], slots, batch_dims=1)
            for name in ("memory", "images", "there", "weight")
        }
        flat = {name: tf.reshape(part, [-1, *part.shape[2:]]) for name, part in at.items()}
        flow = self.port.flow(_repeat(now, count), flat["images"])
        kept = Kept(flat["memory"], flat["weight"], flat["there"])
        if features is None:
            new = kept._replace(maps=self.port.move(kept.maps, flow))
        else:
            features = _repeat(tf.cast(features, tf.float32), count)
            new = self.port.update(kept, flow, features, _repeat(evidence, count))
        new = Kept(*(tf.reshape(part, [-1, count, *part.shape[1:]]) for part in new))
        written = {
            "memory": new.maps,
            "images": tf.tile(now[:, None], [1, count, 1, 1, 1]),
            "there": new.there,
            "weight": new.weight,
        }
        changed = self._written(state, slots, written)
        step = tf.reshape(flow, [-1, count, *flow.shape[1:]])[:, 0]
        step = where_rows(at["there"][:, 0], step, tf.zeros_like(step))
        changed["flows"] = tf.stack([step, state["flows"][:, 0]], axis=1)
        changed["shapes"] = frame.shape
        maps = _mean(new)
        if "mean" in state:
            changed["mean"] = maps
        return Remembered(maps, tf.reduce_any(new.there, axis=1), changed)

    def _slots(self, number: tf.Tensor) -> tf.Tensor:
        """Places of the memories that a frame of this number meets, int32 [rows, clocks]."""
        first, slots = 0, []
        for ring in self._rings:
            slots.append(first + number % ring)
            first += ring
        return tf.stack(slots, axis=1)

    def _written(self, state: State, slots: tf.Tensor, new: Mapping[str, tf.Tensor]) -> State:
        """The state with the memories of those clocks that keep what they have now."""
        number, changed = state["frame"], {name: state[name] for name in new}
        for clock, (stride, ring) in enumerate(zip(self._strides, self._rings, strict=True)):
            due = (number % stride == 0) | (ring == stride)
            here = tf.one_hot(slots[:, clock], sum(self._rings), True, False)
            here &= (due & new["there"][:, clock])[:, None]
            changed = {
                name: where_rows(here, new[name][:, clock, None], part)
                for name, part in changed.items()
            }
        return changed


def _mean(kept: Kept) -> tf.Tensor:
    """The mean of the memories of several clocks, [rows, clocks, ...], of those that there are."""
    there = kept.there[..., None, None, None]
    count = tf.reduce_sum(tf.cast(there, kept.maps.dtype), axis=1)
    return tf.reduce_sum(tf.where(there, kept.maps, 0.0), axis=1) / tf.maximum(count, 1.0)


def _repeat(rows: tf.Tensor, count: int) -> tf.Tensor:
    """Each row so many times, one beside the other."""
    tiled = tf.tile(rows[:, None], [1, count, *[1] * (len(rows.shape) - 1)])
    return tf.reshape(tiled, [-1, *rows.shape[1:]])
