"""Experiments of MEGA: the paper's, its single-frame detector, and one for a laptop."""

from official.core import exp_factory

from context_rcnn.configs import detection as configs


@exp_factory.register_config_factory("faster_rcnn_dc5")
def faster_rcnn_dc5() -> configs.Experiment:
    """MEGA's single-frame detector: ResNet-101, conv5 on the whole map, a vector a box.

    120,000 steps of 4 images, fitted into 608x1008: multiples of 16 next to the paper's 600x1000.
    """
    steps = 120_000
    experiment = configs.faster_rcnn_c4()
    task, trainer = experiment.task, experiment.trainer
    task.model.image_size = [608, 1008]
    task.model.keep_aspect_ratio = True
    task.model.backbone.kind = "dc5"
    task.model.boxes = configs.Boxes(samples=128, hidden=[1024])
    task.model.detections = configs.Detections(nms_iou=0.5, count=300)
    task.losses = configs.Losses(proposal_boxes=1.0, boxes=1.0, box_delta=1.0, weight_decay=0.0001)
    task.train_data.global_batch_size = 4
    task.validation_data.global_batch_size = 4
    trainer.train_steps = steps
    trainer.optimizer_config = configs.momentum(0.001, steps, warmup_steps=500)
    return experiment


@exp_factory.register_config_factory("mega_dc5")
def mega_dc5() -> configs.Experiment:
    """MEGA as the paper trains it, on a keyframe and six more frames of its video."""
    experiment = faster_rcnn_dc5()
    experiment.task.temporal.type = "mega"
    return experiment


@exp_factory.register_config_factory("mega_tiny")
def mega_tiny() -> configs.Experiment:
    """A toy that learns simulated cameras on a laptop."""
    experiment = configs.faster_rcnn_tiny()
    task = experiment.task
    task.model.backbone.kind = "dc5"
    task.model.boxes.hidden = [64]
    task.temporal.type = "mega"
    mega = task.temporal.mega
    mega.depth, mega.heads = 64, 4
    mega.local_frames, mega.memory_frames, mega.global_frames = 5, 5, 4
    mega.reference_boxes, mega.kept_boxes = 12, 4
    task.train_data.global_batch_size = 8
    task.validation_data.global_batch_size = 4
    steps = experiment.trainer.train_steps
    experiment.trainer.optimizer_config = configs.momentum(0.01, steps, warmup_steps=40)
    return experiment
