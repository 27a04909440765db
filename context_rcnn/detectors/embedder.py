"""A detector on top of another one: it names given boxes by what any network sees in them.

The network is a SavedModel that takes crops and gives a vector of each. It is frozen; a memory and
a predictor learn on its vectors. Its signature `serving_default` has one input, crops [n, height,
width, 3] with pixels from 0 to 255 (float32 or uint8), and one output, vectors [n, depth].
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from context_rcnn.detectors.backbones import MEAN_RGB, STDDEV_RGB
from context_rcnn.detectors.heads import BoxHead, per_box
from context_rcnn.layers.cost_estimates import load_saved_model
from context_rcnn.layers.crop_and_resize import crop_and_resize

CROP = 224
"""Side of the crops for a network that takes any size."""


def build_trunk() -> tf_keras.Model:
    """The images themselves, as pixels from 0 to 255: {"0": images}."""
    images = tf_keras.Input([None, None, 3])
    # Batches arrive as tf-models-official's ResNets want them.
    pixels = images * tf.constant(STDDEV_RGB) + tf.constant(MEAN_RGB)
    return tf_keras.Model(images, {"0": pixels}, name="trunk")


class EmbedderBoxHead(BoxHead):
    """Square crops of the images around boxes, and the network's vector of each, [1, 1, depth].

    Args:
        folder: folder of the SavedModel.

    Raises:
        ValueError: If it is none, or takes or gives something else.
    """

    def __init__(self, folder: str, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self._embed, self._input = load_embedder(folder)
        (_, height, width, _) = self._input.shape
        self._size = (height or CROP, width or CROP)
        # As a list: a layer keeps variables that it finds in its attributes.
        self.embedder_variables = list(self._embed.variables)
        # A network may have its weights as constants; so its graph is part of its hash, too.
        self._graph_hash = tf.Variable(_hash_of_graph(folder), trainable=False, name="graph_hash")

    def crop(self, maps: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Returns crops [batch, boxes, size, size, 3]; what is outside of the image is black."""
        (images,) = maps.values()
        sides = tf.constant([images.shape[1] - 1, images.shape[2] - 1] * 2, tf.float32)
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2.0
        half = tf.reduce_max(boxes[..., 2:] - boxes[..., :2], axis=-1, keepdims=True) / 2.0
        # Samples are the centres of the crop's pixels, and so are the cells of the images.
        size = max(self._size)
        reach, middle = half * (1.0 - 1.0 / size), middle - 0.5
        square = tf.concat([middle - reach, middle + reach], axis=-1)
        return crop_and_resize(images, square / sides, size)

    def call(self, crops: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns box features [batch, boxes, 1, 1, depth]."""
        return per_box(self._vectors, crops)[:, :, None, None]

    def _vectors(self, crops: tf.Tensor) -> tf.Tensor:
        if crops.shape[1:3] != self._size:
            crops = tf.image.resize(crops, self._size)
        crops = tf.clip_by_value(crops, 0.0, 255.0)
        if self._input.dtype == tf.uint8:
            crops = tf.round(crops)
        (found,) = self._embed(**{self._input.name: tf.cast(crops, self._input.dtype)}).values()
        return tf.cast(found, tf.float32)


def _hash_of_graph(folder: str) -> list[int]:
    """16 numbers of the SavedModel's graph and constants, wherever its folder is."""
    path = os.path.join(folder, "saved_model.pb")
    if not tf.io.gfile.exists(path):
        path += "txt"
    with tf.io.gfile.GFile(path, "rb") as file:
        return list(hashlib.blake2b(file.read(), digest_size=16).digest())


def load_embedder(folder: str) -> tuple[Any, tf.TensorSpec]:
    """The network's function, and its input; a ValueError where it is no embedding network."""
    if not folder:
        raise ValueError("model.backbone.embedder: set it to the SavedModel of a network")
    if not tf.saved_model.contains_saved_model(folder):
        raise ValueError(f"model.backbone.embedder {folder}: there is no SavedModel in it")
    loaded = load_saved_model(folder)
    function = loaded.signatures.get("serving_default")
    if function is None:
        raise ValueError(f"model.backbone.embedder {folder} has no signature serving_default")
    function.embedder = loaded  # which keeps its variables alive
    inputs = list(function.structured_input_signature[1].values())
    outputs = list(function.structured_outputs.values())
    found = f"it takes {inputs} and returns {outputs}"
    if len(inputs) != 1 or inputs[0].shape.rank != 4 or inputs[0].shape[3] != 3:
        raise ValueError(
            f"model.backbone.embedder {folder}: the input must be crops [n, h, w, 3]; {found}"
        )
    if inputs[0].dtype not in (tf.float32, tf.uint8):
        raise ValueError(
            f"model.backbone.embedder {folder}: crops must be float32 or uint8; {found}"
        )
    if len(outputs) != 1 or outputs[0].shape.rank != 2 or outputs[0].shape[1] is None:
        raise ValueError(
            f"model.backbone.embedder {folder}: the output must be vectors [n, depth]; {found}"
        )
    return function, inputs[0]
