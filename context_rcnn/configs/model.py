"""Settings of the still-image detector."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class Backbone(hyperparams.Config):
    """The feature extractor.

    Attributes:
        kind: `c4` (first stage on conv4 at stride 16, conv5 as second stage: Context R-CNN's),
            `dc5` (conv5 on the whole map, dilated, at the same stride: MEGA's), `fpn`, or
            `slim_c4`, as the Object Detection API's TensorFlow 1 models compute C4.
        model_id: depth of the ResNet: 10, 18, 34, 50, 101, 152, ...; `slim_c4` has the last three.
        depth_multiplier: scales the channels; small ones make toy models.
        freeze_batch_norm: use the moving statistics in training too, for fine-tuning.
        sync_batch_norm: share batch statistics between replicas.
        norm_momentum: of the moving statistics.
        norm_epsilon: added to variances.
        fpn_filters: channels of the pyramid (`fpn` only).
    """

    kind: str = "c4"
    model_id: int = 101
    depth_multiplier: float = 1.0
    freeze_batch_norm: bool = False
    sync_batch_norm: bool = False
    norm_momentum: float = 0.99
    norm_epsilon: float = 0.001
    fpn_filters: int = 256


@dataclasses.dataclass
class Anchors(hyperparams.Config):
    """Reference boxes: `size` at scale 1 (of a pyramid's coarsest level, halved per level)."""

    size: float = 256.0
    scales: list[float] = dataclasses.field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0])
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])


@dataclasses.dataclass
class Proposals(hyperparams.Config):
    """First stage.

    Attributes:
        filters: channels of the 3x3 convolution before the predictions.
        pre_nms: best boxes a level before suppression.
        nms_iou: boxes that overlap a better one by this much are suppressed.
        count: proposals an image, in training and in inference.
        anchor_samples: anchors an image the first stage learns from.
        anchor_positive_fraction: upper bound of positives among them.
        positive_iou: anchors from this IoU on are positive.
        negative_iou: anchors below this IoU are negative.
    """

    filters: int = 512
    pre_nms: int = 6000
    nms_iou: float = 0.7
    count: int = 300
    anchor_samples: int = 256
    anchor_positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3


@dataclasses.dataclass
class Boxes(hyperparams.Config):
    """Second stage.

    Attributes:
        samples: proposals an image the second stage learns from.
        positive_fraction: upper bound of positives among them.
        positive_iou: proposals from this IoU on are positive, the others background.
        offset_weights: multiply the offsets dy, dx, dh, dw.
        hidden: dense layers, a pyramid's before its predictions, `dc5`'s before its box memory;
            empty after conv5 on crops.
        class_agnostic: all classes share the offsets of a box, as R-FCN's do.
    """

    samples: int = 64
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    offset_weights: list[float] = dataclasses.field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])
    hidden: list[int] = dataclasses.field(default_factory=list)
    class_agnostic: bool = False


@dataclasses.dataclass
class Detections(hyperparams.Config):
    """Post-processing: score threshold, per-class suppression, detections an image."""

    score_threshold: float = 0.001
    nms_iou: float = 0.6
    count: int = 100


@dataclasses.dataclass
class FasterRcnn(hyperparams.Config):
    """The still-image detector.

    Attributes:
        num_classes: without background; 0 takes it from the label map.
        image_size: height and width of the network's input.
        keep_aspect_ratio: fit the image into `image_size` and pad, rather than stretch it.
    """

    num_classes: int = 0
    image_size: list[int] = dataclasses.field(default_factory=lambda: [640, 640])
    keep_aspect_ratio: bool = False
    backbone: Backbone = dataclasses.field(default_factory=Backbone)
    anchors: Anchors = dataclasses.field(default_factory=Anchors)
    proposals: Proposals = dataclasses.field(default_factory=Proposals)
    boxes: Boxes = dataclasses.field(default_factory=Boxes)
    detections: Detections = dataclasses.field(default_factory=Detections)
