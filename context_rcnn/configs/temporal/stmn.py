"""Settings of STMN (`models.stmn`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import detection, detectors, experiments


@dataclasses.dataclass
class StmnTraining(hyperparams.Config):
    """The sequences that STMN is trained with. Every labelled frame of a sequence has a loss.

    Attributes:
        frames: number of frames in a sequence, T.
        stride: distance between the frames of a sequence, in frames of the video.
        sequences: largest number of sequences per video in one pass over the data, drawn anew in
            each pass.
        sampling: `uniform` (from anywhere in a video), or `released`: only where one object is in
            the whole sequence, and classes take turns. It needs tracks in the labels.
        stills: treatment of still images, which are videos of one frame: `none` leaves them out,
            `single` makes sequences of one frame, `copies` repeats them.
    """

    frames: int = 7
    stride: int = 10
    sequences: int = 15
    sampling: str = "uniform"
    stills: str = "single"


@dataclasses.dataclass
class Stmn(hyperparams.Config):
    """A spatial-temporal memory in the place of a layer of the neck.

    Attributes:
        variant: way to compute the memory: `paper`, or `released` as in the authors' code.
        channels: number of channels of the memory in one direction, half of those of the layer that
            it replaces: `model.neck.width`, or 512 of `vgg16`.
        unit: recurrent unit: `stmm` (the paper's) or `conv_gru`, which it compares with.
        match_trans: whether MatchTrans moves the memory along with what it is of.
        reach: largest distance, in cells, at which MatchTrans looks for a cell, k.
        sharpness: power of the cosines by which MatchTrans averages cells; above 0 is not in the
            paper, whose products are 0: they average nearly all cells around each.
        deviations: number of standard deviations above the mean that BN* maps to 1, K.
        directions: `both` (frames before and after), or `forward`: one memory of all channels,
            which sees nothing that comes later, so that detections are not delayed.
        initial_memory: memory of the first frame: `features` (what the replaced layer computes) or
            `zeros` (the authors' code).
        fresh_head: whether the box head starts with new weights instead of the still detector's.
        window: number of frames that are looked at together in evaluation, T.
        stride: distance between the frames of the window, in frames of the video.
        merge: detections that count of a frame: `overlap` pools those of all windows with the frame
            before suppression, `centre` takes those of the window whose middle it is, which halves
            the delay.
        box_rounds: number of times that boxes are classified: 2 feeds boxes back once as
            proposals, as the authors' code does.
        pooled_boxes: number of boxes per frame and window that are pooled, best first.
        state: type of the features in a stream's state: `bfloat16` or `float32`.
        training: sequences used in training.
    """

    variant: str = "paper"
    channels: int = 512
    unit: str = "stmm"
    match_trans: bool = True
    reach: int = 2
    sharpness: float = 0.0
    deviations: float = 3.0
    directions: str = "both"
    initial_memory: str = "features"
    fresh_head: bool = False
    window: int = 11
    stride: int = 10
    merge: str = "overlap"
    box_rounds: int = 1
    pooled_boxes: int = 300
    state: str = "bfloat16"
    training: StmnTraining = dataclasses.field(default_factory=StmnTraining)


SETTINGS = Stmn


@experiments.register("stmn_rfcn")
def stmn_rfcn() -> configs.Experiment:
    """STMN on R-FCN with its neck, two sequences per step, as its authors released it.

    Images are fitted into 368x608; batch norms, conv1 and res2 are frozen. Of 300 boxes of an image
    128 teach, the negatives those of highest loss. The rate falls at 2/3 and 8/9 of the steps. The
    authors' first drop comes after 30,000 pairs of updates, one on videos and one on still images
    each.
    """
    steps = 90_000
    experiment = detectors.rfcn()
    task, trainer = experiment.task, experiment.trainer
    task.model.image_size = [368, 608]
    task.model.neck.type = "stmn"
    task.model.backbone.dilate_first_block = False
    task.model.backbone.freeze_batch_norm = True
    task.model.boxes.hard_examples = "balanced"
    task.temporal.type = "stmn"
    task.losses.weight_decay = 0.0
    task.init_checkpoint_modules = "detector"
    task.freeze = ["conv1", "res2"]
    task.train_data.global_batch_size = 2
    task.validation_data.global_batch_size = 1
    trainer.train_steps = steps
    trainer.optimizer_config = configs.momentum(0.001, steps, warmup_steps=500)
    return experiment


@experiments.register("stmn_vgg16")
def stmn_vgg16() -> configs.Experiment:
    """STMN on Faster R-CNN with VGG-16, whose last convolution becomes the memory."""
    experiment = stmn_rfcn()
    still = detectors.faster_rcnn_vgg16()
    task = experiment.task
    task.model = still.task.model
    task.model.image_size = [368, 608]
    task.temporal.stmn.channels = 256
    task.losses.weight_decay = 0.0005
    task.freeze = ["conv1", "conv2"]
    return experiment


@experiments.register("stmn_tiny")
def stmn_tiny() -> configs.Experiment:
    """A toy STMN for simulated videos, trained on a laptop from a still detector with its neck."""
    experiment = detection.faster_rcnn_tiny()
    task, trainer = experiment.task, experiment.trainer
    task.model.backbone.kind = "dc5"
    task.model.neck = configs.Neck(type="stmn", channels=64, width=96, dilation=2)
    task.model.boxes.hidden = [64]
    task.temporal.type = "stmn"
    stmn = task.temporal.stmn
    stmn.channels, stmn.window, stmn.stride, stmn.pooled_boxes = 48, 5, 2, 60
    stmn.training.frames, stmn.training.stride = 5, 2
    task.init_checkpoint_modules = "detector"
    task.train_data.global_batch_size = 4
    task.validation_data.global_batch_size = 4
    steps = 500
    trainer.train_steps = steps
    trainer.validation_interval = steps
    trainer.checkpoint_interval = steps // 2
    trainer.optimizer_config = configs.momentum(0.01, steps, warmup_steps=50)
    return experiment
