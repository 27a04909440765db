"""What lies between conv5 and the heads, before port 1 and behind it.

    none    nothing
    rfcn    R-FCN's: 1x1 to `width` channels
    stmn    STMN's: dilated 3x3 to `channels`, 1x1 to `width`, port 1, 3x3 to `width`, which STMN
            swaps for its memory, 1x1 to `channels`
    fgfa    FGFA's: dilated 3x3 to `width`, port 1, and two halves: one for the first stage and one
            for the boxes

Maps are "4" for the first stage and "5" for the boxes, both of stride 16.
"""

from collections.abc import Mapping
from typing import Literal

import tensorflow as tf
import tf_keras

from context_rcnn import configs

Maps = dict[str, tf.Tensor]
TYPES = ("none", "rfcn", "stmn", "fgfa")


class Neck(tf_keras.layers.Layer):
    """Layers on both sides of port 1.

    Args:
        rest: stages of the backbone behind port 1, from the port's one map to later maps, or None.
        embedding: convolutions of conv5, one after the other.
        swapped: convolution behind port 1 that a map memory may take the place of, or None.
        out: convolution behind it, or None.
        first_stage: what the first stage sees: `conv4`; `half` of the channels, the first; or the
            `same` as the boxes.
    """

    def __init__(
        self,
        *,
        rest: tf_keras.Model | None = None,
        embedding: tuple[tf_keras.layers.Layer, ...] = (),
        swapped: tf_keras.layers.Layer | None = None,
        out: tf_keras.layers.Layer | None = None,
        first_stage: Literal["conv4", "half", "same"] = "conv4",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.rest = rest
        self.embedding = list(embedding)
        self.swapped = swapped
        self.out = out
        self._first_stage = first_stage

    @property
    def convolutions(self) -> list[tf_keras.layers.Layer]:
        """Its own layers, without those of the backbone."""
        return [*self.embedding, *filter(None, (self.swapped, self.out))]

    def before(self, maps: Mapping[str, tf.Tensor], training: bool | None = None) -> Maps:
        """What port 1 gets."""
        return dict(maps) if self.rest is not None else self._embed(maps)

    def call(self, maps: Mapping[str, tf.Tensor], training: bool | None = None) -> Maps:
        """What the heads get."""
        if self.rest is not None:
            (x,) = maps.values()
            maps = self._embed({**maps, **self.rest(x, training=training)})
        x = maps["5"]
        for layer in (self.swapped, self.out):
            x = x if layer is None else layer(x)
        if self._first_stage == "half":
            first, second = tf.split(x, 2, axis=-1)
            return {"4": first, "5": second}
        return {"4": x, "5": x} if self._first_stage == "same" else {**maps, "5": x}

    def _embed(self, maps: Mapping[str, tf.Tensor]) -> Maps:
        x = maps["5"]
        for layer in self.embedding:
            x = layer(x)
        return {**maps, "5": x} if self._first_stage == "conv4" else {"5": x}


def build_neck(
    config: configs.Neck,
    rest: tf_keras.Model | None = None,
    *,
    regularizer: tf_keras.regularizers.Regularizer | None = None,
) -> Neck | None:
    """A neck; None where there is nothing between the backbone and the heads.

    Args:
        config: which one.
        rest: stages of the backbone behind port 1, or None.
        regularizer: regularizer of the kernels.
    """

    def conv(name: str, filters: int, size: int = 1, rate: int = 1, activation="relu"):
        return tf_keras.layers.Conv2D(
            filters,
            size,
            padding="same",
            dilation_rate=rate,
            activation=activation,
            kernel_initializer="he_normal",
            kernel_regularizer=regularizer,
            name=name,
        )

    channels, width, dilation = config.channels, config.width, config.dilation
    if config.type == "none":
        return Neck(rest=rest, name="neck") if rest is not None else None
    if config.type == "rfcn":
        return Neck(rest=rest, embedding=(conv("reduce", width),), name="neck")
    if config.type == "fgfa":
        if width % 2:
            raise ValueError(f"model.neck.width is cut into halves, got {width}")
        wide = conv("wide", width, 3, dilation)
        return Neck(rest=rest, embedding=(wide,), first_stage="half", name="neck")
    if config.type == "stmn":
        return Neck(
            rest=rest,
            embedding=(conv("reduce", channels, 3, dilation), conv("widen", width)),
            swapped=conv("swapped", width, 3),
            out=conv("out", channels, activation=None),
            name="neck",
        )
    raise ValueError(f"model.neck.type must be one of {', '.join(TYPES)}, got {config.type!r}")


def swap_out(neck: Neck | None) -> None:
    """Takes the convolution out whose place a map memory takes; before variables are made."""
    if neck is None or neck.swapped is None:
        raise ValueError(
            "a memory of maps is to take the place of a convolution, but this detector has none: "
            "choose model.neck.type stmn or model.backbone.kind vgg16"
        )
    if neck.rest is not None:
        raise ValueError(
            "a memory of maps that takes the place of a convolution of the neck lies behind conv5: "
            "leave model.backbone.port_behind at conv5"
        )
    neck.swapped = None
