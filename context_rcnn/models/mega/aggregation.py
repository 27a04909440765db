"""MEGA: Memory Enhanced Global-Local Aggregation for Video Object Detection (arXiv 2003.12063).

The sections of the paper, in its order:

    3.1  the relation module: `layers.relation`; the pools L and G, and what is kept of a frame
    3.2  global-local aggregation, equations 3 to 6, and with the long range memory, 7 and 8:
         `GlobalLocalAggregation`
    4.2  the detector: conv5 on the whole map, one vector per box, `build_mega`
    4.3  training on a few frames of a video: `MegaDetector`

Algorithm 1, which goes through a video frame by frame, is `stream`. Where the released code
departs from the paper, `variant: released` follows it:

    h, a dense layer with ReLU    paper     after every relation module
                                  released  before every local one but the first
    time in the location          paper     yes;   released  no
    a second global module        released  on the boxes of the keyframe, at the end
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.mega import Mega
from context_rcnn.data.videos import Reach, VideoClips
from context_rcnn.detectors import backbones
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import (
    Memory,
    Proposals,
    Seen,
    TwoStageDetector,
    untouched,
)
from context_rcnn.layers.relation import Pool, RelationModule, Variant, join_pools

# Weights [batch, heads, boxes, references] by stage: global_0, ..., local_0, ..., global_last.
Watch = dict[str, tf.Tensor]


class GlobalLocalAggregation(tf_keras.layers.Layer):
    """Section 3.2: boxes of a keyframe, enhanced by those of other frames.

    Args:
        depth: depth of the box features.
        heads: number of heads in a relation module.
        global_modules: N_g.
        local_modules: N_l.
        kept_boxes: boxes of a reference frame that go on after the first local module, the best.
        global_location: whether places, but not times, count in the global modules, too: of
            section 4.5.
        variant: `paper` or `released`.
        max_frames: see `RelationModule`.
        regularizer: regularizer of all kernels.
    """

    per_channel = True

    def __init__(
        self,
        depth: int,
        *,
        heads: int = 16,
        global_modules: int = 1,
        local_modules: int = 3,
        kept_boxes: int = 20,
        global_location: bool = False,
        variant: Variant = "paper",
        max_frames: int = 64,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)

        def relation(name: str, location: bool, timed: bool = True) -> RelationModule:
            return RelationModule(
                depth,
                heads=heads,
                location=location,
                timed=timed,
                variant=variant,
                max_frames=max_frames,
                regularizer=regularizer,
                name=name,
            )

        def transform(name: str) -> tf_keras.layers.Layer:
            # At first it hands on what it gets, as the relations nearly do.
            return tf_keras.layers.Dense(
                depth,
                activation="relu",
                kernel_initializer="identity",
                kernel_regularizer=regularizer,
                name=name,
            )

        paper = variant == "paper"
        self.depth, self.kept_boxes = depth, kept_boxes
        self._paper = paper
        self._global = [
            relation(f"global_{i}", global_location, timed=False) for i in range(global_modules)
        ]
        self._local = [relation(f"local_{i}", True) for i in range(local_modules)]
        # Behind global and local modules, of the paper; before the local ones, of the release.
        self._global_transforms = [
            transform(f"global_h_{i}") for i in range(global_modules * paper)
        ]
        count = local_modules if paper else max(0, local_modules - 1)
        self._local_transforms = [transform(f"local_h_{i}") for i in range(count)]
        second = global_modules and not paper
        self._last_global = (
            relation("global_last", global_location, timed=False) if second else None
        )

    def call(
        self,
        features: tf.Tensor,
        *,
        proposals: Proposals,
        memory: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """As the box port of single images: each is a video of one frame."""
        frames = tf.zeros(tf.shape(proposals.valid), tf.int32)
        key = Pool(pool_boxes(features), proposals.boxes, frames, proposals.valid)
        nothing = Pool(*(part[:, :1] for part in key))
        nothing = nothing._replace(valid=tf.zeros_like(nothing.valid))
        key = self.enhance(key, nothing)
        key, _ = self.aggregate(key, key, frames=1)
        return self.finish(key, nothing).features[:, :, None, None]

    @property
    def levels(self) -> int:
        """Levels of features that the long range memory keeps."""
        return len(self._local)

    def enhance(self, local: Pool, globals_: Pool, watch: Watch | None = None) -> Pool:
        """Equations 3 and 4: L^g = N_g(L, G)."""
        for i, module in enumerate(self._global):
            features, weights = module(local, globals_)
            if watch is not None:
                watch[f"global_{i}"] = weights
            if self._paper:
                features = self._global_transforms[i](features)
            local = local._replace(features=features)
        return local

    def aggregate(
        self,
        key: Pool | None,
        local: Pool,
        frames: int,
        memory: Sequence[Pool] | None = None,
        watch: Watch | None = None,
    ) -> tuple[Any, list[Pool]]:
        """Equations 5 and 6, with a memory 7 and 8: L^l = N_El(L^g, M).

        Of the last module only the boxes of the keyframe are wanted, and computed.

        Args:
            key: boxes of the keyframe, enhanced, to be detected; None where only the levels are
                wanted.
            local: boxes of the reference frames, enhanced, frame after frame, best first.
            frames: number of frames in `local`.
            memory: M^0, M^1, ...: one pool a level.
            watch: gets the weights of the keyframe's boxes, see `Watch`.

        Returns:
            C, and the levels of `local` that a memory keeps, L^{l,0}, L^{l,1}, ...
        """
        count = key.valid.shape[1] if key else 0
        levels = [local]
        for i, module in enumerate(self._local):
            last = i == len(self._local) - 1
            kept = None if last else best_of_frames(levels[i], frames, self.kept_boxes)
            parts = [part for part in (key, kept) if part]
            if not parts:
                break
            asking, references = join_pools(*parts), levels[i]
            if memory is not None:
                references = join_pools(references, memory[i])
            features, weights = module(asking, references)
            if watch is not None:
                watch[f"local_{i}"] = weights[:, :, :count]
            if self._paper or not last:
                features = self._local_transforms[i](features)
            if key:
                key = key._replace(features=features[:, :count])
            if kept:
                levels.append(kept._replace(features=features[:, count:]))
        return key, levels

    def finish(self, key: Pool, globals_: Pool, watch: Watch | None = None) -> Pool:
        """The second global module of the released code; of the paper, nothing."""
        if self._last_global is None:
            return key
        features, weights = self._last_global(key, globals_)
        if watch is not None:
            watch["global_last"] = weights
        return key._replace(features=features)


def best_of_frames(pool: Pool, frames: int, count: int) -> Pool:
    """The first `count` boxes of each frame of a pool that has as many of every frame."""

    def cut(part):
        whole = tf.reshape(part, [-1, frames, part.shape[1] // frames, *part.shape[2:]])
        best = whole[:, :, :count]
        return tf.reshape(best, [-1, frames * best.shape[2], *part.shape[2:]])

    return Pool(*map(cut, pool))


class MegaDetector(TwoStageDetector):
    """Section 4: the detector, and how it learns from a few frames of a video.

    The images of a clip are a keyframe, then frames from near it, from before them, and from
    anywhere in the video, as many of each as `clip` says. Only the keyframe teaches: what is
    returned has one row per clip.

    What it reads of `memory`:

        clip_valid   bool [clips, frames], which frames there are
        clip_frames  int32 [clips, frames], their numbers in the video

    Args:
        clip: frames besides the keyframe: local, of the memory, global.
        reference_boxes: boxes of a frame that others see, the best.
        **kwargs: of the detector; `box_memory` is a `GlobalLocalAggregation`.
    """

    def __init__(self, *, clip: tuple[int, int, int], reference_boxes: int, **kwargs):
        super().__init__(**kwargs)
        self._clip = clip
        self.reference_boxes = reference_boxes

    def learn(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        groundtruth: Mapping[str, tf.Tensor],
        memory: Memory = None,
        training: bool | None = None,
        given: Proposals | None = None,
    ) -> dict[str, Any]:
        """As the detector's, of clips; the groundtruth is that of the keyframes.

        Other frames find their boxes in the first stage, so proposals are not taken.
        """
        if given is not None:
            raise ValueError("MEGA finds its boxes itself: it takes no given proposals")
        if memory is None:
            raise ValueError("a clip comes with `clip_frames` and `clip_valid`")
        local, past, anywhere = self._clip
        frames = 1 + local + past + anywhere
        numbers, there = memory["clip_frames"], memory["clip_valid"]

        def see(places: list[int]) -> tuple[Seen, Pool]:
            """Some frames of each clip, and the pool of their best boxes."""
            some = functools.partial(_frames, places=places, frames=frames)
            seen = self.look(some(images), some(shapes), memory, training)
            best = seen._replace(proposals=seen.proposals.best(self.reference_boxes))
            pool = self.pool(best, tf.reshape(tf.gather(numbers, places, axis=1), [-1]), training)
            known = tf.reshape(tf.gather(there, places, axis=1), [-1, 1])
            pool = pool._replace(valid=pool.valid & known)
            return seen, _side_by_side(pool, len(places))

        aggregation = self.box_memory
        places = [0, *range(1, 1 + local), *range(frames - anywhere, frames)]
        seen, pool = see(places)
        seen = tf.nest.map_structure(
            lambda part: None if part is None else part[:: len(places)], seen
        )
        drawn, targets = self.sample(seen.proposals, groundtruth)
        key = self.pool(seen._replace(proposals=drawn), numbers[:, 0], training)
        near = Pool(*(part[:, : (1 + local) * self.reference_boxes] for part in pool))
        globals_ = Pool(*(part[:, (1 + local) * self.reference_boxes :] for part in pool))
        levels = None
        if past:
            _, before = see([*range(1 + local, 1 + local + past)])
            # No gradient flows into how the memory is made.
            _, levels = aggregation.aggregate(None, aggregation.enhance(before, globals_), past)
            levels = [Pool(*map(tf.stop_gradient, level)) for level in levels]
        key, near = (aggregation.enhance(part, globals_) for part in (key, near))
        key, _ = aggregation.aggregate(key, near, 1 + local, levels)
        key = aggregation.finish(key, globals_)
        logits, offsets = self.box_predictor(key.features[:, :, None, None])
        return {
            "rpn": seen.rpn,
            "targets": targets,
            "class_logits": logits,
            "box_offsets": offsets,
        }

    def pool(self, seen: Seen, frames: tf.Tensor, training: bool | None = None) -> Pool:
        """Boxes of images, before any memory, as a pool; `frames` int32 [images], their numbers."""
        features = pool_boxes(self.features(seen, training=training, port=untouched))
        proposals = seen.proposals
        frames = tf.broadcast_to(frames[:, None], tf.shape(proposals.valid))
        return Pool(features, proposals.boxes, frames, proposals.valid)


def training_clips(config: Mega, seed: int) -> VideoClips:
    """The frames that a keyframe is learned with, as `MegaDetector` takes them.

    The paper draws the memory's frames from before the local ones. The released code draws them
    from a window that is as wide, but `memory_frames` earlier.
    """
    training, before, after = config.training, -(config.local_frames - 1), 0
    if not config.online:
        before, after = -(config.local_frames // 2), config.local_frames // 2
    memory = Reach(training.memory_frames, before - config.memory_frames, before - 1)
    if config.variant == "released":
        shift = config.memory_frames
        memory = Reach(training.memory_frames, before - shift, min(after - shift, -1))
    anywhere = Reach(training.global_frames, None, -1 if config.online else None)
    reaches = (Reach(training.local_frames, before, after), memory, anywhere)
    return VideoClips(reaches, training.keyframes, seed)


def build_mega(
    model: configs.FasterRcnn, config: Mega, *, weight_decay: float = 0.0
) -> MegaDetector:
    """Section 4.2: a Faster R-CNN whose boxes are vectors, related to those of other frames."""
    if model.backbone.kind not in ("dc5", "c4"):
        raise ValueError(
            "task.temporal.mega relates vectors: model.backbone.kind must be dc5 (the paper's) or "
            f"c4, got {model.backbone.kind!r}"
        )
    training = config.training
    if config.global_modules and not (config.global_frames and training.global_frames):
        raise ValueError(
            f"task.temporal.mega.global_modules is {config.global_modules}, but without "
            "global_frames and training.global_frames there is nothing to look at; set it to 0"
        )
    return build_faster_rcnn(
        model,
        weight_decay=weight_decay,
        box_memory=GlobalLocalAggregation(
            config.depth,
            heads=config.heads,
            global_modules=config.global_modules,
            local_modules=config.local_modules,
            kept_boxes=config.kept_boxes,
            global_location=config.global_location,
            variant=cast(Variant, config.variant),
            max_frames=config.local_frames + config.memory_frames,
            regularizer=backbones.l2(weight_decay),
            name="aggregation",
        ),
        detector_class=functools.partial(
            MegaDetector,
            clip=(training.local_frames, training.memory_frames, training.global_frames),
            reference_boxes=config.reference_boxes,
        ),
    )


def _frames(rows: tf.Tensor, places: list[int], frames: int) -> tf.Tensor:
    """Of images [clips * frames, ...], those of some places in their clips."""
    clips = tf.reshape(rows, [-1, frames, *rows.shape[1:]])
    return tf.reshape(tf.gather(clips, places, axis=1), [-1, *rows.shape[1:]])


def _side_by_side(pool: Pool, frames: int) -> Pool:
    """A pool of images [clips * frames, boxes] to one of clips [clips, frames * boxes]."""
    return Pool(*(tf.reshape(part, [-1, frames * part.shape[1], *part.shape[2:]]) for part in pool))
