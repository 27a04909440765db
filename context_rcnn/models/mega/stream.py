"""MEGA through a video, frame by frame: its Algorithm 1 with a state of fixed size.

    stream = MegaStream(detector)
    state = stream.initial_state(2)                     # two videos side by side
    detections, state = stream.step(Frame(images, shapes, videos, valid, elsewhere=...), state)

Offline, a keyframe sees as many frames after as before it: detections come `latency` frames late,
and after a video's last frame it takes as many steps without a frame, with `ended`. The frames from
anywhere in the video are given besides, one a step, in any order (the paper shuffles). Online,
detections come at once, and the frames from anywhere are drawn from those before.
"""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn.configs.temporal.mega import Mega
from context_rcnn.detectors.two_stage import Proposals
from context_rcnn.layers.relation import Pool
from context_rcnn.models.mega.aggregation import MegaDetector, Watch, best_of_frames
from context_rcnn.models.mega.attention import References, most_attended
from context_rcnn.models.streaming import (
    NO_FRAME,
    Detections,
    Frame,
    RowStream,
    State,
    push,
    where_rows,
)


class MegaStream(RowStream):
    """Runs a MEGA frame by frame.

    Args:
        detector: a MEGA (`models.mega`).
        local_frames: T_l; offline, it is odd.
        memory_frames: T_m; 0 is the base model.
        global_frames: T_g.
        online: a keyframe sees nothing that comes after it.
        seed: seed of the draw of global frames, online.
        variant: rule for the ends of the window: the `paper` leaves out frames before the first
            and after the last, the `released` code repeats the first and the last.
        attending: number of boxes that each detection says it draws on, see `most_attended`; 0 for
            detections alone.
    """

    def __init__(
        self,
        detector: MegaDetector,
        *,
        local_frames: int = 25,
        memory_frames: int = 25,
        global_frames: int = 10,
        online: bool = False,
        seed: int = 0,
        variant: str = "paper",
        attending: int = 0,
    ):
        super().__init__(name="mega_stream")
        if local_frames < 1 or (not online and local_frames % 2 == 0):
            raise ValueError(
                "task.temporal.mega.local_frames must be odd, the keyframe in its middle, or "
                f"online; got {local_frames}"
            )
        self._detector = detector
        self._aggregation = detector.box_memory
        self._local, self._past, self._anywhere = local_frames, memory_frames, global_frames
        self._online = online
        self.seed = seed
        self._attending = attending
        self._repeat_ends = variant == "released"
        self.latency = 0 if online else local_frames // 2
        self.inputs = () if online else ("ended", *(["elsewhere"] * bool(global_frames)))

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows remember of videos of which nothing was seen.

        Of the frames around the keyframe, and of those from anywhere, [rows, frames, boxes, ...]:
            local_features, local_boxes, local_valid, global_features, global_valid
            local_frames int32 [rows, frames], their numbers, NO_FRAME where there is none
            local_shapes float32 [rows, frames, 2]
        and of each level of the long range memory:
            memory_0_features, memory_0_boxes, memory_0_valid, memory_1_features, ...
            memory_frames int32 [rows, frames]
        To say what is attended to, also global_steps int32 [rows, frames], when each one came.
        """
        detector, depth = self._detector, self._aggregation.depth
        count = detector.proposal_count
        best = min(detector.reference_boxes, count)

        def boxes(name: str, frames: int, number: int) -> dict[str, tf.Tensor]:
            room = [rows, frames, number]
            return {
                f"{name}_features": tf.zeros([*room, depth]),
                f"{name}_boxes": tf.zeros([*room, 4]),
                f"{name}_valid": tf.zeros(room, tf.bool),
            }

        def numbers(frames: int) -> tf.Tensor:
            return tf.fill([rows, frames], NO_FRAME)

        state = {
            "local_frames": numbers(self._local),
            "local_shapes": tf.ones([rows, self._local, 2]),
            **boxes("local", self._local, count),
        }
        if self._anywhere:
            state |= boxes("global", self._anywhere, best)
            if self._attending:
                state["global_steps"] = numbers(self._anywhere)
        if self._past:
            state["memory_frames"] = numbers(self._past)
            for level in range(self._aggregation.levels):
                kept = best if level == 0 else min(self._aggregation.kept_boxes, best)
                state |= boxes(f"memory_{level}", self._past, kept)
        return state

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in the keyframe `latency` frames before.

        Without frames from elsewhere, offline, their sample stays empty.
        """
        new = self._boxes_of(frame, state["frame"])
        if frame.elsewhere is not None and self._anywhere:
            state |= self._push_global(frame.elsewhere, state)
        state |= self._push_local(new, frame, begins, state)
        detections, levels = self._detect(state)
        there = detections["frame"] != NO_FRAME
        if self._past:
            state |= self._push_memory(levels, there, state)
        if self._anywhere and self._online:
            state |= self._draw_global(new, state)
        return detections, state

    def look(self, frame: Frame) -> dict[str, tf.Tensor]:
        """What there is in frames before any memory, for `Frame.looked`; theirs alone.

        `features` float32 [rows, boxes, depth] and `boxes` [rows, boxes, 4] of all proposals, best
        first; `box_valid` bool [rows, boxes], and `image_shape` float32 [rows, 2].
        """
        seen = self._detector.look(frame.image, frame.shape, training=False)
        pool = self._detector.pool(seen, tf.zeros_like(frame.row, tf.int32), training=False)
        return {
            "features": pool.features,
            "boxes": pool.boxes,
            "box_valid": pool.valid,
            "image_shape": frame.shape,
        }

    def _boxes_of(self, frame: Frame, numbers: tf.Tensor) -> Pool:
        """All boxes of frames with these numbers."""
        found = self.look(frame) if frame.looked is None else frame.looked
        numbers = tf.where(frame.valid, numbers, NO_FRAME)[:, None]
        return Pool(
            features=found["features"],
            boxes=found["boxes"],
            frames=tf.broadcast_to(numbers, tf.shape(found["box_valid"])),
            valid=found["box_valid"] & frame.valid[:, None],
        )

    def _detect(self, state) -> tuple[dict[str, tf.Tensor], list[Pool]]:
        """Detects in the keyframe of the window. Also returns what a memory keeps of all of it."""
        watch: Watch | None = {} if self._attending else None
        detector, aggregation = self._detector, self._aggregation
        window = _pool(state, "local", state["local_frames"])
        place = self._local - 1 - self.latency
        count = window.valid.shape[1] // self._local
        key = Pool(*(part[:, place * count : (place + 1) * count] for part in window))
        local = best_of_frames(window, self._local, detector.reference_boxes)
        anywhere = self._globals(state, key)
        proposals = Proposals(key.boxes, tf.ones_like(key.boxes[..., 0]), key.valid)
        key = aggregation.enhance(key, anywhere, watch)
        local = aggregation.enhance(local, anywhere)
        memory = None
        if self._past:
            memory = [
                _pool(state, f"memory_{level}", state["memory_frames"])
                for level in range(aggregation.levels)
            ]
        key, levels = aggregation.aggregate(key, local, self._local, memory, watch)
        key = aggregation.finish(key, anywhere, watch)
        shapes = state["local_shapes"][:, place]
        features = key.features[:, :, None, None]
        answer = detector.conclude(features, proposals, shapes)
        detections = answer.detections
        if watch is not None:
            # The pools of the first stages: those behind have the best of the same boxes.
            near = [(levels[0], self._local), *([(memory[0], self._past)] if memory else [])]
            pools = References(near, (anywhere, self._anywhere))
            detections = detections | most_attended(answer, watch, pools, self._attending)
        # Where ends are repeated, the frame in the middle is not always the keyframe.
        number = state["frame"] - self.latency
        there = (number >= 0) & (state["local_frames"][:, place] == number)
        number = tf.where(there, number, NO_FRAME)
        return detections | {"frame": number, "image_shape": shapes}, levels

    def _globals(self, state, key: Pool) -> Pool:
        if self._anywhere:
            nowhen = tf.zeros_like(state["global_valid"][:, :, 0], tf.int32)
            return _pool(state, "global", state.get("global_steps", nowhen))
        nothing = Pool(*(part[:, :1] for part in key))
        return nothing._replace(valid=tf.zeros_like(nothing.valid))

    def _best(self, pool: Pool) -> Pool:
        return Pool(*(part[:, : self._detector.reference_boxes] for part in pool))

    def _push_global(self, frame: Frame, state: State) -> State:
        """One more frame from anywhere in the video, in place of the first."""
        best = self._best(self._boxes_of(frame, tf.zeros_like(state["frame"])))
        parts = self._global_parts(best, state)
        return {
            name: where_rows(frame.valid, push(state[name], part), state[name])
            for name, part in parts.items()
        }

    def _global_parts(self, best: Pool, state: State) -> State:
        """What is kept of one frame from anywhere."""
        parts = {
            "global_features": best.features,
            "global_boxes": best.boxes,
            "global_valid": best.valid,
        }
        return parts | ({"global_steps": state["frame"]} if self._attending else {})

    def _draw_global(self, new: Pool, state) -> dict[str, tf.Tensor]:
        """Keeps a fair sample of all frames so far: the n-th takes a place with chance T_g / n."""
        place = sample_place(state["frame"], self._anywhere, self.seed)
        here = place[:, None] == tf.range(self._anywhere)
        here &= new.frames[:, :1] != NO_FRAME
        return {
            name: where_rows(here, part[:, None], state[name])
            for name, part in self._global_parts(self._best(new), state).items()
        }

    def _push_memory(self, levels: list[Pool], there: tf.Tensor, state) -> dict[str, tf.Tensor]:
        """The first frame of the window goes from it into the long range memory."""
        pushed = {"memory_frames": push(state["memory_frames"], state["local_frames"][:, 0])}
        for i, level in enumerate(levels):
            count = level.valid.shape[1] // self._local
            parts = {"features": level.features, "boxes": level.boxes, "valid": level.valid}
            for name, part in parts.items():
                name = f"memory_{i}_{name}"
                pushed[name] = push(state[name], part[:, :count])
        return {name: where_rows(there, value, state[name]) for name, value in pushed.items()}

    def _push_local(self, new: Pool, frame: Frame, begins: tf.Tensor, state: State) -> State:
        """Moves the window on by a frame."""
        parts = {
            "local_features": new.features,
            "local_boxes": new.boxes,
            "local_valid": new.valid,
            "local_frames": new.frames[:, 0],
            "local_shapes": frame.shape,
        }
        pushed = {}
        for name, newest in parts.items():
            queue = state[name]
            if self._repeat_ends:
                newest = where_rows(frame.ended, queue[:, -1], newest)
                everywhere = tf.broadcast_to(newest[:, None], tf.shape(queue))
                queue = where_rows(begins, everywhere, queue)
            pushed[name] = push(queue, newest)
        return pushed


