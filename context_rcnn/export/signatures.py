"""The functions of an exported detector, on plain tensors.

Each is an attribute of the loaded SavedModel and a signature of the same name. Images are encoded,
as many as one likes and of any size, unless said otherwise.

    serving_default        the Object Detection API's inputs (of the chosen type) and outputs; a
                           memory may be given or not. The loaded model itself can be called, too
    detect                 images alone: the single-frame model
    detect_with_proposals  and boxes of another detector, in place of `detect`, for a model that
                           finds none itself
    detect_with_proposals_and_projected
                           the same, and a memory that was projected before
    detect_embedded, detect_embedded_with_projected, explain_embedded_with_projected
                           the same of what `extract` returned, without images
    detect_with_context    and a memory, as entries of a bank
    project                entries of a bank to keys and values, to be kept for a camera
    detect_with_projected  images, and a memory that was projected before
    explain_with_projected the same, and the entries that each detection attends to most
    detect_prepared, detect_prepared_with_projected
                           the same for images in the network's size, uint8 [n, height, width, 3],
                           with the heights and widths of what is not padding
    extract                features for the bank, by the frozen extractor
    initial_state, step    a frame of each camera after the other, with a memory that grows; or of
                           each video
    propagate              a step that sees of a frame how it has moved, and no more
    anticipate             detections in a coming frame
    fast_step, strong_step, initial_strong
                           the two detectors of a two-speed model, apart

docs/serving.md tells all inputs and outputs. A memory of one row is shared by all images.
"""

import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from context_rcnn.data.proposals import best_proposals
from context_rcnn.detectors import stored
from context_rcnn.detectors.two_stage import Answer, Proposals, TwoStageDetector
from context_rcnn.export import detection_api, steps
from context_rcnn.export.extractor import decode_image, prepare_images
from context_rcnn.export.functions import Tensors, check, function_of, normalised, with_rows
from context_rcnn.models.streaming import Stream
from context_rcnn.models.temporal import TemporalModel

ENCODED = tf.TensorSpec([None], tf.string, "encoded_images")
PROPOSALS = (
    tf.TensorSpec([None, None, 4], tf.float32, "proposals"),
    tf.TensorSpec([None, None], tf.float32, "proposal_scores"),
)
_NOT_GIVEN = -1  # in place of `valid_context_size`
_LEAST_SCORE = 1e-6  # of a box that is there: stored images tell padding by a score of 0
ATTENDED = 50
"""Entries that an explained detection names."""


