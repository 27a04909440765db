"""Settings of the two-speed detector (`models.two_speed`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import experiments
from context_rcnn.configs.model import FasterRcnn
from context_rcnn.configs.temporal import memory_warps


@dataclasses.dataclass
class TwoSpeed(hyperparams.Config):
    """A fast detector with the late features of a strong one.

    Attributes:
        strong: folder of the run of a trained `memory_warps`; its settings become `model` and
            `memory`, and its weights go into the checkpoints of this run.
        model: the strong detector.
        memory: what the strong detector remembers.
        every: in evaluation, the strong detector looks at every n-th frame.
        delay: number of frames by which its features are late, in training and in evaluation.
        by: what comes from the strong detector: `features`, or `boxes`: its detections, moved by
            the flow within them and joined with those of the fast one; without training.
        keyframes: largest number of keyframes per video in one pass over the data.
    """

    strong: str = ""
    model: FasterRcnn = dataclasses.field(default_factory=FasterRcnn)
    memory: memory_warps.MemoryWarps = dataclasses.field(default_factory=memory_warps.MemoryWarps)
    every: int = 4
    delay: int = 4
    by: str = "features"
    keyframes: int = 15


SETTINGS = TwoSpeed


@experiments.register("two_speed_rfcn")
def two_speed_rfcn() -> configs.Experiment:
    """R-FCN with ResNet-18 that learns to use the fixed features of a ClockNet with ResNet-101."""
    experiment = memory_warps.memnet_rfcn()
    experiment.task.model.backbone.model_id = 18
    experiment.task.temporal.type = "two_speed"
    return experiment


@experiments.register("two_speed_tiny")
def two_speed_tiny() -> configs.Experiment:
    """A toy of half the channels beside a toy MemNet, for simulated videos."""
    experiment = memory_warps.memnet_tiny()
    experiment.task.model.backbone.depth_multiplier = 0.125
    experiment.task.temporal.type = "two_speed"
    two_speed = experiment.task.temporal.two_speed
    two_speed.every = two_speed.delay = 2
    return experiment
