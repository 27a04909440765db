"""An exported model on NumPy arrays: what the folder runner and others use.

    model = ExportedModel("export")
    found = model.detect([open("image.jpg", "rb").read()])

The model itself runs on TensorFlow alone; this only spares the conversions, and says what is wrong
before TensorFlow does. docs/serving.md has the same without this package.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from context_rcnn.layers.cost_estimates import load_saved_model

FORMAT = "context-rcnn-model"
FORMAT_VERSION = 1
DESCRIPTION = "model.json"
SAVED_MODEL = "saved_model"

# Of inputs that only some streams take.
MEANINGS = {
    "seconds": "the time of each frame, -1 where unknown",
    "elsewhere": "a frame from anywhere in each video",
}

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class GivenImage:
    """An image with boxes of another detector, for a model that names them.

    Attributes:
        encoded: the image file.
        boxes: float32 [m, 4], y1 x1 y2 x2 as fractions of the image.
        scores: float32 [m].
    """

    encoded: bytes
    boxes: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """What `extract` returned of an image with given boxes, in place of the image.

    Attributes:
        features: float32 [m, depth].
        boxes: float32 [m, 4], y1 x1 y2 x2 as fractions of the image.
        scores: float32 [m].
    """

    features: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, extracted: Mapping[str, np.ndarray]) -> "EmbeddedImage":
        """Of one image's outputs of `extract`, without padding."""
        there = extracted["scores"] >= 0
        return cls(*(extracted[name][there] for name in ("features", "boxes", "scores")))


