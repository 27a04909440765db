"""Context R-CNN: Long Term Temporal Context for Per-Camera Object Detection (arXiv 1912.03538).

The sections of the paper, in its order:

    3    a Faster R-CNN whose boxes pass through attention to memories: `build_context_rcnn`
    3.1  the long-term memory bank comes with the batch (`memory_bank.join`), the short-term memory
         is made here of all boxes of the frames nearby: `ContextMemory`
    3.2  the attention block: `layers.context_attention`

and beyond it: keys and values of a bank are computed once per camera (`ContextMemory.project`), and
`stream` runs the model on cameras as they see.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.context_rcnn import ContextRcnn
from context_rcnn.detectors import backbones
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import Proposals, TwoStageDetector
from context_rcnn.layers.context_attention import AttentionStack, Projected

COMBINATIONS = ("sequence", "parallel")
POSITIONS = ("features", "crops", "pooled_crops")


class ContextMemory(tf_keras.layers.Layer):
    """The box port of Context R-CNN (figure 3a): adds to each box the context from its memories.

    What it reads of `memory`, every part of which may be missing:

        clip_valid        bool [batch, frames]; the images are clips, one frame after the other,
                          [batch * frames, ...]. Without it each image is a clip of one frame.
        context_features  [batch, entries, any depth], the long-term memory of each clip's camera
        context_valid     bool [batch, entries]
        context_keys, context_values   [batch, blocks, entries, depth] in place of the features:
                          the same, projected before by `project`
        recent_features   [batch, boxes, depth], pooled boxes of earlier frames, for short-term
                          attention beyond the clip
        recent_valid      bool [batch, boxes]

    Without any memory it gives its input, exactly (three times its input where the settings repeat
    it); short-term attention always has the frame's own boxes.

    Args:
        config: settings of Context R-CNN.
        regularizer: regularizer of the projections.
        sync_batch_norm: whether replicas share batch statistics.
    """

    per_channel = True

    def __init__(
        self,
        config: ContextRcnn,
        *,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        sync_batch_norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check("combine", config.combine, COMBINATIONS)
        window = config.short_term.window
        if window < 0 or (window and window % 2 == 0):
            raise ValueError(
                "task.temporal.context_rcnn.short_term.window must be 0 (no short-term attention) "
                f"or odd (the keyframe in its middle), got {window}"
            )
        if config.repeat_input and config.variant != "released":
            raise ValueError(
                "task.temporal.context_rcnn.repeat_input belongs to the variant released, not to "
                f"{config.variant}"
            )
        if config.short_term.boxes < 0:
            raise ValueError(
                "task.temporal.context_rcnn.short_term.boxes must be 0 (all proposals) or more, "
                f"got {config.short_term.boxes}"
            )
        if not window and not config.long_term.enabled:
            raise ValueError(
                "task.temporal.context_rcnn attends to nothing: enable long_term, or give "
                "short_term a window"
            )
        self._config = config
        self._options = {
            "depth": config.depth,
            "temperature": config.temperature,
            "initial_output": config.initial_output,
            "variant": config.variant,
            "norm_order": config.norm_order,
            "regularizer": regularizer,
            "sync_batch_norm": sync_batch_norm,
        }
        # Made when the depth is known, and only those that the settings ask for.
        self.short_term: Any = None
        self.long_term: Any = None

    @property
    def window(self) -> int:
        """Frames of short-term attention, 0 if there is none."""
        return self._config.short_term.window

    @property
    def remembered_boxes(self) -> int | None:
        """Proposals of a frame that short-term attention sees, the best ones; None for all."""
        return (self._config.short_term.boxes or None) if self.window else 0

    @property
    def blocks(self) -> int:
        """Attention blocks that have keys and values of their own of a bank."""
        return self._config.long_term.heads * self._config.long_term.layers

    @property
    def depth(self) -> int:
        """Depth of keys and values."""
        return self._config.depth

    def build(self, input_shape):
        self.feature_depth = input_shape[-1]
        depth, short, long = input_shape[-1], self._config.short_term, self._config.long_term
        if short.window:
            self.short_term = AttentionStack(
                depth,
                heads=short.heads,
                layers=short.layers,
                name="short_term",
                **self._options,
            )
        if long.enabled:
            self.long_term = AttentionStack(
                depth, heads=long.heads, layers=long.layers, name="long_term", **self._options
            )
        super().build(input_shape)

    def call(
        self,
        features: tf.Tensor,
        *,
        proposals: Proposals,
        memory: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
        with_weights: bool = False,
    ) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Section 3.2: F_context is added to A as a bias of each channel.

        Args:
            features: A, [images, boxes, height, width, depth].
            proposals: proposals of the images.
            memory: the memory, as the class describes it.
            training: whether to use batch statistics (`released`).
            with_weights: also return the attention weights, `short_term` and `long_term`,
                [images, boxes, entries] each.
        """
        memory = memory or {}
        pooled = pool_boxes(features)  # A_pool
        count, depth = pooled.shape[1:]
        clip_valid = memory.get("clip_valid")
        if clip_valid is None:
            clip_valid = tf.ones([tf.shape(pooled)[0], 1], tf.bool)
        frames = clip_valid.shape[1]
        boxes = tf.reshape(pooled, [-1, frames * count, depth])
        valid = tf.reshape(proposals.valid, [-1, frames, count]) & clip_valid[..., None]
        valid = tf.reshape(valid, [-1, frames * count])
        remembered = proposals.remembered
        if remembered is None:
            best = tf.range(count) < (self.remembered_boxes or count)
            remembered = tf.broadcast_to(best, tf.shape(proposals.valid))
        remembered = valid & tf.reshape(remembered, [-1, frames * count])

        asking, bias, weights = boxes, tf.zeros_like(boxes), {}
        if self.short_term is not None:
            bias, weights["short_term"] = self._attend_to_neighbours(
                boxes, valid, remembered, frames, memory, training
            )
            if self._config.combine == "sequence":
                asking = boxes + bias
                if self._config.repeat_input:
                    asking /= 2.0
        if self.long_term is not None:
            bank, said = self._bank(memory, training), tf.zeros_like(asking)
            if bank is not None:
                said, weights["long_term"] = self.long_term(asking, valid, bank, training=training)
            if self._config.repeat_input:
                said += 2.0 * asking
                bias = said if self._config.combine == "sequence" else bias + said
            else:
                bias += said
        features += tf.reshape(bias, [-1, count, 1, 1, depth])
        if not with_weights:
            return features
        return features, {
            # The number of entries is free.
            name: tf.reshape(weight, [-1, count, weight.shape[-1] or tf.shape(weight)[-1]])
            for name, weight in weights.items()
        }

    def project(
        self, context_features: tf.Tensor, context_valid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Keys and values of a bank, to be computed once per camera and passed on as memory.

        Entries are projected one by one: those of new entries may be appended.
        """
        projected = self.long_term.project(context_features, context_valid, training=False)
        return {
            "context_keys": tf.stack([block.keys for block in projected], axis=1),
            "context_values": tf.stack([block.values for block in projected], axis=1),
            "context_valid": context_valid,
        }

    def _bank(
        self, memory: Mapping[str, tf.Tensor], training: bool | None
    ) -> list[Projected] | None:
        """M_long as the attention blocks see it."""
        if "context_keys" in memory:
            keys, values = _by_block(memory["context_keys"]), _by_block(memory["context_values"])
            return [
                Projected(k, v, memory["context_valid"]) for k, v in zip(keys, values, strict=True)
            ]
        if "context_features" in memory:
            return self.long_term.project(
                memory["context_features"], memory["context_valid"], training=training
            )
        return None

    def _attend_to_neighbours(
        self,
        boxes: tf.Tensor,
        valid: tf.Tensor,
        remembered: tf.Tensor,
        frames: int,
        memory: Mapping[str, tf.Tensor],
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """M_short: the boxes of all frames of the clip within the window."""
        near, near_valid = boxes, remembered
        count = boxes.shape[1] // frames
        place = tf.repeat(tf.range(frames), count)
        visible = tf.abs(place[:, None] - place) <= self._config.short_term.window // 2
        if "recent_features" in memory:
            near = tf.concat([boxes, memory["recent_features"]], axis=1)
            near_valid = tf.concat([remembered, memory["recent_valid"]], axis=1)
            recent = tf.ones([boxes.shape[1], memory["recent_valid"].shape[1]], tf.bool)
            visible = tf.concat([visible, recent], axis=1)
        projected = self.short_term.project(near, near_valid, training=training)
        return self.short_term(boxes, valid, projected, visible[None], training=training)


def build_context_rcnn(
    model: configs.FasterRcnn, config: ContextRcnn, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """Section 3: a Faster R-CNN with attention to long-term and short-term memory."""
    _check("position", config.position, POSITIONS)
    port = ContextMemory(
        config,
        regularizer=backbones.l2(weight_decay if config.variant == "paper" else 0.0),
        sync_batch_norm=model.backbone.sync_batch_norm,
        name="context_memory",
    )
    return build_faster_rcnn(
        model,
        weight_decay=weight_decay,
        box_memory=port,
        memory_on_crops=config.position != "features",
        pool_before_memory=config.position == "pooled_crops",
    )


def _by_block(projected: tf.Tensor) -> list[tf.Tensor]:
    """[batch, blocks, entries, depth] to a tensor a block; one block is not copied."""
    if projected.shape[1] == 1:
        return [tf.squeeze(projected, axis=1)]
    return tf.unstack(projected, axis=1)


def _check(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"task.temporal.context_rcnn.{field} must be one of {', '.join(choices)}, got {value!r}"
        )
