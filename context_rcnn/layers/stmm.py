"""The spatial-temporal memory module of STMN (arXiv 1712.06317, section 3.2), in one direction.

    z_t = BN*(ReLU(W_z * F_t + U_z * M_{t-1}))          (1)
    r_t = BN*(ReLU(W_r * F_t + U_r * M_{t-1}))          (2)
    C_t = ReLU(W * F_t + U * (M_{t-1} . r_t))           (3)
    M_t = (1 - z_t) . M_{t-1} + z_t . C_t               (4)

where M_{t-1} is the memory that `match_trans` has moved to where things are in frame t. W, W_z and
W_r have a bias each, U, U_z and U_r have none. `unit: conv_gru` has sigmoids and tanh in the place
of BN*(ReLU) and ReLU: the ConvGRU (arXiv 1511.06432) with which the paper compares.

Where the paper is silent:

    the first memory    features  M_0 is the first candidate without a memory, ReLU(W * F_1), so
                                  that a module with U = 0 starts as the layer whose weights W has
                        zeros     as in the released code
    U at the start      paper     zeros: the memory still enters by (4), and gradients flow
                        released  uniform, +-1 / sqrt(fan in)
    a factor of 20      released  on W * F_t and its bias, in all three equations; not in the paper

`variant` also decides how `linear_squash` and `match_trans` compute.
"""

import functools
from typing import Literal

import tensorflow as tf
import tf_keras

from context_rcnn.layers.linear_squash import VARIANTS, Variant, linear_squash
from context_rcnn.layers.match_trans import match_coefficients, transform

Unit = Literal["stmm", "conv_gru"]
UNITS: tuple[Unit, ...] = ("stmm", "conv_gru")
Start = Literal["features", "zeros"]
STARTS: tuple[Start, ...] = ("features", "zeros")
RELEASED_FACTOR = 20.0


