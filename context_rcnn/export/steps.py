"""What an exported model does frame by frame, of encoded images: `initial_state` and `step`.

Of a memory that is moved by flow also `propagate`, a step that looks at nothing but motion, and
`anticipate`, what is expected of a coming frame. Of a stream that gets every frame twice, once in
its order and once from elsewhere, also `look` and `step_with_looks`, a step that is given what was
found in frames. The functions of the SavedModel take the state as a dict; in their signatures
inputs and outputs are flat.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from context_rcnn.export.functions import Tensors, function_of, normalised
from context_rcnn.models.streaming import Detections, Frame, Help, State, Stream

# From encoded images to images in the network's size, and the shapes of what is not padding.
Prepare = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

STATE = "state_"
"""Before the names of the state in the signatures."""


class Steps:
    """A stream with its preprocessing.

    A step takes these, in this order, those in brackets if the stream does:

        encoded_images, rows, valid[, seconds][, ended][, elsewhere_images, elsewhere_valid]

    Args:
        stream: stream of the model.
        prepare: decodes.

    Attributes:
        inputs: inputs of each step, besides the state.
    """

    def __init__(self, stream: Stream, prepare: Prepare):
        self._stream, self._prepare = stream, prepare
        self.inputs = [_rows("encoded_images", tf.string)]
        self.inputs += [_rows("rows", tf.int64), _rows("valid", tf.bool)]
        if "seconds" in stream.inputs:
            self.inputs += [_rows("seconds", tf.int64)]
        if "ended" in stream.inputs:
            self.inputs += [_rows("ended", tf.bool)]
        if "elsewhere" in stream.inputs:
            self.inputs += [_rows("elsewhere_images", tf.string)]
            self.inputs += [_rows("elsewhere_valid", tf.bool)]

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """The state of rows that have seen nothing."""
        return self._stream.initial_state(batch_size)

    def look(self, encoded: tf.Tensor, valid: tf.Tensor) -> Tensors:
        """What there is in frames before any memory."""
        frame = self._frame(encoded, tf.zeros_like(valid, tf.int64), valid)
        return self._stream.look(frame)  # type: ignore[attr-defined]

    def step_with_looks(
        self, given: Tensors, looked: Tensors, elsewhere: Tensors, state: State
    ) -> tuple[Detections, State]:
        """A step that is given what `look` found in place of images, besides its other inputs."""
        row, blank = given["rows"], tf.zeros([tf.shape(given["rows"])[0], 1, 1, 3], tf.uint8)

        def frame_of(found: Tensors, valid: tf.Tensor, **more) -> Frame:
            return Frame(blank, found["image_shape"], row, valid, looked=found, **more)

        other = frame_of(elsewhere, given["elsewhere_valid"])
        frame = frame_of(looked, given["valid"], ended=given["ended"], elsewhere=other)
        return self._stream.step(frame, state)

    @property
    def looks(self) -> bool:
        """Whether there are `look` and `step_with_looks`."""
        return looks_apart(self._stream)

    @property
    def propagates(self) -> bool:
        """Whether there are `propagate` and `anticipate`."""
        return hasattr(self._stream, "propagate")

    def step(self, *inputs: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Detections with boxes in pixels, and the next state."""
        return self._stream.step(self._given(inputs), state)

    def propagate(self, *inputs: tf.Tensor, state: State) -> tuple[Detections, State]:
        """The same without a look at the frames besides their motion."""
        return self._stream.propagate(self._given(inputs), state)  # type: ignore[attr-defined]

    def anticipate(self, ahead: tf.Tensor, state: State) -> Detections:
        """Detections in the frame so many after the last one of each row."""
        return self._stream.anticipate(state, ahead)  # type: ignore[attr-defined]

    @property
    def has_two_speeds(self) -> bool:
        """Whether a strong detector can work beside a fast one: `fast_step`, `strong_step`."""
        return hasattr(self._stream, "detect_fast")

    def fast_step(self, *inputs: tf.Tensor) -> Detections:
        """What the fast detector finds, with help of the strong one; it has no state."""
        encoded, valid, *given = inputs
        frame = self._frame(encoded, tf.zeros_like(valid, tf.int64), valid)
        found = self._stream.detect_fast(frame, Help(*given))  # type: ignore[attr-defined]
        return found | {"image_shape": frame.shape}

    def strong_step(self, *inputs: tf.Tensor, state: State) -> tuple[dict[str, tf.Tensor], State]:
        """What the strong detector has of a frame, and its next state."""
        frame = self._given(inputs)
        given, state = self._stream.step_strong(frame, state)  # type: ignore[attr-defined]
        return {f"help_{name}": part for name, part in given._asdict().items()}, state

    def initial_strong(self, batch_size: int | tf.Tensor) -> State:
        """The state of the strong detector alone."""
        return self._stream.initial_strong(batch_size)  # type: ignore[attr-defined]

    def _given(self, inputs: tuple[tf.Tensor, ...]) -> Frame:
        given = dict(zip([spec.name for spec in self.inputs], inputs, strict=True))
        row = given["rows"]
        frame = self._frame(given["encoded_images"], row, given["valid"])
        frame = frame._replace(ended=given.get("ended"), seconds=given.get("seconds"))
        if "elsewhere_images" in given:
            other = self._frame(given["elsewhere_images"], row, given["elsewhere_valid"])
            frame = frame._replace(elsewhere=other)
        return frame

    def _frame(self, encoded: tf.Tensor, row: tf.Tensor, valid: tf.Tensor) -> Frame:
        # Where there is no frame, there need not be an image.
        blank = tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8))
        encoded = tf.where(valid, encoded, blank)
        return Frame(*self._prepare(encoded), row, valid, encoded=encoded)


