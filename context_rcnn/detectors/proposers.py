"""The first stage's last step: from scores and offsets of anchors to proposals.

Boxes are clipped to the image and then suppressed, as tf-models-official's generator does. The
Object Detection API suppresses first: two boxes that reach out of the image become more alike if
they are clipped before they are compared. What clipping has left without area then takes the place
of a proposal, and is dropped: there may be fewer than asked for.
"""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras
from official.vision.ops import box_ops

from context_rcnn.detectors.suppression import best_boxes

SMALLEST = 1.0  # side in pixels that a proposal must exceed, where clipping comes first


class Proposer(tf_keras.layers.Layer):
    """The best boxes of all levels.

    Attributes:
        count: proposals per image.

    Args:
        pre_nms: number of best boxes per level that go into suppression; 0 for all.
        iou_threshold: IoU with a better box at which a box is suppressed.
        count: proposals per image.
        clips_first: whether boxes are clipped before they are compared.
    """

    def __init__(self, *, pre_nms: int, iou_threshold: float, count: int, clips_first: bool = True):
        super().__init__(name="proposer")
        self._pre_nms, self._iou_threshold, self.count = pre_nms, iou_threshold, count
        self._clips_first = clips_first

    def call(
        self,
        raw_boxes: Mapping[str, tf.Tensor],
        raw_scores: Mapping[str, tf.Tensor],
        anchor_boxes: Mapping[str, tf.Tensor],
        image_shape: tf.Tensor,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes [batch, count, 4] and scores [batch, count], best first; zeros behind them.

        Args:
            raw_boxes: offsets [batch, rows, columns, anchors * 4] by level.
            raw_scores: logits [batch, rows, columns, anchors] by level.
            anchor_boxes: [batch, rows * columns * anchors, 4] by level.
            image_shape: [batch, 2], height and width to which boxes are clipped.
            training: not used.
        """
        shape = image_shape[:, None]
        levels = [
            self._suppressed(raw_boxes[level], raw_scores[level], anchor_boxes[level], shape)
            for level in sorted(raw_scores)
        ]
        boxes, scores = (tf.concat(part, axis=1) for part in zip(*levels, strict=True))
        if not self._clips_first:
            boxes = box_ops.clip_boxes(boxes, shape)
            sides = boxes[..., 2:] - boxes[..., :2]
            scores = tf.where(tf.reduce_all(sides > 0.0, axis=-1), scores, 0.0)
        scores, best = tf.math.top_k(scores, min(self.count, scores.shape[1]))
        boxes = tf.where(scores[..., None] > 0.0, tf.gather(boxes, best, batch_dims=1), 0.0)
        missing = [[0, 0], [0, self.count - scores.shape[1]]]
        return tf.pad(boxes, [*missing, [0, 0]]), tf.pad(scores, missing)

    def _suppressed(
        self, offsets: tf.Tensor, logits: tf.Tensor, anchors: tf.Tensor, shape: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What suppression keeps of a level, at most `count`, best first."""
        number = anchors.shape[1]
        scores = tf.sigmoid(tf.reshape(logits, [-1, number]))
        boxes = box_ops.decode_boxes(tf.reshape(offsets, [-1, number, 4]), anchors)
        if self._clips_first:
            boxes = box_ops.clip_boxes(boxes, shape)
            # What clipping has left without area must not take the place of a proposal.
            boxes, scores = box_ops.filter_boxes(boxes, scores, shape, SMALLEST)
        boxes, scores = box_ops.top_k_boxes(boxes, scores, k=min(self._pre_nms or number, number))
        return best_boxes(
            boxes, scores, iou_threshold=self._iou_threshold, count=min(self.count, boxes.shape[1])
        )
