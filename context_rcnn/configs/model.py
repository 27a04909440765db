"""Settings of the still-image detector."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class Backbone(hyperparams.Config):
    """The feature extractor.

    Attributes:
        kind: type of the feature extractor: `c4` (first stage on conv4 at stride 16, conv5 as
            second stage, as in Context R-CNN), `dc5` (conv5 on the whole map, dilated, at the same
            stride, as in MEGA), `rfcn` (R-FCN on such a conv5), `vgg16` (VGG-16 with its dense
            layers), `fpn` (a feature pyramid), `slim_c4` (C4 as the Object Detection API's
            TensorFlow 1 models compute it), or `embedder` (any network on crops of given boxes).
        model_id: depth of the ResNet: 10, 18, 34, 50, 101, 152, ...; `slim_c4` has the last three.
        depth_multiplier: factor on the number of channels; small values make toy models.
        freeze_batch_norm: whether training also uses the moving statistics, for fine-tuning; in
            all of the detector but its memory.
        sync_batch_norm: whether replicas share batch statistics.
        norm_momentum: momentum of the moving statistics.
        norm_epsilon: small number added to variances.
        fpn_filters: number of channels of the pyramid (`fpn` only).
        dilate_first_block: whether the first block of conv5 is dilated like its other blocks, as in
            FGFA (`dc5`, `rfcn`); the authors of STMN dilate only the others.
        port_behind: last stage before the place of a memory of maps, `conv3`, `conv4` or `conv5`
            (`dc5`, `rfcn`); later stages are computed from what the memory returns.
        groups: number of groups of the 3x3 convolutions; 32 makes a ResNeXt of a ResNet of 50 or
            more layers.
        group_width: number of channels of a group in conv2, twice as many in each later stage.
        embedder: folder of the network's SavedModel (`embedder` only).
    """

    kind: str = "c4"
    model_id: int = 101
    depth_multiplier: float = 1.0
    freeze_batch_norm: bool = False
    sync_batch_norm: bool = False
    norm_momentum: float = 0.99
    norm_epsilon: float = 0.001
    fpn_filters: int = 256
    dilate_first_block: bool = True
    port_behind: str = "conv5"
    groups: int = 1
    group_width: int = 4
    embedder: str = ""


@dataclasses.dataclass
class Neck(hyperparams.Config):
    """Layers between conv5 and the heads (`dc5`, `rfcn`), before and behind a memory of maps.

    Attributes:
        type: `none`; `rfcn`, 1x1; `stmn`, 3x3, 1x1, the memory or 3x3 in its place, 1x1; `fgfa`,
            3x3, the memory, and half of the channels for either stage.
        channels: number of channels of the first and the last convolution of `stmn`.
        width: number of channels at the memory.
        dilation: distance between the cells that the first 3x3 sees (`stmn`, `fgfa`).
    """

    type: str = "none"
    channels: int = 512
    width: int = 1024
    dilation: int = 6


@dataclasses.dataclass
class Anchors(hyperparams.Config):
    """Reference boxes.

    Attributes:
        size: side in pixels at scale 1; with a pyramid, on its coarsest level, and half of it on
            each finer level.
        scales: factors on `size`, one anchor each.
        aspect_ratios: ratios of width to height, one anchor each.
    """

    size: float = 256.0
    scales: list[float] = dataclasses.field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0])
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])


@dataclasses.dataclass
class Proposals(hyperparams.Config):
    """First stage.

    Attributes:
        filters: number of channels of the 3x3 convolution before the predictions.
        pre_nms: number of best boxes per level that go into suppression; 0 for all, with
            `suppress_unclipped`.
        nms_iou: IoU with a better box at which a box is suppressed.
        count: number of proposals per image, in training and in inference.
        clip_anchors: whether anchors are clipped to the padded image before boxes are decoded from
            them, as in the Object Detection API.
        suppress_unclipped: whether boxes are suppressed as they were decoded, as in the Object
            Detection API; they are clipped to the image afterwards, and those without area are
            dropped. By default they are clipped first.
        source: `first_stage`, or `given` with the images by another detector
            (`context-rcnn examples --proposals_json`); there is then no first stage.
        anchor_samples: number of anchors per image that train the first stage.
        anchor_positive_fraction: largest share of positive anchors among them.
        positive_iou: lowest IoU with an object at which an anchor is positive.
        negative_iou: IoU below which an anchor is negative.
    """

    filters: int = 512
    pre_nms: int = 6000
    nms_iou: float = 0.7
    count: int = 300
    clip_anchors: bool = False
    suppress_unclipped: bool = False
    source: str = "first_stage"
    anchor_samples: int = 256
    anchor_positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3


@dataclasses.dataclass
class Boxes(hyperparams.Config):
    """Second stage.

    Attributes:
        samples: number of proposals per image that train the second stage.
        positive_fraction: largest share of positive proposals among them.
        positive_iou: lowest IoU with an object at which a proposal is positive; all others are
            background.
        offset_weights: factors on the offsets dy, dx, dh, dw.
        hidden: sizes of the dense layers: with `fpn` before the predictions, with `dc5` and `vgg16`
            before the box memory; empty with conv5 on crops.
        dropout: share of the outputs of each dense layer that training leaves out (`dc5`, `vgg16`).
        class_agnostic: whether all classes share the offsets of a box, as in R-FCN.
        bins: number of places along each side of a box that have maps of their own (`rfcn`), k.
        bin_edges: where these places end (`rfcn`): `cells`, with whole cells of the map, as in the
            paper; `exact`, where the box says, which tells boxes apart that a cell contains.
        hard_examples: rule to choose the `samples` by their losses: `none` draws them at random;
            `pure` takes those of highest loss among all proposals; `balanced` draws `candidates`,
            and takes positives at random and the negatives of highest loss.
        candidates: number of proposals that `balanced` draws first.
        hard_nms_iou: IoU with a box of higher loss at which `pure` leaves a box out; 1 keeps all.
        conv5_stride: stride of conv5 on crops (`c4`): 1 leaves 7x7 cells of a box; 2, as in the
            Object Detection API's TensorFlow 2 models, 4x4, with about a third of its operations.
    """

    samples: int = 64
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    offset_weights: list[float] = dataclasses.field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])
    hidden: list[int] = dataclasses.field(default_factory=list)
    class_agnostic: bool = False
    bins: int = 7
    bin_edges: str = "cells"
    dropout: float = 0.0
    hard_examples: str = "none"
    candidates: int = 300
    hard_nms_iou: float = 0.7
    conv5_stride: int = 1


@dataclasses.dataclass
class Detections(hyperparams.Config):
    """From predictions to detections.

    Attributes:
        score_threshold: score that a detection must exceed.
        nms_iou: IoU with a better box of the same class at which a box is suppressed.
        count: largest number of detections per image.
        suppress_unclipped: whether boxes are suppressed as they were decoded, as in the Object
            Detection API; they are clipped to the image afterwards, and those without area are
            dropped. By default they are clipped first.
        best_class_only: whether a box is detected only as its best class.
    """

    score_threshold: float = 0.001
    nms_iou: float = 0.6
    count: int = 100
    suppress_unclipped: bool = False
    best_class_only: bool = False


@dataclasses.dataclass
class FasterRcnn(hyperparams.Config):
    """The still-image detector.

    Attributes:
        num_classes: number of classes without background; 0 takes it from the label map.
        image_size: height and width of the network's input.
        keep_aspect_ratio: whether images are fitted into `image_size` and padded, rather than
            stretched.
        backbone: the feature extractor.
        neck: layers between conv5 and the heads.
        anchors: reference boxes of the first stage.
        proposals: the first stage.
        boxes: the second stage.
        detections: the step from predictions to detections.
    """

    num_classes: int = 0
    image_size: list[int] = dataclasses.field(default_factory=lambda: [640, 640])
    keep_aspect_ratio: bool = False
    backbone: Backbone = dataclasses.field(default_factory=Backbone)
    neck: Neck = dataclasses.field(default_factory=Neck)
    anchors: Anchors = dataclasses.field(default_factory=Anchors)
    proposals: Proposals = dataclasses.field(default_factory=Proposals)
    boxes: Boxes = dataclasses.field(default_factory=Boxes)
    detections: Detections = dataclasses.field(default_factory=Detections)
