"""Frame by frame: inputs and outputs of a stream, and the code that all streams share.

    state = stream.initial_state(rows)
    detections, state = stream.step(Frame(image, shape, row, valid), state)

Rows of a batch are cameras or videos side by side, and know nothing of each other. The state is a
flat dict of tensors whose shapes never change, so it can be saved, restored, exported and compiled.
"""

import abc
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import tensorflow as tf

from context_rcnn.detectors.two_stage import Proposals

NO_ROW = -1
NO_FRAME = -1

State = dict[str, tf.Tensor]
Detections = dict[str, tf.Tensor]


class Frame(NamedTuple):
    """The next frame of each row.

    What a stream takes besides the first four is in its `inputs`; it need not look at the rest.
    """

    image: tf.Tensor  # uint8 [rows, height, width, 3], resized as the detector wants it
    shape: tf.Tensor  # float32 [rows, 2], height and width of what is not padding
    row: tf.Tensor  # int64 [rows], any number that stands for the camera or video
    valid: tf.Tensor  # bool [rows], False where there is no frame
    ended: tf.Tensor | None = None  # bool [rows], there are no more frames, but the row moves on
    seconds: tf.Tensor | None = None  # int64 [rows], NO_SECONDS where unknown
    elsewhere: "Frame | None" = None  # one frame from anywhere in each video
    encoded: tf.Tensor | None = None  # string [rows], the image as it came, where there is one
    looked: Mapping[str, tf.Tensor] | None = None  # what `look` found in it; the image may be blank
    proposals: Proposals | None = None  # of another detector, where this one finds none
    evidence: tf.Tensor | None = None  # bool [rows], False where it may be seen to move, no more


class Help(NamedTuple):
    """What a strong detector has of an earlier frame of each row, for a fast one beside it."""

    maps: tf.Tensor  # float32 [rows, height, width, channels], its memory
    image: tf.Tensor  # float32 [rows, ...], the half image of that frame
    there: tf.Tensor  # bool [rows], whether there is anything


# From a frame to what the frozen extractor finds in it.
Extract = Callable[[Frame], Mapping[str, tf.Tensor]]
# One step of rows that all move on, see `RowStream.advance`.
Advance = Callable[[Frame, tf.Tensor, State], tuple[Detections, State]]


class Stream(Protocol):
    """A detector with its memory, frame by frame.

    A stream that takes frames from elsewhere gets every frame twice. It may have `look(frame)`,
    what it finds in frames before it remembers anything: given that as `Frame.looked`, it does not
    look again.

    Attributes:
        latency: frames that a keyframe waits for those after it.
        inputs: those of `ended`, `seconds`, `elsewhere` and `proposals` that it takes.
        seed: seed of the order of frames from elsewhere.
    """

    latency: int
    inputs: tuple[str, ...]
    seed: int

    def initial_state(self, rows: int | tf.Tensor) -> State:
        """The state of rows that have seen nothing."""

    def step(self, frame: Frame, state: Mapping[str, tf.Tensor]) -> tuple[Detections, State]:
        """Takes a frame of each row, and detects in the one `latency` frames before.

        Returns:
            Detections as `TwoStageDetector.detect` gives them, none where there is no frame, with
            `frame` int32 [rows], its number in its row, NO_FRAME where there is none, and
            `image_shape` float32 [rows, 2]; and the next state.
        """


class RowStream(tf.Module, abc.ABC):
    """A stream whose rows begin, rest and end as all do; what it remembers is its subclass's.

    A row begins anew where its number is another one, stays as it is where there is no frame, and
    gives no detections then.
    """

    latency = 0
    inputs: tuple[str, ...] = ()
    seed = 0

    @abc.abstractmethod
    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows that have seen nothing remember, by names other than `row` and `frame`."""

    @abc.abstractmethod
    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """One step of rows that all move on.

        Args:
            frame: frame of each row; if there is none, or the row rests, it may hold anything.
            begins: bool [rows], where the row is a new one.
            state: state after the last step, for new rows the initial one; `frame` counts frames.

        Returns:
            Detections, with `frame` and `image_shape` where these are not of the frame given; and
            the part of the state that has changed.
        """

    def initial_state(self, rows: int | tf.Tensor) -> State:
        """`row` int64 [rows], NO_ROW at first; `frame` int32 [rows], how many there were; and what
        the stream remembers."""
        return {
            "row": tf.fill([rows], tf.constant(NO_ROW, tf.int64)),
            "frame": tf.zeros([rows], tf.int32),
            **self.initial_memory(rows),
        }

    def step(self, frame: Frame, state: Mapping[str, tf.Tensor]) -> tuple[Detections, State]:
        """See `Stream`."""
        return self.step_by(self.advance, frame, state)

    def step_by(
        self, advance: Advance, frame: Frame, state: Mapping[str, tf.Tensor]
    ) -> tuple[Detections, State]:
        """A step of rows that move on by another function than `advance`."""
        before, valid = dict(state), frame.valid
        ended = tf.zeros_like(valid) if frame.ended is None else frame.ended & ~valid
        frame = frame._replace(ended=ended)
        begins = valid & (frame.row != before["row"])
        # Exported, the batch is of any size.
        fresh = self.initial_state(valid.shape[0] or tf.shape(valid)[0])
        state = {name: where_rows(begins, fresh[name], value) for name, value in before.items()}
        detections, changed = advance(frame, begins, dict(state))
        here = {"frame": state["frame"], "image_shape": frame.shape}
        detections = here | detections
        moves = valid | ended
        state |= changed | {"row": frame.row, "frame": state["frame"] + 1}
        state = {name: where_rows(moves, state[name], value) for name, value in before.items()}
        there = moves & (detections["frame"] != NO_FRAME)
        return {name: _or_nothing(name, there, value) for name, value in detections.items()}, state


# Of a row without detections, where it is not zeros.
_NOTHING = {
    "detection_scores": -1,
    "frame": NO_FRAME,
    "image_shape": 1,
    "attention_frame": NO_FRAME,
}


def _or_nothing(name: str, there: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    nothing = tf.fill(tf.shape(value), tf.cast(_NOTHING.get(name, 0), value.dtype))
    return where_rows(there, value, tf.ensure_shape(nothing, value.shape))


def like(mask: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Adds axes of one to a mask until it has those of a tensor."""
    place = (..., *[None] * (len(tensor.shape) - len(mask.shape)))
    return mask[place]


def where_rows(rows: tf.Tensor, value: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """tf.where by a mask of the first axes, [batch] or [batch, frames], of tensors."""
    return tf.where(like(rows, other), value, other)


def push(queue: tf.Tensor, newest: tf.Tensor) -> tf.Tensor:
    """Appends to a queue [batch, frames, ...] and drops the first."""
    return tf.concat([queue[:, 1:], newest[:, None]], axis=1)
