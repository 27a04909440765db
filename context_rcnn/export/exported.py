"""An exported model on NumPy arrays: what the folder runner and others use.

    model = ExportedModel("export")
    found = model.detect([open("image.jpg", "rb").read()])

The model itself runs on TensorFlow alone; this only spares the conversions, and says what is wrong
before TensorFlow does. docs/serving.md has the same without this package.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

FORMAT = "context-rcnn-model"
FORMAT_VERSION = 1
DESCRIPTION = "model.json"
SAVED_MODEL = "saved_model"

Arrays = dict[str, np.ndarray]


class ExportedModel:
    """A model as `context-rcnn export` writes it.

    Detections are `boxes` float32 [images, detections, 4], y1 x1 y2 x2 as fractions of the image,
    `scores` float32 [images, detections], best first and -1 in padding, and `classes` int32
    [images, detections], 0 in padding. A broken image fails all that are with it.

    Args:
        folder: folder of the export, with `model.json`.

    Raises:
        ValueError: if the folder is no export, or its parts do not belong together.
    """

    def __init__(self, folder: str | os.PathLike):
        folder = os.fspath(folder)
        self.description: dict[str, Any] = read_description(folder)
        self._module = tf.saved_model.load(os.path.join(folder, SAVED_MODEL))
        if json.loads(self._module.description.numpy()) != self.description:
            raise ValueError(f"{folder}: {DESCRIPTION} is not that of the model in {SAVED_MODEL}")

    @property
    def class_names(self) -> dict[int, str]:
        """Names by id."""
        return {int(number): name for number, name in self.description["classes"].items()}

    @property
    def has_memory(self) -> bool:
        """Whether it attends to a memory bank."""
        return self.description["memory"] is not None

    @property
    def extractor_hash(self) -> str:
        """Hash of the extractor inside, "" if there is none."""
        return (self.description["extractor"] or {}).get("hash", "")

    def detect(self, encoded: Sequence[bytes]) -> Arrays:
        """Detections without a memory."""
        return _detections(self._call("detect", _images(encoded)))

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

    def extract(self, encoded: Sequence[bytes]) -> Arrays:
        """What the frozen extractor finds: `features`, `boxes`, `scores`, `classes`."""
        return _arrays(self._call("extract", _images(encoded)))

    def project(self, context_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values [blocks, entries, depth] of entries [entries, entry_size]."""
        projected = _arrays(self._call("project", self._entries(context_features, 2)[None]))
        return projected["context_keys"][0], projected["context_values"][0]

    def detect_with_projected(
        self,
        encoded: Sequence[bytes],
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
        called = self._call("detect_with_projected", *_projected(encoded, keys, values, valid))
        return _detections(called)

    def explain_with_projected(
        self,
        encoded: Sequence[bytes],
        keys: np.ndarray | tf.Tensor,
        values: np.ndarray | tf.Tensor,
        valid: np.ndarray,
    ) -> Arrays:
        """As `detect_with_projected`, and what each detection attends to.

        `attention_index` int32 and `attention_weight` float32 [images, detections, entries] are
        the entries that it attends to most, best first, with weight 0 where there are no more.
        """
        called = self._call("explain_with_projected", *_projected(encoded, keys, values, valid))
        attention = {name: called[name].numpy() for name in ("attention_index", "attention_weight")}
        return _detections(called) | attention

    def initial_state(self, batch_size: int) -> dict[str, tf.Tensor]:
        """The state of this number of cameras that have seen nothing."""
        return self._call("initial_state", tf.constant(batch_size, tf.int32))

    def step(
        self,
        encoded: Sequence[bytes],
        cameras: np.ndarray,
        seconds: np.ndarray,
        valid: np.ndarray,
        state: Mapping[str, Any],
    ) -> tuple[Arrays, dict[str, tf.Tensor]]:
        """Detects in a frame of each camera and remembers it; see `models.context_rcnn.stream`.

        Models of videos have `step_videos`.

        Args:
            encoded: n images; b"" will do where there is none.
            cameras: int64 [n], a number for each camera.
            seconds: int64 [n], -1 where unknown.
            valid: bool [n], whether there is a frame.
            state: state of n cameras, from `initial_state` or the last step.

        Returns:
            Detections, and the next state.
        """
        if self.description.get("video"):
            raise ValueError("this model is one of videos: use step_videos")
        found, after = self._call(
            "step",
            _images(encoded),
            tf.convert_to_tensor(np.asarray(cameras), tf.int64),
            tf.convert_to_tensor(np.asarray(seconds), tf.int64),
            tf.convert_to_tensor(np.asarray(valid), tf.bool),
            {name: tf.convert_to_tensor(value) for name, value in state.items()},
        )
        return _detections(found), after

    def step_videos(
        self,
        encoded: Sequence[bytes],
        videos: np.ndarray,
        valid: np.ndarray,
        state: Mapping[str, Any],
        *,
        ended: np.ndarray | None = None,
        anywhere: Sequence[bytes] | None = None,
        anywhere_valid: np.ndarray | None = None,
    ) -> tuple[Arrays, dict[str, tf.Tensor]]:
        """Takes a frame of each video, and detects in one some frames before; `models.mega.stream`.

        Args:
            encoded: n images; b"" will do where there is none.
            videos: int64 [n], a number for each video; the row of another one begins anew.
            valid: bool [n], whether there is a frame.
            state: state of n videos, from `initial_state` or the last step.
            ended: bool [n], whether the video has no more frames but is to go on.
            anywhere: n images from anywhere in the videos, if `description["video"]["anywhere"]`.
            anywhere_valid: bool [n], whether there are; by default where there is a frame.

        Returns:
            Detections, with `frame` int32 [n], the number in its video of the frame that they are
            in, -1 where there is none; and the next state.
        """
        video = self.description.get("video")
        if video is None:
            raise ValueError("this model is not one of videos: it has no step for them")
        valid = np.asarray(valid, bool)
        inputs = [
            _images(encoded),
            tf.convert_to_tensor(np.asarray(videos), tf.int64),
            tf.constant(valid),
            tf.constant(np.zeros_like(valid) if ended is None else np.asarray(ended, bool)),
        ]
        if video["anywhere"]:
            if anywhere is None:
                raise ValueError(
                    "this model also sees frames from anywhere in a video: give anywhere, one each"
                )
            there = valid if anywhere_valid is None else np.asarray(anywhere_valid, bool)
            inputs += [_images(anywhere), tf.constant(there)]
        elif anywhere is not None:
            raise ValueError("this model sees no frames from anywhere in a video")
        before = {name: tf.convert_to_tensor(value) for name, value in state.items()}
        found, after = self._call("step", *inputs, before)
        return _detections(found) | {"frame": found["frame"].numpy()}, after

    def _call(self, name: str, *inputs: Any) -> Any:
        function = getattr(self._module, name, None)
        if function is None:
            if name in ("extract", "step", "initial_state") and self.has_memory:
                raise ValueError(
                    f"this model was exported without its extractor and has no {name}: export it "
                    "again with --extractor"
                )
            if self.has_memory:
                raise ValueError(f"this model was exported before there was {name}: do it again")
            raise ValueError(f"this model attends to no memory and has no {name}")
        return function(*inputs)

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


def _projected(
    encoded: Sequence[bytes],
    keys: np.ndarray | tf.Tensor,
    values: np.ndarray | tf.Tensor,
    valid: np.ndarray,
) -> list[tf.Tensor]:
    parts = [tf.convert_to_tensor(part, tf.float32) for part in (keys, values)]
    return [_images(encoded), *parts, tf.convert_to_tensor(valid, tf.bool)]


def _arrays(outputs: Mapping[str, tf.Tensor]) -> Arrays:
    return {name: value.numpy() for name, value in outputs.items()}


def _detections(outputs: Mapping[str, tf.Tensor]) -> Arrays:
    names = ("boxes", "scores", "classes")
    return {name: outputs[f"detection_{name}"].numpy() for name in names}