def _pool(state: Mapping[str, tf.Tensor], name: str, frames: tf.Tensor) -> Pool:
    """What the state holds of some frames, as a pool."""
    features, boxes, valid = (state[f"{name}_{part}"] for part in ("features", "boxes", "valid"))
    frames = tf.broadcast_to(frames[:, :, None], tf.shape(valid))
    count = valid.shape[1] * valid.shape[2]
    return Pool(
        *(
            tf.reshape(part, [-1, count, *part.shape[3:]])
            for part in (features, boxes, frames, valid)
        )
    )


def sample_place(number: tf.Tensor, places: int, seed: int) -> tf.Tensor:
    """Where the n-th frame, from 0, goes in a sample of so many; `places` or more: nowhere."""
    lot = _hash(number, seed) % (number + 1)
    return tf.where(number < places, number, lot)


def _hash(number: tf.Tensor, seed: int) -> tf.Tensor:
    """A number from 0 to 2^31 - 1 that looks random, of each number (a finaliser of MurmurHash)."""
    x = tf.cast(number, tf.uint32) + tf.constant((seed * 0x9E3779B9 + 1) % 2**32, tf.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x *= tf.constant(factor, tf.uint32)
    return tf.cast(tf.bitwise.right_shift(x, tf.constant(1, tf.uint32)), tf.int32)


def build_mega_stream(detector: MegaDetector, config: Mega, attending: int = 0) -> MegaStream:
    """The stream of a detector's own settings; see `MegaStream` for `attending`."""
    return MegaStream(
        detector,
        local_frames=config.local_frames,
        memory_frames=config.memory_frames,
        global_frames=config.global_frames,
        online=config.online,
        seed=config.seed,
        variant=config.variant,
        attending=attending,
    )
