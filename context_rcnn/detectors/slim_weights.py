"""Weights of a TensorFlow 1 checkpoint, by the names of its variables."""

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

# What a checkpoint has besides weights.
_NOT_WEIGHTS = re.compile(r"global_step|.*/(Momentum|RMSProp|Adam)(_1)?|.*_power")
_AVERAGE = "/ExponentialMovingAverage"
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


class Source:
    """Weights by name, and which of them were taken; a ValueError names what is missing."""

    def __init__(self, path: str):
        try:
            self._reader = tf.train.load_checkpoint(path)
        except (ValueError, tf.errors.OpError) as error:
            raise ValueError(f"--checkpoint {path}: {error}") from None
        self._path = path
        self._shapes = self._reader.get_variable_to_shape_map()
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def take(self, name: str) -> np.ndarray:
        """A weight, its moving average if there is one."""
        if name not in self._shapes:
            raise ValueError(f"--checkpoint {self._path}: there is no variable {name}")
        self._taken |= {name, name + _AVERAGE}
        averaged = name + _AVERAGE if name + _AVERAGE in self._shapes else name
        return self._reader.get_tensor(averaged)

    def find(self, pattern: str) -> list[str]:
        """Names that match, sorted."""
        return sorted(filter(re.compile(pattern).fullmatch, self._shapes))

    def left(self) -> list[str]:
        """Names of weights that nobody took."""
        names = self._shapes.keys() - self._taken
        return sorted(name for name in names if not _NOT_WEIGHTS.fullmatch(name))


def assign(layer: tf_keras.layers.Layer, values: Sequence[np.ndarray], name: str) -> None:
    wanted, found = [w.shape for w in layer.get_weights()], [v.shape for v in values]
    if wanted != found:
        raise ValueError(f"{name}: the model has weights of {wanted}, the checkpoint {found}")
    layer.set_weights(values)