class ExportedModel:
    """A model as `context-rcnn export` writes it.

    Detections are `boxes` float32 [images, detections, 4], y1 x1 y2 x2 as fractions of the image,
    `scores` float32 [images, detections], best first and -1 in padding, and `classes` int32
    [images, detections], 0 in padding. A broken image fails all that are with it.

    A model that names the boxes of another detector takes `GivenImage`s in place of encoded images
    in `detect`, `extract` and `detect_with_projected`. If `description["embedded"]` is true, it
    also takes `EmbeddedImage`s, in `detect`, `detect_with_projected` and `explain_with_projected`.
    All rows of a call are of one kind.

    Args:
        folder: folder of the export, with `model.json`.

    Raises:
        ValueError: if the folder is no export, or its parts do not belong together.
    """

    def __init__(self, folder: str | os.PathLike):
        folder = os.fspath(folder)
        self.description: dict[str, Any] = read_description(folder)
        self._module = load_saved_model(os.path.join(folder, SAVED_MODEL))
        if json.loads(self._module.description.numpy()) != self.description:
            raise ValueError(f"{folder}: {DESCRIPTION} is not that of the model in {SAVED_MODEL}")

    @property
    def class_names(self) -> dict[int, str]:
        """Names by id."""
        return {int(number): name for number, name in self.description["classes"].items()}

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Functions of the SavedModel by name, as a server offers them."""
        return self._module.signatures

    @property
    def has_memory(self) -> bool:
        """Whether it attends to a memory bank."""
        return self.description["memory"] is not None

    @property
    def extractor_hash(self) -> str:
        """Hash of the extractor inside, "" if there is none."""
        return (self.description["extractor"] or {}).get("hash", "")

    def detect(self, encoded: Sequence[bytes | GivenImage | EmbeddedImage]) -> Arrays:
        """Detections without a memory."""
        name = "detect_with_proposals" if self._takes_boxes else "detect"
        if _are_embedded(encoded):
            name = "detect_embedded"
        return _detections(self._call(name, *self._asked(encoded)))

    def detect_with_proposals(
        self, encoded: Sequence[bytes], proposals: np.ndarray, scores: np.ndarray
    ) -> Arrays:
        """Detections among boxes of another detector, for a model without a first stage.

        Args:
            encoded: n images.
            proposals: [n, boxes, 4], y1 x1 y2 x2 as fractions of the image; those without area are
                padding. The model looks at the best, as many as it was trained with.
            scores: [n, boxes].
        """
        given = (tf.convert_to_tensor(part, tf.float32) for part in (proposals, scores))
        return _detections(self._call("detect_with_proposals", _images(encoded), *given))

    def detect_with_context(
        self,
        encoded: Sequence[bytes],
        context_features: np.ndarray,
        valid_context_size: np.ndarray,
    ) -> Arrays:
        """Detections with the entries of a bank.

        Args:
            encoded: n images.
            context_features: [n, entries, entry_size], or [1, ...] for all images.
            valid_context_size: [n] or [1], how many entries of each row count.
        """
        features = self._entries(context_features, 3)
        size = tf.convert_to_tensor(np.asarray(valid_context_size), tf.int32)
        return _detections(self._call("detect_with_context", _images(encoded), features, size))

    def extract(self, encoded: Sequence[bytes | GivenImage]) -> Arrays:
        """What the frozen extractor finds: `features`, `boxes`, `scores`, `classes`."""
        return _arrays(self._call("extract", *self._asked(encoded)))

    def project(self, context_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values [blocks, entries, depth] of entries [entries, entry_size]."""
        projected = _arrays(self._call("project", self._entries(context_features, 2)[None]))
        return projected["context_keys"][0], projected["context_values"][0]

    def detect_with_projected(
        self,
        encoded: Sequence[bytes | GivenImage | EmbeddedImage],
        keys: np.ndarray | tf.Tensor,
        values: np.ndarray | tf.Tensor,
        valid: np.ndarray,
    ) -> Arrays:
        """As `detect_with_context`, with what `project` gave.

        Args:
            encoded: n images.
            keys, values: [n, blocks, entries, depth], or [1, ...] for all images; finite, also
                where nothing is valid.
            valid: bool [n, entries] or [1, entries], which entries each image sees.
        """
        name = "detect_with_projected"
        if _are_embedded(encoded):
            name = "detect_embedded_with_projected"
        elif self._takes_boxes:
            name = "detect_with_proposals_and_projected"
        memory = _projected(keys, values, valid)
        return _detections(self._call(name, *self._asked(encoded), *memory))

    def explain_with_projected(
        self,
        encoded: Sequence[bytes | EmbeddedImage],
        keys: np.ndarray | tf.Tensor,
        values: np.ndarray | tf.Tensor,
        valid: np.ndarray,
    ) -> Arrays:
        """As `detect_with_projected`, and what each detection attends to.

        `attention_index` int32 and `attention_weight` float32 [images, detections, entries] are
        the entries that it attends to most, best first, with weight 0 where there are no more.
        """
        memory = _projected(keys, values, valid)
        name = "explain_with_projected"
        if _are_embedded(encoded):
            name = "explain_embedded_with_projected"
        called = self._call(name, *self._asked(encoded), *memory)
        attention = {name: called[name].numpy() for name in ("attention_index", "attention_weight")}
        return _detections(called) | attention

    def initial_state(self, batch_size: int) -> dict[str, tf.Tensor]:
        """The state of this number of cameras or videos of which nothing was seen."""
        return self._call("initial_state", tf.constant(batch_size, tf.int32))

    def step(
        self,
        encoded: Sequence[bytes],
        rows: np.ndarray,
        valid: np.ndarray,
        state: Mapping[str, Any],
        *,
        seconds: np.ndarray | None = None,
        ended: np.ndarray | None = None,
        elsewhere: Sequence[bytes] | None = None,
        elsewhere_valid: np.ndarray | None = None,
    ) -> tuple[Arrays, dict[str, tf.Tensor]]:
        """Takes a frame of each camera or video, and detects in the one `latency` frames before.

        `description["stream"]` has the latency, and which of the last inputs the model takes.

        Args:
            encoded: n images; b"" will do where there is none.
            rows: int64 [n], a number for each camera or video; the row of another one begins anew.
            valid: bool [n], whether there is a frame.
            state: state of n rows, from `initial_state` or the last step.
            seconds: int64 [n], times, -1 where unknown.
            ended: bool [n], whether the row has no more frames but is to go on; by default nowhere.
            elsewhere: n images from anywhere in each video.
            elsewhere_valid: bool [n], whether there are; by default where there is a frame.

        Returns:
            Detections, with `frame` int32 [n], the number in its row of the frame that they are
            in, -1 where there is none; and the next state.
        """
        valid = np.asarray(valid, bool)
        inputs = [_images(encoded), tf.convert_to_tensor(np.asarray(rows), tf.int64)]
        inputs += [tf.constant(valid)]
        takes = self._stream_inputs(seconds=seconds, elsewhere=elsewhere)
        if "seconds" in takes:
            inputs += [tf.convert_to_tensor(np.asarray(seconds), tf.int64)]
        if "ended" in takes:
            ended = np.zeros_like(valid) if ended is None else np.asarray(ended, bool)
            inputs += [tf.constant(ended)]
        if elsewhere is not None:
            there = valid if elsewhere_valid is None else np.asarray(elsewhere_valid, bool)
            inputs += [_images(elsewhere), tf.constant(there)]
        before = {name: tf.convert_to_tensor(value) for name, value in state.items()}
        found, after = self._call("step", *inputs, before)
        return _detections(found) | {"frame": found["frame"].numpy()}, after

    def look(self, encoded: Sequence[bytes], valid: np.ndarray) -> Arrays:
        """What there is in frames before any memory, for `step_with_looks`.

        Only models that get every frame twice have it (`description["stream"]["looks"]`).

        Args:
            encoded, valid: see `step`.

        Returns:
            Arrays with a row for each frame, which holds what is in that frame alone.
        """
        return _arrays(self._call("look", _images(encoded), tf.constant(np.asarray(valid, bool))))

    def step_with_looks(
        self,
        looked: Arrays,
        rows: np.ndarray,
        valid: np.ndarray,
        state: Mapping[str, Any],
        *,
        ended: np.ndarray,
        elsewhere: Arrays,
        elsewhere_valid: np.ndarray,
    ) -> tuple[Arrays, dict[str, tf.Tensor]]:
        """As `step`, with what `look` found in place of images.

        Args:
            looked: what `look` returned of the frames; anything where there is none.
            elsewhere: what `look` returned of frames from anywhere in each video.
            rows, valid, state, ended, elsewhere_valid: see `step`.
        """
        inputs = [tf.convert_to_tensor(np.asarray(rows), tf.int64)]
        inputs += [tf.constant(np.asarray(part, bool)) for part in (valid, ended, elsewhere_valid)]
        inputs += [
            tf.constant(found[name]) for found in (looked, elsewhere) for name in sorted(found)
        ]
        before = {name: tf.convert_to_tensor(value) for name, value in state.items()}
        found, after = self._call("step_with_looks", *inputs, before)
        return _detections(found) | {"frame": found["frame"].numpy()}, after

    def propagate(
        self,
        encoded: Sequence[bytes],
        rows: np.ndarray,
        valid: np.ndarray,
        state: Mapping[str, Any],
    ) -> tuple[Arrays, dict[str, tf.Tensor]]:
        """A step that sees of each frame how it has moved, and no more; cheaper than `step`.

        Only models whose memory is moved by flow have it (`description["stream"]["propagates"]`).
        A video cannot begin with it.

        Args:
            encoded, rows, valid, state: see `step`.
        """
        there = tf.constant(np.asarray(valid, bool))
        numbers = tf.convert_to_tensor(np.asarray(rows), tf.int64)
        before = {name: tf.convert_to_tensor(value) for name, value in state.items()}
        found, after = self._call("propagate", _images(encoded), numbers, there, before)
        return _detections(found) | {"frame": found["frame"].numpy()}, after

    def anticipate(self, ahead: np.ndarray, state: Mapping[str, Any]) -> Arrays:
        """Detections in a coming frame of each video, with its number `frame`.

        Args:
            ahead: int32 [n], how many frames after the last one.
            state: state of n rows, from the last step.
        """
        before = {name: tf.convert_to_tensor(value) for name, value in state.items()}
        given = tf.convert_to_tensor(np.asarray(ahead), tf.int32)
        found = self._call("anticipate", given, before)
        return _detections(found) | {"frame": found["frame"].numpy()}

    def initial_strong(self, batch_size: int) -> dict[str, tf.Tensor]:
        """The state of a two-speed model's strong detector, of rows that have seen nothing."""
        return self._call("initial_strong", tf.constant(batch_size, tf.int32))

    def strong_step(
        self,
        encoded: Sequence[bytes],
        rows: np.ndarray,
        valid: np.ndarray,
        state: Mapping[str, Any],
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """What the strong detector of a two-speed model has of a frame of each video, for
        `fast_step`, and its next state."""
        there = tf.constant(np.asarray(valid, bool))
        numbers = tf.convert_to_tensor(np.asarray(rows), tf.int64)
        return self._call("strong_step", _images(encoded), numbers, there, dict(state))

    def fast_step(
        self, encoded: Sequence[bytes], valid: np.ndarray, given: Mapping[str, Any]
    ) -> Arrays:
        """Detections of the fast detector, with what the strong one has of earlier frames."""
        there = tf.constant(np.asarray(valid, bool))
        parts = [given[f"help_{name}"] for name in ("maps", "image", "there")]
        return _detections(self._call("fast_step", _images(encoded), there, *parts))

    @property
    def _takes_boxes(self) -> bool:
        """Whether it names the boxes of another detector."""
        return bool(self.description.get("proposals"))

    def _asked(self, rows: Sequence[bytes | GivenImage | EmbeddedImage]) -> list[tf.Tensor]:
        """Images as the model's functions take them, with their boxes if it names boxes."""
        seen = [row for row in rows if isinstance(row, EmbeddedImage)]
        if seen:
            if len(seen) < len(rows):
                raise ValueError("rows of one call are images, or all of them `EmbeddedImage`s")
            names = ("features", "boxes", "scores")
            return [tf.constant(_padded([getattr(row, name) for row in seen])) for name in names]
        images = [row for row in rows if not isinstance(row, EmbeddedImage)]
        encoded = [row.encoded if isinstance(row, GivenImage) else row for row in images]
        if not self._takes_boxes:
            return [_images(encoded)]
        given = [row for row in rows if isinstance(row, GivenImage)]
        if len(given) < len(rows):
            raise ValueError(
                "this model finds no boxes itself: give it boxes of another detector with each "
                "image (`GivenImage`), or ask detect_with_proposals"
            )
        boxes, scores = (_padded([getattr(row, n) for row in given]) for n in ("boxes", "scores"))
        return [_images(encoded), tf.constant(boxes), tf.constant(scores)]

    def _stream_inputs(self, **given: Any) -> Sequence[str]:
        """What the stream takes; ValueError if it is not what is given, or there is no stream."""
        self._function("step")
        takes = self.description["stream"]["inputs"]
        for name, value in given.items():
            if (name in takes) != (value is not None):
                need = "needs" if name in takes else "does not take"
                raise ValueError(f"step: this model {need} {name} ({MEANINGS[name]})")
        return takes

    def _call(self, name: str, *inputs: Any) -> Any:
        return self._function(name)(*inputs)

    def _function(self, name: str) -> Any:
        function = getattr(self._module, name, None)
        if function is None:
            if self.description.get("proposals"):
                raise ValueError(
                    f"this model has no {name}: it finds no boxes itself, so ask "
                    "detect_with_proposals, with boxes of another detector"
                )
            if name == "detect_with_proposals":
                raise ValueError("this model finds its boxes itself: ask detect")
            if name in ("extract", "step", "initial_state") and self.has_memory:
                raise ValueError(
                    f"this model was exported without its extractor and has no {name}: export it "
                    "again with --extractor"
                )
            if name in ("initial_strong", "strong_step", "fast_step"):
                raise ValueError(f"this model is no two-speed model, and has no {name}")
            if name in ("look", "step_with_looks"):
                raise ValueError(f"this model gets every frame once, and has no {name}")
            if name in ("propagate", "anticipate"):
                raise ValueError(f"this model has no memory that is moved by flow, and no {name}")
            if self.has_memory:
                raise ValueError(f"this model was exported before there was {name}: do it again")
            raise ValueError(f"this model attends to no memory and has no {name}")
        return function

    def _entries(self, features: np.ndarray, rank: int) -> tf.Tensor:
        features = np.asarray(features, np.float32)
        size = (self.description["memory"] or {}).get("entry_size")
        if size and (features.ndim != rank or features.shape[-1] != size):
            axes = ["images", "entries"][3 - rank :]
            raise ValueError(
                f"context_features: expected [{', '.join(axes)}, {size}], got "
                f"{list(features.shape)}"
            )
        return tf.convert_to_tensor(features)


def read_description(folder: str) -> dict[str, Any]:
    """model.json of an export, without loading the model."""
    path = os.path.join(folder, DESCRIPTION)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder} is not an exported model: there is no {DESCRIPTION} in it")
    with tf.io.gfile.GFile(path) as file:
        description = json.load(file)
    if description.get("format") != FORMAT:
        raise ValueError(f"{path}: format is {description.get('format')!r}, expected {FORMAT!r}")
    if description["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path}: format version {description['format_version']} is newer than this program, "
            f"which reads up to {FORMAT_VERSION}; update it"
        )
    return description


