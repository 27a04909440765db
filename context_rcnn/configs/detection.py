"""Settings of the detection task, and the experiments of the still-image detector."""

import dataclasses

from official.core import config_definitions
from official.modeling import hyperparams, optimization

from context_rcnn.configs import experiments
from context_rcnn.configs.data import Clip, Data, Memory
from context_rcnn.configs.evaluation import Evaluation
from context_rcnn.configs.model import (
    Anchors,
    Backbone,
    Boxes,
    Detections,
    FasterRcnn,
    Proposals,
)
from context_rcnn.configs.temporal import Temporal


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """Weights of the four losses, the Huber delta of each box loss, and weight decay."""

    objectness: float = 1.0
    proposal_boxes: float = 2.0
    classes: float = 1.0
    boxes: float = 2.0
    proposal_delta: float = 1.0 / 9.0
    box_delta: float = 1.0
    weight_decay: float = 0.0004


@dataclasses.dataclass
class DetectionTask(config_definitions.TaskConfig):
    """A detector, the data it is trained on, and its evaluation.

    Attributes:
        model: the still-image detector.
        losses: weights of the losses.
        train_data: examples for training.
        validation_data: examples for evaluation.
        evaluation: numbers to measure, and post-processing before them.
        temporal: what the detector remembers.
        clip: frames that the detector sees together.
        memory: memory bank that training and evaluation join with the keyframes.
        learn_on: what stands for an image in training and evaluation: `images`, or `features`,
            what a detector that is frozen up to its box features once saw of it. Only the memory
            and the predictor then learn; checkpoints still hold the whole detector.
        features: folder of the store of images to learn on, from `context-rcnn features`; for
            `learn_on: features`.
        label_map: file with the classes, as in the Object Detection API; if empty,
            `label_map.pbtxt` beside the data.
        init_checkpoint: checkpoint to start from, or a folder with one.
        init_checkpoint_modules: parts to load from it: `backbone` (from an ImageNet checkpoint of
            tf-models-official or, for `vgg16`, an .h5 file of Keras's applications), `detector`
            (everything but the memory, from a trained still-image detector) or `all`.
        freeze: parts of the detector that keep what `init_checkpoint` taught them: `backbone`,
            `neck`, `pyramid`, `first_stage`, `box_head`, `predictor`, `memory`; of a ResNet also
            `conv1` and `res2` to `res5`, of a VGG-16 `conv1` to `conv5`. Their batch norms use the
            moving statistics.
        accumulate: number of parts into which each replica's batch is divided. They are computed
            one after another, as by as many replicas, and take the memory of one part.
    """

    model: FasterRcnn = dataclasses.field(default_factory=FasterRcnn)
    losses: Losses = dataclasses.field(default_factory=Losses)
    train_data: Data = dataclasses.field(default_factory=lambda: Data(is_training=True))
    validation_data: Data = dataclasses.field(default_factory=Data)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    temporal: Temporal = dataclasses.field(default_factory=Temporal)
    clip: Clip = dataclasses.field(default_factory=Clip)
    memory: Memory = dataclasses.field(default_factory=Memory)
    learn_on: str = "images"
    features: str = ""
    label_map: str = ""
    init_checkpoint: str = ""
    init_checkpoint_modules: str = "backbone"
    freeze: list[str] = dataclasses.field(default_factory=list)
    accumulate: int = 1


@dataclasses.dataclass
class Trainer(config_definitions.TrainerConfig):
    """tf-models-official's trainer settings, and two more.

    Attributes:
        seed: seed of weights and sampling.
        early_stopping_patience: number of evaluations without a better
            `best_checkpoint_eval_metric` after which training stops; 0 never stops early.
        best_checkpoint_export_subdir: folder of the best checkpoint, in the folder of the run.
        best_checkpoint_eval_metric: number that decides which checkpoint is the best.
    """

    seed: int = 0
    early_stopping_patience: int = 0
    best_checkpoint_export_subdir: str = "best_checkpoint"
    best_checkpoint_eval_metric: str = "mAP@.5"


@dataclasses.dataclass
class Experiment(config_definitions.ExperimentConfig):
    """All settings of one run; `name` is the experiment whose defaults they started from."""

    name: str = ""
    task: DetectionTask = dataclasses.field(default_factory=DetectionTask)
    trainer: Trainer = dataclasses.field(default_factory=Trainer)


def momentum(
    learning_rate: float, steps: int, warmup_steps: int, *, drops: int = 2
) -> optimization.OptimizationConfig:
    """The optimizer of the papers: momentum .9, and a rate that is divided by ten.

    Args:
        learning_rate: rate after the warm-up.
        steps: steps of the training.
        warmup_steps: steps in which the rate grows from 0.
        drops: how often the rate is divided: 1, at 2/3 of the steps; 2, at 8/9 too.
    """
    return optimization.OptimizationConfig(
        {
            "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9, "global_clipnorm": 10.0}},
            "learning_rate": {
                "type": "stepwise",
                "stepwise": {
                    "boundaries": [steps * 2 // 3, steps * 8 // 9][:drops],
                    "values": [learning_rate / 10**drop for drop in range(drops + 1)],
                },
            },
            "warmup": {
                "type": "linear",
                "linear": {"warmup_steps": warmup_steps, "warmup_learning_rate": 0.0},
            },
        }
    )


@experiments.register("faster_rcnn_c4")
def faster_rcnn_c4() -> Experiment:
    """The paper's single-frame baseline: ResNet-101 C4 at 640x640."""
    steps = 300_000
    return Experiment(
        task=DetectionTask(
            train_data=Data(is_training=True, global_batch_size=8),
            validation_data=Data(global_batch_size=8),
        ),
        trainer=Trainer(
            train_steps=steps,
            steps_per_loop=100,
            summary_interval=100,
            checkpoint_interval=1000,
            validation_interval=10_000,
            optimizer_config=momentum(0.002, steps, warmup_steps=1000),
        ),
    )


@experiments.register("faster_rcnn_fpn")
def faster_rcnn_fpn() -> Experiment:
    """The same detector on a feature pyramid, ResNet-50."""
    experiment = faster_rcnn_c4()
    model = experiment.task.model
    model.backbone = Backbone(kind="fpn", model_id=50)
    model.anchors = Anchors(size=512.0, scales=[1.0])
    model.proposals.filters = 256
    model.boxes.hidden = [1024, 1024]
    return experiment


@experiments.register("faster_rcnn_tiny")
def faster_rcnn_tiny() -> Experiment:
    """A toy for simulated cameras, trained in minutes on a laptop: ResNet-10 C4, 192x256."""
    steps = 400
    return Experiment(
        task=DetectionTask(
            model=FasterRcnn(
                image_size=[192, 256],
                backbone=Backbone(model_id=10, depth_multiplier=0.25, norm_momentum=0.95),
                anchors=Anchors(size=96.0, scales=[0.25, 0.5, 1.0]),
                proposals=Proposals(filters=64, pre_nms=300, count=30, anchor_samples=64),
                boxes=Boxes(samples=8, positive_fraction=0.5),
                detections=Detections(count=30),
            ),
            train_data=Data(is_training=True, global_batch_size=16, empty_fraction=0.3, cache=True),
            validation_data=Data(global_batch_size=16),
        ),
        trainer=Trainer(
            train_steps=steps,
            steps_per_loop=50,
            summary_interval=50,
            checkpoint_interval=steps // 2,
            validation_interval=steps,
            optimizer_config=momentum(0.02, steps, warmup_steps=40),
        ),
    )
