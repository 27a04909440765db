"""Settings of MEGA (`models.mega`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import detection, experiments


@dataclasses.dataclass
class MegaTraining(hyperparams.Config):
    """The frames that MEGA is trained with.

    Attributes:
        local_frames: number of frames near the keyframe, without the keyframe.
        memory_frames: number of frames before these.
        global_frames: number of frames from anywhere in the video.
        keyframes: largest number of keyframes per video in one pass over the data, evenly spaced.
    """

    local_frames: int = 2
    memory_frames: int = 2
    global_frames: int = 2
    keyframes: int = 15


@dataclasses.dataclass
class Mega(hyperparams.Config):
    """MEGA's global and local aggregation, and its long range memory.

    Attributes:
        variant: way to compute the aggregation: `paper`, or `released` as in the authors' code.
        depth: length of box features; with `dc5` the last of `model.boxes.hidden`.
        heads: number of heads in a relation module.
        global_modules: number of global relation modules, N_g.
        local_modules: number of local relation modules, N_l.
        local_frames: number of frames around the keyframe, itself included, T_l: odd, unless
            `online`.
        memory_frames: number of frames before the local ones, T_m.
        global_frames: number of frames from anywhere in the video, T_g.
        reference_boxes: number of boxes per frame that other frames see, best first.
        kept_boxes: number of boxes per frame after the first local module, best first.
        global_location: whether the global modules also use the places of boxes; in the paper this
            harms.
        online: whether a keyframe sees nothing that comes after it.
        seed: seed of the order of global frames in evaluation.
        training: frames used in training.
    """

    variant: str = "paper"
    depth: int = 1024
    heads: int = 16
    global_modules: int = 1
    local_modules: int = 3
    local_frames: int = 25
    memory_frames: int = 25
    global_frames: int = 10
    reference_boxes: int = 80
    kept_boxes: int = 20
    global_location: bool = False
    online: bool = False
    seed: int = 0
    training: MegaTraining = dataclasses.field(default_factory=MegaTraining)


SETTINGS = Mega


@experiments.register("faster_rcnn_dc5")
def faster_rcnn_dc5() -> configs.Experiment:
    """MEGA's single-frame detector: ResNet-101, conv5 on the whole map, one vector per box.

    It trains for 120,000 steps of 4 images, fitted into 608x1008: the multiples of 16 closest to
    the paper's 600x1000.
    """
    steps = 120_000
    experiment = detection.faster_rcnn_c4()
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
    trainer.optimizer_config = configs.momentum(0.001, steps, warmup_steps=500, drops=1)
    return experiment


@experiments.register("mega_dc5")
def mega_dc5() -> configs.Experiment:
    """MEGA as the paper trains it, on a keyframe and six more frames of its video."""
    experiment = faster_rcnn_dc5()
    experiment.task.temporal.type = "mega"
    return experiment


@experiments.register("mega_tiny")
def mega_tiny() -> configs.Experiment:
    """A toy MEGA for simulated videos, trained on a laptop."""
    experiment = detection.faster_rcnn_tiny()
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
    experiment.trainer.optimizer_config = configs.momentum(0.01, steps, warmup_steps=40, drops=1)
    return experiment