def looks_apart(stream: Stream) -> bool:
    """Whether a stream gets every frame twice, and need not look at it twice."""
    return "elsewhere" in stream.inputs and hasattr(stream, "look")


def _rows(name: str, dtype: tf.DType) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name)


def functions(steps: Steps) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes of the SavedModel by name, and its signatures."""
    batch_size, state = tf.TensorSpec([], tf.int32, "batch_size"), _specs(steps.initial_state(1))

    def step(*inputs):
        if steps.looks:
            with_looks = attributes["step_with_looks"].get_concrete_function()
            return with_looks(*_looked_at(steps, attributes["look"], inputs))
        found, new = steps.step(*inputs[:-1], state=inputs[-1])
        return _of_frame(found), new

    def propagate(*inputs):
        found, new = steps.propagate(*inputs[:-1], state=inputs[-1])
        return _of_frame(found), new

    def anticipate(ahead, state):
        return _of_frame(steps.anticipate(ahead, state))

    starts: dict[str, Any] = {"initial_state": steps.initial_state}
    moves: dict[str, tuple[Any, Sequence[tf.TensorSpec], Any]] = {
        "step": (step, steps.inputs, state)
    }
    attributes: dict[str, Any] = {}
    if steps.looks:
        attributes["look"] = function_of(steps.look, *_images_of(steps))
        with_looks, its_inputs = _with_looks(steps, attributes["look"])
        moves = {"step_with_looks": (with_looks, its_inputs, state), **moves}
    if steps.propagates:
        ahead = tf.TensorSpec([None], tf.int32, "ahead")
        moves["propagate"] = propagate, steps.inputs, state
        moves["anticipate"] = anticipate, [ahead], state
    if steps.has_two_speeds:
        strong = _specs(steps.initial_strong(1))
        starts["initial_strong"] = steps.initial_strong
        moves["strong_step"] = _strong_step(steps), steps.inputs, strong
    signatures: dict[str, Any] = {}
    for name, start in starts.items():
        attributes[name] = function_of(start, batch_size)
        begin = attributes[name].get_concrete_function()
        signatures[name] = function_of(_flat_start(begin), batch_size)
    for name, (move, inputs, its_state) in moves.items():
        attributes[name] = function_of(move, *inputs, its_state)
        # A function that is traced outside and inside of another is traced twice.
        once = attributes[name].get_concrete_function()
        signatures[name] = _flat_move(once, inputs, its_state)
    if steps.looks:
        signatures["look"] = attributes["look"]
    if steps.has_two_speeds:
        fast = _fast_step(steps, attributes["strong_step"])
        attributes["fast_step"] = signatures["fast_step"] = fast
    return attributes, signatures


def _strong_step(steps: Steps) -> Callable[..., Any]:
    return lambda *inputs: steps.strong_step(*inputs[:-1], state=inputs[-1])


def _fast_step(steps: Steps, strong_step: Any) -> Any:
    """The fast detector, with what the strong one gives it."""
    given, _ = strong_step.get_concrete_function().structured_outputs
    helps = [
        tf.TensorSpec([None, *given[name].shape[1:]], given[name].dtype, name)
        for name in ("help_maps", "help_image", "help_there")
    ]

    def fast_step(*inputs):
        found = steps.fast_step(*inputs)
        return normalised(found, found["image_shape"])

    return function_of(fast_step, *_images_of(steps), *helps)


def _images_of(steps: Steps) -> list[tf.TensorSpec]:
    """What is given of frames without a state: the images, and where there are any."""
    return [spec for spec in steps.inputs if spec.name in ("encoded_images", "valid")]


def _with_looks(steps: Steps, look: Any) -> tuple[Callable[..., Any], list[tf.TensorSpec]]:
    """A step that is given what `look` found in frames, and its inputs: those of a step without
    images, then the parts of the looks, by name."""
    found = look.get_concrete_function().structured_outputs
    names, plain = sorted(found), _without_images(steps)
    parts = [
        tf.TensorSpec([None, *found[name].shape[1:]], found[name].dtype, f"{prefix}_{name}")
        for prefix in ("look", "elsewhere")
        for name in names
    ]

    def step_with_looks(*inputs):
        given = {spec.name: part for spec, part in zip(plain, inputs, strict=False)}
        flat = inputs[len(plain) : -1]
        looked = dict(zip(names, flat, strict=False))
        elsewhere = dict(zip(names, flat[len(names) :], strict=True))
        detections, state = steps.step_with_looks(given, looked, elsewhere, inputs[-1])
        return _of_frame(detections), state

    return step_with_looks, [*plain, *parts]


def _without_images(steps: Steps) -> list[tf.TensorSpec]:
    return [spec for spec in steps.inputs if spec.dtype != tf.string]


def _looked_at(steps: Steps, look: Any, inputs: Sequence[Any]) -> list[Any]:
    """The inputs of `step_with_looks` from those of `step`."""
    given = {spec.name: part for spec, part in zip(steps.inputs, inputs, strict=False)}
    once = look.get_concrete_function()
    looked = once(given["encoded_images"], given["valid"])
    elsewhere = once(given["elsewhere_images"], given["elsewhere_valid"])
    parts = [found[name] for found in (looked, elsewhere) for name in sorted(found)]
    return [*(given[spec.name] for spec in _without_images(steps)), *parts, inputs[-1]]


def _flat_start(start: Any) -> Callable[..., Any]:
    return lambda batch_size: _prefixed(start(batch_size))


def _flat_move(move: Any, inputs: Sequence[tf.TensorSpec], state: Mapping[str, Any]) -> Any:
    """A function of a state with flat inputs and outputs."""
    names = [spec.name for spec in inputs]

    def flat(**inputs):
        given = [inputs.pop(name) for name in names]
        state = {name.removeprefix(STATE): value for name, value in inputs.items()}
        found = move(*given, state)
        if isinstance(found, dict):
            return found
        found, state = found
        return found | _prefixed(state)

    function = tf.function(flat, autograph=False)
    return function.get_concrete_function(
        **{spec.name: spec for spec in inputs}, **_prefixed(state)
    )


def _specs(state: State) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec([None, *value.shape[1:]], value.dtype, STATE + name)
        for name, value in state.items()
    }


def _of_frame(found: Tensors) -> Tensors:
    """Detections of a stream, with the number of the frame that they are in."""
    return normalised(found, found["image_shape"]) | {"frame": found["frame"]}


def _prefixed(state: Mapping[str, Any]) -> dict[str, Any]:
    return {STATE + name: value for name, value in state.items()}
