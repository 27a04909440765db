"""Settings of flow networks: optical flow between two images, and its experiments."""

import dataclasses

from official.core import config_definitions
from official.modeling import hyperparams, optimization

from context_rcnn.configs import experiments
from context_rcnn.configs.detection import Experiment, Trainer


@dataclasses.dataclass
class FlowNet(hyperparams.Config):
    """FlowNetS (`layers/flow_net.py`).

    Attributes:
        width: factor on the number of channels; small values make toy models.
        levels: number of times that an image is halved, 3 to 6; fewer for small images.
    """

    width: float = 1.0
    levels: int = 6


@dataclasses.dataclass
class FlowLosses(hyperparams.Config):
    """What is minimised.

    Attributes:
        kind: `supervised` (the distance from known flow, at every level) or `photometric` (for
            pairs without known flow: how well one image is the other one moved, and smoothness).
        weights: weight of each level, coarse ones first; the last ones count if there are fewer.
        smoothness: weight of differences between neighbouring vectors, with `photometric`.
        occlusion: share of a vector's length by which the flow back may differ before the pixel
            counts as hidden in the other image, with `photometric`.
        weight_decay: weight decay of all kernels.
    """

    kind: str = "supervised"
    weights: list[float] = dataclasses.field(
        default_factory=lambda: [0.32, 0.08, 0.02, 0.01, 0.005]
    )
    smoothness: float = 0.1
    occlusion: float = 0.2
    weight_decay: float = 0.0004


@dataclasses.dataclass
class FlowData(hyperparams.Config):
    """Pairs of images, with flow or without.

    Attributes:
        input_path: folder of the pairs, in the layout of FlyingChairs (docs/formats.md); or, to
            learn by `photometric` alone, TFRecord files of videos.
        distance: number of frames between the two images of a pair, with TFRecord files.
        is_training: whether pairs are shuffled, repeated and augmented.
        split: pairs to use: `train` or `val`, by FlyingChairs_train_val.txt, or `all`.
        split_file: file with the split; by default FlyingChairs_train_val.txt in the folder or
            beside it.
        global_batch_size: number of pairs per step, over all replicas.
        seed: seed of the order and the augmentation.
        shuffle_buffer_size: number of pairs held in RAM for shuffling.
        image_size: height and width to which pairs are cut; by default `task.image_size`.
        shift: largest distance, in pixels, between the windows that are cut out of the two images,
            by which the flow changes; it lets a network learn all lengths of flow from few pairs.
        flip_probability: probability that a pair is mirrored, left and right.
        upside_down_probability: probability that a pair is mirrored, top and bottom.
        reverse_probability: probability that the images of a pair change places, with
            `photometric`; known flow leads one way.
        brightness: largest change of brightness and contrast, as a share.
        cache: whether the decoded pairs stay in RAM after the first pass.
    """

    input_path: str = ""
    distance: int = 1
    is_training: bool = False
    split: str = "train"
    split_file: str = ""
    global_batch_size: int = 8
    seed: int = 0
    shuffle_buffer_size: int = 1000
    image_size: list[int] = dataclasses.field(default_factory=list)
    shift: int = 0
    flip_probability: float = 0.5
    upside_down_probability: float = 0.0
    reverse_probability: float = 0.5
    brightness: float = 0.2
    cache: bool = False


@dataclasses.dataclass
class FlowTask(config_definitions.TaskConfig):
    """A flow network, the pairs it is trained on, and its evaluation by end-point error.

    Attributes:
        model: the network.
        image_size: height and width to which pairs are cut, in training at a random place, in
            evaluation in the middle. Frames of videos are stretched to it.
        losses: what is minimised.
        train_data: pairs for training.
        validation_data: pairs for evaluation.
        init_checkpoint: checkpoint to start from, or a folder with one.
    """

    model: FlowNet = dataclasses.field(default_factory=FlowNet)
    image_size: list[int] = dataclasses.field(default_factory=lambda: [320, 448])
    losses: FlowLosses = dataclasses.field(default_factory=FlowLosses)
    train_data: FlowData = dataclasses.field(default_factory=lambda: FlowData(is_training=True))
    validation_data: FlowData = dataclasses.field(default_factory=lambda: FlowData(split="val"))
    init_checkpoint: str = ""


def adam(learning_rate: float, boundaries: list[int]) -> optimization.OptimizationConfig:
    """Adam whose rate is halved after each of these steps, as FlowNet was trained."""
    values = [learning_rate / 2**n for n in range(len(boundaries) + 1)]
    return optimization.OptimizationConfig(
        {
            "optimizer": {"type": "adam", "adam": {"global_clipnorm": 10.0}},
            "learning_rate": {
                "type": "stepwise",
                "stepwise": {"boundaries": boundaries, "values": values},
            },
            "warmup": {
                "type": "linear",
                "linear": {"warmup_steps": boundaries[0] // 30, "warmup_learning_rate": 0.0},
            },
        }
    )


@experiments.register("flow_net")
def flow_net() -> Experiment:
    """FlowNetS on FlyingChairs: Adam at .0001, halved every 100,000 steps after 300,000."""
    steps = 600_000
    return Experiment(
        task=FlowTask(),
        trainer=Trainer(
            train_steps=steps,
            steps_per_loop=100,
            summary_interval=100,
            checkpoint_interval=5000,
            validation_interval=20_000,
            best_checkpoint_eval_metric="end_point_error",
            best_checkpoint_metric_comp="lower",
            optimizer_config=adam(0.0001, [300_000, 400_000, 500_000]),
        ),
    )


@experiments.register("flow_net_tiny")
def flow_net_tiny() -> Experiment:
    """A toy for simulated pairs of 96x128: a quarter of the channels, five levels.

    Small windows that are cut apart teach it most in little time. On whole pairs, cut at the same
    place, it predicts no flow at all for thousands of steps.
    """
    steps = 5000
    experiment = flow_net()
    task = experiment.task
    task.model = FlowNet(width=0.25, levels=5)
    task.image_size = [96, 128]
    task.train_data.global_batch_size = task.validation_data.global_batch_size = 16
    data = task.train_data
    data.cache, data.image_size, data.shift, data.upside_down_probability = True, [64, 64], 12, 0.5
    task.losses.weight_decay = 0.0
    experiment.trainer = Trainer(
        train_steps=steps,
        steps_per_loop=50,
        summary_interval=50,
        checkpoint_interval=steps // 3,
        validation_interval=steps,
        best_checkpoint_eval_metric="end_point_error",
        best_checkpoint_metric_comp="lower",
        optimizer_config=adam(0.001, [steps // 2, steps * 3 // 4]),
    )
    return experiment
