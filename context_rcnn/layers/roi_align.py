"""Crops of maps at boxes, with a sample in the middle of each part of a box."""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_aligner

from context_rcnn.layers.crop_and_resize import crop_and_resize


class RoiAlign(tf_keras.layers.Layer):
    """tf-models-official's `MultilevelROIAligner`, faster where there is one map.

    That gathers the four cells around each sample, and adds them up one by one for the gradient.

    Args:
        size: samples along each side of a crop.
    """

    def __init__(self, size: int, **kwargs):
        super().__init__(**kwargs)
        self._size = size
        self._of_levels = roi_aligner.MultilevelROIAligner(crop_size=size)

    def call(self, maps: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Returns crops [batch, boxes, size, size, channels].

        Args:
            maps: maps by level; that of level n has cells of 2 ** n pixels. Of several, each box
                has one, by its size.
            boxes: [batch, boxes, 4] in pixels within the image, y1 x1 y2 x2.
        """
        if len(maps) > 1:
            return self._of_levels(maps, boxes)
        ((level, cells),) = maps.items()
        # Beyond its last cell a map goes on as it ends.
        padded = tf.pad(cells, [[0, 0], [0, 1], [0, 1], [0, 0]], "SYMMETRIC")
        ends = tf.constant([*cells.shape[1:3]] * 2, tf.float32)
        boxes = tf.cast(boxes, tf.float32) / 2.0 ** int(level) / ends
        half = (boxes[..., 2:] - boxes[..., :2]) / (2 * self._size)
        middles = tf.concat([boxes[..., :2] + half, boxes[..., 2:] - half], axis=-1)
        return crop_and_resize(padded, middles, self._size)
