"""The two-stage detector, with the two places where a memory may enter."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_generator
from official.vision.ops import box_ops

from context_rcnn.detectors import suppression, targets
from context_rcnn.detectors.anchors import flatten_anchors
from context_rcnn.detectors.backbones import normalize_images
from context_rcnn.detectors.heads import BoxHead, BoxPredictor


class Proposals(NamedTuple):
    """The boxes the second stage looks at. Padding has `valid` False."""

    boxes: tf.Tensor  # float [batch, proposals, 4], y1 x1 y2 x2 in pixels of the resized image
    scores: tf.Tensor  # float [batch, proposals]
    valid: tf.Tensor  # bool [batch, proposals]
    remembered: tf.Tensor | None = None  # bool, a memory may hold them; None: the best ones


class IdentityPort(tf_keras.layers.Layer):
    """The port of a detector without memory: what comes in goes out."""

    def call(self, features, *, proposals=None, memory=None, training=None):
        return features


class TwoStageDetector(tf_keras.Model):
    """Faster R-CNN (arXiv 1506.01497) whose maps and box features pass through memory ports.

    A port is a layer called as `port(features, proposals=..., memory=..., training=...)`; `memory`
    is whatever dict of tensors the caller passes in. Both ports are the identity by default. A box
    port that remembers the boxes of the images at hand says in `remembered_boxes` of how many (None
    for all); in training it is given as many of the best proposals besides those to learn from:
    these are drawn by their labels, and would tell it what it cannot know later.

    Args:
        backbone: images [batch, height, width, 3] to a dict of maps by level.
        decoder: a pyramid on those maps, or None.
        rpn_head: maps to objectness and offsets by level.
        anchors: [rows, columns, anchors * 4] by level.
        proposer: decodes, suppresses and keeps the best proposals.
        box_head: crops and second-stage features.
        box_predictor: scores and offsets.
        detection: arguments of `suppression.best_detections`.
        proposal_sampling: arguments of `targets.proposal_targets`.
        map_memory: the port on feature maps.
        box_memory: the port on box features.
        memory_on_crops: the box port comes before the second stage's features, on the crops.

    Attributes:
        clip_frames: frames of a clip of which the first alone teaches.
    """

    clip_frames = 1

    def __init__(
        self,
        *,
        backbone: tf_keras.Model,
        decoder: tf_keras.Model | None,
        rpn_head: tf_keras.layers.Layer,
        anchors: Mapping[str, tf.Tensor],
        proposer: roi_generator.MultilevelROIGenerator,
        box_head: BoxHead,
        box_predictor: BoxPredictor,
        detection: Mapping[str, Any],
        proposal_sampling: Mapping[str, Any],
        map_memory: tf_keras.layers.Layer | None = None,
        box_memory: tf_keras.layers.Layer | None = None,
        memory_on_crops: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.decoder = decoder
        self.rpn_head = rpn_head
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.map_memory = map_memory or IdentityPort(name="map_memory")
        self.box_memory = box_memory or IdentityPort(name="box_memory")
        self._memory_on_crops = memory_on_crops
        self._proposer = proposer
        self._detection = dict(detection)
        # Kept in a tuple of plain arrays, so that Keras does not take the anchors for weights.
        self._anchors = tuple((level, tf.get_static_value(a)) for level, a in anchors.items())
        self._proposal_sampling = dict(proposal_sampling)
        self._offset_weights = list(proposal_sampling["box_weights"])

    def call(
        self,
        images: tf.Tensor,
        image_shape: tf.Tensor,
        groundtruth: Mapping[str, tf.Tensor] | None = None,
        memory: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Detects objects.

        Args:
            images: RGB in 0..255, [batch, height, width, 3], padded at the bottom and right.
            image_shape: [batch, 2], height and width of the part that is not padding.
            groundtruth: `boxes` [batch, gt, 4] in pixels, `classes` [batch, gt] from 1,
                `valid` [batch, gt]; in training, the proposals to learn from are drawn with it.
            memory: tensors for the ports.
            training: whether to use batch statistics and return what the losses need.
        """
        outputs = {}
        maps = self.maps(images, training=training)
        maps = self.map_memory(maps, memory=memory, training=training)
        proposals, outputs["rpn"] = self.propose(maps, image_shape, training=training)
        if groundtruth is None:
            boxes = self.box_features(maps, proposals, memory, training=training)
        else:
            remembered = getattr(self.box_memory, "remembered_boxes", 0)
            best = tuple(part[:, :remembered] for part in proposals[:3])
            proposals, outputs["targets"] = self.sample(proposals, groundtruth)
            boxes = self.box_features(maps, _beside(proposals, best), memory, training=training)
            boxes = boxes[:, : proposals.boxes.shape[1]]
        outputs["class_logits"], outputs["box_offsets"] = self.box_predictor(boxes)
        if not training:
            outputs |= self.detect(
                outputs["class_logits"], outputs["box_offsets"], proposals, image_shape
            )
        return outputs

    def maps(self, images: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns feature maps by level."""
        maps = self.backbone(normalize_images(images), training=training)
        return self.decoder(maps, training=training) if self.decoder else maps

    def propose(
        self, maps: Mapping[str, tf.Tensor], image_shape: tf.Tensor, training: bool | None = None
    ) -> tuple[Proposals, dict[str, tf.Tensor]]:
        """First stage. Returns proposals, and the raw objectness and offsets of all anchors."""
        logits, offsets = self.rpn_head(maps, training=training)
        logits = {level: tf.cast(value, tf.float32) for level, value in logits.items()}
        offsets = {level: tf.cast(value, tf.float32) for level, value in offsets.items()}
        batch = tf.shape(image_shape)[0]
        anchors = {
            level: tf.broadcast_to(tf.reshape(anchor, [1, -1, 4]), [batch, anchor.size // 4, 4])
            for level, anchor in self._anchors
        }
        boxes, scores = self._proposer(
            offsets, logits, anchors, tf.cast(image_shape, tf.float32), training=training
        )
        boxes, scores = tf.stop_gradient(boxes), tf.stop_gradient(scores)
        side = boxes[..., 2:] - boxes[..., :2]
        valid = tf.reduce_all(side > 0.0, axis=-1) & (scores > 0.0)
        rpn = {
            "objectness": tf.concat([_flatten(logits[k], 1) for k in sorted(logits)], axis=1)[
                ..., 0
            ],
            "box_offsets": tf.concat([_flatten(offsets[k], 4) for k in sorted(offsets)], axis=1),
        }
        return Proposals(boxes, scores, valid), rpn

    def sample(
        self, proposals: Proposals, groundtruth: Mapping[str, tf.Tensor]
    ) -> tuple[Proposals, targets.ProposalTargets]:
        """Draws the proposals that the second stage learns from."""
        drawn = targets.proposal_targets(
            proposals.boxes,
            proposals.valid,
            groundtruth["boxes"],
            groundtruth["classes"],
            groundtruth["valid"],
            **self._proposal_sampling,
        )
        return Proposals(drawn.boxes, tf.ones_like(drawn.boxes[..., 0]), drawn.valid), drawn

    def box_features(
        self,
        maps: Mapping[str, tf.Tensor],
        proposals: Proposals,
        memory: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
        port: Callable[..., tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Returns second-stage features [batch, proposals, 7, 7, depth], memories added.

        `port` is called in place of `box_memory`, by those who want to see what passes it.
        """
        recall = functools.partial(
            port or self.box_memory, proposals=proposals, memory=memory, training=training
        )
        crops = self.box_head.crop(maps, proposals.boxes)
        if self._memory_on_crops:
            return self.box_head(recall(crops), training=training)
        return recall(self.box_head(crops, training=training))

    def detect(
        self,
        class_logits: tf.Tensor,
        box_offsets: tf.Tensor,
        proposals: Proposals,
        image_shape: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Returns `detection_boxes`, `detection_scores`, `detection_classes`, `num_detections`.

        Rows past `num_detections` have score -1 and a box of zeros.
        """
        classes = class_logits.shape[-1]
        offsets = tf.reshape(box_offsets, [-1, box_offsets.shape[1], classes, 4])[:, :, 1:]
        at = tf.repeat(proposals.boxes[:, :, None], classes - 1, axis=2)
        boxes = box_ops.decode_boxes(offsets, at, weights=self._offset_weights)
        boxes = box_ops.clip_boxes(boxes, tf.cast(image_shape, tf.float32)[:, None, None])
        # An invalid proposal is all background.
        scores = tf.where(proposals.valid[..., None], tf.nn.softmax(class_logits)[..., 1:], 0.0)
        boxes, scores, labels, number = suppression.best_detections(
            boxes, scores, **self._detection
        )
        kept = tf.range(scores.shape[1])[None] < number[:, None]
        return {
            "detection_boxes": boxes,
            "detection_scores": tf.where(kept, scores, -1.0),
            "detection_classes": tf.where(kept, labels + 1, 0),
            "num_detections": number,
        }

    @property
    def proposal_count(self) -> int:
        """Proposals an image, padding included."""
        return self._proposer.get_config()["num_proposals"]

    @property
    def anchors(self) -> tf.Tensor:
        """All anchors [anchors, 4], in the order of the first stage's outputs."""
        return flatten_anchors(dict(self._anchors))


def _beside(drawn: Proposals, best: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> Proposals:
    """The boxes to learn from, and behind them those that a memory may hold."""
    if not best[0].shape[1]:
        return drawn
    both = [tf.concat(parts, axis=1) for parts in zip(drawn[:3], best, strict=True)]
    flags = [tf.zeros_like(drawn.valid), tf.ones_like(best[2])]
    return Proposals(*both, remembered=tf.concat(flags, axis=1))


def _flatten(maps: tf.Tensor, depth: int) -> tf.Tensor:
    """[batch, rows, columns, anchors * depth] to [batch, rows * columns * anchors, depth]."""
    _, rows, columns, channels = maps.shape
    return tf.reshape(maps, [-1, rows * columns * channels // depth, depth])
