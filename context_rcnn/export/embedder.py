"""An exported model of tracklets on NumPy arrays.

    model = ExportedEmbedder("export")
    features = model.embed(clips)  # uint8 [clips, frames, height, width, 3]

It runs on TensorFlow alone. Features are compared by cosine.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from context_rcnn.layers.cost_estimates import load_saved_model

FORMAT = "context-rcnn-reid-model"
FORMAT_VERSION = 1
DESCRIPTION = "model.json"
SAVED_MODEL = "saved_model"


class ExportedEmbedder:
    """A model as `context-rcnn export` writes it of a run of re-identification.

    Args:
        folder: folder of the export, with `model.json`.

    Raises:
        ValueError: If the folder is no such export, or its parts do not belong together.
    """

    def __init__(self, folder: str | os.PathLike):
        folder = os.fspath(folder)
        self.description = read_description(folder)
        self._module = load_saved_model(os.path.join(folder, SAVED_MODEL))
        if json.loads(self._module.description.numpy()) != self.description:
            raise ValueError(f"{folder}: {DESCRIPTION} is not that of the model in {SAVED_MODEL}")

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Functions of the SavedModel by name, as a server offers them."""
        return self._module.signatures

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Frames, height, width and channels of a clip."""
        return (self.description["frames"], *self.description["image_size"], 3)

    @property
    def hash(self) -> str:
        """Hash of the weights and of how images are prepared."""
        return self.description["hash"]

    def embed(self, clips: np.ndarray) -> np.ndarray:
        """Features float32 [clips, depth] of clips uint8 [clips, frames, height, width, 3]."""
        return self._module.embed(self._checked(clips)).numpy()

    def activations(self, clips: np.ndarray) -> np.ndarray:
        """How strongly each cell of each frame counts, [clips, frames, rows, columns]."""
        return self._module.activations(self._checked(clips)).numpy()

    def _checked(self, clips: np.ndarray) -> tf.Tensor:
        clips = np.asarray(clips)
        if clips.dtype != np.uint8 or clips.shape[1:] != self.clip_shape:
            shape = ", ".join(map(str, self.clip_shape))
            raise ValueError(
                f"clips: expected uint8 [clips, {shape}], got {clips.dtype} {list(clips.shape)}"
            )
        return tf.constant(clips)


def read_description(folder: str) -> dict[str, Any]:
    """model.json of an export, without loading the model."""
    path = os.path.join(folder, DESCRIPTION)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder} is not an exported model: there is no {DESCRIPTION} in it")
    with tf.io.gfile.GFile(path) as file:
        description = json.load(file)
    if description.get("format") != FORMAT:
        raise ValueError(
            f"{path}: format is {description.get('format')!r}, expected {FORMAT!r}: is this a "
            "model of re-identification?"
        )
    if description["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path}: format version {description['format_version']} is newer than this program, "
            f"which reads up to {FORMAT_VERSION}; update it"
        )
    return description
