"""Experiments of the still-image detectors that papers on videos start from."""

from context_rcnn import configs
from context_rcnn.configs import detection, experiments


@experiments.register("rfcn")
def rfcn() -> configs.Experiment:
    """R-FCN on ImageNet VID: ResNet-101, conv5 on the whole map, fitted into 608x1008.

    Two epochs of about 57,000 frames (15 a video) and as many still images, four a step.
    """
    steps = 60_000
    experiment = detection.faster_rcnn_c4()
    task, trainer = experiment.task, experiment.trainer
    task.model.image_size = [608, 1008]
    task.model.keep_aspect_ratio = True
    task.model.backbone.kind = "rfcn"
    task.model.neck.type = "rfcn"
    task.model.anchors = configs.Anchors(scales=[0.5, 1.0, 2.0])
    task.model.boxes = configs.Boxes(samples=128, class_agnostic=True, hard_examples="pure")
    task.model.detections = configs.Detections(nms_iou=0.3, count=300)
    task.losses = configs.Losses(proposal_boxes=1.0, boxes=1.0, weight_decay=0.0005)
    task.train_data.global_batch_size = 4
    task.validation_data.global_batch_size = 4
    trainer.train_steps = steps
    trainer.optimizer_config = configs.momentum(0.001, steps, warmup_steps=500)
    return experiment


@experiments.register("faster_rcnn_vgg16")
def faster_rcnn_vgg16() -> configs.Experiment:
    """Faster R-CNN on VGG-16, fitted into 608x1008; trained as R-FCN here."""
    experiment = rfcn()
    task = experiment.task
    task.model.backbone = configs.Backbone(kind="vgg16")
    task.model.neck.type = "none"
    task.model.boxes = configs.Boxes(samples=128, hidden=[4096, 4096], dropout=0.5)
    return experiment


@experiments.register("fast_rcnn_vgg16")
def fast_rcnn_vgg16() -> configs.Experiment:
    """Fast R-CNN on VGG-16, with 300 proposals of another detector an image."""
    experiment = faster_rcnn_vgg16()
    experiment.task.model.proposals.source = "given"
    return experiment


@experiments.register("rfcn_tiny")
def rfcn_tiny() -> configs.Experiment:
    """A toy R-FCN with the neck of STMN, for simulated cameras and videos.

    Every place of a box learns from its share of the box's gradient alone, so with a rate and steps
    like those of the other toys it would learn next to nothing.
    """
    steps = 1200
    experiment = detection.faster_rcnn_tiny()
    model = experiment.task.model
    model.backbone.kind = "rfcn"
    model.neck = configs.Neck(type="stmn", channels=64, width=96, dilation=2)
    model.boxes.class_agnostic, model.boxes.bins = True, 3
    model.boxes.bin_edges = "exact"  # an animal covers three cells
    trainer = experiment.trainer
    trainer.train_steps = trainer.validation_interval = steps
    trainer.checkpoint_interval = steps // 2
    trainer.optimizer_config = configs.momentum(0.06, steps, warmup_steps=40)
    return experiment