class ServedDetector(tf.Module):
    """A detector with its preprocessing, its memory and its description.

    Args:
        model: a built detector.
        description: description of the model (docs/serving.md); kept inside as JSON, and read for
            the preprocessing and the memory.
        input_type: input type of `serving_default`, one of `detection_api.INPUT_TYPES`.
        side_inputs: inputs of `serving_default`, from `detection_api.side_input_specs`, or none.
        extractor: a loaded extractor, or None.
        temporal: what the detector remembers.
        stream: stream of the detector, or None if it does not work frame by frame.
    """

    def __init__(
        self,
        model: TwoStageDetector,
        description: Mapping[str, Any],
        *,
        input_type: str,
        side_inputs: Sequence[tf.TensorSpec] = (),
        extractor: Any = None,
        temporal: TemporalModel,
        stream: Stream | None = None,
    ):
        super().__init__(name="served_detector")
        self.description = tf.Variable(json.dumps(description), trainable=False)
        # Weights are saved, but not layers, which Keras would trace once more, one by one. Nor is
        # `run`, which only the functions here call, as they contain it.
        self._untracked = types.SimpleNamespace(
            model=model,
            extractor=extractor,
            temporal=temporal,
            functions={},
            run=tf.function(self._look_and_answer, autograph=False),
        )
        self._weights = [*model.variables]
        if extractor is not None:
            self._weights += extractor.signatures["extract"].variables
        self._preprocessing = _preprocessing(description)
        memory = description["memory"]
        self._entry_size = memory["entry_size"] if memory else 0
        prepared = (
            tf.TensorSpec([None, *description["image_size"], 3], tf.uint8, "images"),
            tf.TensorSpec([None, 2], tf.float32, "image_shapes"),
        )
        self._given = description["proposals"]
        embedded = description.get("embedded")
        self._embedded_depth = description["extractor"]["depth"] if embedded else 0
        asked = (ENCODED, *PROPOSALS) if self._given else (ENCODED,)
        if self._given:
            self._serve("detect_with_proposals", self._detect_with_proposals, *asked)
        else:
            self._serve("detect", self._detect, ENCODED)
            self._serve("detect_prepared", self._detect_prepared, *prepared)
        if memory:
            self._serve_memory(memory["blocks"], memory["depth"], prepared)
        if extractor is not None:
            self._serve("extract", self._extract, *asked)
        if stream is not None:
            attributes, signatures = steps.functions(steps.Steps(stream, self._prepare))
            for name, function in attributes.items():
                setattr(self, name, function)
            self._functions.update(signatures)
        self.serving_default = self._default(input_type, side_inputs)
        self.__call__ = self.serving_default  # of the loaded model, as the API's can be called
        self._functions["serving_default"] = self.serving_default

    def describe(self) -> dict[str, Any]:
        """What the model is."""
        return json.loads(self.description.numpy())

    def functions(self) -> dict[str, Any]:
        """What is to be saved, by the names of the signatures."""
        return dict(self._functions)

    @property
    def _model(self) -> TwoStageDetector:
        return self._untracked.model

    @property
    def _extractor(self) -> Any:
        return self._untracked.extractor

    @property
    def _functions(self) -> dict[str, Any]:
        return self._untracked.functions

    def _serve(self, name: str, function: Callable[..., Any], *inputs: tf.TensorSpec) -> None:
        """Makes a function an attribute and a signature."""
        self._functions[name] = function_of(function, *inputs)
        setattr(self, name, self._functions[name])

    def _serve_memory(self, blocks: int, depth: int, prepared: Sequence[tf.TensorSpec]) -> None:
        specs = detection_api.side_input_specs(self._entry_size)
        projected = (
            tf.TensorSpec([None, blocks, None, depth], tf.float32, "context_keys"),
            tf.TensorSpec([None, blocks, None, depth], tf.float32, "context_values"),
            tf.TensorSpec([None, None], tf.bool, "context_valid"),
        )
        self._serve("project", self._project, specs[0])
        if self._given:
            name = "detect_with_proposals_and_projected"
            self._serve(name, self._detect_given_with_projected, ENCODED, *PROPOSALS, *projected)
            if self._embedded_depth:
                self._serve_embedded(projected)
            return
        self._serve("detect_with_context", self._detect_with_context, ENCODED, *specs)
        self._serve("detect_with_projected", self._detect_with_projected, ENCODED, *projected)
        self._serve("explain_with_projected", self._explain_with_projected, ENCODED, *projected)
        self._serve(
            "detect_prepared_with_projected",
            self._detect_prepared_with_projected,
            *prepared,
            *projected,
        )

    def _serve_embedded(self, projected: Sequence[tf.TensorSpec]) -> None:
        seen = (
            tf.TensorSpec([None, None, self._embedded_depth], tf.float32, "features"),
            tf.TensorSpec([None, None, 4], tf.float32, "boxes"),
            tf.TensorSpec([None, None], tf.float32, "scores"),
        )
        self._serve("detect_embedded", self._detect_embedded, *seen)
        self._serve("detect_embedded_with_projected", self._detect_embedded, *seen, *projected)
        self._serve("explain_embedded_with_projected", self._explain_embedded, *seen, *projected)

    def _default(self, input_type: str, side_inputs: Sequence[tf.TensorSpec]) -> Any:
        """`serving_default`: the Object Detection API's inputs and outputs."""
        spec = detection_api.INPUT_TYPES[input_type]
        decode = decode_image if spec.dtype == tf.string else tf.identity

        def call(input_tensor, *given):
            memory = {}
            if given:
                features, size = given
                memory = self._memory(features, size, tf.shape(input_tensor)[0])
            images, shapes = self._prepare(input_tensor, decode)
            answer = self._run(images, shapes, memory)
            return detection_api.api_detections(self._model, answer, shapes)

        # In Python TensorFlow does not use the defaults of a signature. Its message on what is
        # missing has the name of the function, which therefore says what else to call.
        def with_memory_or_else_call_the_model_itself(
            input_tensor, context_features, valid_context_size
        ):
            return call(input_tensor, context_features, valid_context_size)

        def call_with_examples(input_tensor):
            return call(*detection_api.parse_examples(input_tensor, self._entry_size))

        def call_with_proposals(input_tensor, proposals, proposal_scores):
            images, shapes = self._prepare(input_tensor, decode)
            given = self._proposals(proposals, proposal_scores, shapes)
            answer = self._run(images, shapes, {}, given)
            return detection_api.api_detections(self._model, answer, shapes)

        if self._given:
            return function_of(call_with_proposals, spec, *PROPOSALS)
        if input_type == "tf_example":
            return function_of(call_with_examples, spec)
        if not side_inputs:
            return function_of(call, spec)
        features, size = side_inputs
        if features.shape[1] is None:
            # Stands for a memory that is not given. One entry rather than none, because TensorFlow
            # Serving cannot pad what is empty when it makes one batch of several requests.
            nothing = tf.zeros([features.shape[0] or 1, 1, self._entry_size])
            unknown = tf.fill([size.shape[0] or 1], _NOT_GIVEN)
            with_memory_or_else_call_the_model_itself.__defaults__ = (nothing, unknown)
        return function_of(with_memory_or_else_call_the_model_itself, spec, *side_inputs)

    def _prepare(
        self, images: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor] = decode_image
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return prepare_images(images, *self._preprocessing, decode)

    def _detect(self, encoded_images: tf.Tensor) -> Tensors:
        return self._detect_prepared(*self._prepare(encoded_images))

    def _detect_prepared(self, images: tf.Tensor, image_shapes: tf.Tensor) -> Tensors:
        return self._detections(images, image_shapes, {})

    def _detect_with_proposals(
        self, encoded_images: tf.Tensor, proposals: tf.Tensor, proposal_scores: tf.Tensor
    ) -> Tensors:
        return self._detect_given(encoded_images, proposals, proposal_scores, {})

    def _detect_given_with_projected(
        self,
        encoded_images: tf.Tensor,
        proposals: tf.Tensor,
        proposal_scores: tf.Tensor,
        context_keys: tf.Tensor,
        context_values: tf.Tensor,
        context_valid: tf.Tensor,
    ) -> Tensors:
        count = tf.shape(encoded_images)[0]
        memory = _projected(context_keys, context_values, context_valid, count)
        return self._detect_given(encoded_images, proposals, proposal_scores, memory)

    def _detect_given(
        self, encoded: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor, memory: Tensors
    ) -> Tensors:
        images, shapes = self._prepare(encoded)
        given = self._proposals(boxes, scores, shapes)
        return normalised(self._run(images, shapes, memory, given).detections, shapes)

    def _detect_embedded(
        self, features: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor, *projected: tf.Tensor
    ) -> Tensors:
        images, shapes = self._stored(features, boxes, scores)
        if projected:
            return self._detect_prepared_with_projected(images, shapes, *projected)
        return self._detections(images, shapes, {})

    def _explain_embedded(
        self, features: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor, *projected: tf.Tensor
    ) -> Tensors:
        return self._explained(*self._stored(features, boxes, scores), *projected)

    def _stored(
        self, features: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Stored images (`detectors.stored`) of what `extract` returned, and their shapes.

        Boxes are of images without padding: overlaps are the same in images of any shape.
        """
        size = tf.constant([self._preprocessing[0]], tf.float32)
        scores = tf.where(scores >= 0.0, tf.maximum(scores, _LEAST_SCORE), 0.0)
        images = stored.join(features, boxes * tf.tile(size, [1, 2])[:, None], scores)
        images = tf.pad(images, [[0, 0], [0, self._given], [0, 0]])[:, : self._given]
        images.set_shape([None, self._given, features.shape[-1] + stored.COLUMNS])
        return images, tf.tile(size, [tf.shape(scores)[0], 1])

    def _proposals(self, boxes: tf.Tensor, scores: tf.Tensor, shapes: tf.Tensor) -> Proposals:
        best = best_proposals(boxes, scores, shapes, self._given)
        return Proposals(*(best[f"proposal{part}"] for part in ("s", "_scores", "_valid")))

    def _detect_with_context(
        self, encoded_images: tf.Tensor, context_features: tf.Tensor, valid_context_size: tf.Tensor
    ) -> Tensors:
        count = tf.shape(encoded_images)[0]
        memory = self._memory(context_features, valid_context_size, count)
        return self._detections(*self._prepare(encoded_images), memory)

    def _detect_with_projected(self, encoded_images: tf.Tensor, *projected: tf.Tensor) -> Tensors:
        images, shapes = self._prepare(encoded_images)
        return self._detect_prepared_with_projected(images, shapes, *projected)

    def _explain_with_projected(self, encoded_images: tf.Tensor, *projected: tf.Tensor) -> Tensors:
        return self._explained(*self._prepare(encoded_images), *projected)

    def _explained(self, images: tf.Tensor, shapes: tf.Tensor, *projected: tf.Tensor) -> Tensors:
        keys, values, valid = projected
        memory = _projected(keys, values, valid, tf.shape(images)[0])
        temporal = self._untracked.temporal
        found = temporal.attended(self._model, images, shapes, memory, top=ATTENDED)
        attention = {name: found[name] for name in ("attention_index", "attention_weight")}
        return normalised(found, shapes) | attention

    def _detect_prepared_with_projected(
        self,
        images: tf.Tensor,
        image_shapes: tf.Tensor,
        context_keys: tf.Tensor,
        context_values: tf.Tensor,
        context_valid: tf.Tensor,
    ) -> Tensors:
        memory = _projected(context_keys, context_values, context_valid, tf.shape(images)[0])
        return self._detections(images, image_shapes, memory)

    def _project(self, context_features: tf.Tensor) -> Tensors:
        features = tf.ensure_shape(context_features, [None, None, self._entry_size])
        valid = tf.ones(tf.shape(features)[:2], tf.bool)
        memory = self._model.box_memory.project(features, valid)
        return {name: memory[name] for name in ("context_keys", "context_values")}

    def _extract(self, *inputs: tf.Tensor) -> Tensors:
        return self._extractor.extract(*inputs)

    def _memory(
        self, context_features: tf.Tensor, valid_context_size: tf.Tensor, images: tf.Tensor
    ) -> Tensors:
        """A memory as the port takes it, projected: once for all images if it has one row."""
        features = tf.ensure_shape(context_features, [None, None, self._entry_size])
        size = tf.ensure_shape(valid_context_size, [None])
        features = with_rows("context_features", features, images)
        size = with_rows("valid_context_size", size, images)
        filled = tf.reduce_any(features != 0.0, axis=[1, 2])
        check(
            tf.reduce_all((size >= 0) | (size == _NOT_GIVEN)),
            "valid_context_size is negative; it says how many entries count:",
            size,
        )
        check(
            tf.reduce_all((size >= 0) | ~filled),
            "context_features was given without valid_context_size, which says how many count",
        )
        check(
            tf.reduce_all((size <= 0) | filled),
            "valid_context_size was given without context_features, or they are all zeros",
        )
        rows, entries = tf.unstack(tf.shape(features)[:2])
        check(
            tf.reduce_all(size <= entries),
            "valid_context_size is more than the entries of context_features: size, entries:",
            size,
            entries,
        )
        valid = tf.range(entries) < size[:, None]
        of_rows = tf.cond(
            rows == 1,
            lambda: tf.reduce_any(valid, axis=0, keepdims=True),
            lambda: tf.broadcast_to(valid, [rows, entries]),
        )
        return self._model.box_memory.project(features, of_rows) | {"context_valid": valid}

    def _detections(self, images: tf.Tensor, shapes: tf.Tensor, memory: Tensors) -> Tensors:
        return normalised(self._run(images, shapes, memory).detections, shapes)

    def _run(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Tensors,
        given: Proposals | None = None,
    ) -> Answer:
        """One graph for all functions that give it the same kind of memory."""
        return self._untracked.run(images, shapes, memory, given)

    def _look_and_answer(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Tensors,
        given: Proposals | None,
    ) -> Answer:
        """Detections with boxes in pixels, and what they came from."""
        seen = self._model.look(images, shapes, memory, training=False, given=given)
        return self._model.answer(seen, memory, training=False)


def _preprocessing(description: Mapping[str, Any]) -> tuple[tuple[int, int], bool]:
    return tuple(description["image_size"]), description["keep_aspect_ratio"]


def _projected(keys: tf.Tensor, values: tf.Tensor, valid: tf.Tensor, images: tf.Tensor) -> Tensors:
    """A projected memory as the port takes it."""
    memory = {"context_keys": keys, "context_values": values, "context_valid": valid}
    return {name: with_rows(name, value, images) for name, value in memory.items()}
