"""The frozen extractor: a trained detector as a SavedModel that gives box features of images.

It needs TensorFlow alone to run:

    extractor = tf.saved_model.load(folder)
    outputs = extractor.extract(tf.constant([open("image.jpg", "rb").read()]))

`extract` takes encoded images [batch], any number of them and of any size, and returns

    features  float32 [batch, boxes, depth]   spatially pooled second-stage features
    boxes     float32 [batch, boxes, 4]       y1 x1 y2 x2, 0 to 1
    scores    float32 [batch, boxes]          best first; -1 in padding
    classes   int32   [batch, boxes]          from 1; 0 in padding

A bank made by it carries its `hash`, of weights and preprocessing, so that features of different
extractors are never mixed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from context_rcnn.data import input as input_lib
from context_rcnn.detectors.two_stage import Proposals, TwoStageDetector, pool_boxes

# Where features are taken: at the final boxes, as the released code does, or at the proposals with
# the highest objectness, as the paper describes (section 3.1).
SOURCES = ("detections", "proposals")
DESCRIPTION = "extractor.json"


class Extractor(tf.Module):
    """A detector with its preprocessing.

    Args:
        model: a built detector.
        image_size: height and width of its input.
        keep_aspect_ratio: fit and pad rather than stretch.
        source: one of `SOURCES`.
        class_names: names by id.
    """

    def __init__(
        self,
        model: TwoStageDetector,
        *,
        image_size: tuple[int, int],
        keep_aspect_ratio: bool,
        source: str,
        class_names: Mapping[int, str],
    ):
        super().__init__(name="extractor")
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
        self._model = model
        self._image_size = tuple(image_size)
        self._keep_aspect_ratio = keep_aspect_ratio
        self._source = source
        description = {
            "source": source,
            "image_size": list(image_size),
            "keep_aspect_ratio": keep_aspect_ratio,
            "classes": {str(k): v for k, v in sorted(class_names.items())},
        }
        description["hash"] = fingerprint(model, description)
        # As text: a module wraps dicts in a type of its own.
        self._description = json.dumps(description)
        self.hash = tf.Variable(description["hash"], trainable=False)

    @property
    def description(self) -> dict[str, Any]:
        """What it is: source, preprocessing, classes, hash."""
        return json.loads(self._description)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "encoded_images")])
    def extract(self, encoded_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features of the boxes found in encoded images; see the module."""
        images, shapes = tf.map_fn(
            self._decode,
            encoded_images,
            fn_output_signature=(
                tf.TensorSpec([*self._image_size, 3], tf.uint8),
                tf.TensorSpec([2], tf.float32),
            ),
        )
        return self.extract_from_images(images, shapes)

    @tf.function
    def extract_from_images(self, images: tf.Tensor, shapes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same for images that are resized already; see `data.input.resize`."""
        model = self._model
        maps = model.maps(images, training=False)
        at, _ = model.propose(maps, shapes, training=False)
        crops = model.box_features(maps, at, training=False)
        logits, offsets = model.box_predictor(crops)
        if self._source == "detections":
            found = model.detect(logits, offsets, at, shapes)
            boxes, scores = found["detection_boxes"], found["detection_scores"]
            classes = found["detection_classes"]
            at = Proposals(boxes, scores, scores >= 0)
            crops = model.box_features(maps, at, training=False)
        else:
            classes = tf.argmax(logits[..., 1:], axis=-1, output_type=tf.int32) + 1
        boxes, scores, features = at.boxes, at.scores, pool_boxes(crops)
        valid = at.valid
        return {
            "features": tf.where(valid[..., None], tf.cast(features, tf.float32), 0.0),
            "boxes": tf.where(valid[..., None], boxes / tf.tile(shapes, [1, 2])[:, None], 0.0),
            "scores": tf.where(valid, scores, -1.0),
            "classes": tf.where(valid, tf.cast(classes, tf.int32), 0),
        }

    def _decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return input_lib.resize(image, self._image_size, self._keep_aspect_ratio)


def fingerprint(model: tf_keras.Model, preprocessing: Mapping[str, Any]) -> str:
    """A hash of all weights and of what is done to an image before it meets them."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(preprocessing, sort_keys=True).encode())
    for variable in model.variables:
        value = variable.numpy()
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_extractor(extractor: Extractor, folder: str) -> None:
    """Writes the SavedModel and, beside it, what it is as JSON."""
    extractor.extract.get_concrete_function()
    tf.saved_model.save(extractor, folder, signatures={"extract": extractor.extract})
    with tf.io.gfile.GFile(os.path.join(folder, DESCRIPTION), "w") as file:
        json.dump(extractor.description, file, indent=1)


def load_extractor(folder: str) -> tuple[Any, dict[str, Any]]:
    """Loads a saved extractor and its description; a ValueError where it is none."""
    path = os.path.join(folder, DESCRIPTION)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder} is not an extractor: there is no {DESCRIPTION} in it")
    with tf.io.gfile.GFile(path) as file:
        description = json.load(file)
    module = tf.saved_model.load(folder)
    inside = module.hash.numpy().decode()
    if inside != description.get("hash"):
        raise ValueError(
            f"{path} says the hash is {description.get('hash')}, the model beside it says {inside}"
        )
    return module, description
