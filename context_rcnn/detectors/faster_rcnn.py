"""From settings to a Faster R-CNN: the one place where the config tree becomes arguments."""

from collections.abc import Callable

import tf_keras
from official.vision.modeling.heads import dense_prediction_heads
from official.vision.modeling.layers import roi_generator

from context_rcnn import configs
from context_rcnn.detectors import backbones, slim
from context_rcnn.detectors.anchors import make_anchors
from context_rcnn.detectors.heads import BoxHead, BoxPredictor, DenseBoxHead
from context_rcnn.detectors.two_stage import TwoStageDetector

KINDS = (*backbones.KINDS, "slim_c4")


def build_faster_rcnn(
    config: configs.FasterRcnn,
    *,
    weight_decay: float = 0.0,
    map_memory: tf_keras.layers.Layer | None = None,
    box_memory: tf_keras.layers.Layer | None = None,
    memory_on_crops: bool = False,
    detector_class: Callable[..., TwoStageDetector] = TwoStageDetector,
) -> TwoStageDetector:
    """Builds a Faster R-CNN of any kind, with a memory at either port or none.

    Args:
        config: the detector.
        weight_decay: of all kernels.
        map_memory, box_memory, memory_on_crops: the ports, see `TwoStageDetector`.
        detector_class: puts the parts together.
    """
    if config.num_classes < 1:
        raise ValueError(f"model.num_classes must be at least 1, got {config.num_classes}")
    kind = config.backbone.kind
    if kind not in KINDS:
        raise ValueError(f"model.backbone.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    norm_momentum, sync = config.backbone.norm_momentum, config.backbone.sync_batch_norm
    regularizer = backbones.l2(weight_decay)
    backbone = {
        "depth_multiplier": config.backbone.depth_multiplier,
        "freeze_batch_norm": config.backbone.freeze_batch_norm,
        "sync_batch_norm": sync,
        "norm_momentum": norm_momentum,
        "norm_epsilon": config.backbone.norm_epsilon,
        "regularizer": regularizer,
    }
    levels, sizes, decoder = [4], [config.anchors.size], None
    if kind == "slim_c4":
        trunk, conv5 = slim.build_resnet(config.backbone.model_id, **backbone)
        checkpoint_items = {"trunk": trunk, "conv5": conv5}
    else:
        resnet = backbones.build_resnet(config.backbone.model_id, kind=kind, **backbone)
        # The whole classification network, under the name its ImageNet checkpoints use.
        checkpoint_items = {"backbone": resnet}
        trunk, conv5 = (resnet.trunk(), resnet.conv5()) if kind == "c4" else (resnet, None)
        if kind == "dc5":
            trunk = resnet.maps()
    if kind == "fpn":
        levels = [2, 3, 4, 5, 6]
        sizes = [config.anchors.size / 2 ** (levels[-1] - level) for level in levels]
        decoder = backbones.build_fpn(
            resnet,
            min_level=levels[0],
            max_level=levels[-1],
            filters=config.backbone.fpn_filters,
            regularizer=regularizer,
            norm_momentum=norm_momentum,
            sync_batch_norm=sync,
        )
    rpn = config.proposals
    proposer = {
        "pre_nms_top_k": rpn.pre_nms,
        "nms_iou_threshold": rpn.nms_iou,
        "num_proposals": rpn.count,
        # Without it, boxes that clipping has left without area take the places of real proposals.
        "pre_nms_min_size_threshold": 1.0,
    }
    places = len(config.anchors.scales) * len(config.anchors.aspect_ratios)
    if kind == "slim_c4":
        rpn_head = slim.SlimRpnHead(places, rpn.filters, regularizer, name="rpn_head")
    else:
        rpn_head = dense_prediction_heads.RPNHead(
            min_level=levels[0],
            max_level=levels[-1],
            num_anchors_per_location=places,
            num_filters=rpn.filters,
            use_sync_bn=sync,
            norm_momentum=norm_momentum,
            kernel_regularizer=regularizer,
        )
    hidden = tuple(config.boxes.hidden)
    if kind == "slim_c4":
        box_head = slim.SlimBoxHead(conv5)
    elif kind == "dc5":
        box_head, hidden = DenseBoxHead(hidden, regularizer), ()
    else:
        box_head = BoxHead(conv5)
    model = detector_class(
        backbone=trunk,
        decoder=decoder,
        rpn_head=rpn_head,
        anchors=make_anchors(
            config.image_size,
            levels=levels,
            sizes=sizes,
            scales=config.anchors.scales,
            aspect_ratios=config.anchors.aspect_ratios,
            centre=slim.ANCHOR_CENTRE if kind == "slim_c4" else 0.5,
        ),
        proposer=roi_generator.MultilevelROIGenerator(
            **proposer, **{f"test_{key}": value for key, value in proposer.items()}
        ),
        box_head=box_head,
        box_predictor=BoxPredictor(
            config.num_classes,
            hidden=hidden,
            class_agnostic=config.boxes.class_agnostic,
            regularizer=regularizer,
        ),
        detection={
            "score_threshold": config.detections.score_threshold,
            "iou_threshold": config.detections.nms_iou,
            "count": config.detections.count,
        },
        proposal_sampling={
            "samples": config.boxes.samples,
            "positive_fraction": config.boxes.positive_fraction,
            "positive_iou": config.boxes.positive_iou,
            "box_weights": list(config.boxes.offset_weights),
        },
        map_memory=map_memory,
        box_memory=box_memory,
        memory_on_crops=memory_on_crops,
    )
    model.checkpoint_items = checkpoint_items
    return model
