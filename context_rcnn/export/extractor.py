"""The frozen extractor: a trained detector as a SavedModel that returns box features of images.

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
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from context_rcnn.data import input as input_lib
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import Proposals, TwoStageDetector
from context_rcnn.export.functions import save
from context_rcnn.layers.cost_estimates import load_saved_model
from context_rcnn.tasks.loading import load_run

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
        max_boxes: number of boxes kept per image, best first; each one costs a second stage.
    """

    def __init__(
        self,
        model: TwoStageDetector,
        *,
        image_size: Sequence[int],
        keep_aspect_ratio: bool,
        source: str,
        class_names: Mapping[int, str],
        max_boxes: int = 8,
    ):
        super().__init__(name="extractor")
        if max_boxes < 1:
            raise ValueError(f"max_boxes must be at least 1, got {max_boxes}")
        if not model.box_head.has_vectors:
            raise ValueError(
                "this detector pools scores at its boxes, not features: a bank has nothing to "
                "remember of them. Train the extractor with another model.backbone.kind"
            )
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
        # Weights are saved, but not layers, which Keras would trace once more, one by one.
        self._weights = [*model.variables]
        self._untracked = types.SimpleNamespace(model=model)
        self._image_size = tuple(image_size)
        self._keep_aspect_ratio = keep_aspect_ratio
        self._source = source
        self._max_boxes = max_boxes
        description = {
            "source": source,
            "max_boxes": max_boxes,
            "image_size": list(image_size),
            "keep_aspect_ratio": keep_aspect_ratio,
            "classes": {str(k): v for k, v in sorted(class_names.items())},
        }
        outputs = self.extract.get_concrete_function().structured_outputs
        description["depth"] = outputs["features"].shape[-1]
        description["hash"] = fingerprint(model, description)
        # As text: a module wraps dicts in a type of its own.
        self._description = json.dumps(description)
        self.hash = tf.Variable(description["hash"], trainable=False)

    @property
    def description(self) -> dict[str, Any]:
        """What it is: source, preprocessing, classes, depth of the features, hash."""
        return json.loads(self._description)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "encoded_images")], autograph=False
    )
    def extract(self, encoded_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features of the boxes found in encoded images; see the module."""
        images, shapes = prepare_images(encoded_images, self._image_size, self._keep_aspect_ratio)
        return self.extract_from_images(images, shapes)

    @tf.function(autograph=False)
    def extract_from_images(self, images: tf.Tensor, shapes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same for images that are resized already; see `data.input.resize`."""
        model = self._untracked.model
        seen = model.look(images, shapes, training=False)
        if self._source == "proposals":
            seen = seen._replace(proposals=seen.proposals.best(self._max_boxes))
            crops = model.features(seen, training=False)
            logits = model.conclude(crops, seen.proposals, shapes).logits
            classes = tf.argmax(logits[..., 1:], axis=-1, output_type=tf.int32) + 1
        else:
            found = model.answer(seen, training=False).detections
            boxes, scores, classes = (
                found[f"detection_{name}"][:, : self._max_boxes]
                for name in ("boxes", "scores", "classes")
            )
            seen = seen._replace(proposals=Proposals(boxes, scores, scores >= 0))
            crops = model.features(seen, training=False)
        boxes, scores, valid = seen.proposals[:3]
        features = pool_boxes(crops)
        return {
            "features": tf.where(valid[..., None], tf.cast(features, tf.float32), 0.0),
            "boxes": tf.where(valid[..., None], boxes / tf.tile(shapes, [1, 2])[:, None], 0.0),
            "scores": tf.where(valid, scores, -1.0),
            "classes": tf.where(valid, tf.cast(classes, tf.int32), 0),
        }


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Any image that TensorFlow reads, as uint8 [height, width, 3]."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def prepare_images(
    images: tf.Tensor,
    size: Sequence[int],
    keep_aspect_ratio: bool,
    decode: Callable[[tf.Tensor], tf.Tensor] = decode_image,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images [n], whatever `decode` makes pixels of, as a detector wants them.

    Returns:
        uint8 [n, *size, 3], and float32 [n, 2], height and width of what is not padding.
    """
    return tf.map_fn(
        lambda image: input_lib.resize(decode(image), size, keep_aspect_ratio),
        images,
        fn_output_signature=(
            tf.TensorSpec([*size, 3], tf.uint8),
            tf.TensorSpec([2], tf.float32),
        ),
    )


def fingerprint(model: tf_keras.Model, preprocessing: Mapping[str, Any]) -> str:
    """A hash of all weights and of the preprocessing of images."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(preprocessing, sort_keys=True).encode())
    for variable in model.variables:
        value = variable.numpy()
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_extractor(extractor: Extractor, folder: str) -> None:
    """Writes the SavedModel and, beside it, what it is as JSON."""
    save(extractor, folder, {"extract": extractor.extract})
    with tf.io.gfile.GFile(os.path.join(folder, DESCRIPTION), "w") as file:
        json.dump(extractor.description, file, indent=1)


def load_extractor(folder: str) -> tuple[Any, dict[str, Any]]:
    """Loads a saved extractor and its description; a ValueError where it is none."""
    path = os.path.join(folder, DESCRIPTION)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder} is not an extractor: there is no {DESCRIPTION} in it")
    with tf.io.gfile.GFile(path) as file:
        description = json.load(file)
    module = load_saved_model(folder)
    inside = module.hash.numpy().decode()
    if inside != description.get("hash"):
        raise ValueError(
            f"{path} says the hash is {description.get('hash')}, the model beside it says {inside}"
        )
    return module, description


def export_extractor(
    model_dir: str,
    folder: str,
    *,
    source: str = "detections",
    max_boxes: int = 8,
    checkpoint: str = "",
) -> dict[str, Any]:
    """Freezes the detector of a training run; returns the extractor's description.

    Args:
        model_dir: folder of the run, with its `params.yaml`.
        folder: folder to write.
        source: one of `SOURCES`.
        max_boxes: number of boxes kept per image, best first.
        checkpoint: checkpoint to freeze; by default the best of the run, or else the latest.
    """
    trained = load_run(model_dir, checkpoint)
    config, task, model = trained.config, trained.task, trained.model
    task.temporal.check_single_images("an extractor sees single images: train one without it")
    extractor = Extractor(
        model,
        image_size=config.task.model.image_size,
        keep_aspect_ratio=config.task.model.keep_aspect_ratio,
        source=source,
        class_names=task.class_names,
        max_boxes=max_boxes,
    )
    save_extractor(extractor, folder)
    return extractor.description
