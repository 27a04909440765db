"""Evaluation of frames that the memory does not look at (sections 5.2 and 5.3), as streams.

    a cycle    `every`: evidence of every n-th frame; the frames between are propagated
    a gap      `gap`: each frame is detected in with the evidence of frames up to `gap` before it
    halves     the left and the right half of each frame apart, the baseline of two devices

For an exact gap, the stream keeps what it had after each of the last frames, and brings it on.
Where a video has had fewer frames than the gap, a frame is detected in from the first one.

    by: features        the memory is moved on, frame by frame
    by: boxes           the detections are, and the memory is used for nothing
    by: anticipation    the flow is foretold, and nothing is seen of the frames of the gap
"""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn.configs.temporal.memory_warps import MemoryWarps as Settings
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.layers.warp import PLACEMENTS
from context_rcnn.models.memory_warps.boxes import move_boxes
from context_rcnn.models.memory_warps.memory import FIELD
from context_rcnn.models.memory_warps.stream import MemoryStream
from context_rcnn.models.streaming import (
    Detections,
    Frame,
    RowStream,
    State,
    push,
    where_rows,
)

BY = ("features", "boxes", "anticipation")
BOXES = "detection_boxes"
PAST = "past_"
"""Before the names of what the streams here add to the state."""


class CycleStream(MemoryStream):
    """Evidence of every n-th frame; features or boxes are brought on to the others."""

    def __init__(self, detector: TwoStageDetector, settings: Settings):
        super().__init__(detector, settings)
        self._every = settings.without_evidence.every
        self._by_boxes = settings.without_evidence.by == "boxes"

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """The memory, and of boxes those that were found last."""
        state = super().initial_memory(rows)
        return state | (_named(_no_detections(self.detector, rows)) if self._by_boxes else {})

    def evidence(self, frame: Frame, state: State) -> tf.Tensor:
        """Every n-th frame is looked at."""
        return state["frame"] % self._every == 0

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Looks at a frame of each video, or at its motion."""
        found, changed = super().advance(frame, begins, state)
        if self._by_boxes:
            last = {name: state[PAST + name] for name in found}
            last[BOXES] = _moved(last[BOXES], changed["flows"][:, 0], self.port.stride, frame.shape)
            seen = self.evidence(frame, state)
            found = {name: where_rows(seen, part, last[name]) for name, part in found.items()}
            changed |= _named(found)
        return found, changed


class GapStream(RowStream):
    """Each frame with the evidence of frames up to `gap` before it.

    Args:
        inner: the stream that sees all frames.
        settings: its settings.
    """

    def __init__(self, inner: MemoryStream, settings: Settings):
        super().__init__(name="gap_stream")
        self._inner = inner
        self._gap, self._by = settings.without_evidence.gap, settings.without_evidence.by

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """The inner stream's state, and what there was after each of the last frames, oldest first.

        By `features` that is a whole state each, by `boxes` detections, by `anticipation` a memory
        and the last flows.
        """
        state = self._inner.initial_memory(rows)
        none = _no_detections(self._inner.detector, rows)
        past = self._kept(state | {"frame": tf.zeros([rows], tf.int32)}, none)
        return state | _named(
            {name: tf.stack([part] * self._gap, 1) for name, part in past.items()}
        )

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in it with older evidence."""
        past = {n.removeprefix(PAST): part for n, part in state.items() if n.startswith(PAST)}
        inner = {name: part for name, part in state.items() if not name.startswith(PAST)}
        found, changed = self._inner.advance(frame, begins, dict(inner))
        # The oldest there is: the first of the queue, or of a young video the one of its start.
        number = state["frame"]
        oldest = tf.minimum(tf.maximum(self._gap - number, 0), self._gap - 1)
        if self._by == "features":
            past, result = self._by_features(frame, past, oldest)
        elif self._by == "boxes":
            past, result = self._by_boxes(frame, past, oldest, changed["flows"][:, 0])
        else:
            then = _at(past, oldest)
            seen, there = self._inner.foretell(then, tf.minimum(number, self._gap))
            result = self._inner.detect(seen, there)
        result = {name: where_rows(number == 0, found[name], part) for name, part in result.items()}
        new = self._kept(inner | changed | {"frame": number + 1}, found)
        return result, changed | _named({name: push(past[name], new[name]) for name in new})

    def _kept(self, state: State, found: Detections) -> State:
        """What is kept after a frame that was seen."""
        if self._by == "boxes":
            return dict(found)
        if self._by == "anticipation":
            memory = "mean" if "mean" in state else "memory"
            return {name: state[name] for name in (memory, "flows", "shapes", "there")}
        return {name: part for name, part in state.items() if name != "row"}

    def _by_features(
        self, frame: Frame, past: State, oldest: tf.Tensor
    ) -> tuple[State, Detections]:
        rows = {name: _flat(part) for name, part in past.items()}
        frames = Frame(*(_flat(tf.stack([part] * self._gap, 1)) for part in frame[:4]))
        remembered = self._inner.remember(None, frames, rows, tf.zeros_like(frames.valid))
        rows |= remembered.changed | {"frame": rows["frame"] + 1}
        past = {name: _unflat(part, self._gap) for name, part in rows.items()}
        both = {"maps": remembered.maps, "there": remembered.there}
        then = _at({name: _unflat(part, self._gap) for name, part in both.items()}, oldest)
        seen = self._inner.see(self._inner.port.split(then["maps"]), frame.shape)
        return past, self._inner.detect(seen, then["there"])

    def _by_boxes(
        self, frame: Frame, past: State, oldest: tf.Tensor, flow: tf.Tensor
    ) -> tuple[State, Detections]:
        boxes = [
            _moved(past[BOXES][:, i], flow, self._inner.port.stride, frame.shape)
            for i in range(self._gap)
        ]
        past = past | {BOXES: tf.stack(boxes, axis=1)}
        return past, _at(past, oldest)


