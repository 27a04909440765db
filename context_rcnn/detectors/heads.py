"""The second stage: crops of the maps, box features, and predictions."""

import functools
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
import tf_keras

from context_rcnn.layers.roi_align import RoiAlign


class BoxHead(tf_keras.layers.Layer):
    """Crops the maps at the proposals and returns one [7, 7, depth] feature per box.

    A C4 detector crops 14x14, pools to 7x7 and runs conv5 on it, which may leave 4x4; a pyramid
    crops 7x7 and stops.

    Attributes:
        has_vectors: whether box features describe boxes, so that a memory can hold them.
    """

    has_vectors = True

    def __init__(self, conv5: tf_keras.Model | None = None, **kwargs):
        super().__init__(**kwargs)
        self._conv5 = conv5
        self._align = RoiAlign(14 if conv5 else 7)
        self._pool = tf_keras.layers.MaxPool2D(2) if conv5 else None

    def crop(self, maps: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Returns crops [batch, boxes, 7, 7, channels]."""
        crops = self._align(maps, boxes)
        if self._pool is None:
            return crops
        return per_box(self._pool, crops)

    def pool(self, crops: tf.Tensor) -> tf.Tensor:
        """Crops [batch, boxes, 7, 7, channels], as `crop` returns them already."""
        return crops

    def call(self, crops: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns box features [batch, boxes, 7, 7, depth], or 4x4 behind a conv5 that strides."""
        if self._conv5 is None:
            return crops
        return per_box(lambda x: self._conv5(x, training=training), crops)


class DenseBoxHead(BoxHead):
    """Crops 7x7 from conv5 of the whole map; dense layers give one vector per box, [1, 1, depth].

    Args:
        hidden: units of the dense layers, each with ReLU; none leaves the crops as they are.
        regularizer: regularizer of the kernels.
        dropout: share of the outputs of each dense layer that training leaves out.
    """

    def __init__(
        self,
        hidden: tuple[int, ...],
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dense = dense_layers(hidden, regularizer)
        self._dropout = tf_keras.layers.Dropout(dropout) if dropout else None

    def crop(self, maps: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        # Of the same stride as conv4, whose name tells the library which.
        return super().crop({"4": maps["5"]}, boxes)

    def call(self, crops: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not self.dense:
            return crops
        layers = self.dense
        if self._dropout is not None:
            drop = functools.partial(self._dropout, training=training)
            layers = [part for layer in layers for part in (layer, drop)]
        return flat_dense(crops, layers)[:, :, None, None]


class BoxPredictor(tf_keras.layers.Layer):
    """Class scores and box offsets from box features.

    After conv5 the features are averaged over space; a pyramid's crops go through dense layers.

    Args:
        num_classes: without background.
        hidden: units of the dense layers.
        class_agnostic: all classes share the offsets of a box.
        regularizer: regularizer of the dense layers' kernels.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        hidden: tuple[int, ...] = (),
        class_agnostic: bool = False,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._hidden = dense_layers(hidden, regularizer)
        dense = tf_keras.layers.Dense
        normal = tf_keras.initializers.RandomNormal
        self._classes = dense(
            num_classes + 1, kernel_initializer=normal(stddev=0.01), name="classes"
        )
        self._boxes = dense(
            4 if class_agnostic else (num_classes + 1) * 4,
            kernel_initializer=normal(stddev=0.001),
            name="boxes",
        )

    @property
    def heads(self) -> tuple[tf_keras.layers.Dense, tf_keras.layers.Dense]:
        """The last layers, of scores and of offsets."""
        return self._classes, self._boxes

    @property
    def pools(self) -> bool:
        """Whether it averages features over space before all else."""
        return not self._hidden

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits [batch, boxes, 1 + classes], and offsets, see `Answer`."""
        x = flat_dense(features, self._hidden) if self._hidden else pool_boxes(features)
        # Scores and offsets are float32 whatever the policy: softmax and NMS depend on it.
        return tf.cast(self._classes(x), tf.float32), tf.cast(self._boxes(x), tf.float32)


def dense_layers(
    units: tuple[int, ...], regularizer: tf_keras.regularizers.Regularizer | None
) -> list[tf_keras.layers.Dense]:
    """Dense layers with ReLU, one after the other."""
    return [
        tf_keras.layers.Dense(
            count, activation="relu", kernel_regularizer=regularizer, name=f"hidden_{i}"
        )
        for i, count in enumerate(units)
    ]


def flat_dense(
    features: tf.Tensor, layers: Sequence[Callable[[tf.Tensor], tf.Tensor]]
) -> tf.Tensor:
    """Box features [batch, boxes, height, width, depth], flattened, through dense layers."""
    shape = features.shape
    x = tf.reshape(features, [-1, shape[1], shape[2] * shape[3] * shape[4]])
    for layer in layers:
        x = layer(x)
    return x


def pool_boxes(features: tf.Tensor) -> tf.Tensor:
    """Averages box features [batch, boxes, height, width, depth] over space."""
    return tf.reduce_mean(features, axis=[2, 3])


def per_box(function, crops: tf.Tensor) -> tf.Tensor:
    """Applies a function of [n, height, width, channels] to [batch, boxes, ...]."""
    outputs = function(tf.reshape(crops, [-1, *crops.shape[2:]]))
    return tf.reshape(outputs, [-1, crops.shape[1], *outputs.shape[1:]])
