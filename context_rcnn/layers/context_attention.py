"""Attention from boxes to a memory (Context R-CNN, section 3.2, figure 3b).

Two variants, see docs/architecture.md:

    paper     dense queries, keys, values and output; w = softmax(q k^T / (T sqrt(d)))     (eq. 1)
    released  each projection is dense, batch norm and ReLU6; queries, keys and values have length
              1; w = softmax(q k^T / T)
"""

from typing import Any, Literal, NamedTuple

import tensorflow as tf
import tf_keras

from context_rcnn.layers.masked_batch_norm import MaskedBatchNorm

Variant = Literal["paper", "released"]
VARIANTS: tuple[Variant, ...] = ("paper", "released")
NormOrder = Literal["dense_first", "norm_first"]
NORM_ORDERS: tuple[NormOrder, ...] = ("dense_first", "norm_first")


class Projected(NamedTuple):
    """A memory as an attention block sees it: computed once, used by every frame of its camera."""

    keys: tf.Tensor  # [batch, entries, depth]
    values: tf.Tensor  # [batch, entries, depth]
    valid: tf.Tensor  # bool [batch, entries]


class Projection(tf_keras.layers.Layer):
    """A dense layer; of the released code, one with batch norm and ReLU6.

    Args:
        units: depth of the output.
        variant: `paper` or `released`.
        norm_order: order in the released code: `dense_first` (dense, norm, ReLU6), or `norm_first`
            (norm, dense, ReLU6), as for some months in its TensorFlow 2 code.
        unit_length: the released code's L2 normalisation of the output.
        initial_scale: strength of the output before training, 1 for the initialisation of Keras.
        regularizer: regularizer of the kernel.
        sync_batch_norm: whether replicas share batch statistics.
    """

    def __init__(
        self,
        units: int,
        *,
        variant: Variant = "paper",
        norm_order: NormOrder = "dense_first",
        unit_length: bool = False,
        initial_scale: float = 1.0,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        sync_batch_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._norm_first = norm_order == "norm_first"
        self._unit_length = unit_length
        self._norm = None
        use_bias = True
        kernel_scale, gamma = initial_scale, 1.0
        if variant == "released":
            if not self._norm_first:  # which takes the scale of a kernel away
                kernel_scale, gamma = 1.0, initial_scale
            self._norm = MaskedBatchNorm(sync=sync_batch_norm, initial_gamma=gamma, name="norm")
            use_bias = self._norm_first
        self._dense = tf_keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=tf_keras.initializers.VarianceScaling(
                kernel_scale**2, mode="fan_avg", distribution="uniform"
            ),
            kernel_regularizer=regularizer,
            name="dense",
        )

    @property
    def parts(self) -> tuple[tf_keras.layers.Dense, MaskedBatchNorm | None]:
        """The dense layer, and the batch norm if there is one."""
        return self._dense, self._norm

    def call(self, rows: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Projects rows [..., depth]; valid [...] says which count for batch statistics."""
        if self._norm is None:
            rows = self._dense(rows)
        elif self._norm_first:
            rows = tf.nn.relu6(self._dense(self._norm(rows, valid, training=training)))
        else:
            rows = tf.nn.relu6(self._norm(self._dense(rows), valid, training=training))
        if self._unit_length:
            rows = tf.math.l2_normalize(rows, axis=-1)
        return rows


class ContextAttention(tf_keras.layers.Layer):
    """One attention block: the context that a memory adds to each box.

    Where nothing in the memory is valid, it says exactly nothing: zeros.

    Args:
        output_depth: depth of the result, that of the features it is added to.
        depth: depth of queries, keys and values (the paper's 2048).
        temperature: T of equation 1.
        initial_output: strength of the output before training, relative to an ordinary
            initialisation.
        variant, norm_order, regularizer, sync_batch_norm: settings of the projections.
    """

    def __init__(
        self,
        output_depth: int,
        *,
        depth: int = 2048,
        temperature: float = 0.01,
        initial_output: float = 1.0,
        variant: Variant = "paper",
        norm_order: NormOrder = "dense_first",
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        sync_batch_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check("variant", variant, VARIANTS)
        _check("norm_order", norm_order, NORM_ORDERS)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if initial_output <= 0:
            raise ValueError(f"initial_output must be positive, got {initial_output}")
        released = variant == "released"
        options: dict[str, Any] = {
            "variant": variant,
            "norm_order": norm_order,
            "regularizer": regularizer,
            "sync_batch_norm": sync_batch_norm,
        }
        self._query = Projection(depth, unit_length=released, name="query", **options)
        self._key = Projection(depth, unit_length=released, name="key", **options)
        self._value = Projection(depth, unit_length=released, name="value", **options)
        self._output = Projection(
            output_depth, name="output", initial_scale=initial_output, **options
        )
        self._scale = 1.0 / (temperature * (1.0 if released else depth**0.5))

    @property
    def projections(self) -> tuple[Projection, Projection, Projection, Projection]:
        """Of queries, keys, values and output."""
        return self._query, self._key, self._value, self._output

    def project(
        self, memory: tf.Tensor, valid: tf.Tensor, training: bool | None = None
    ) -> Projected:
        """Keys and values of a memory [batch, entries, any depth]; valid is bool."""
        # What padding holds must not matter, not even if it is NaN.
        memory = tf.where(valid[..., None], tf.cast(memory, self.compute_dtype), 0)
        return Projected(
            self._key(memory, valid, training=training),
            self._value(memory, valid, training=training),
            valid,
        )

    def call(
        self,
        boxes: tf.Tensor,
        box_valid: tf.Tensor,
        memory: Projected,
        visible: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Equations 1 and 2.

        Args:
            boxes: pooled features [batch, boxes, any depth].
            box_valid: bool [batch, boxes].
            memory: the result of `project`.
            visible: bool, broadcast to [batch, boxes, entries]: which entries a box may look at;
                all valid ones by default.
            training: whether to use batch statistics (`released` only).

        Returns:
            What is added to each box [batch, boxes, output depth], zeros for invalid boxes, and
            the weights [batch, boxes, entries], float32.
        """
        queries = self._query(boxes, box_valid, training=training)
        seen = memory.valid[:, None, :] & box_valid[..., None]
        if visible is not None:
            seen &= visible
        logits = tf.matmul(queries, memory.keys, transpose_b=True)
        weights = masked_softmax(tf.cast(logits, tf.float32) * self._scale, seen)
        context = tf.matmul(tf.cast(weights, memory.values.dtype), memory.values)
        found = tf.reduce_any(seen, axis=-1)
        output = self._output(context, found, training=training)
        return tf.where(found[..., None], output, 0), weights


class AttentionStack(tf_keras.layers.Layer):
    """Attention blocks by layers and heads, as the later versions of the released code have them.

    Each head is a whole block of full width; the heads of a layer are averaged and added to the
    boxes that the next layer asks with. One of each is the paper's.

    Args:
        output_depth: depth of the boxes.
        heads: blocks a layer.
        layers: one after the other, all looking at the same memory.
        **options: of the blocks.
    """

    def __init__(self, output_depth: int, *, heads: int = 1, layers: int = 1, name=None, **options):
        super().__init__(name=name)
        if heads < 1 or layers < 1:
            raise ValueError(f"heads and layers must be at least 1, got {heads} and {layers}")
        self._heads = heads
        self._blocks = [
            ContextAttention(output_depth, name=f"layer_{layer}_head_{head}", **options)
            for layer in range(layers)
            for head in range(heads)
        ]

    @property
    def blocks(self) -> tuple[ContextAttention, ...]:
        """Head after head, layer after layer."""
        return tuple(self._blocks)

    def project(
        self, memory: tf.Tensor, valid: tf.Tensor, training: bool | None = None
    ) -> list[Projected]:
        """Keys and values of a memory [batch, entries, any depth] for each block."""
        return [block.project(memory, valid, training=training) for block in self._blocks]

    def call(
        self,
        boxes: tf.Tensor,
        box_valid: tf.Tensor,
        memory: list[Projected],
        visible: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As a block's. Returns the sum over layers, and the mean of all weights."""
        total, weights = tf.zeros_like(boxes), []
        for first in range(0, len(self._blocks), self._heads):
            asking, heads = boxes + total, range(first, first + self._heads)
            answers = [
                self._blocks[i](asking, box_valid, memory[i], visible, training=training)
                for i in heads
            ]
            total += tf.add_n([output for output, _ in answers]) / self._heads
            weights += [weight for _, weight in answers]
        return total, tf.add_n(weights) / len(weights)


def masked_softmax(logits: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Softmax over the valid part of the last axis; zeros where nothing is valid."""
    # Not minus infinity: its difference from itself, in a row with nothing valid, is NaN.
    logits = tf.where(valid, logits, -1e30)
    weights = tf.nn.softmax(logits, axis=-1)
    return tf.where(valid, weights, 0.0)


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
