"""Context R-CNN on cameras as they see: a bounded memory that grows with every frame.

    stream = ContextStream(detector, extractor, capacity=2000)
    state = stream.initial_state(batch_size=4)          # four cameras side by side
    detections, state = stream.step(images, shapes, cameras, seconds, valid, state)

The frozen extractor is in the loop: it gives the entries of each frame, which are projected to keys
and values once and then stay. A frame sees what came before it and its own entries, as a causal
window of a bank has them (`memory_bank.window`), never anything later. Rows of a batch know nothing
of each other. The state is a flat dict of tensors whose shapes never change, so it can be saved,
restored, exported and compiled.
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from context_rcnn.data.examples import NO_SECONDS
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.memory_bank import encoding, tensor_encoding
from context_rcnn.memory_bank.window import SPANS
from context_rcnn.models.streaming import like, push, where_rows

NO_CAMERA = -1
EVICTIONS = ("oldest", "similar")
BURST_GAP_SECONDS = 60


class ContextStream(tf.Module):
    """Runs a Context R-CNN frame by frame.

    Args:
        detector: a Context R-CNN (`models.context_rcnn`).
        extract: images and shapes to `features`, `boxes`, `scores`, best first: the frozen
            extractor's `extract_from_images`. None where there is no long-term memory.
        capacity: entries that a camera's memory holds.
        top_k: best boxes of a frame that are remembered.
        score_threshold: of boxes that are remembered; 0 keeps the best one of empty frames too.
        horizon: how far back a frame sees: `minute`, ..., `month`, or `any`.
        calendar: back to the beginning of the calendar's bin instead.
        include_keyframe: whether a frame sees its own entries.
        eviction: what makes room: the `oldest` entry, or the one most `similar` to the new one, so
            that what is always there does not drive out the rest.
        recent_frames: earlier frames of the burst for short-term attention; None takes as many as
            the detector's window has besides the keyframe.
        variant: of the entries' encoding of place and time.
    """

    def __init__(
        self,
        detector: TwoStageDetector,
        extract: Callable[[tf.Tensor, tf.Tensor], Mapping[str, tf.Tensor]] | None,
        *,
        capacity: int = 2000,
        top_k: int = 1,
        score_threshold: float = 0.0,
        horizon: str = "month",
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
        self._extract = extract
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

    def initial_state(self, batch_size: int) -> dict[str, tf.Tensor]:
        """The state of cameras that have seen nothing.

            camera    int64 [batch], NO_CAMERA at first
            frame     int64 [batch], how many frames the camera has seen
            seconds   int64 [batch], when the last one was
            next      int32 [batch], where the next entry goes, of `oldest`
        and for each entry [batch, capacity, ...]:
            entry_valid, entry_seconds, entry_frame, entry_boxes, entry_scores
            entry_keys, entry_values  [batch, blocks, capacity, depth]
        and for short-term attention:
            recent_features [batch, frames, boxes, depth], recent_valid [batch, frames, boxes]
        """
        state = {
            "camera": tf.fill([batch_size], tf.constant(NO_CAMERA, tf.int64)),
            "frame": tf.zeros([batch_size], tf.int64),
            "seconds": tf.fill([batch_size], tf.constant(NO_SECONDS, tf.int64)),
        }
        if self._long:
            room = [batch_size, self._capacity]
            projected = [batch_size, self._port.blocks, self._capacity, self._port.depth]
            state |= {
                "next": tf.zeros([batch_size], tf.int32),
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
            boxes = [batch_size, self._recent, count]
            state |= {
                "recent_features": tf.zeros([*boxes, self._port.feature_depth]),
                "recent_valid": tf.zeros(boxes, tf.bool),
            }
        return state

    def step(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        cameras: tf.Tensor,
        seconds: tf.Tensor,
        valid: tf.Tensor,
        state: Mapping[str, tf.Tensor],
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Detects in one frame of each camera, and remembers it.

        Args:
            images: uint8 [batch, height, width, 3], resized as the detector wants them.
            shapes: float32 [batch, 2], height and width of what is not padding.
            cameras: int64 [batch], any number that stands for the camera (a hash of its name).
                Where it is not the one of the state, the row begins anew.
            seconds: int64 [batch], NO_SECONDS where unknown. An undated frame sees all there is,
                and its entries are seen until they are evicted.
            valid: bool [batch]; where False there is no frame, and the row stays as it is.
            state: from `initial_state` or the last step.

        Returns:
            Detections as `TwoStageDetector.detect` gives them, none where there is no frame, and
            the next state.
        """
        before = dict(state)
        other = valid & (cameras != state["camera"])
        # Exported, the batch is of any size.
        fresh = self.initial_state(images.shape[0] or tf.shape(images)[0])
        state = {name: where_rows(other, fresh[name], value) for name, value in state.items()}
        memory = {}
        if self._long:
            past, state = state, self._remember(images, shapes, seconds, state)
            memory |= self._seen(seconds, state if self._include_keyframe else past)
        detections, boxes, box_valid = self._detect(images, shapes, seconds, state, memory)
        if self._recent:
            state |= {
                "recent_features": push(state["recent_features"], boxes),
                "recent_valid": push(state["recent_valid"], box_valid),
            }
        state |= {
            "camera": cameras,
            "frame": state["frame"] + 1,
            "seconds": seconds,
        }
        state = {name: where_rows(valid, state[name], value) for name, value in before.items()}
        nothing = {name: tf.zeros_like(value) for name, value in detections.items()}
        nothing["detection_scores"] -= 1.0
        detections = {
            name: where_rows(valid, value, nothing[name]) for name, value in detections.items()
        }
        return detections, state

    def _detect(self, images, shapes, seconds, state, memory):
        """One pass of the detector. Also returns the boxes to remember, before any memory."""
        model = self._detector
        maps = model.maps(images, training=False)
        proposals, _ = model.propose(maps, shapes, training=False)
        if self._recent:
            # Of another burst, frames are no neighbours.
            known = (seconds != NO_SECONDS) & (state["seconds"] != NO_SECONDS)
            gap = tf.abs(seconds - state["seconds"])
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

        features = model.box_features(maps, proposals, memory, training=False, port=listen)
        logits, offsets = model.box_predictor(features)
        best = self._port.remembered_boxes
        detections = model.detect(logits, offsets, proposals, shapes)
        return detections, pooled[0][:, :best], proposals.valid[:, :best]

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

    def _remember(self, images, shapes, seconds, state) -> dict[str, tf.Tensor]:
        """Extracts and projects the entries of a frame, and puts them in their place."""
        found = self._extract(images, shapes)
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
                "entry_frame": state["frame"],
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
