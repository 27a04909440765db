"""STMN through videos, frame by frame, with a state of fixed size.

    WindowStream   as the paper detects: windows of T frames slide through each phase of a video,
                   its frames p, p + s, p + 2 s, ...; detections are late by half a window or by a
                   whole one, and after a video's last frame it takes as many steps with `ended`
    CausalStream   a memory of the past alone, one for each phase; detections come at once

`merge: centre` takes what a window finds in its middle. At the ends of a video, frames of the
window are missing. `merge: overlap` pools what all windows with the frame find in it. There a
window counts if all its frames are in the video; of a phase that is shorter, all frames are one.
"""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn.configs.temporal.stmn import Stmn
from context_rcnn.detectors.two_stage import Port, Proposals, Seen, TwoStageDetector
from context_rcnn.models.stmn.memory import (
    FIRST_STAGE,
    LEVEL,
    SpatialTemporalMemory,
    cells_inside,
)
from context_rcnn.models.stmn.predictions import best_boxes, scored_boxes
from context_rcnn.models.streaming import (
    NO_FRAME,
    Detections,
    Frame,
    RowStream,
    State,
    like,
    push,
    where_rows,
)

MERGES = ("overlap", "centre")
STATES = ("bfloat16", "float32")
_IN_ONE = 4  # features of bfloat16 in an int64