def _images(encoded: Sequence[bytes]) -> tf.Tensor:
    if not len(encoded):
        raise ValueError("no images were given")
    return tf.constant(list(encoded), tf.string, [len(encoded)])


def _are_embedded(rows: Sequence[Any]) -> bool:
    return any(isinstance(row, EmbeddedImage) for row in rows)


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Float32 [rows, most, ...] of rows [m, ...]; padding is zeros, and -1 where rows are [m]."""
    most = max([1, *(len(row) for row in rows)])
    fill = -1.0 if rows[0].ndim == 1 else 0.0
    padded = np.full([len(rows), most, *rows[0].shape[1:]], fill, np.float32)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded


def _projected(
    keys: np.ndarray | tf.Tensor, values: np.ndarray | tf.Tensor, valid: np.ndarray
) -> list[tf.Tensor]:
    parts = [tf.convert_to_tensor(part, tf.float32) for part in (keys, values)]
    return [*parts, tf.convert_to_tensor(valid, tf.bool)]


def _arrays(outputs: Mapping[str, tf.Tensor]) -> Arrays:
    return {name: value.numpy() for name, value in outputs.items()}


def _detections(outputs: Mapping[str, tf.Tensor]) -> Arrays:
    names = ("boxes", "scores", "classes")
    return {name: outputs[f"detection_{name}"].numpy() for name in names}
