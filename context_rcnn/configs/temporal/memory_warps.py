"""Settings of Memory Warps (`models.memory_warps`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import detectors, experiments
from context_rcnn.configs.flow import FlowNet


@dataclasses.dataclass
class DetectorFlow(FlowNet):
    """The flow network within a detector.

    Attributes:
        init_checkpoint: checkpoint of a trained flow network, or the folder of its run.
        train: whether it learns with the detector.
        rate: factor on its gradients, and so, with `sgd`, on its learning rate.
    """

    init_checkpoint: str = ""
    train: bool = True
    rate: float = 1.0


@dataclasses.dataclass
class WarpsTraining(hyperparams.Config):
    """The frames that it is trained with: some before a keyframe, in order.

    Attributes:
        frames: number of frames that a memory goes through: 6 is MemNet-6. Of several clocks, each
            goes through so many frames of its own.
        stride: distance between the frames of the fastest clock, in frames of the video.
        keyframes: largest number of keyframes per video in one pass over the data.
        drop_evidence: probability that the memory does not see a frame; the first is always seen.
        drop_last: whether the keyframe may be dropped, too.
        supervise: frames that have a loss: `last`, the keyframe; or `all` (of one clock only).
    """

    frames: int = 6
    stride: int = 1
    keyframes: int = 15
    drop_evidence: float = 0.8
    drop_last: bool = True
    supervise: str = "last"


@dataclasses.dataclass
class WithoutEvidence(hyperparams.Config):
    """How it detects in frames that it does not look at, besides their motion.

    Attributes:
        every: the memory sees every n-th frame of a video, from the first on.
        gap: number of newest frames that the memory does not see when it detects in a frame; it
            saw all frames before them.
        by: what is brought to the frame: `features` (the memory, by the flow of each frame),
            `boxes` (detections, by the mean flow within them), or `anticipation` (the memory, by
            flow that is foretold, without any look at the frames of the gap).
        placement: place of foretold flow: `splat` takes a vector along with its cell, `stay` leaves
            it where it was.
        halves: whether the left and the right half of a frame are detected in apart, and their
            boxes put together before suppression.
    """

    every: int = 1
    gap: int = 0
    by: str = "features"
    placement: str = "splat"
    halves: bool = False


@dataclasses.dataclass
class MemoryWarps(hyperparams.Config):
    """MemNet and ClockNet: memories of maps that are moved along with what they are of.

    Attributes:
        aggregation: way in which a memory takes in a frame: `average`, `weights` (learned, cell by
            cell), `adaptive` (FGFA's), `adascan`, or `newest`, which keeps the last frame alone.
        channels: channels of the two layers of `weights`.
        embedding: channels of the three layers of `adaptive`.
        weight_limit: largest weight of what `adascan` remembers, in frames of importance 1; 0 for
            none, with which frame n of a video has about 1/n.
        clocks: strides of the memories, that of the first 1; [1] is MemNet, [1, 4, 8] ClockNet.
        schedule: what a memory of stride s does between its frames: `hold` updates it at every s-th
            frame, and moves it to the others without keeping that; `interleaved` has s chains side
            by side, so that every frame updates the memory of s frames ago.
        border: what is beyond the edge of a memory: `zero` or `clamp`.
        fill_unseen: whether cells that come in over the edge take the frame's own features in full,
            rather than half of them.
        flow: the flow network.
        without_evidence: detection in frames that are not looked at.
        training: frames used in training.
    """

    aggregation: str = "average"
    channels: list[int] = dataclasses.field(default_factory=lambda: [256, 16])
    embedding: list[int] = dataclasses.field(default_factory=lambda: [512, 512, 2048])
    weight_limit: float = 0.0
    clocks: list[int] = dataclasses.field(default_factory=lambda: [1])
    schedule: str = "hold"
    border: str = "zero"
    fill_unseen: bool = False
    flow: DetectorFlow = dataclasses.field(default_factory=DetectorFlow)
    without_evidence: WithoutEvidence = dataclasses.field(default_factory=WithoutEvidence)
    training: WarpsTraining = dataclasses.field(default_factory=WarpsTraining)


SETTINGS = MemoryWarps


@experiments.register("rfcn_fgfa")
def rfcn_fgfa() -> configs.Experiment:
    """The still-image detector of FGFA and Memory Warps: R-FCN with FGFA's neck."""
    experiment = detectors.rfcn()
    task = experiment.task
    task.model.neck.type = "fgfa"
    task.model.backbone.freeze_batch_norm = True
    task.freeze = ["conv1", "res2"]
    return experiment


@experiments.register("memnet_rfcn")
def memnet_rfcn() -> configs.Experiment:
    """MemNet-6 as the paper trains it: two epochs of clips, four a step, in 608x1008.

    The rate falls after 2/3 of the steps. The paper starts from ImageNet's ResNet-101 and a trained
    FlowNet; from a trained R-FCN it starts nearer to its end.
    """
    steps = 60_000
    experiment = rfcn_fgfa()
    task, trainer = experiment.task, experiment.trainer
    task.temporal.type = "memory_warps"
    task.init_checkpoint_modules = "detector"
    task.train_data.global_batch_size = 4
    task.validation_data.global_batch_size = 1
    trainer.train_steps = steps
    trainer.optimizer_config = configs.momentum(0.001, steps, warmup_steps=500, drops=1)
    return experiment


@experiments.register("rfcn_fgfa_tiny")
def rfcn_fgfa_tiny() -> configs.Experiment:
    """A toy R-FCN with FGFA's neck, for simulated videos."""
    experiment = detectors.rfcn_tiny()
    experiment.task.model.neck = configs.Neck(type="fgfa", width=96, dilation=2)
    return experiment


@experiments.register("memnet_tiny")
def memnet_tiny() -> configs.Experiment:
    """A toy MemNet for simulated videos, trained from a still detector with its neck."""
    experiment = rfcn_fgfa_tiny()
    task, trainer = experiment.task, experiment.trainer
    task.temporal.type = "memory_warps"
    warps = task.temporal.memory_warps
    warps.channels, warps.embedding = [32, 16], [48, 48, 96]
    warps.flow.width, warps.flow.levels, warps.flow.rate = 0.25, 5, 0.1
    warps.training.frames = 4
    task.init_checkpoint_modules = "detector"
    task.train_data.global_batch_size = 8
    task.validation_data.global_batch_size = 4
    steps = 500
    trainer.train_steps = steps
    trainer.validation_interval = steps
    trainer.checkpoint_interval = steps // 2
    trainer.optimizer_config = configs.momentum(0.01, steps, warmup_steps=50)
    return experiment