class StmnStream(RowStream):
    """What both streams share.

    Args:
        detector: an STMN (`models.stmn`).
        config: its settings.
    """

    def __init__(self, detector: TwoStageDetector, config: Stmn):
        super().__init__(name="stmn_stream")
        for name in ("window", "stride", "box_rounds", "pooled_boxes"):
            if getattr(config, name) < 1:
                raise ValueError(
                    f"task.temporal.stmn.{name} must be at least 1, got {getattr(config, name)}"
                )
        for name, choices in (("merge", MERGES), ("state", STATES)):
            if getattr(config, name) not in choices:
                raise ValueError(
                    f"task.temporal.stmn.{name} must be one of {', '.join(choices)}, got "
                    f"{getattr(config, name)!r}"
                )
        self._detector = detector
        if detector.rpn_head is None:
            self.inputs = (*self.inputs, "proposals")
        self._port: SpatialTemporalMemory = detector.map_memory
        self._stride, self._rounds = config.stride, config.box_rounds
        self._short = config.state == "bfloat16"
        if self._short and self._port.map_shape[-1] % _IN_ONE:
            raise ValueError(
                f"task.temporal.stmn.state bfloat16 needs a multiple of {_IN_ONE} channels, "
                f"task.model.neck.width is {self._port.map_shape[-1]}; use float32"
            )

    def _look(self, frame: Frame, port: Port) -> Seen:
        given = frame.proposals
        return self._detector.look(frame.image, frame.shape, training=False, port=port, given=given)

    def _no_features(self, *room: int | tf.Tensor) -> tf.Tensor:
        height, width, depth = self._port.map_shape
        if self._short:
            return tf.zeros([*room, height, width, depth // _IN_ONE], tf.int64)
        return tf.zeros([*room, height, width, depth])

    def _pack(self, features: tf.Tensor) -> tf.Tensor:
        """Features for the state: as bfloat16, the bits of four in an int64.

        Files of NumPy and requests to servers have no bfloat16, and GPUs move no uint16.
        """
        if not self._short:
            return tf.cast(features, tf.float32)
        *room, depth = features.shape[1:]
        fours = tf.reshape(tf.cast(features, tf.bfloat16), [-1, *room, depth // _IN_ONE, _IN_ONE])
        return tf.bitcast(fours, tf.int64)

    def _unpack(self, packed: tf.Tensor) -> tf.Tensor:
        if self._short:
            *room, count = packed.shape[1:]
            packed = tf.bitcast(packed, tf.bfloat16)
            packed = tf.reshape(packed, [-1, *room, count * _IN_ONE])
        return tf.cast(packed, self._port.compute_dtype)

    def _inside(self, frame: Frame, shapes: tf.Tensor) -> tf.Tensor:
        return cells_inside(shapes, frame.image.shape[1:3], self._port.map_shape[:2])


class CausalStream(StmnStream):
    """`directions: forward`: a frame sees the memory of its phase so far."""

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows remember of each phase of a video of which nothing was seen.

        memory  float32 [rows, phases, height, width, channels]; rounding would add up in it
        before  [rows, phases, height, width, depth], features of the last frame, 0 in its padding
        seen    bool [rows, phases], whether there was one
        """
        place = [*self._port.map_shape[:2], self._port.channels]
        return {
            "memory": tf.zeros([rows, self._stride, *place]),
            "before": self._no_features(rows, self._stride),
            "seen": tf.zeros([rows, self._stride], tf.bool),
        }

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in it."""
        phase = state["frame"] % self._stride
        memory, before, seen = (
            tf.gather(state[name], phase, batch_dims=1) for name in ("memory", "before", "seen")
        )
        inside, unit, new = self._inside(frame, frame.shape), self._port.forward, {}

        def recall(maps, **given):
            features = maps[LEVEL]
            coefficients = unit.match(features, self._unpack(before)) if unit.moves else None
            last = tf.cast(memory, features.dtype)
            now = unit.step(unit.project(features), last, seen, coefficients, inside)
            new["memory"] = tf.cast(now, tf.float32)
            new["before"] = self._pack(tf.where(inside[..., None], features, 0))
            return {**maps, LEVEL: now}

        looked = self._look(frame, recall)
        new["seen"] = tf.ones_like(seen)
        here = phase[:, None] == tf.range(self._stride)
        changed = {name: where_rows(here, part[:, None], state[name]) for name, part in new.items()}
        boxes, scores = scored_boxes(self._detector, looked, self._rounds)
        return self._detector.best(boxes, scores), changed


class WindowStream(StmnStream):
    """`directions: both`: windows slide through the phases."""

    inputs = ("ended",)

    def __init__(self, detector: TwoStageDetector, config: Stmn):
        super().__init__(detector, config)
        self._window, self._pooled = config.window, config.pooled_boxes
        self._span = (config.window - 1) * config.stride + 1
        self._pools = config.merge == "overlap"
        # Of the window that ends with the newest frame.
        self._key = 0 if self._pools else config.window // 2
        self.latency = (config.window - 1 - self._key) * config.stride

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows remember of the last frames, as many as a window spans.

        features       [rows, span, height, width, depth]
        there          bool [rows, span]
        shapes         float32 [rows, span, 2]
        boxes, valid   [rows, span, proposals, 4] and bool [rows, span, proposals]
        and, where windows are pooled, what each window found in a frame so far:
        pooled_boxes   [rows, span, windows, boxes, 4]
        pooled_scores, pooled_labels   [rows, span, windows, boxes]
        pooled_frames  int32 [rows, span, windows], frames of the window, 0 where there is none
        """
        count = self._detector.proposal_count
        state = {
            "features": self._no_features(rows, self._span),
            "there": tf.zeros([rows, self._span], tf.bool),
            "shapes": tf.ones([rows, self._span, 2]),
            "boxes": tf.zeros([rows, self._span, count, 4]),
            "valid": tf.zeros([rows, self._span, count], tf.bool),
        }
        if self._pools:
            room = [rows, self._span, self._window]
            state |= {
                "pooled_boxes": tf.zeros([*room, self._pooled, 4]),
                "pooled_scores": tf.zeros([*room, self._pooled]),
                "pooled_labels": tf.zeros([*room, self._pooled], tf.int32),
                "pooled_frames": tf.zeros(room, tf.int32),
            }
        return state

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in the one `latency` frames before."""
        heard = {}

        def listen(maps, **given):
            heard.update(maps)
            return maps

        seen = self._look(frame, listen)
        new = {
            "features": self._pack(heard[LEVEL]),
            "there": frame.valid,
            "shapes": frame.shape,
            "boxes": seen.proposals.boxes,
            "valid": seen.proposals.valid & frame.valid[:, None],
        }
        changed = {name: push(state[name], value) for name, value in new.items()}
        window = {name: value[:, :: self._stride] for name, value in changed.items()}
        inside = self._inside(frame, _flat(window["shapes"]))
        inside = tf.reshape(inside, [-1, self._window, *inside.shape[1:]])
        features = self._unpack(window["features"])
        if self._pools:
            memories = self._port.remember(features, window["there"], inside)
            changed |= self._pool(memories, window, state)
            detections = self._of_pooled(changed)
        else:
            memory = self._port.remember_one(features, window["there"], inside, self._key)
            key = {name: value[:, self._key] for name, value in window.items()}
            detections = self._detector.best(*self._scored(memory, key))
        place = self._key * self._stride
        number = state["frame"] - self.latency
        there = changed["there"][:, place] & (number >= 0)
        here = {
            "frame": tf.where(there, number, NO_FRAME),
            "image_shape": changed["shapes"][:, place],
        }
        return detections | here, changed

    def _scored(
        self, memory: tf.Tensor, frames: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes and scores of frames with these memories, before suppression."""
        maps, boxes = {LEVEL: memory}, frames["boxes"]
        found = Proposals(boxes, tf.ones_like(boxes[..., 0]), frames["valid"])
        seen = self._detector.seen_in(maps, frames["shapes"], training=False, given=found)
        if FIRST_STAGE in seen.maps and self._detector.rpn_head is not None:
            # The first stage sees the memory, too.
            proposals, _ = self._detector.propose(seen.maps, seen.shapes, False)
            seen = seen._replace(proposals=proposals)
        return scored_boxes(self._detector, seen, self._rounds)

    def _pool(
        self, memories: tf.Tensor, window: Mapping[str, tf.Tensor], state: State
    ) -> dict[str, tf.Tensor]:
        """Puts what this window finds in its frames beside what earlier windows found."""
        of_frames = {name: _flat(window[name]) for name in ("boxes", "valid", "shapes")}
        found = best_boxes(*self._scored(_flat(memories), of_frames), self._pooled)
        found = {
            name: tf.reshape(part, [-1, self._window, *part.shape[1:]])
            for name, part in found.items()
        }
        frames = tf.reduce_sum(tf.cast(window["there"], tf.int32), axis=1, keepdims=True)
        found["frames"] = tf.where(window["there"], frames, 0)
        changed = {}
        for name, part in found.items():
            queue = state[f"pooled_{name}"]
            changed[f"pooled_{name}"] = self._put(push(queue, tf.zeros_like(queue[:, 0])), part)
        return changed

    def _put(self, queue: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        """Writes what this window found, [rows, window, ...], into [rows, span, window, ...].

        For the frame at place p of the window, this window is its (T - 1 - p)-th one, from 0.
        """
        rest = queue.shape[2:]
        queue = tf.pad(queue, [[0, 0], [0, self._stride - 1], *[[0, 0]] * len(rest)])
        phases = tf.reshape(queue, [-1, self._window, self._stride, *rest])
        place = tf.range(self._window)
        its = like((place[:, None] + place == self._window - 1)[None], phases[:, :, 0])
        written = tf.where(its, found[:, :, None], phases[:, :, 0])
        phases = tf.concat([written[:, :, None], phases[:, :, 1:]], axis=2)
        return tf.reshape(phases, [-1, self._window * self._stride, *rest])[:, : self._span]

    def _of_pooled(self, state: Mapping[str, tf.Tensor]) -> Detections:
        """Detections in the oldest frame, of all its windows."""
        frames = state["pooled_frames"][:, 0]
        most = tf.reduce_max(frames, axis=1, keepdims=True)
        counts = (frames == most) & (frames > 0)
        # Where no window is whole, those with the most frames are all the same one.
        first = tf.cumsum(tf.cast(counts, tf.int32), axis=1) == 1
        counts &= (most == self._window) | first
        scores = tf.where(counts[..., None], state["pooled_scores"][:, 0], 0.0)
        count = self._window * self._pooled
        return self._detector.best_labelled(
            tf.reshape(state["pooled_boxes"][:, 0], [-1, count, 4]),
            tf.reshape(scores, [-1, count]),
            tf.reshape(state["pooled_labels"][:, 0], [-1, count]),
        )


def build_stmn_stream(detector: TwoStageDetector, config: Stmn) -> StmnStream:
    """The stream of a detector's own settings."""
    causal = config.directions == "forward"
    return CausalStream(detector, config) if causal else WindowStream(detector, config)


def _flat(frames: tf.Tensor) -> tf.Tensor:
    """[rows, frames, ...] to [rows * frames, ...]."""
    return tf.reshape(frames, [-1, *frames.shape[2:]])
