"""Settings of Context R-CNN (`models.context_rcnn`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import detection, experiments


@dataclasses.dataclass
class ShortTerm(hyperparams.Config):
    """Attention to the boxes of nearby frames.

    Attributes:
        window: frames that a keyframe sees, itself in the middle: 1 is attention within the frame,
            3 the paper's; 0 switches it off. In training, clips must be as long at least.
        heads: attention blocks side by side, averaged.
        layers: one after the other.
        boxes: the best proposals of a frame that are seen, in training whatever their labels; 0 is
            all of them, the paper's. Fewer are faster to train with. Inference sees as many: among
            more than it has learned with, attention loses what it looks for.
    """

    window: int = 0
    heads: int = 1
    layers: int = 1
    boxes: int = 0


@dataclasses.dataclass
class LongTerm(hyperparams.Config):
    """Attention to the memory bank.

    Attributes:
        enabled: have it.
        heads, layers: as in `ShortTerm`.
        entry_size: length of the bank's entries; 0 takes it from the bank.
        extractor: hash of the extractor that made the bank; empty takes it from the bank. A run
            keeps both in its params.yaml, and later refuses banks that do not fit.
        top_k: boxes that the bank has of an image at most; 0 takes it from the bank. Who fills a
            memory for the trained model keeps as many.
    """

    enabled: bool = True
    heads: int = 1
    layers: int = 1
    entry_size: int = 0
    extractor: str = ""
    top_k: int = 0


@dataclasses.dataclass
class ContextRcnn(hyperparams.Config):
    """Context R-CNN's attention.

    Attributes:
        variant: `paper`, or as the `released` code computes it.
        depth: of queries, keys and values.
        temperature: of the softmax.
        initial_output: how strongly attention speaks before it has learned anything, next to an
            ordinary initialisation (1). Little disturbs a detector less that was trained before.
        norm_order: of the released projections: `dense_first` (its TensorFlow 1 models) or
            `norm_first` (its TensorFlow 2 ones).
        position: what the context is added to: the second stage's `features`, or the `crops` that
            the second stage starts from.
        combine: short and long term in `sequence` (the paper) or in `parallel`.
        repeat_input: the later released code adds the boxes it asks with twice to what the bank
            says, and halves them after short-term attention; only for its checkpoints.
    """

    variant: str = "paper"
    depth: int = 2048
    temperature: float = 0.01
    initial_output: float = 0.1
    norm_order: str = "dense_first"
    position: str = "features"
    combine: str = "sequence"
    repeat_input: bool = False
    short_term: ShortTerm = dataclasses.field(default_factory=ShortTerm)
    long_term: LongTerm = dataclasses.field(default_factory=LongTerm)


SETTINGS = ContextRcnn


@experiments.register("context_rcnn_c4")
def context_rcnn_c4() -> configs.Experiment:
    """The paper's detector and training: 32 clips of four frames, momentum .9, decay .0004.

    Long-term attention over a month; the files in configs/table1 switch on what else a row has. The
    paper does not say its learning rate for these batches.
    """
    experiment = detection.faster_rcnn_c4()
    task = experiment.task
    task.temporal.type = "context_rcnn"
    task.clip.frames = 4
    task.memory.max_entries = 8500
    task.train_data.global_batch_size = 32
    return experiment


@experiments.register("context_rcnn_tiny")
def context_rcnn_tiny() -> configs.Experiment:
    """For the simulated cameras: starts from a trained `faster_rcnn_tiny`, and takes minutes.

    The paper's temperature is for features of depth 2048; at 128 it would look at one memory only.
    """
    steps = 500
    experiment = detection.faster_rcnn_tiny()
    task, trainer = experiment.task, experiment.trainer
    task.temporal.type = "context_rcnn"
    task.temporal.context_rcnn.variant = "released"
    task.temporal.context_rcnn.depth = 128
    task.temporal.context_rcnn.temperature = 0.1
    task.temporal.context_rcnn.short_term.boxes = 8
    task.memory.max_entries = 200
    task.init_checkpoint_modules = "detector"
    trainer.train_steps = steps
    trainer.validation_interval = steps
    trainer.checkpoint_interval = steps // 2
    trainer.optimizer_config = configs.momentum(0.02, steps, warmup_steps=50)
    return experiment
