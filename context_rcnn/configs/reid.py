"""Settings of re-identification: who is who in tracklets, short videos of one person or animal."""

import dataclasses
from collections.abc import Sequence

from official.core import config_definitions
from official.modeling import hyperparams, optimization

from context_rcnn.configs import experiments
from context_rcnn.configs.detection import Experiment, Trainer


@dataclasses.dataclass
class FrameBackbone(hyperparams.Config):
    """The network of single frames, a ResNet.

    Attributes:
        model_id: depth of the ResNet: 10, 18, 34, 50, 101, 152, ...
        depth_multiplier: factor on the number of channels; small values make toy models.
        last_stride: stride of the last block group; 1 keeps maps of a sixteenth of the image.
        norm_momentum: momentum of the moving statistics, of all batch norms of the model.
        norm_epsilon: small number added to variances, of all batch norms.
        sync_batch_norm: whether replicas share batch statistics.
    """

    model_id: int = 50
    depth_multiplier: float = 1.0
    last_stride: int = 1
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    sync_batch_norm: bool = False


@dataclasses.dataclass
class Psta(hyperparams.Config):
    """Pyramid spatial-temporal aggregation (`models/psta.py`).

    Attributes:
        variant: `paper` or `released`, where the paper and its code differ.
        frames: number of frames in a clip.
        image_size: height and width to which frames are stretched. The weights belong to one size.
        num_identities: number of identities that are learned; 0 takes it from the training data.
        backbone: the network of single frames.
        channels: channels of the maps that are aggregated, and length of an embedding.
        middle: channels inside beta and inside the residual block.
        embedding: channels of the attention's embeddings.
        stages: number of stages of the pyramid; `frames` has to be a multiple of 2^stages.
        structure: `pyramid`, `adjacent` (each frame refined by its next one, then the mean),
            `global` (by the mean of all frames), or `average` (the mean alone, the baseline).
        spatial: whether cells are weighted by relations within the frame (SRA).
        temporal: whether cells are weighted by relations to the other frame (TRA).
        residual: whether a residual block follows each aggregation.
    """

    variant: str = "paper"
    frames: int = 8
    image_size: list[int] = dataclasses.field(default_factory=lambda: [256, 128])
    num_identities: int = 0
    backbone: FrameBackbone = dataclasses.field(default_factory=FrameBackbone)
    channels: int = 1024
    middle: int = 256
    embedding: int = 128
    stages: int = 3
    structure: str = "pyramid"
    spatial: bool = True
    temporal: bool = True
    residual: bool = True


@dataclasses.dataclass
class ReidLosses(hyperparams.Config):
    """What is minimised, at every stage.

    Attributes:
        label_smoothing: share of the target that is spread over all identities.
        margin: cosine distance by which the nearest other identity should be farther away than the
            farthest clip of the same one.
        triplet_on: features that are compared: `features` (before the batch norm neck, as in the
            paper's model [33]) or `normed` (behind it, as released).
        weight_decay: factor of the L2 penalty on all trainable weights, batch norms and biases too;
            its gradient is `weight_decay * weight`, as in PyTorch's Adam.
    """

    label_smoothing: float = 0.1
    margin: float = 0.3
    triplet_on: str = "features"
    weight_decay: float = 0.0005


@dataclasses.dataclass
class Tracklets(hyperparams.Config):
    """Where tracklets are, and how a data set is split.

    Attributes:
        layout: layout of the folder: `mars`, `duke_video`, `ilids_vid`, `prid2011` or `folder`
            (identity/camera_tracklet/*.jpg).
        split: number of the half/half split of iLIDS-VID and PRID-2011, from 0 on.
        split_seed: seed of a split that the data set does not have itself.
        min_frames: shortest tracklet of PRID-2011 that is used, in both cameras.
        test_fraction: share of identities held out for evaluation, in the layout `folder`.
    """

    layout: str = "mars"
    split: int = 0
    split_seed: int = 0
    min_frames: int = 27
    test_fraction: float = 0.5


@dataclasses.dataclass
class ReidTrainData(hyperparams.Config):
    """Batches of persons with several clips each.

    Attributes:
        input_path: folder of the data set.
        is_training: whether this is training data.
        persons: number of identities in a batch, over all replicas.
        clips: number of clips of each identity.
        seed: seed of the order, the frames, flips and erasing.
        sampling: frames of a clip: `restricted` (one at random from each of `frames` equal parts of
            the tracklet, as in the paper) or `interval` (one at random from each of `frames`
            windows that follow each other, 8 frames long or less, as released).
        flip_probability: probability that a clip is mirrored.
        erase_probability: probability that a rectangle of a clip is erased.
        erase_area: smallest and largest area of the rectangle, as shares of the image.
        erase_aspect: smallest ratio of its height to its width; the largest is the inverse.
        read_ahead: number of clips that are read ahead.
    """

    input_path: str = ""
    is_training: bool = True
    persons: int = 8
    clips: int = 4
    seed: int = 0
    sampling: str = "restricted"
    flip_probability: float = 0.5
    erase_probability: float = 0.5
    erase_area: list[float] = dataclasses.field(default_factory=lambda: [0.02, 0.4])
    erase_aspect: float = 0.3
    read_ahead: int = 64

    @property
    def global_batch_size(self) -> int:
        """Clips of a step, over all replicas."""
        return self.persons * self.clips


