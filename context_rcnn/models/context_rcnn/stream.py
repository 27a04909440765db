"""Context R-CNN on cameras as they see: a bounded memory that grows with every frame.

    stream = ContextStream(detector, extract, capacity=2000)
    state = stream.initial_state(4)                     # four cameras side by side
    frame = Frame(images, shapes, cameras, valid, seconds=seconds)
    detections, state = stream.step(frame, state)

The frozen extractor is in the loop: it gives the entries of each frame, which are projected to keys
and values once and then stay. A frame sees what came before it and its own entries, as a causal
window of a bank has them (`memory_bank.window`), never anything later.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from context_rcnn.data.examples import NO_SECONDS
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.memory_bank import encoding, tensor_encoding
from context_rcnn.memory_bank.window import SPANS, Horizon
from context_rcnn.models.streaming import (
    Detections,
    Extract,
    Frame,
    RowStream,
    State,
    like,
    push,
)

EVICTIONS = ("oldest", "similar")
BURST_GAP_SECONDS = 60


class ContextStream(RowStream):
    """Runs a Context R-CNN frame by frame.

    Args:
        detector: a Context R-CNN (`models.context_rcnn`).
        extract: the frozen extractor: from a frame to `features`, `boxes`, `scores`, best first.
            None where there is no long-term memory.
        capacity: number of entries that the memory of a camera holds.
        top_k: number of boxes remembered per frame, best first.
        score_threshold: lowest score of a remembered box; 0 also keeps the best of empty frames.
        horizon: time that a frame looks back: `minute`, ..., `month`, or `any`.
        calendar: whether a frame looks back to the beginning of the calendar's bin instead.
        include_keyframe: whether a frame sees its own entries.
        eviction: entry that is replaced: the `oldest`, or the one most `similar` to the new one, so
            that things that are always there do not replace everything else.
        recent_frames: number of earlier frames of the burst for short-term attention; None for the
            number of frames in the detector's window besides the keyframe.
        variant: encoding of place and time in the entries.
    """

    inputs = ("seconds",)

    def __init__(
        self,
        detector: TwoStageDetector,
        extract: Extract | None,
        *,
        capacity: int = 2000,
        top_k: int = 1,
        score_threshold: float = 0.0,
        horizon: Horizon = "month",
        calendar: bool = False,
        include_keyframe: bool = True,
        eviction: str = "oldest",
        recent_frames: int | None = None,
        variant: encoding.Variant = "paper",
    ):
        super().__init__(name="context_stream")
        if eviction not in EVICTIONS:
            raise ValueError(f"eviction must be one of {', '.join(EVICTIONS)}, got {eviction!r}")
        if horizon != "any" and horizon not in SPANS:
            raise ValueError(
                f"horizon must be one of {', '.join([*SPANS, 'any'])}, got {horizon!r}"
            )
        if top_k < 1 or capacity < top_k:
            raise ValueError(
                f"capacity {capacity} must hold the top_k {top_k} boxes of one frame at least"
            )
        encoding.check_variant(variant)
        self._detector = detector
        self._port = detector.box_memory
        self._long = self._port.long_term is not None
        if self._long and extract is None:
            raise ValueError("long-term memory needs an extractor")
        self._extract: Any = extract
        self._capacity = capacity
        self._top_k = top_k
        self._score_threshold = score_threshold
        self._horizon = horizon
        self._calendar = calendar
        self._include_keyframe = include_keyframe
        self._eviction = eviction
        self._variant = variant
        window = self._port.window
        self._recent = max(0, window - 1) if recent_frames is None else recent_frames
        if not window:
            self._recent = 0

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What cameras that have seen nothing remember.

            seconds   int64 [rows], when the last frame was
            next      int32 [rows], where the next entry goes, of `oldest`
        and for each entry [rows, capacity, ...]:
            entry_valid, entry_seconds, entry_frame, entry_boxes, entry_scores
            entry_keys, entry_values  [rows, blocks, capacity, depth]
        and for short-term attention:
            recent_features [rows, frames, boxes, depth], recent_valid [rows, frames, boxes]
        """
        state = {
            "seconds": tf.fill([rows], tf.constant(NO_SECONDS, tf.int64)),
        }
        if self._long:
            room = [rows, self._capacity]
            projected = [rows, self._port.blocks, self._capacity, self._port.depth]
            state |= {
                "next": tf.zeros([rows], tf.int32),
                "entry_valid": tf.zeros(room, tf.bool),
                "entry_seconds": tf.fill(room, tf.constant(NO_SECONDS, tf.int64)),
                "entry_frame": tf.zeros(room, tf.int64),
                "entry_boxes": tf.zeros([*room, 4]),
                "entry_scores": tf.zeros(room),
                "entry_keys": tf.zeros(projected),
                "entry_values": tf.zeros(projected),
            }
        if self._recent:
            count = self._detector.proposal_count
            count = min(self._port.remembered_boxes or count, count)
            boxes = [rows, self._recent, count]
            state |= {
                "recent_features": tf.zeros([*boxes, self._port.feature_depth]),
                "recent_valid": tf.zeros(boxes, tf.bool),
            }
        return state

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Detects in one frame of each camera, and remembers it.

        Where `seconds` is NO_SECONDS, the frame sees all there is, and its entries are seen until
        they are evicted.
        """
        memory: dict[str, tf.Tensor] = {}
        if self._long:
            past, state = state, self._remember(frame, state)
            memory |= self._seen(frame.seconds, state if self._include_keyframe else past)
        detections, boxes, box_valid = self._detect(frame, state, memory)
        if self._recent:
            state |= {
                "recent_features": push(state["recent_features"], boxes),
                "recent_valid": push(state["recent_valid"], box_valid),
            }
        return detections, state | {"seconds": frame.seconds}

    def _detect(
        self, frame: Frame, state: State, memory: State
    ) -> tuple[Detections, tf.Tensor, tf.Tensor]:
        """One pass of the detector. Also returns the boxes to remember, before any memory."""
        model = self._detector
        if self._recent:
            # Of another burst, frames are no neighbours.
            known = (frame.seconds != NO_SECONDS) & (state["seconds"] != NO_SECONDS)
            gap = tf.abs(frame.seconds - state["seconds"])
            same_burst = known & (gap <= BURST_GAP_SECONDS)
            state["recent_valid"] &= same_burst[:, None, None]
            features, ok = state["recent_features"], state["recent_valid"]
            count = features.shape[1] * features.shape[2]
            memory["recent_features"] = tf.reshape(features, [-1, count, features.shape[3]])
            memory["recent_valid"] = tf.reshape(ok, [-1, count])
        pooled = []

        def listen(features, **kwargs):
            pooled.append(pool_boxes(features))
            return model.box_memory(features, **kwargs)

        seen = model.look(frame.image, frame.shape, memory, training=False)
        detections = model.answer(seen, memory, training=False, port=listen).detections
        best = self._port.remembered_boxes
        return detections, pooled[0][:, :best], seen.proposals.valid[:, :best]

    def _seen(self, seconds: tf.Tensor, state: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The part of the memory within the horizon, for the port."""
        valid, since, now = state["entry_valid"], state["entry_seconds"], seconds[:, None]
        if self._horizon != "any":
            undated = (since == NO_SECONDS) | (now == NO_SECONDS)
            if self._calendar:
                bins = (tensor_encoding.calendar_bin(when, self._horizon) for when in (since, now))
                near = tf.equal(*bins)
            else:
                near = now - since <= SPANS[self._horizon]
            valid &= undated | near
        return {
            "context_keys": state["entry_keys"],
            "context_values": state["entry_values"],
            "context_valid": valid,
        }

    def _remember(self, frame: Frame, state: State) -> State:
        """Extracts and projects the entries of a frame, and puts them in their place."""
        found = self._extract(frame)
        seconds: Any = frame.seconds
        boxes, scores = found["boxes"][:, : self._top_k], found["scores"][:, : self._top_k]
        features = found["features"][:, : self._top_k]
        when = tf.broadcast_to(seconds[:, None], tf.shape(scores))
        code = tensor_encoding.encode(boxes, when, when != NO_SECONDS, self._variant)
        kept = scores >= self._score_threshold
        projected = self._port.project(tf.concat([features, code], axis=-1), kept)
        state = dict(state)
        for i in range(self._top_k):
            entry = {
                "entry_valid": kept[:, i],
                "entry_seconds": seconds,
                "entry_frame": tf.cast(state["frame"], tf.int64),
                "entry_boxes": boxes[:, i],
                "entry_scores": scores[:, i],
                "entry_keys": projected["context_keys"][:, :, i],
                "entry_values": projected["context_values"][:, :, i],
            }
            state = self._put(entry, state)
        return state

    def _put(self, entry: dict[str, tf.Tensor], state: dict[str, tf.Tensor]):
        """Writes one entry a row, where there is one."""
        full = tf.reduce_all(state["entry_valid"], axis=1)
        place = state["next"]
        if self._eviction == "similar":
            # Of all blocks together; keys of `released` have length 1 already.
            new = tf.math.l2_normalize(entry["entry_keys"], axis=-1)
            old = tf.math.l2_normalize(state["entry_keys"], axis=-1)
            likeness = tf.einsum("bkd,bkmd->bm", new, old)
            place = tf.where(full, tf.argmax(likeness, axis=1, output_type=tf.int32), place)
        here = tf.one_hot(place, self._capacity, on_value=True, off_value=False, dtype=tf.bool)
        here &= entry["entry_valid"][:, None]
        for name, value in entry.items():
            if name in ("entry_keys", "entry_values"):
                mask, value = here[:, None, :, None], value[:, :, None]
            else:
                mask, value = like(here, state[name]), value[:, None]
            state[name] = tf.where(mask, value, state[name])
        step = tf.cast(entry["entry_valid"], tf.int32)
        state["next"] = (state["next"] + step) % self._capacity
        return state
