"""PSTA: the frames of a tracklet aggregated pair by pair, stage by stage.

Wang et al., Pyramid Spatial-Temporal Aggregation for Video-based Person Re-Identification, ICCV
2021. Equation numbers are the paper's. T frames become T / 2 maps, T / 4, ...; X^n is the mean of
the features of the first n stages, and X^S stands for the tracklet. Nothing is kept between calls.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from context_rcnn.configs.reid import Psta as PstaSettings
from context_rcnn.detectors.backbones import build_resnet, normalize_images
from context_rcnn.layers.chain import Chain
from context_rcnn.layers.reference_attention import (
    VARIANTS,
    Reference,
    SpatialReference,
    TemporalReference,
    conv_block,
)

STRUCTURES = ("pyramid", "adjacent", "global", "average")
ERASED = (0.485, 0.456, 0.406)  # of erased pixels, after normalisation, as released


class Attentions(NamedTuple):
    """Attention to a pair of frames, None for a kind that is switched off."""

    spatial: tuple[Reference, ...] | None  # A_t and A_t+1, equation 6
    temporal: tuple[Reference, ...] | None  # A_t,t+1 and A_t+1,t, equation 13


class Residual(tf_keras.layers.Layer):
    """Res of equation 5. `paper` has the identity shortcut of residual blocks, `released` none.

    With the shortcut it starts as the identity, so that a pyramid starts as a weighted average.
    """

    def __init__(self, channels: int, middle: int, *, variant: str, norm: Mapping[str, Any], **kw):
        super().__init__(**kw)
        self.shortcut = variant == "paper"
        last = {**norm, "gamma_initializer": "zeros"} if self.shortcut else norm
        self.block = Chain(
            [
                conv_block(middle, norm=norm),
                conv_block(middle, 3, norm=norm),
                conv_block(channels, norm=last, relu=False),
            ]
        )

    def call(self, maps, training=None):
        found = self.block(maps, training=training)
        return tf.nn.relu(maps + found if self.shortcut else found)


class Stam(tf_keras.layers.Layer):
    """The spatial-temporal aggregation module: two maps become one.

    Args:
        settings: those of the model.
        norm: options of all batch norms.
    """

    def __init__(self, settings: PstaSettings, norm: Mapping[str, Any], **kwargs):
        super().__init__(**kwargs)
        channels, embedding = settings.channels, settings.embedding
        self.squares = settings.variant == "released"
        self.beta = self.spatial = self.temporal = self.residual = None
        if settings.spatial or settings.temporal:
            self.beta = Chain(
                [conv_block(settings.middle, norm=norm), conv_block(embedding, norm=norm)]
            )
        if settings.spatial:
            self.spatial = SpatialReference(channels, embedding, norm=norm)
        if settings.temporal:
            self.temporal = TemporalReference(
                channels, embedding, variant=settings.variant, norm=norm
            )
        if settings.residual:
            self.residual = Residual(channels, settings.middle, variant=settings.variant, norm=norm)

    def attend(self, ours, theirs, training=None, of_both: bool = True) -> Attentions:
        """Attention to maps [batch, height, width, channels] and to those they are paired with.

        Args:
            ours: the maps.
            theirs: those they are paired with.
            training: whether batch norms take their statistics from the batch.
            of_both: whether spatial attention is wanted of both.
        """
        spatial = temporal = None
        if self.beta is None:
            return Attentions(None, None)
        both = tf.concat([ours, theirs], axis=0)
        beta = self.beta(both, training=training)
        if self.spatial is not None and of_both:
            found = self.spatial(both, beta, training=training)
            halves = [tf.split(part, 2) for part in found]
            spatial = tuple(Reference(*parts) for parts in zip(*halves, strict=True))
        elif self.spatial is not None:
            spatial = (self.spatial(ours, tf.split(beta, 2)[0], training=training),)
        if self.temporal is not None:
            temporal = self.temporal(ours, theirs, *tf.split(beta, 2), training=training)
        return Attentions(spatial, temporal)

    def combine(self, maps, attentions: Attentions, training=None):
        """Equation 5: the sum of the refined maps through the residual block.

        Args:
            maps: the frames to add, each [batch, height, width, channels].
            attentions: attention to each of them.
            training: whether batch norms take their statistics from the batch.
        """
        sums = []
        for kind, references in (("spatial", attentions[0]), ("temporal", attentions[1])):
            if references is not None:
                refined = [a.refine(frame) for a, frame in zip(references, maps, strict=False)]
                sums.append(self._as_released(kind, tf.add_n(refined)))
        total = tf.add_n(sums or list(maps))
        return total if self.residual is None else self.residual(total, training=training)

    def _as_released(self, kind: str, total):
        """The release takes ReLU of both sums, which changes nothing, and squares the temporal."""
        if not self.squares:
            return total
        total = tf.nn.relu(total)
        return tf.square(total) if kind == "temporal" else total

    def call(self, maps, training=None):
        """Maps [batch, T, height, width, channels] to [batch, T / 2, ...] (equation 1)."""
        ours, theirs = pairs(maps)
        found = self.combine(
            (ours, theirs), self.attend(ours, theirs, training=training), training=training
        )
        return _clips(found, maps.shape[1] // 2)

    def refine(self, ours, theirs, training=None):
        """Each map refined by its own attention and that from its reference, but not added to it.

        Maps are [batch, T, height, width, channels]; this is what the structures of one stage do.
        """
        flat, others = _flat(ours), _flat(theirs)
        attentions = self.attend(flat, others, training=training, of_both=False)
        found = self.combine((flat,), attentions, training=training)
        return _clips(found, ours.shape[1])


class Aggregation(tf_keras.layers.Layer):
    """From the maps of the frames to the feature of each stage.

    Args:
        settings: those of the model.
        norm: options of all batch norms.
    """

    def __init__(self, settings: PstaSettings, norm: Mapping[str, Any], **kwargs):
        super().__init__(**kwargs)
        self.structure = structure_of(settings)
        stages = {"pyramid": settings.stages, "average": 0}.get(self.structure, 1)
        self.stages = [Stam(settings, norm, name=f"stage{n + 1}") for n in range(stages)]

    def call(self, maps, training=None):
        """Maps [batch, T, height, width, channels] to F^1 ... F^S, [batch, S, channels]."""
        if self.structure == "average":
            return mean_feature(maps)[:, None]
        if self.structure == "pyramid":
            features = []
            for stage in self.stages:
                maps = stage(maps, training=training)
                features.append(mean_feature(maps))
            return tf.stack(features, axis=1)
        (stage,) = self.stages
        refined = stage.refine(maps, self.references(maps), training=training)
        return mean_feature(refined)[:, None]

    def references(self, maps):
        """What each frame is compared with, where there is one stage."""
        if self.structure == "global":
            mean = tf.reduce_mean(maps, axis=1, keepdims=True)
            return tf.repeat(mean, maps.shape[1], axis=1)
        return tf.concat([maps[:, 1:], maps[:, -2:-1]], axis=1)  # the last: the one before it

    def attention(self, maps) -> list[Attentions]:
        """Attention of each stage, in inference.

        Maps are [batch, T, height, width, channels]. In a pyramid, those of a stage are of
        [batch * pairs, ...] as `pairs` makes them; in the structures of one stage, of all frames
        and their references.
        """
        found = []
        for stage in self.stages:
            if self.structure != "pyramid":
                references = _flat(self.references(maps))
                found.append(stage.attend(_flat(maps), references, of_both=False))
                continue
            attentions = stage.attend(*pairs(maps))
            found.append(attentions)
            maps = stage(maps, training=False)
        return found


class Psta(tf_keras.Model):
    """A model of clips.

    Args:
        backbone: images to maps, a ResNet.
        settings: those of the model.
        num_identities: identities that are told apart in training.
    """

    def __init__(self, backbone, settings: PstaSettings, num_identities: int, **kwargs):
        super().__init__(name="psta", **kwargs)
        norm = _norm(settings)
        self.clip_shape = (settings.frames, *settings.image_size, 3)
        self.backbone = backbone
        self.reduction = conv_block(settings.channels, norm=norm)
        self.aggregation = Aggregation(settings, norm, name="aggregation")
        heads = max(1, len(self.aggregation.stages))
        # A neck's bias stays zero, so it has none.
        self.necks = [
            tf_keras.layers.BatchNormalization(center=False, **norm) for _ in range(heads)
        ]
        self.classifiers = [_classifier(num_identities) for _ in range(heads)]

    def call(self, clips, erase=None, training=None) -> dict[str, tf.Tensor]:
        """What is learned from, of every stage.

        Args:
            clips: uint8 [batch, frames, height, width, 3].
            erase: int32 [batch, 4], top, left, height and width of a rectangle to erase.
            training: whether batch norms take their statistics from the batch.

        Returns:
            `features` X^n and `normed`, those behind the batch norm neck, float32 [batch, stages,
            channels], and `logits` float32 [batch, stages, identities].
        """
        features, normed = self.described(clips, erase, training)
        logits = [
            classify(normed[:, n], training=training) for n, classify in enumerate(self.classifiers)
        ]
        return {"features": features, "normed": normed, "logits": tf.stack(logits, axis=1)}

    def embed(self, clips) -> tf.Tensor:
        """The feature of each clip, float32 [batch, channels]; compared by cosine."""
        return self.described(clips)[1][:, -1]

    def described(self, clips, erase=None, training=False):
        """`features` and `normed` of `call`."""
        maps = self.frame_maps(clips, erase, training=training)
        stages = tf.cast(self.aggregation(maps, training=training), tf.float32)
        features = stage_means(stages)
        normed = [neck(features[:, n], training=training) for n, neck in enumerate(self.necks)]
        return features, tf.cast(tf.stack(normed, axis=1), tf.float32)

    def frame_maps(self, clips, erase=None, training=False) -> tf.Tensor:
        """The maps F^0 of all frames, [batch, frames, height, width, channels]."""
        self.check_clips(clips)
        images = normalize_images(clips)
        if erase is not None:
            images = erased(images, erase)
        images = tf.reshape(images, [-1, *self.clip_shape[1:]])
        found = self.backbone(images, training=training)["5"]
        return _clips(self.reduction(found, training=training), self.clip_shape[0])

    def check_clips(self, clips) -> None:
        """Refuses clips of another kind than the model was built for."""
        if tuple(clips.shape[1:]) != self.clip_shape or clips.dtype != tf.uint8:
            frames, height, width, _ = self.clip_shape
            raise ValueError(
                f"this model takes clips uint8 [clips, {frames}, {height}, {width}, 3], got "
                f"{clips.dtype.name} {list(clips.shape)}: its weights belong to one image size "
                "(task.model.image_size) and one number of frames (task.model.frames)"
            )

    def activations(self, clips) -> tf.Tensor:
        """How strongly each cell of each frame counts, [batch, frames, height, width].

        The length of the cell's vector: with attention after the first stage has weighted it,
        without it as the backbone made it.
        """
        maps = self.frame_maps(clips)
        if not self.aggregation.stages:
            return tf.norm(maps, axis=-1)
        attentions = self.aggregation.attention(maps)[0]
        weight = tf.zeros_like(maps)
        for references in (attentions.spatial, attentions.temporal):
            if references is not None:
                weight += self._by_frame([a.space * a.channel for a in references])
        return tf.norm(maps * weight if any(attentions) else maps, axis=-1)

    def attention_maps(self, clips) -> dict[str, tf.Tensor]:
        """Attention of the first stage to the cells of each frame, [batch, frames, height, width].

        `spatial` and `temporal`, as far as the model has them.
        """
        if not self.aggregation.stages:
            return {}
        found = self.aggregation.attention(self.frame_maps(clips))[0]
        return {
            kind: self._by_frame([a.space for a in references])[..., 0]
            for kind, references in zip(Attentions._fields, found, strict=True)
            if references is not None
        }

    def _by_frame(self, parts):
        """Values of both frames of pairs, or of frames and references, as those of the frames."""
        frames = self.clip_shape[0]
        if self.aggregation.structure != "pyramid":
            return _clips(parts[0], frames)
        both = tf.stack(parts, axis=1)  # [batch * pairs, 2, ...]
        return tf.reshape(both, [-1, frames, *both.shape[2:]])


def build_psta(settings: PstaSettings, num_identities: int) -> Psta:
    """Builds the model and all its variables.

    Raises:
        ValueError: Naming the setting that does not fit.
    """
    check_settings(settings)
    kind = {1: "c4", 2: "fpn"}[settings.backbone.last_stride]  # a whole ResNet, strides as in C4
    backbone = build_resnet(
        settings.backbone.model_id,
        kind=kind,
        depth_multiplier=settings.backbone.depth_multiplier,
        sync_batch_norm=settings.backbone.sync_batch_norm,
        norm_momentum=settings.backbone.norm_momentum,
        norm_epsilon=settings.backbone.norm_epsilon,
    )
    model = Psta(backbone, settings, num_identities)
    model(tf.zeros([1, *model.clip_shape], tf.uint8), training=False)
    return model


def check_settings(settings: PstaSettings) -> None:
    """Raises a ValueError that names the setting that does not fit."""
    for name, value, choices in (
        ("variant", settings.variant, VARIANTS),
        ("structure", settings.structure, STRUCTURES),
        ("backbone.last_stride", settings.backbone.last_stride, (1, 2)),
    ):
        if value not in choices:
            known = ", ".join(map(str, choices))
            raise ValueError(f"task.model.{name} must be one of {known}, got {value!r}")
    if settings.frames < 1 or settings.stages < 0:
        raise ValueError(
            "task.model.frames must be at least 1 and task.model.stages at least 0, got "
            f"{settings.frames} and {settings.stages}"
        )
    if structure_of(settings) == "pyramid" and settings.frames % 2**settings.stages:
        raise ValueError(
            f"task.model.frames is {settings.frames}, which is no multiple of "
            f"2^task.model.stages = {2**settings.stages}: each stage makes one map of two"
        )
    if structure_of(settings) in ("adjacent", "global") and settings.frames < 2:
        raise ValueError("task.model.frames must be at least 2: a frame is refined by others")


def structure_of(settings: PstaSettings) -> str:
    """The structure; a pyramid without stages is the average."""
    if settings.structure == "pyramid" and not settings.stages:
        return "average"
    return settings.structure


def mean_feature(maps: tf.Tensor) -> tf.Tensor:
    """F^n (equation 2): the mean over maps, height and width."""
    return tf.reduce_mean(maps, axis=[1, 2, 3])


def stage_means(features: tf.Tensor) -> tf.Tensor:
    """X^n = (F^1 + ... + F^n) / n (equation 3), of [batch, stages, channels]."""
    stages = features.shape[1]
    counts = tf.range(1, stages + 1, dtype=features.dtype)
    return tf.cumsum(features, axis=1) / counts[:, None]


def erased(images: tf.Tensor, erase: tf.Tensor) -> tf.Tensor:
    """Fills a rectangle of each clip, the same one in all its frames.

    Args:
        images: normalised images [batch, frames, height, width, 3].
        erase: int32 [batch, 4], top, left, height and width; nothing where these are 0.
    """
    height, width = images.shape[2:4]
    top, left, rows, columns = (erase[:, i, None] for i in range(4))
    y, x = tf.range(height)[None], tf.range(width)[None]
    inside_rows = (y >= top) & (y < top + rows)
    inside_columns = (x >= left) & (x < left + columns)
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return tf.where(inside[:, None, :, :, None], tf.constant(ERASED, images.dtype), images)


def pairs(maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Frames 2t - 1 and 2t of [batch, T, ...], each [batch * T / 2, ...]."""
    return _flat(maps[:, 0::2]), _flat(maps[:, 1::2])


def _classifier(identities: int) -> tf_keras.layers.Dense:
    small = tf_keras.initializers.RandomNormal(stddev=0.001)
    return tf_keras.layers.Dense(identities, kernel_initializer=small, dtype=tf.float32)


def _flat(maps):
    return tf.reshape(maps, [-1, *maps.shape[2:]])


def _clips(maps, frames: int):
    return tf.reshape(maps, [-1, frames, *maps.shape[1:]])


def _norm(settings: PstaSettings) -> dict[str, Any]:
    backbone = settings.backbone
    norm = {"momentum": backbone.norm_momentum, "epsilon": backbone.norm_epsilon}
    return norm | ({"synchronized": True} if backbone.sync_batch_norm else {})
