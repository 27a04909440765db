"""The two-stage detector: its pass, in two halves, and the two places where a memory may enter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras
from official.vision.ops import box_ops

from context_rcnn.detectors import stored, suppression, targets
from context_rcnn.detectors.anchors import flatten_anchors
from context_rcnn.detectors.backbones import normalize_images
from context_rcnn.detectors.heads import BoxHead, BoxPredictor
from context_rcnn.detectors.necks import Neck
from context_rcnn.detectors.proposers import Proposer

Tensors = dict[str, tf.Tensor]
Memory = Mapping[str, tf.Tensor] | None
# In place of a port of the detector, by those who want to see what passes it.
Port = Callable[..., Any]


class Proposals(NamedTuple):
    """The boxes the second stage looks at. Padding has `valid` False."""

    boxes: tf.Tensor  # float [batch, proposals, 4], y1 x1 y2 x2 in pixels of the resized image
    scores: tf.Tensor  # float [batch, proposals]
    valid: tf.Tensor  # bool [batch, proposals]
    remembered: tf.Tensor | None = None  # bool, a memory may hold them; None: the best ones

    def best(self, count: int | None) -> "Proposals":
        """The first boxes of each image; None for all."""
        return Proposals(*(part[:, :count] for part in self[:3]))


class Seen(NamedTuple):
    """What the first half of the pass has seen of images."""

    maps: Tensors  # by level, behind port 1 and the neck
    shapes: tf.Tensor  # [batch, 2], height and width of what is not padding
    proposals: Proposals
    rpn: Tensors  # `objectness` and `box_offsets` of all anchors; {} without a first stage


class Answer(NamedTuple):
    """The output of the second half for the proposals."""

    proposals: Proposals
    logits: tf.Tensor  # [batch, proposals, 1 + classes]
    offsets: tf.Tensor  # [batch, proposals, 4 * (1 + classes)], or 4 where all classes share them
    detections: Tensors  # see `TwoStageDetector.detect`


class IdentityPort(tf_keras.layers.Layer):
    """The port of a detector without memory: what comes in goes out."""

    per_channel = True

    def call(
        self, features, *, images=None, shapes=None, proposals=None, memory=None, training=None
    ):
        return features


def untouched(features, **_):
    """In place of a port: nothing is remembered."""
    return features


class TwoStageDetector(tf_keras.Model):
    """Faster R-CNN (arXiv 1506.01497) whose maps and box features pass through memory ports.

    The pass has two halves. `look` is what is seen of images: maps, port 1, proposals. `answer` is
    what is said of the proposals: box features, port 2, predictions, suppression. Whoever needs
    less calls a part: of the first half `maps_of` (up to port 1) and `seen_in` (what comes after
    it), of the second `features` (up to port 2), `conclude` (what comes after it) and `candidates`
    (all but suppression).

    The ports are layers, by default the identity:

        port 1  port(maps, images=, shapes=, memory=, training=)
        port 2  port(features, proposals=, memory=, training=)

    `memory` is the dict of tensors that the caller passes in. A port 2 that remembers the boxes of
    the images at hand says in `remembered_boxes` of how many (None for all); in training it gets as
    many of the best proposals besides those to learn from: these are drawn by their labels, and
    would tell it what it cannot know later. A port 2 that works on pooled features, and adds the
    same to all places of a channel, says so by `per_channel`: it can learn on stored images.

    In place of images, everything here takes stored ones (`stored`). They have no maps: port 1 and
    both stages up to the box features are left out, and `rpn` is empty.

    Args:
        backbone: images [batch, height, width, 3] to a dict of maps by level.
        decoder: a pyramid on those maps, or None.
        neck: layers before port 1 and behind it, or None.
        rpn_head: maps to objectness and offsets by level; None if proposals are given.
        anchors: [rows, columns, anchors * 4] by level; none if proposals are given.
        clip_anchors_to: height and width to which anchors are clipped before they are decoded, or
            None.
        proposer: decodes, suppresses and keeps the best proposals; not used if they are given.
        box_head: crops and second-stage features.
        box_predictor: scores, and offsets of each class or of all.
        detection: arguments of `suppression.best_detections`.
        proposal_sampling: arguments of `targets.proposal_targets`.
        map_memory: port 1, on feature maps.
        box_memory: port 2, on box features.
        memory_on_crops: port 2 comes before the second stage's features, on the crops.
        pool_before_memory: the crops that port 2 works on are pooled to 7x7 already.
        suppress_unclipped: detections are suppressed as they were decoded, and clipped later.
        best_class_only: a box is detected only as its best class.
    """

    def __init__(
        self,
        *,
        backbone: tf_keras.Model,
        decoder: tf_keras.Model | None,
        neck: Neck | None = None,
        rpn_head: tf_keras.layers.Layer | None,
        anchors: Mapping[str, tf.Tensor],
        clip_anchors_to: Sequence[int] | None = None,
        proposer: Proposer,
        box_head: BoxHead,
        box_predictor: BoxPredictor,
        detection: Mapping[str, Any],
        proposal_sampling: Mapping[str, Any],
        map_memory: tf_keras.layers.Layer | None = None,
        box_memory: tf_keras.layers.Layer | None = None,
        memory_on_crops: bool = False,
        pool_before_memory: bool = False,
        suppress_unclipped: bool = False,
        best_class_only: bool = False,
        **kwargs,
    ):
        # Keras would round stored images, which are no pixels, under a policy of mixed precision.
        super().__init__(autocast=False, **kwargs)
        self.backbone = backbone
        self.decoder = decoder
        self.neck = neck
        self.rpn_head = rpn_head
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.map_memory = map_memory or IdentityPort(name="map_memory")
        self.box_memory = box_memory or IdentityPort(name="box_memory")
        self.memory_on_crops = memory_on_crops
        self._pool_before_memory = pool_before_memory
        self._suppress_unclipped = suppress_unclipped
        self._best_class_only = best_class_only
        self._clip_anchors_to = clip_anchors_to
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
        memory: Memory = None,
        training: bool | None = None,
        given: Proposals | None = None,
    ) -> dict[str, Any]:
        """Detects objects, or learns to.

        Args:
            images: RGB in 0..255, [batch, height, width, 3], padded at the bottom and right; or
                stored images.
            image_shape: [batch, 2], height and width of the part that is not padding.
            groundtruth: `boxes` [batch, gt, 4] in pixels, `classes` [batch, gt] from 1,
                `valid` [batch, gt]; in training, the proposals to learn from are drawn with it.
            memory: tensors for the ports.
            training: whether to use batch statistics.
            given: proposals of another detector, for one without a first stage.

        Returns:
            `rpn`, `class_logits` and `box_offsets`; with groundtruth `targets`, what else the
            losses need; without, the detections (see `detect`).
        """
        if groundtruth is not None:
            return self.learn(images, image_shape, groundtruth, memory, training, given)
        seen = self.look(images, image_shape, memory, training, given=given)
        answer = self.answer(seen, memory, training)
        raw = {"class_logits": answer.logits, "box_offsets": answer.offsets}
        return {"rpn": seen.rpn} | raw | answer.detections

    def look(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Memory = None,
        training: bool | None = None,
        port: Port | None = None,
        given: Proposals | None = None,
    ) -> Seen:
        """The first half: maps, port 1, first stage.

        Args:
            images, shapes: the same as in `call`.
            memory: tensors for port 1.
            training: whether to use batch statistics.
            port: is called in place of port 1.
            given: proposals of another detector, for one without a first stage.
        """
        if stored.is_stored(images):
            return self._look_at_stored(images, shapes)
        if (given is None) == (self.rpn_head is None):
            raise ValueError(
                "a detector whose model.proposals.source is given needs proposals with its images, "
                "and no other takes them"
            )
        maps = self.maps_of(images, training)
        recall = port or self.map_memory
        maps = recall(maps, images=images, shapes=shapes, memory=memory, training=training)
        return self.seen_in(maps, shapes, training, given)

    def maps_of(self, images: tf.Tensor, training: bool | None = None) -> Tensors:
        """The beginning of `look`: maps by level, as port 1 gets them."""
        maps = self.backbone(normalize_images(images), training=training)
        if self.decoder:
            maps = self.decoder(maps, training=training)
        if self.neck:
            maps = self.neck.before(maps, training=training)
        return maps

    def seen_in(
        self,
        maps: Tensors,
        shapes: tf.Tensor,
        training: bool | None = None,
        given: Proposals | None = None,
    ) -> Seen:
        """The end of `look`: what there is in maps that come out of port 1."""
        if self.neck:
            maps = self.neck(maps, training=training)
        if given is not None:
            return Seen(maps, shapes, given, {})
        proposals, rpn = self.propose(maps, shapes, training)
        return Seen(maps, shapes, proposals, rpn)

    def answer(
        self,
        seen: Seen,
        memory: Memory = None,
        training: bool | None = None,
        port: Port | None = None,
    ) -> Answer:
        """The second half: box features, port 2, predictions, suppression.

        Args:
            seen: the result of `look`.
            memory: tensors for port 2.
            training: whether to use batch statistics.
            port: is called in place of port 2.
        """
        features = self.features(seen, memory, training, port)
        return self.conclude(features, seen.proposals, seen.shapes)

    def learn(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        groundtruth: Mapping[str, tf.Tensor],
        memory: Memory = None,
        training: bool | None = None,
        given: Proposals | None = None,
    ) -> dict[str, Any]:
        """The pass on proposals that are drawn by their labels; see `call`."""
        seen = self.look(images, shapes, memory, training, given=given)
        drawn, drawn_targets = self.sample(seen.proposals, groundtruth)
        best = seen.proposals.best(getattr(self.box_memory, "remembered_boxes", 0))
        both = seen._replace(proposals=_beside(drawn, best))
        features = self.features(both, memory, training)[:, : drawn.boxes.shape[1]]
        logits, offsets = self.box_predictor(features)
        return {
            "rpn": seen.rpn,
            "targets": drawn_targets,
            "class_logits": logits,
            "box_offsets": offsets,
        }

    def features(
        self,
        seen: Seen,
        memory: Memory = None,
        training: bool | None = None,
        port: Port | None = None,
    ) -> tf.Tensor:
        """Second-stage features [batch, proposals, 7, 7, depth], behind port 2."""
        port = port or self.box_memory

        def recall(features):
            return port(features, proposals=seen.proposals, memory=memory, training=training)

        if "stored_features" in seen.maps:
            known, at = seen.maps["stored_features"], seen.maps["stored_boxes"]
            return recall(stored.crop(known, at, seen.proposals.boxes))
        crops = self.box_head.crop(seen.maps, seen.proposals.boxes)
        if self.memory_on_crops:
            if self._pool_before_memory:
                crops = self.box_head.pool(crops)
            return self.box_head(recall(crops), training=training)
        return recall(self.box_head(crops, training=training))

    def conclude(self, features: tf.Tensor, proposals: Proposals, shapes: tf.Tensor) -> Answer:
        """Predictions and suppression, of features that are through with port 2."""
        logits, offsets = self.box_predictor(features)
        return Answer(proposals, logits, offsets, self.detect(logits, offsets, proposals, shapes))

    def candidates(
        self, seen: Seen, memory: Memory = None, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The second half up to suppression; returns what `scored` does."""
        logits, offsets = self.box_predictor(self.features(seen, memory, training))
        return self.scored(logits, offsets, seen.proposals, seen.shapes)

    def propose(
        self, maps: Tensors, shapes: tf.Tensor, training: bool | None
    ) -> tuple[Proposals, Tensors]:
        """First stage. Returns proposals, and the raw objectness and offsets of all anchors."""
        if self.rpn_head is None:
            raise ValueError("this detector has no first stage: its proposals are given")
        logits, offsets = self.rpn_head(maps, training=training)
        logits = {level: tf.cast(value, tf.float32) for level, value in logits.items()}
        offsets = {level: tf.cast(value, tf.float32) for level, value in offsets.items()}
        batch = tf.shape(shapes)[0]
        anchors = {}
        for level, anchor in self._anchors:
            boxes = tf.reshape(anchor, [1, -1, 4])
            if self._clip_anchors_to is not None:
                boxes = box_ops.clip_boxes(boxes, [float(side) for side in self._clip_anchors_to])
            anchors[level] = tf.broadcast_to(boxes, [batch, anchor.size // 4, 4])
        boxes, scores = self._proposer(
            offsets, logits, anchors, tf.cast(shapes, tf.float32), training=training
        )
        boxes, scores = tf.stop_gradient(boxes), tf.stop_gradient(scores)
        rpn = {
            "objectness": tf.concat([_flatten(logits[k], 1) for k in sorted(logits)], axis=1)[
                ..., 0
            ],
            "box_offsets": tf.concat([_flatten(offsets[k], 4) for k in sorted(offsets)], axis=1),
        }
        return _with_validity(boxes, scores), rpn

    def _look_at_stored(self, images: tf.Tensor, shapes: tf.Tensor) -> Seen:
        """The first half, of stored images."""
        features, boxes, scores = stored.split(images)
        count = self.proposal_count
        proposals = _with_validity(boxes[:, :count], scores[:, :count])
        features = tf.cast(features, self.box_head.compute_dtype)
        maps = {"stored_features": features, "stored_boxes": boxes}
        return Seen(maps, shapes, proposals, {})

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
        boxes, scores = self.scored(class_logits, box_offsets, proposals, image_shape)
        return self.best(boxes, scores, image_shape)

    def scored(
        self,
        class_logits: tf.Tensor,
        box_offsets: tf.Tensor,
        proposals: Proposals,
        image_shape: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes before suppression, without background.

        Returns:
            Boxes [batch, proposals, classes, 4], clipped unless that comes after suppression, and
            scores [batch, proposals, classes].
        """
        boxes = self.class_boxes(box_offsets, proposals, class_logits.shape[-1] - 1)
        if not self._suppress_unclipped:
            boxes = box_ops.clip_boxes(boxes, tf.cast(image_shape, tf.float32)[:, None, None])
        # An invalid proposal is all background.
        scores = tf.where(proposals.valid[..., None], tf.nn.softmax(class_logits)[..., 1:], 0.0)
        if self._best_class_only:
            best = scores == tf.reduce_max(scores, axis=-1, keepdims=True)
            scores = tf.where(best, scores, 0.0)
        return boxes, scores

    def best(
        self, boxes: tf.Tensor, scores: tf.Tensor, image_shape: tf.Tensor | None = None
    ) -> Tensors:
        """Detections, see `detect`, of what `scored` returns; of several passes, if one likes.

        Args:
            boxes, scores: the result of `scored`.
            image_shape: [batch, 2], for a detector that clips boxes after suppression.
        """
        clip_to = self._late_clipping(image_shape)
        best = suppression.best_detections(boxes, scores, clip_to=clip_to, **self._detection)
        return _detections(*best)

    def _late_clipping(self, image_shape: tf.Tensor | None) -> tf.Tensor | None:
        """The shapes to clip to after suppression; None where that is done before."""
        if not self._suppress_unclipped:
            return None
        if image_shape is None:
            raise ValueError(
                "model.detections.suppress_unclipped: this memory joins boxes of several passes, "
                "which have to be clipped before suppression"
            )
        return image_shape

    def best_labelled(self, boxes: tf.Tensor, scores: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """Detections, see `detect`, of boxes that have one class each.

        Args:
            boxes: [batch, n, 4].
            scores: [batch, n].
            labels: int32 [batch, n], from 0.
        """
        self._late_clipping(None)
        best = suppression.best_labelled(boxes, scores, labels, **self._detection)
        return _detections(*best)

    def class_boxes(self, box_offsets: tf.Tensor, proposals: Proposals, classes: int) -> tf.Tensor:
        """Boxes [batch, proposals, classes, 4] of the classes without background, not clipped."""
        offsets = by_class(box_offsets, classes + 1)[:, :, 1:]
        at = tf.repeat(proposals.boxes[:, :, None], classes, axis=2)
        return box_ops.decode_boxes(offsets, at, weights=self._offset_weights)

    @property
    def proposal_count(self) -> int:
        """Proposals an image, padding included."""
        return self._proposer.count

    @property
    def detection_count(self) -> int:
        """Detections an image, padding included."""
        return self._detection["count"]

    @property
    def anchors(self) -> tf.Tensor:
        """All anchors [anchors, 4], in the order of the first stage's outputs."""
        return flatten_anchors(dict(self._anchors))


def _detections(
    boxes: tf.Tensor, scores: tf.Tensor, labels: tf.Tensor, number: tf.Tensor
) -> Tensors:
    kept = tf.range(scores.shape[1])[None] < number[:, None]
    return {
        "detection_boxes": boxes,
        "detection_scores": tf.where(kept, scores, -1.0),
        "detection_classes": tf.where(kept, labels + 1, 0),
        "num_detections": number,
    }


def by_class(box_offsets: tf.Tensor, classes: int) -> tf.Tensor:
    """Offsets [batch, boxes, classes, 4] of flat ones; all classes may share them."""
    if box_offsets.shape[-1] == 4:
        return tf.repeat(box_offsets[:, :, None], classes, axis=2)
    return tf.reshape(box_offsets, [-1, box_offsets.shape[1], classes, 4])


def find_origin(answer: Answer) -> tf.Tensor:
    """Which proposal became each detection, int32 [images, detections]."""
    # Suppression keeps scores as they are: a detection's is that of its proposal and class.
    found, scores = answer.detections, tf.transpose(tf.nn.softmax(answer.logits), [0, 2, 1])
    scores = tf.gather(scores, found["detection_classes"], batch_dims=1)
    scores = tf.where(answer.proposals.valid[:, None], scores, -2.0)
    off = tf.abs(scores - found["detection_scores"][..., None])
    return tf.argmin(off, axis=-1, output_type=tf.int32)


def _with_validity(boxes: tf.Tensor, scores: tf.Tensor) -> Proposals:
    """Boxes of the first stage; those without area or score are padding."""
    side = boxes[..., 2:] - boxes[..., :2]
    return Proposals(boxes, scores, tf.reduce_all(side > 0.0, axis=-1) & (scores > 0.0))


def _beside(drawn: Proposals, best: Proposals) -> Proposals:
    """The boxes to learn from, and behind them those that a memory may hold."""
    if not best.boxes.shape[1]:
        return drawn
    flagged = (
        drawn._replace(remembered=tf.zeros_like(drawn.valid)),
        best._replace(remembered=tf.ones_like(best.valid)),
    )
    return Proposals(*(tf.concat(parts, axis=1) for parts in zip(*flagged, strict=True)))


def _flatten(maps: tf.Tensor, depth: int) -> tf.Tensor:
    """[batch, rows, columns, anchors * depth] to [batch, rows * columns * anchors, depth]."""
    _, rows, columns, channels = maps.shape
    return tf.reshape(maps, [-1, rows * columns * channels // depth, depth])
