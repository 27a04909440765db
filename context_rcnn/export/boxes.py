"""What an embedding network sees in the boxes of another detector, as a SavedModel.

It fills banks as an extractor does (`export.extractor`) and stores as a detector does
(`export.features`), but the boxes come with the images:

    extract(encoded_images, proposals, proposal_scores)
    propose(encoded_images, labelled_boxes, mirrored, proposals, proposal_scores)

Proposals are float32 [n, any number, 4], y1 x1 y2 x2 from 0 to 1, and their scores [n, any number];
boxes without area are padding, and the best `given` of an image are looked at. Outputs are those of
the other two. Beside it are `extractor.json` and `features.json`, where `given` is not 0.
"""

import json
import os
import types
from typing import Any

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.data.proposals import best_proposals
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import Proposals, untouched
from context_rcnn.export import extractor as extractors
from context_rcnn.export import features as feature_extractors
from context_rcnn.export.extractor import prepare_images
from context_rcnn.export.functions import save
from context_rcnn.tasks.features import fingerprint

SOURCE = "boxes of another detector"
CLASSES = {"1": "animal"}

_ENCODED = tf.TensorSpec([None], tf.string, "encoded_images")
_GIVEN = (
    tf.TensorSpec([None, None, 4], tf.float32, "proposals"),
    tf.TensorSpec([None, None], tf.float32, "proposal_scores"),
)
_LABELLED = tf.TensorSpec([None, feature_extractors.LABELLED, 4], tf.float32, "labelled_boxes")
_MIRRORED = tf.TensorSpec([], tf.bool, "mirrored")


class BoxEmbedder(tf.Module):
    """An embedding network with the preprocessing of images and boxes.

    Args:
        config: settings of a detector of the kind `embedder`.
    """

    def __init__(self, config: configs.FasterRcnn):
        super().__init__(name="box_embedder")
        model = build_faster_rcnn(config.replace(num_classes=1))
        # Weights are saved, but not layers, which Keras would trace once more, one by one.
        self._weights = list(model.box_head.embedder_variables)
        self._untracked = types.SimpleNamespace(model=model, config=config)
        outputs = self.extract.get_concrete_function().structured_outputs
        self.hash = tf.Variable(fingerprint(model, config), trainable=False)
        self._depth = outputs["features"].shape[-1]

    def describe_extractor(self) -> dict[str, Any]:
        """What `extractor.json` says."""
        config = self._untracked.config
        return {
            "source": SOURCE,
            "max_boxes": config.proposals.count,
            "given": config.proposals.count,
            "image_size": list(config.image_size),
            "keep_aspect_ratio": config.keep_aspect_ratio,
            "classes": CLASSES,
            "depth": self._depth,
            "hash": self.hash.numpy().decode(),
        }

    def describe_features(self) -> dict[str, Any]:
        """What `features.json` says."""
        return {
            "hash": self.hash.numpy().decode(),
            "depth": self._depth,
            "labelled": feature_extractors.LABELLED,
            "given": self._untracked.config.proposals.count,
        }

    @tf.function(input_signature=(_ENCODED, *_GIVEN), autograph=False)
    def extract(
        self, encoded_images: tf.Tensor, proposals: tf.Tensor, proposal_scores: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The best boxes of each image for a bank; see the module."""
        images, shapes = self._prepare(encoded_images)
        return self.extract_from_images(
            images, shapes, self._best(proposals, proposal_scores, shapes)
        )

    def extract_from_images(
        self, images: tf.Tensor, shapes: tf.Tensor, given: Proposals
    ) -> dict[str, tf.Tensor]:
        """The same for images that are resized already, with boxes in their pixels."""
        sides, valid = tf.tile(shapes, [1, 2])[:, None], given.valid
        features = self._features(images, shapes, given.boxes)
        return {
            "features": tf.where(valid[..., None], features, 0.0),
            "boxes": tf.where(valid[..., None], given.boxes / sides, 0.0),
            "scores": tf.where(valid, given.scores, -1.0),
            "classes": tf.cast(valid, tf.int32),
        }

    @tf.function(input_signature=(_ENCODED, _LABELLED, _MIRRORED, *_GIVEN), autograph=False)
    def propose(
        self,
        encoded_images: tf.Tensor,
        labelled_boxes: tf.Tensor,
        mirrored: tf.Tensor,
        proposals: tf.Tensor,
        proposal_scores: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """What is seen of the given and the labelled boxes; see the module."""
        images, shapes = self._prepare(encoded_images)
        flipped = feature_extractors.mirror(images, shapes)
        images = tf.where(mirrored, flipped, images)
        best = self._best(proposals, proposal_scores, shapes)
        sides = tf.tile(shapes, [1, 2])[:, None]
        features = self._features(
            images, shapes, tf.concat([best.boxes, labelled_boxes * sides], axis=1)
        )
        count, valid = self._untracked.config.proposals.count, best.valid
        return {
            "features": tf.where(valid[..., None], features[:, :count], 0.0),
            "boxes": tf.where(valid[..., None], best.boxes / sides, 0.0),
            "scores": tf.where(valid, best.scores, 0.0),
            "labelled_features": features[:, count:],
        }

    def _prepare(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        config = self._untracked.config
        return prepare_images(encoded, config.image_size, config.keep_aspect_ratio)

    def _best(self, boxes: tf.Tensor, scores: tf.Tensor, shapes: tf.Tensor) -> Proposals:
        best = best_proposals(boxes, scores, shapes, self._untracked.config.proposals.count)
        return Proposals(*(best[f"proposal{part}"] for part in ("s", "_scores", "_valid")))

    def _features(self, images: tf.Tensor, shapes: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        model, there = self._untracked.model, tf.ones_like(boxes[..., 0])
        given = Proposals(boxes, there, there > 0)
        seen = model.look(images, shapes, training=False, given=given)
        return tf.cast(pool_boxes(model.features(seen, training=False, port=untouched)), tf.float32)


def settings_of(embedder: str, image_size: tuple[int, int], boxes: int) -> configs.FasterRcnn:
    """Settings of a detector that names given boxes by what a network sees in them."""
    return configs.FasterRcnn(
        image_size=list(image_size),
        keep_aspect_ratio=True,
        backbone=configs.Backbone(kind="embedder", embedder=embedder),
        proposals=configs.Proposals(source="given", count=boxes),
    )


def export_boxes(
    embedder: str, folder: str, image_size: tuple[int, int], boxes: int
) -> dict[str, Any]:
    """Freezes a network for the boxes of another detector; returns what extractor.json says.

    Args:
        embedder: folder of the network's SavedModel, see `detectors.embedder`.
        folder: folder to write.
        image_size: height and width into which images are fitted before they are cropped.
        boxes: number of boxes of an image to look at, best first.
    """
    module = BoxEmbedder(settings_of(embedder, image_size, boxes))
    functions = {"extract": module.extract, "propose": module.propose}
    save(module, folder, functions)
    described = module.describe_extractor()
    for name, content in (
        (feature_extractors.DESCRIPTION, module.describe_features()),
        (extractors.DESCRIPTION, described),
    ):
        with tf.io.gfile.GFile(os.path.join(folder, name), "w") as file:
            json.dump(content, file, indent=1)
    return described
