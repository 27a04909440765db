"""The frozen first part of a detector, which fills stores of images, as a SavedModel.

It needs TensorFlow alone to run, and whatever has the same function can take its place:

    propose(encoded_images string [n], labelled_boxes float32 [n, LABELLED, 4], mirrored bool)

takes encoded images and labelled boxes, y1 x1 y2 x2 from 0 to 1, padded with zeros. Mirrored, it
looks at the mirror images, and takes and returns boxes in these. It returns

    features           float32 [n, boxes, depth]      of the proposals, averaged over space
    boxes              float32 [n, boxes, 4]          y1 x1 y2 x2, 0 to 1
    scores             float32 [n, boxes]             best first; 0 in padding
    labelled_features  float32 [n, LABELLED, depth]   of the labelled boxes

Beside it, `features.json` has the `hash` of all that decides what it sees, the `depth` of the
features, and the number of `labelled` boxes in a call.
"""

import json
import os
import types
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.data import input as input_lib
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import Proposals, TwoStageDetector, untouched
from context_rcnn.export.extractor import prepare_images
from context_rcnn.export.functions import save
from context_rcnn.tasks import features as task_features
from context_rcnn.tasks.loading import load_run

LABELLED = 16
"""Labelled boxes of an image in one call; an image that has more is looked at again."""
DESCRIPTION = "features.json"


class FeatureExtractor(tf.Module):
    """A detector up to its box features, with its preprocessing.

    Args:
        model: a built detector.
        config: settings of the detector.
    """

    def __init__(self, model: TwoStageDetector, config: configs.FasterRcnn):
        super().__init__(name="feature_extractor")
        if reason := task_features.why_not(model):
            raise ValueError(f"what this detector sees cannot be stored: {reason}")
        # Weights are saved, but not layers, which Keras would trace once more, one by one.
        self._weights = [*model.variables]
        self._untracked = types.SimpleNamespace(model=model, config=config)
        outputs = self.propose.get_concrete_function().structured_outputs
        description = {
            "hash": task_features.fingerprint(model, config),
            "depth": outputs["features"].shape[-1],
            "labelled": LABELLED,
        }
        # As text: a module wraps dicts in a type of its own.
        self._description = json.dumps(description)

    @property
    def description(self) -> dict[str, Any]:
        """Hash, depth of the features, and number of labelled boxes in a call."""
        return json.loads(self._description)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "encoded_images"),
            tf.TensorSpec([None, LABELLED, 4], tf.float32, "labelled_boxes"),
            tf.TensorSpec([], tf.bool, "mirrored"),
        ],
        autograph=False,
    )
    def propose(
        self, encoded_images: tf.Tensor, labelled_boxes: tf.Tensor, mirrored: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """What is seen of images; see the module."""
        model, config = self._untracked.model, self._untracked.config
        images, shapes = prepare_images(encoded_images, config.image_size, config.keep_aspect_ratio)
        images = tf.cond(mirrored, lambda: mirror(images, shapes), lambda: images)
        seen = model.look(images, shapes, training=False)
        sides = tf.tile(shapes, [1, 2])[:, None]
        boxes, scores, valid = seen.proposals[:3]
        all_boxes = tf.concat([boxes, labelled_boxes * sides], axis=1)
        there = tf.ones_like(all_boxes[..., 0])
        both = seen._replace(proposals=Proposals(all_boxes, there, there > 0))
        features = pool_boxes(model.features(both, training=False, port=untouched))
        features = tf.cast(features, tf.float32)
        count = model.proposal_count
        return {
            "features": tf.where(valid[..., None], features[:, :count], 0.0),
            "boxes": tf.where(valid[..., None], boxes / sides, 0.0),
            "scores": tf.where(valid, scores, 0.0),
            "labelled_features": features[:, count:],
        }


def mirror(images: tf.Tensor, shapes: tf.Tensor) -> tf.Tensor:
    """Mirrored images, with their padding in its place."""
    return tf.map_fn(
        lambda one: input_lib.flip_image(*one),
        (images, shapes),
        fn_output_signature=tf.TensorSpec(images.shape[1:], images.dtype),
    )


def export_features(model_dir: str, folder: str, checkpoint: str = "") -> Mapping[str, Any]:
    """Freezes the first part of the detector of a training run; returns its description.

    Args:
        model_dir: folder of the run, with its `params.yaml`.
        folder: folder to write.
        checkpoint: checkpoint to freeze; by default the best of the run, or else the latest.
    """
    trained = load_run(model_dir, checkpoint)
    config, model = trained.config, trained.model
    extractor = FeatureExtractor(model, config.task.model)
    save(extractor, folder, {"propose": extractor.propose})
    with tf.io.gfile.GFile(os.path.join(folder, DESCRIPTION), "w") as file:
        json.dump(extractor.description, file, indent=1)
    return extractor.description
