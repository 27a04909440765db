"""The second stage of R-FCN (arXiv 1605.06409): every layer is a convolution of the whole map."""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from context_rcnn.detectors.heads import BoxHead, BoxPredictor, pool_boxes
from context_rcnn.layers.position_sensitive import BINS, position_sensitive_pool

_STRIDE = 16


class PositionSensitiveHead(BoxHead):
    """Maps of scores and offsets for each of k x k places within a box, pooled at the boxes.

    What it returns of a box are its scores and offsets already, so there are no features that a
    memory could hold.

    Args:
        num_classes: number of classes without background.
        class_agnostic: whether all classes share the offsets of a box.
        bins: places along each side of a box, k.
        exact: whether a place ends where the box says, rather than with whole cells.
        regularizer: regularizer of the kernels.
    """

    has_vectors = False

    def __init__(
        self,
        num_classes: int,
        *,
        class_agnostic: bool,
        bins: int = BINS,
        exact: bool = False,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)

        def maps(name: str, of_bin: int) -> tf_keras.layers.Conv2D:
            return tf_keras.layers.Conv2D(
                bins * bins * of_bin,
                1,
                kernel_initializer=tf_keras.initializers.RandomNormal(stddev=0.01),
                kernel_regularizer=regularizer,
                name=name,
            )

        self._bins, self._exact = bins, exact
        self._classes = maps("classes", num_classes + 1)
        self._boxes = maps("boxes", 4 if class_agnostic else 4 * (num_classes + 1))

    def crop(self, maps: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Returns [batch, boxes, bins, bins, scores and offsets]."""
        x, bins = maps["5"], self._bins
        by_bin = [
            tf.reshape(y, [-1, *y.shape[1:3], bins * bins, y.shape[3] // (bins * bins)])
            for y in (self._classes(x), self._boxes(x))
        ]
        both = tf.concat(by_bin, axis=-1)
        both = tf.reshape(both, [-1, *both.shape[1:3], both.shape[3] * both.shape[4]])
        return position_sensitive_pool(both, boxes, stride=_STRIDE, bins=bins, exact=self._exact)


class Vote(BoxPredictor):
    """The mean of the bins: scores first, then offsets. It has no weights of its own.

    Args:
        num_classes: number of classes without background.
    """

    def __init__(self, num_classes: int, **kwargs):
        tf_keras.layers.Layer.__init__(self, **kwargs)
        self._scores = num_classes + 1

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits [batch, boxes, 1 + classes], and offsets, see `Answer`."""
        votes = tf.cast(pool_boxes(features), tf.float32)
        return votes[..., : self._scores], votes[..., self._scores :]


class PointwiseRpnHead(tf_keras.layers.Layer):
    """Objectness and offsets straight from the map, without a convolution before (FGFA's).

    Args:
        anchors: number of anchors at each place.
        regularizer: regularizer of the kernels.
    """

    def __init__(
        self,
        anchors: int,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)

        def conv(name: str, filters: int) -> tf_keras.layers.Conv2D:
            return tf_keras.layers.Conv2D(
                filters,
                1,
                kernel_initializer=tf_keras.initializers.RandomNormal(stddev=0.01),
                kernel_regularizer=regularizer,
                name=name,
            )

        self.objectness = conv("rpn-scores", anchors)
        self.offsets = conv("rpn-boxes", anchors * 4)

    def call(self, maps: Mapping[str, tf.Tensor], training: bool | None = None):
        """Returns logits and offsets of level 4."""
        x = maps["4"]
        return {"4": self.objectness(x)}, {"4": self.offsets(x)}
