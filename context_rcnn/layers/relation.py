"""Relations between boxes (MEGA, section 3.1; Relation Networks, arXiv 1711.11575).

A box is enhanced by a weighted sum of the features of other boxes. The weights come from what the
boxes look like and, in the location-based module, also from where and when they are:

    geometry  the relative position and size of two boxes, a factor of the weight
    time      how many frames lie between them, relative as in Transformer-XL (arXiv 1901.02860):
              a term of the logit for the query's content, and one for all queries alike

`variant: released` has no time, as the released code has switched it off.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from context_rcnn.layers.context_attention import masked_softmax

Variant = Literal["paper", "released"]
VARIANTS: tuple[Variant, ...] = ("paper", "released")
GEOMETRY_DEPTH = 64


class Pool(NamedTuple):
    """A set of boxes: the paper's L, G and M. Padding has `valid` False."""

    features: tf.Tensor  # f, [batch, boxes, depth]
    boxes: tf.Tensor  # g, [batch, boxes, 4], y1 x1 y2 x2 in pixels
    frames: tf.Tensor  # g, int32 [batch, boxes], the number of the frame each is of
    valid: tf.Tensor  # bool [batch, boxes]


def join_pools(*pools: Pool) -> Pool:
    """The union of pools."""
    return Pool(*(tf.concat(parts, axis=1) for parts in zip(*pools, strict=True)))


