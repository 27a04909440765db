"""The first stage's last step where boxes are suppressed as they were decoded, and clipped later.

The library's generator clips first, so two boxes that reach out of the image become more alike
before they are compared. The Object Detection API compares first. What clipping has left without
area then takes the place of a proposal, and is dropped: there may be fewer than asked for.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.ops import box_ops, nms


class UnclippedProposer(tf_keras.layers.Layer):
    """Takes the place of tf-models-official's `MultilevelROIGenerator`.

    Args:
        pre_nms: number of best boxes per level that go into suppression; 0 for all.
        iou_threshold: IoU with a better box at which a box is suppressed.
        count: proposals per image.
    """

    def __init__(self, *, pre_nms: int, iou_threshold: float, count: int):
        super().__init__(name="unclipped_proposer")
        self._pre_nms, self._iou_threshold, self._count = pre_nms, iou_threshold, count

    def get_config(self) -> dict[str, Any]:
        return {
            "pre_nms": self._pre_nms,
            "iou_threshold": self._iou_threshold,
            "num_proposals": self._count,
        }

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
        levels = [
            self._suppressed(raw_boxes[level], raw_scores[level], anchor_boxes[level])
            for level in sorted(raw_scores)
        ]
        boxes, scores = (tf.concat(part, axis=1) for part in zip(*levels, strict=True))
        boxes = box_ops.clip_boxes(boxes, image_shape[:, None])
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = tf.where(tf.reduce_all(sides > 0.0, axis=-1), scores, 0.0)
        scores, best = tf.math.top_k(scores, min(self._count, scores.shape[1]))
        boxes = tf.where(scores[..., None] > 0.0, tf.gather(boxes, best, batch_dims=1), 0.0)
        missing = [[0, 0], [0, self._count - scores.shape[1]]]
        return tf.pad(boxes, [*missing, [0, 0]]), tf.pad(scores, missing)

    def _suppressed(
        self, offsets: tf.Tensor, logits: tf.Tensor, anchors: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What suppression keeps of a level, at most `count`, best first."""
        number = anchors.shape[1]
        scores = tf.sigmoid(tf.reshape(logits, [-1, number]))
        boxes = box_ops.decode_boxes(tf.reshape(offsets, [-1, number, 4]), anchors)
        boxes, scores = box_ops.top_k_boxes(boxes, scores, k=min(self._pre_nms or number, number))
        # The library takes a box without a positive coordinate for one that is suppressed.
        shift = 1.0 - tf.reduce_min(boxes, axis=[1, 2], keepdims=True)
        kept_scores, kept = nms.sorted_non_max_suppression_padded(
            scores,
            boxes + shift,
            max_output_size=min(self._count, number),
            iou_threshold=self._iou_threshold,
        )
        return kept - shift, kept_scores