class HalvesStream(RowStream):
    """The left and the right half of each frame apart, each with a memory of its own.

    Args:
        inner: the stream of a half.
    """

    def __init__(self, inner: MemoryStream):
        super().__init__(name="halves_stream")
        self._inner = inner

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """The inner stream's state, of two halves."""
        state = self._inner.initial_memory(rows)
        return {name: tf.stack([part] * 2, axis=1) for name, part in state.items()}

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in its halves."""
        width = frame.image.shape[2]
        left = width // 2
        none = [[0, 0], [0, 0]]
        images = [
            tf.pad(part, [*none, [0, width - part.shape[2]], [0, 0]])
            for part in (frame.image[:, :, :left], frame.image[:, :, left:])
        ]
        height, inside = tf.unstack(frame.shape, axis=1)
        widths = (tf.minimum(inside, float(left)), tf.maximum(inside - left, 1.0))
        shapes = [tf.stack([height, part], axis=1) for part in widths]
        twice = [_flat(tf.stack([part] * 2, 1)) for part in (frame.row, frame.valid)]
        halves = Frame(_flat(tf.stack(images, 1)), _flat(tf.stack(shapes, 1)), *twice)
        number = _flat(tf.stack([state["frame"]] * 2, 1))
        names = [name for name in state if name not in ("row", "frame")]
        of_halves = {name: _flat(state[name]) for name in names} | {"frame": number}
        seen, remembered = self._inner.look(halves, of_halves)
        boxes, scores = (_unflat(part, 2) for part in self._inner.scored(seen))
        boxes += tf.reshape(tf.constant([[0.0] * 4, [0.0, left, 0.0, left]]), [1, 2, 1, 1, 4])
        boxes, scores = (tf.concat(tf.unstack(part, axis=1), 1) for part in (boxes, scores))
        found = self._inner.detector.best(boxes, scores)
        return found, {name: _unflat(part, 2) for name, part in remembered.changed.items()}


def build_stream(detector: TwoStageDetector, settings: Settings) -> RowStream:
    """The stream that the settings ask for."""
    without = settings.without_evidence
    field = f"{FIELD}.without_evidence"
    for name, least in (("every", 1), ("gap", 0)):
        if getattr(without, name) < least:
            raise ValueError(
                f"{field}.{name} must be at least {least}, got {getattr(without, name)}"
            )
    for name, known in (("by", BY), ("placement", PLACEMENTS)):
        if getattr(without, name) not in known:
            raise ValueError(
                f"{field}.{name} must be one of {', '.join(known)}, got {getattr(without, name)!r}"
            )
    if without.every > 1 and without.gap:
        raise ValueError(f"{field}: every is {without.every} and gap {without.gap}: choose one")
    if without.by == "anticipation" and not without.gap:
        raise ValueError(f"{field}.by anticipation needs a gap of at least 1, got 0")
    if without.halves and (without.gap or without.by != "features"):
        raise ValueError(f"{field}.halves goes with neither a gap nor by {without.by}")
    stream = (CycleStream if without.every > 1 else MemoryStream)(detector, settings)
    if without.halves:
        return HalvesStream(stream)
    return GapStream(stream, settings) if without.gap else stream


def _no_detections(detector: TwoStageDetector, rows: int | tf.Tensor) -> Detections:
    count = detector.detection_count
    return {
        BOXES: tf.zeros([rows, count, 4]),
        "detection_scores": tf.fill([rows, count], -1.0),
        "detection_classes": tf.zeros([rows, count], tf.int32),
        "num_detections": tf.zeros([rows], tf.int32),
    }


def _moved(boxes: tf.Tensor, flow: tf.Tensor, stride: int, shapes: tf.Tensor) -> tf.Tensor:
    """Boxes in the next frame, as far as they are in it."""
    return tf.clip_by_value(move_boxes(boxes, flow, stride), 0.0, tf.tile(shapes, [1, 2])[:, None])


def _named(past: Mapping[str, tf.Tensor]) -> State:
    return {PAST + name: part for name, part in past.items()}


def _at(queue: State, place: tf.Tensor) -> State:
    """One entry of each row's queue."""
    return {name: tf.gather(part, place, batch_dims=1) for name, part in queue.items()}


def _flat(parts: tf.Tensor) -> tf.Tensor:
    """[rows, n, ...] to [rows * n, ...]."""
    return tf.reshape(parts, [-1, *parts.shape[2:]])


def _unflat(parts: tf.Tensor, count: int) -> tf.Tensor:
    """[rows * n, ...] to [rows, n, ...]."""
    return tf.reshape(parts, [-1, count, *parts.shape[1:]])