class RelationModule(tf_keras.layers.Layer):
    """Equations 1 and 2: f_rm, of the location-free (N) or the location-based (L) kind.

    A box that sees no reference keeps its features, exactly.

    Args:
        depth: depth of the features.
        heads: M; each relates through depth / heads channels.
        location: boxes and frame numbers take part in the weights.
        timed: whether the frame numbers do.
        variant: `paper`, or as the `released` code computes it.
        max_frames: frames further apart than this are as far apart as this.
        regularizer: regularizer of all kernels.
    """

    def __init__(
        self,
        depth: int = 1024,
        *,
        heads: int = 16,
        location: bool,
        timed: bool = True,
        variant: Variant = "paper",
        max_frames: int = 64,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        if heads < 1 or depth % heads:
            raise ValueError(f"depth {depth} must be a multiple of heads, got {heads}")
        self._depth, self._heads = depth, heads
        self._location, self._variant = location, variant
        self._max_frames = max_frames

        def dense(name: str, units: int = depth, use_bias: bool = True, initializer=None):
            return tf_keras.layers.Dense(
                units,
                use_bias=use_bias,
                kernel_initializer=_small() if initializer is None else initializer,
                kernel_regularizer=regularizer,
                name=name,
            )

        self._query, self._key = (
            dense(name, initializer=_asking(depth)) for name in ("query", "key")
        )
        # The released code weights raw features and projects them then, with a bias: the same.
        self._value = dense("value", use_bias=variant == "released")
        self._geometry = dense("geometry", heads) if location else None
        timed = timed and location and variant == "paper"
        self._time: Any = dense("time", use_bias=False) if timed else None

    def build(self, input_shape):
        shape = [self._heads, self._depth // self._heads]
        self._content_bias = self.add_weight("content_bias", shape, initializer=_small())
        if self._time is not None:
            self._time_bias = self.add_weight("time_bias", shape, initializer=_small())
        super().build(input_shape)

    def call(
        self, boxes: Pool, references: Pool, visible: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Enhances boxes by references.

        Args:
            boxes: B.
            references: P.
            visible: bool, broadcast to [batch, boxes, references]; all valid ones by default.

        Returns:
            f_rm(B, P), [batch, boxes, depth], and the weights [batch, heads, boxes, references],
            float32.
        """
        # What padding holds must not matter, not even if it is NaN.
        known = tf.where(references.valid[..., None], references.features, 0)
        queries, keys, values = (
            self._by_head(projection(rows))
            for projection, rows in (
                (self._query, boxes.features),
                (self._key, known),
                (self._value, known),
            )
        )
        logits = tf.einsum("bnhd,bmhd->bhnm", queries + self._cast(self._content_bias), keys)
        if self._time is not None:
            logits += self._time_logits(queries, boxes.frames, references.frames)
        logits = tf.cast(logits, tf.float32) / math.sqrt(self._depth // self._heads)
        if self._geometry is not None:
            embedding = geometry_embedding(boxes.boxes, references.boxes, self._variant)
            factor = tf.nn.relu(self._geometry(embedding))
            factor = tf.cast(tf.transpose(factor, [0, 3, 1, 2]), tf.float32)
            logits += _log(factor, 1e-6, self._variant)
        seen = references.valid[:, None, :] & boxes.valid[..., None]
        if visible is not None:
            seen &= visible
        weights = masked_softmax(logits, seen[:, None])
        related = tf.einsum("bhnm,bmhd->bnhd", self._cast(weights), values)
        related = tf.reshape(related, [-1, related.shape[1], self._depth])
        return boxes.features + related, weights

    def _by_head(self, rows: tf.Tensor) -> tf.Tensor:
        """[batch, rows, depth] to [batch, rows, heads, depth / heads]."""
        return tf.reshape(rows, [-1, rows.shape[1], self._heads, self._depth // self._heads])

    def _cast(self, value: tf.Tensor) -> tf.Tensor:
        return tf.cast(value, self.compute_dtype)

    def _time_logits(
        self, queries: tf.Tensor, frames: tf.Tensor, reference_frames: tf.Tensor
    ) -> tf.Tensor:
        """Terms (b) and (d) of Transformer-XL: of each distance once, then looked up."""
        most = self._max_frames
        distances = np.arange(-most, most + 1)
        table = self._by_head(self._time(self._cast(sinusoids(distances, self._depth)[None])))[0]
        asked = queries + self._cast(self._time_bias)
        logits = tf.einsum("bnhd,phd->bnph", asked, table)
        apart = frames[:, :, None] - reference_frames[:, None, :]
        place = tf.clip_by_value(apart, -most, most) + most
        return tf.transpose(tf.gather(logits, place, axis=2, batch_dims=2), [0, 3, 1, 2])


def geometry_embedding(
    boxes: tf.Tensor, references: tf.Tensor, variant: Variant = "paper"
) -> tf.Tensor:
    """Relative position and size of boxes [batch, n, 4] and references [batch, m, 4].

    Returns sines and cosines of the four logarithms, [batch, n, m, GEOMETRY_DEPTH].
    """

    def centre_and_size(corners):
        y1, x1, y2, x2 = tf.unstack(tf.cast(corners, tf.float32), axis=-1)
        # Of pixels, both ends belong to the box.
        return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1

    x, y, w, h = (part[:, :, None] for part in centre_and_size(boxes))
    rx, ry, rw, rh = (part[:, None, :] for part in centre_and_size(references))
    near = 1e-3
    deltas = tf.stack(
        [
            _log(tf.abs((x - rx) / w), near, variant),
            _log(tf.abs((y - ry) / h), near, variant),
            tf.math.log(w / rw),
            tf.math.log(h / rh),
        ],
        axis=-1,
    )
    count = GEOMETRY_DEPTH // 8
    angles = 100.0 * deltas[..., None] / 1000.0 ** (np.arange(count, dtype=np.float32) / count)
    waves = tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)
    return tf.reshape(waves, [*_shape(deltas)[:-1], GEOMETRY_DEPTH])


def sinusoids(distances: np.ndarray, depth: int) -> np.ndarray:
    """Transformer-XL's encoding of distances, [distances, depth]: all sines, then all cosines."""
    angles = distances[:, None] / 10000.0 ** (np.arange(0, depth, 2) / depth)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)


def _log(value: tf.Tensor, least: float, variant: Variant) -> tf.Tensor:
    """The logarithm of what is not negative: at least of `least`; the released code adds that."""
    return tf.math.log(value + least if variant == "released" else tf.maximum(value, least))


def _asking(depth: int) -> tf_keras.initializers.Initializer:
    """Of queries and keys: the deviation of `_small` at the paper's 1024 channels.

    Logits of fewer channels begin as far apart then. With a deviation of .01 at 64 channels all
    boxes get the same weight, and hundreds of steps do not change it.
    """
    return tf_keras.initializers.RandomNormal(stddev=0.01 * math.sqrt(1024 / depth))


def _small() -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.RandomNormal(stddev=0.01)


def _shape(tensor: tf.Tensor) -> list:
    """Static where it is known."""
    dynamic = tf.shape(tensor)
    return [dynamic[i] if size is None else size for i, size in enumerate(tensor.shape)]
