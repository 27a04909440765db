"""From settings to a Faster R-CNN: the one place where the config tree becomes arguments."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf
import tf_keras
from official.vision.modeling.heads import dense_prediction_heads

from context_rcnn import configs
from context_rcnn.detectors import backbones, embedder, hard_examples, rfcn, slim, vgg
from context_rcnn.detectors.anchors import make_anchors
from context_rcnn.detectors.heads import BoxHead, BoxPredictor, DenseBoxHead
from context_rcnn.detectors.necks import Neck, build_neck, swap_out
from context_rcnn.detectors.proposers import Proposer
from context_rcnn.detectors.two_stage import TwoStageDetector

Regularizer: TypeAlias = "tf_keras.regularizers.Regularizer | None"


class Parts(NamedTuple):
    """The parts that differ between kinds of backbones.

    Attributes:
        trunk: images to maps.
        box_head: crops and second-stage features.
        checkpoint_items: under the names that classification checkpoints use.
        hidden: dense layers before the predictions.
        decoder: a pyramid on the maps, or None.
        neck: layers before port 1 and behind it, or None.
        predictor: scores and offsets; None takes `BoxPredictor`.
        levels: levels of the first stage's maps.
        rpn_head: makes the first stage's head; None takes the library's.
        anchor_centre: place of an anchor in its cell.
    """

    trunk: tf_keras.Model
    box_head: BoxHead
    checkpoint_items: Mapping[str, tf_keras.Model]
    hidden: tuple[int, ...] = ()
    decoder: tf_keras.Model | None = None
    neck: Neck | None = None
    predictor: BoxPredictor | None = None
    levels: tuple[int, ...] = (4,)
    rpn_head: Callable[..., tf_keras.layers.Layer] | None = None
    anchor_centre: float = 0.5


def _resnet(config: configs.FasterRcnn, regularizer: Regularizer) -> Any:
    """The whole classification network, as its ImageNet checkpoints have it."""
    options = _backbone_options(config.backbone, regularizer)
    return backbones.build_resnet(
        config.backbone.model_id,
        kind=config.backbone.kind,
        dilate_first_block=config.backbone.dilate_first_block,
        groups=config.backbone.groups,
        group_width=config.backbone.group_width,
        conv5_stride=config.boxes.conv5_stride,
        **options,
    )


def _c4(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """First stage on conv4; conv5 is the second stage's."""
    resnet, hidden = _resnet(config, regularizer), tuple(config.boxes.hidden)
    return Parts(resnet.trunk(), BoxHead(resnet.conv5()), {"backbone": resnet}, hidden)