class Stmm(tf_keras.layers.Layer):
    """A memory of maps, updated frame after frame.

    Args:
        channels: M, channels of the memory.
        kernel: side of all convolutions.
        unit: `stmm` or `conv_gru`.
        match_trans: whether the memory is moved along with what it is of.
        reach: k of MatchTrans.
        sharpness: power of MatchTrans's cosines; 0 for the variant's own affinities.
        deviations: K of BN*.
        variant: `paper` or `released`.
        initial_memory: the first memory, `features` or `zeros`.
        regularizer: regularizer of all kernels.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel: int = 3,
        unit: Unit = "stmm",
        match_trans: bool = True,
        reach: int = 2,
        sharpness: float = 0.0,
        deviations: float = 3.0,
        variant: Variant = "paper",
        initial_memory: Start = "features",
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value, known in (
            ("unit", unit, UNITS),
            ("variant", variant, VARIANTS),
            ("initial_memory", initial_memory, STARTS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if reach < 0 or channels < 1 or kernel < 1:
            raise ValueError(
                f"reach must be at least 0, channels and kernel at least 1, got {reach}, "
                f"{channels}, {kernel}"
            )
        if sharpness and not 1.0 <= sharpness <= 1000.0:
            raise ValueError(f"sharpness must be 0, or from 1 to 1000, got {sharpness}")
        self.channels = channels
        self.moves = match_trans
        self._released = variant == "released"
        self._from_zeros = initial_memory == "zeros"
        self.match = functools.partial(
            match_coefficients, reach=reach, variant=variant, sharpness=sharpness
        )
        if unit == "stmm":
            squash = functools.partial(linear_squash, deviations=deviations, variant=variant)
            self._gate = lambda x, inside: squash(tf.nn.relu(x), inside)
            self._activation = tf.nn.relu
        else:
            self._gate = lambda x, inside: tf.sigmoid(x)
            self._activation = tf.tanh

        def of_memory(name: str, filters: int) -> tf_keras.layers.Layer:
            bound = (kernel * kernel * channels) ** -0.5
            start = tf_keras.initializers.RandomUniform(-bound, bound)
            return tf_keras.layers.Conv2D(
                filters,
                kernel,
                padding="same",
                use_bias=False,
                kernel_initializer=start if self._released else "zeros",
                kernel_regularizer=regularizer,
                name=name,
            )

        # W_z, W_r and W; U_z and U_r; U.
        self._of_features = tf_keras.layers.Conv2D(
            3 * channels, kernel, padding="same", kernel_regularizer=regularizer, name="features"
        )
        self._of_memory = of_memory("gates", 2 * channels)
        self._of_reset = of_memory("candidate", channels)

    def build(self, input_shape):
        map_shape = [None, *input_shape[2:4]]
        self._of_features.build([*map_shape, input_shape[4]])
        self._of_memory.build([*map_shape, self.channels])
        self._of_reset.build([*map_shape, self.channels])
        super().build(input_shape)

    def start_from(self, kernel: tf.Tensor, bias: tf.Tensor) -> None:
        """Takes a convolution's weights for W, W_z and W_r, [k, k, depth, M] and [M]."""
        self._of_features.kernel.assign(tf.tile(kernel, [1, 1, 1, 3]))
        self._of_features.bias.assign(tf.tile(bias, [3]))

    def call(
        self,
        features: tf.Tensor,
        there: tf.Tensor,
        inside: tf.Tensor | None = None,
        still: bool = False,
    ) -> tf.Tensor:
        """The memory after each frame of sequences, [batch, frames, height, width, M].

        Args:
            features: F, [batch, frames, height, width, depth], none below 0.
            there: bool [batch, frames]. A frame that is not there leaves the memory as it is, and
                the next one is matched with the one before it.
            inside: bool [batch, frames, height, width], cells of the image; all by default.
            still: the memory is not moved, whatever the settings; for comparison.
        """
        frames, coefficients = features.shape[1], None
        if self.moves and not still and frames > 1:
            coefficients = self._match_all(features, there, inside)
        projected = self.project(_flat(features))
        projected = tf.reshape(projected, [-1, *features.shape[1:4], projected.shape[-1]])
        memory = tf.zeros_like(projected[:, 0, ..., : self.channels])
        seen = tf.zeros_like(there[:, 0])
        memories = []
        for t in range(frames):
            after = self.step(
                projected[:, t],
                memory,
                seen,
                None if coefficients is None else coefficients[:, t],
                None if inside is None else inside[:, t],
            )
            memory = tf.where(there[:, t, None, None, None], after, memory)
            seen |= there[:, t]
            memories.append(memory)
        return tf.stack(memories, axis=1)

    def project(self, features: tf.Tensor) -> tf.Tensor:
        """W_z, W_r and W of maps [batch, height, width, depth], as one map of 3 M channels."""
        projected = self._of_features(features)
        return RELEASED_FACTOR * projected if self._released else projected

    def step(
        self,
        projected: tf.Tensor,
        memory: tf.Tensor,
        seen: tf.Tensor,
        coefficients: tf.Tensor | None = None,
        inside: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Equations 1 to 4, of one frame.

        Args:
            projected: from `project`.
            memory: M_{t-1}, [batch, height, width, M].
            seen: bool [batch], False where this is the first frame.
            coefficients: from `match`; None where the memory is not moved.
            inside: bool [batch, height, width], cells of the image.
        """
        gates, candidate = tf.split(projected, [2 * self.channels, self.channels], axis=-1)
        first = self._activation(candidate)
        if self._from_zeros:
            first = tf.zeros_like(first)
        if coefficients is not None:
            memory = transform(memory, coefficients)
        memory = tf.where(seen[:, None, None, None], memory, first)
        update, reset = (
            tf.cast(self._gate(part, inside), memory.dtype)
            for part in tf.split(gates + self._of_memory(memory), 2, axis=-1)
        )
        candidate = self._activation(candidate + self._of_reset(memory * reset))
        return (1.0 - update) * memory + update * candidate

    def _match_all(
        self, features: tf.Tensor, there: tf.Tensor, inside: tf.Tensor | None
    ) -> tf.Tensor:
        """Gamma of all frames with the frames before them, which depend on the features alone."""
        last, before = tf.zeros_like(there[:, 0], tf.int32), []
        for t in range(features.shape[1]):
            before.append(last)
            last = tf.where(there[:, t], t, last)
        places = tf.stack(before, axis=1)
        if inside is not None:
            inside = _flat(tf.gather(inside, places, batch_dims=1))
        earlier = tf.gather(features, places, batch_dims=1)
        coefficients = self.match(_flat(features), _flat(earlier), inside)
        return tf.reshape(coefficients, [-1, *features.shape[1:4], coefficients.shape[-1]])


def _flat(sequences: tf.Tensor) -> tf.Tensor:
    """[batch, frames, ...] to [batch * frames, ...]."""
    return tf.reshape(sequences, [-1, *sequences.shape[2:]])