@dataclasses.dataclass
class ReidEvalData(hyperparams.Config):
    """Tracklets of the evaluation.

    Attributes:
        input_path: folder of the data set.
        is_training: whether this is training data.
        global_batch_size: number of clips per step, over all replicas.
        sample_1_of_n: n, to evaluate only every n-th query; the gallery stays whole.
    """

    input_path: str = ""
    is_training: bool = False
    global_batch_size: int = 32
    sample_1_of_n: int = 1


@dataclasses.dataclass
class Ranking(hyperparams.Config):
    """How queries are ranked, and what is measured.

    Attributes:
        sampling: frames that stand for a tracklet: `restricted` (the first of each of `frames`
            equal parts), `first_interval` (as released for MARS), or `dense` (clips of all frames,
            averaged, as released for DukeMTMC-VideoReID).
        max_clips: largest number of clips of a tracklet, with `dense`.
        normalise_first: whether clips are brought to unit length before they are averaged.
        ranks: ranks at which a right answer counts.
        queries_in_gallery: whether queries are in the gallery too; `auto` follows the data set.
        re_rank: whether the gallery is ordered again by common neighbours (k-reciprocal encoding).
    """

    sampling: str = "restricted"
    max_clips: int = 200
    normalise_first: bool = False
    ranks: list[int] = dataclasses.field(default_factory=lambda: [1, 5, 10, 20])
    queries_in_gallery: str = "auto"
    re_rank: bool = False


@dataclasses.dataclass
class ReidTask(config_definitions.TaskConfig):
    """A model of tracklets, the data it is trained on, and its evaluation.

    Attributes:
        model: the model.
        losses: what is minimised.
        tracklets: layout and split of the data.
        train_data: batches for training.
        validation_data: tracklets for evaluation.
        evaluation: how they are ranked.
        init_checkpoint: checkpoint to start from, or a folder with one.
        init_checkpoint_modules: parts to load from it: `backbone` (from an ImageNet checkpoint of
            tf-models-official), `frames` (all that works on single frames, from another run) or
            `all`.
    """

    model: Psta = dataclasses.field(default_factory=Psta)
    losses: ReidLosses = dataclasses.field(default_factory=ReidLosses)
    tracklets: Tracklets = dataclasses.field(default_factory=Tracklets)
    train_data: ReidTrainData = dataclasses.field(default_factory=ReidTrainData)
    validation_data: ReidEvalData = dataclasses.field(default_factory=ReidEvalData)
    evaluation: Ranking = dataclasses.field(default_factory=Ranking)
    init_checkpoint: str = ""
    init_checkpoint_modules: str = "backbone"


MILESTONES = (70, 140, 210, 310, 410)  # of 500 epochs: where the release multiplies the rate by .3
LATE = (300, 400, 450)  # the same for a short training that starts from nothing
WARMUP_EPOCHS = 10


def adam(
    learning_rate: float, steps_per_epoch: float, milestones: Sequence[int] = MILESTONES
) -> optimization.OptimizationConfig:
    """Adam with the release's schedule of 500 epochs: ten from a hundredth, and drops to .3.

    The paper refers to the schedule of a training of 120 epochs, which would end learning early.

    Args:
        learning_rate: the highest rate.
        steps_per_epoch: steps in which every identity is seen once.
        milestones: epochs at which the rate drops.
    """
    # The library changes the rate after the step of a boundary, the release at it.
    boundaries = [round(epoch * steps_per_epoch) - 1 for epoch in milestones]
    values = [learning_rate * 0.3**drops for drops in range(len(milestones) + 1)]
    return optimization.OptimizationConfig(
        {
            "optimizer": {"type": "adam", "adam": {"epsilon": 1e-8}},
            "learning_rate": {
                "type": "stepwise",
                "stepwise": {"boundaries": boundaries, "values": values},
            },
            "warmup": {
                "type": "linear",
                "linear": {
                    "warmup_steps": round(WARMUP_EPOCHS * steps_per_epoch),
                    "warmup_learning_rate": learning_rate / 100,
                },
            },
        }
    )


@experiments.register("psta")
def psta() -> Experiment:
    """The paper's model on MARS: 625 identities, 78 steps an epoch, 500 epochs."""
    return Experiment(
        task=ReidTask(),
        trainer=Trainer(
            train_steps=39_000,
            steps_per_loop=78,
            summary_interval=78,
            checkpoint_interval=780,
            validation_interval=3900,
            seed=999,
            best_checkpoint_eval_metric="mAP",
            optimizer_config=adam(3.5e-4, 78),
        ),
    )


@experiments.register("psta_tiny")
def psta_tiny() -> Experiment:
    """A toy for simulated tracklets: ResNet-10, frames of 96x48, maps of 6x3."""
    steps = 2000
    experiment = psta()
    experiment.task.model = Psta(
        image_size=[96, 48],
        backbone=FrameBackbone(model_id=10, depth_multiplier=0.25),
        channels=96,
        middle=32,
        embedding=16,
    )
    experiment.task.train_data.persons = 4
    experiment.trainer = Trainer(
        train_steps=steps,
        steps_per_loop=50,
        summary_interval=50,
        checkpoint_interval=steps // 4,
        validation_interval=steps,
        best_checkpoint_eval_metric="mAP",
        optimizer_config=adam(1e-3, steps / 500, LATE),
    )
    return experiment