def _dc5(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """Conv5 on the whole map, and one vector per box."""
    return _dilated(config, _dense_head(config.boxes, regularizer), regularizer)


def _vgg16(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """The first stage on conv5, and dense layers that make a vector of each box."""
    trunk, neck, network = vgg.build_vgg16(config.backbone.depth_multiplier, regularizer)
    head = _dense_head(config.boxes, regularizer)
    return Parts(trunk, head, {"backbone": network}, neck=neck)


def _dense_head(boxes: configs.Boxes, regularizer: Regularizer) -> DenseBoxHead:
    return DenseBoxHead(tuple(boxes.hidden), regularizer, boxes.dropout)


def _rfcn(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """Conv5 on the whole map, and scores of the whole map, which boxes pool."""
    if config.boxes.hidden:
        raise ValueError(
            f"model.boxes.hidden is {list(config.boxes.hidden)}, but rfcn has no dense layers: "
            "leave it empty"
        )
    head = rfcn.PositionSensitiveHead(
        config.num_classes,
        class_agnostic=config.boxes.class_agnostic,
        bins=config.boxes.bins,
        exact=config.boxes.bin_edges == "exact",
        regularizer=regularizer,
    )
    parts = _dilated(config, head, regularizer)
    return parts._replace(predictor=rfcn.Vote(config.num_classes))


def _dilated(config: configs.FasterRcnn, head: BoxHead, regularizer: Regularizer) -> Parts:
    """The stages up to port 1, and behind it those that are left and the neck."""
    resnet = _resnet(config, regularizer)
    trunk, rest = resnet.cut_behind(config.backbone.port_behind)
    return Parts(
        trunk,
        head,
        {"backbone": resnet},
        neck=build_neck(config.neck, rest, regularizer=regularizer),
        rpn_head=_pointwise_rpn_head if config.neck.type == "fgfa" else None,
    )


def _pointwise_rpn_head(
    places: int, filters: int, regularizer: Regularizer, name: str
) -> tf_keras.layers.Layer:
    return rfcn.PointwiseRpnHead(places, regularizer, name=name)


def _fpn(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """A pyramid."""
    resnet, levels = _resnet(config, regularizer), (2, 3, 4, 5, 6)
    decoder = backbones.build_fpn(
        resnet,
        min_level=levels[0],
        max_level=levels[-1],
        filters=config.backbone.fpn_filters,
        regularizer=regularizer,
        norm_momentum=config.backbone.norm_momentum,
        sync_batch_norm=config.backbone.sync_batch_norm,
    )
    hidden, items = tuple(config.boxes.hidden), {"backbone": resnet}
    return Parts(resnet, BoxHead(None), items, hidden, decoder, levels=levels)


def _slim_c4(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """The Object Detection API's C4."""
    options = _backbone_options(config.backbone, regularizer)
    trunk, conv5 = slim.build_resnet(config.backbone.model_id, **options)
    return Parts(
        trunk,
        slim.SlimBoxHead(conv5),
        {"trunk": trunk, "conv5": conv5},
        tuple(config.boxes.hidden),
        rpn_head=slim.SlimRpnHead,
        anchor_centre=slim.ANCHOR_CENTRE,
    )


def _embedder(config: configs.FasterRcnn, regularizer: Regularizer) -> Parts:
    """Any network, on crops of given boxes."""
    if config.proposals.source != "given":
        raise ValueError(
            "model.backbone.kind embedder has no first stage: model.proposals.source must be given"
        )
    if config.backbone.freeze_batch_norm or config.boxes.hidden:
        raise ValueError(
            "model.backbone.kind embedder: the network is frozen, and model.boxes.hidden is empty"
        )
    return Parts(embedder.build_trunk(), embedder.EmbedderBoxHead(config.backbone.embedder), {})


SOURCES = ("first_stage", "given")
KINDS = {
    "c4": _c4,
    "dc5": _dc5,
    "rfcn": _rfcn,
    "vgg16": _vgg16,
    "fpn": _fpn,
    "slim_c4": _slim_c4,
    "embedder": _embedder,
}


def build_faster_rcnn(
    config: configs.FasterRcnn,
    *,
    weight_decay: float = 0.0,
    map_memory: tf_keras.layers.Layer | None = None,
    box_memory: tf_keras.layers.Layer | None = None,
    memory_on_crops: bool = False,
    pool_before_memory: bool = False,
    swaps_convolution: bool = False,
    detector_class: Callable[..., TwoStageDetector] = TwoStageDetector,
) -> TwoStageDetector:
    """Builds a Faster R-CNN of any kind, with a memory at either port or none.

    Args:
        config: the detector.
        weight_decay: weight decay of all kernels.
        map_memory, box_memory: the ports, see `TwoStageDetector`.
        memory_on_crops, pool_before_memory: place of the second port, see `TwoStageDetector`.
        swaps_convolution: whether `map_memory` takes the place of the neck's convolution behind it.
        detector_class: puts the parts together.
    """
    if config.num_classes < 1:
        raise ValueError(f"model.num_classes must be at least 1, got {config.num_classes}")
    kind = config.backbone.kind
    if kind not in KINDS:
        raise ValueError(f"model.backbone.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    _check_fit(config)
    regularizer = backbones.l2(weight_decay)
    parts = KINDS[kind](config, regularizer)
    if box_memory is not None and not parts.box_head.has_vectors:
        raise ValueError(
            f"model.backbone.kind {kind} pools scores at its boxes, not features: a memory of "
            "boxes has nothing to hold. Choose a memory of maps, or another kind"
        )
    given = config.proposals.source == "given"
    samples, positive_fraction = hard_examples.candidates(config.boxes)
    if swaps_convolution:
        swap_out(parts.neck)
        if kind == "vgg16":  # the network without its last convolution
            parts = parts._replace(checkpoint_items={"backbone": parts.trunk})
    model = detector_class(
        backbone=parts.trunk,
        decoder=parts.decoder,
        neck=parts.neck,
        rpn_head=None if given else _rpn_head(config, parts, regularizer),
        anchors={} if given else _anchors(config, parts),
        clip_anchors_to=config.image_size if config.proposals.clip_anchors else None,
        proposer=_proposer(config.proposals),
        box_head=parts.box_head,
        box_predictor=parts.predictor
        or BoxPredictor(
            config.num_classes,
            hidden=parts.hidden,
            class_agnostic=config.boxes.class_agnostic,
            regularizer=regularizer,
        ),
        detection={
            "score_threshold": config.detections.score_threshold,
            "iou_threshold": config.detections.nms_iou,
            "count": config.detections.count,
        },
        proposal_sampling={
            "samples": samples,
            "positive_fraction": positive_fraction,
            "positive_iou": config.boxes.positive_iou,
            "box_weights": list(config.boxes.offset_weights),
        },
        map_memory=map_memory,
        box_memory=box_memory,
        memory_on_crops=memory_on_crops,
        pool_before_memory=pool_before_memory,
        suppress_unclipped=config.detections.suppress_unclipped,
        best_class_only=config.detections.best_class_only,
    )
    model.checkpoint_items = dict(parts.checkpoint_items)
    return model


def _check_fit(config: configs.FasterRcnn) -> None:
    """Raises a ValueError for settings that this kind of detector would pass over in silence."""
    if config.proposals.source not in SOURCES:
        raise ValueError(
            f"model.proposals.source must be one of {', '.join(SOURCES)}, got "
            f"{config.proposals.source!r}"
        )
    kind, default = config.backbone.kind, configs.FasterRcnn()
    for kinds, path in _ONLY_FOR:
        group, name = path.split(".")
        value, usual = (getattr(getattr(c, group), name) for c in (config, default))
        if kind not in kinds and value != usual:
            raise ValueError(f"model.{path} is for {', '.join(kinds)}, not {kind}; got {value!r}")
    if config.boxes.bin_edges not in ("cells", "exact"):
        raise ValueError(
            f"model.boxes.bin_edges must be cells or exact, got {config.boxes.bin_edges!r}"
        )
    if config.boxes.conv5_stride not in (1, 2):
        raise ValueError(
            f"model.boxes.conv5_stride must be 1 or 2, got {config.boxes.conv5_stride}"
        )


_DILATED = ("dc5", "rfcn")
_ONLY_FOR = (
    (_DILATED, "neck.type"),
    (_DILATED, "backbone.port_behind"),
    (_DILATED, "backbone.dilate_first_block"),
    (("c4", "dc5", "rfcn", "fpn"), "backbone.groups"),
    (("dc5", "vgg16"), "boxes.dropout"),
    (("rfcn",), "boxes.bins"),
    (("rfcn",), "boxes.bin_edges"),
    (("c4",), "boxes.conv5_stride"),
    (("embedder",), "backbone.embedder"),
)


def _backbone_options(config: configs.Backbone, regularizer: Regularizer) -> dict[str, Any]:
    return {
        "depth_multiplier": config.depth_multiplier,
        "freeze_batch_norm": config.freeze_batch_norm,
        "sync_batch_norm": config.sync_batch_norm,
        "norm_momentum": config.norm_momentum,
        "norm_epsilon": config.norm_epsilon,
        "regularizer": regularizer,
    }


def _anchors(config: configs.FasterRcnn, parts: Parts) -> dict[str, tf.Tensor]:
    return make_anchors(
        config.image_size,
        levels=parts.levels,
        sizes=[config.anchors.size / 2 ** (parts.levels[-1] - n) for n in parts.levels],
        scales=config.anchors.scales,
        aspect_ratios=config.anchors.aspect_ratios,
        centre=parts.anchor_centre,
    )


def _rpn_head(
    config: configs.FasterRcnn, parts: Parts, regularizer: Regularizer
) -> tf_keras.layers.Layer:
    places = len(config.anchors.scales) * len(config.anchors.aspect_ratios)
    filters = config.proposals.filters
    if parts.rpn_head is not None:
        return parts.rpn_head(places, filters, regularizer, name="rpn_head")
    return dense_prediction_heads.RPNHead(
        min_level=parts.levels[0],
        max_level=parts.levels[-1],
        num_anchors_per_location=places,
        num_filters=filters,
        use_sync_bn=config.backbone.sync_batch_norm,
        norm_momentum=config.backbone.norm_momentum,
        kernel_regularizer=regularizer,
    )


def _proposer(config: configs.Proposals) -> Proposer:
    if config.pre_nms < (0 if config.suppress_unclipped else 1):
        raise ValueError(
            f"model.proposals.pre_nms must be at least 1, got {config.pre_nms}; 0 (all) is for "
            "model.proposals.suppress_unclipped"
        )
    return Proposer(
        pre_nms=config.pre_nms,
        iou_threshold=config.nms_iou,
        count=config.count,
        clips_first=not config.suppress_unclipped,
    )
