"""Settings of Context R-CNN (`models.context_rcnn`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import detection, experiments


@dataclasses.dataclass
class ShortTerm(hyperparams.Config):
    """Attention to the boxes of nearby frames.

    Attributes:
        window: number of frames that a keyframe sees, itself in the middle: 1 is attention within
            the frame, 3 is the paper's, 0 switches short-term attention off. In training, clips
            must be at least as long.
        heads: number of attention blocks side by side, whose outputs are averaged.
        layers: number of attention layers, one after the other.
        boxes: number of proposals seen per frame, best first, regardless of their labels; 0 sees
            all of them, as the paper does. Fewer boxes make training faster. Inference uses the
            same number, because attention works worse with more boxes than in training.
    """

    window: int = 0
    heads: int = 1
    layers: int = 1
    boxes: int = 0


@dataclasses.dataclass
class LongTerm(hyperparams.Config):
    """Attention to the memory bank.

    Attributes:
        enabled: whether the detector attends to the bank.
        heads, layers: numbers of attention blocks side by side and one after the other, as in
            `ShortTerm`.
        entry_size: length of the bank's entries; 0 takes it from the bank.
        extractor: hash of the extractor that made the bank; empty takes it from the bank. A run
            keeps `entry_size` and this hash in its params.yaml, and later refuses banks that do not
            fit.
        top_k: largest number of boxes per image in the bank; 0 takes it from the bank. Programs
            that fill a memory for the trained model keep the same number.
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
        variant: way to compute attention: `paper`, or `released` as in the authors' code.
        depth: length of queries, keys and values.
        temperature: temperature of the softmax.
        initial_output: strength of attention at the start of training, relative to an ordinary
            initialisation (1). A small value disturbs a trained detector less.
        norm_order: order of dense layer and batch norm in the released projections: `dense_first`
            (dense, norm, ReLU6) or `norm_first` (norm, dense, ReLU6), as for some months in its
            TensorFlow 2 code.
        position: place where the context is added: the second stage's `features`, the `crops` that
            the second stage starts from, or `pooled_crops`; the last two differ in `slim_c4`, which
            has crops of 14x14 before it pools them to 7x7.
        combine: combination of short and long term: in `sequence` (the paper) or in `parallel`.
        repeat_input: whether the input box features are added twice to the output of long-term
            attention, and halved after short-term attention. The later released code does this;
            use it only for its checkpoints.
        short_term: attention to the boxes of nearby frames.
        long_term: attention to the memory bank.
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

    It has long-term attention over a month; the files in configs/table1 set what else a row needs.
    The paper does not give its learning rate for these batches.
    """
    experiment = detection.faster_rcnn_c4()
    task = experiment.task
    task.temporal.type = "context_rcnn"
    task.clip.frames = 4
    task.memory.max_entries = 8500
    task.train_data.global_batch_size = 32
    return experiment


@experiments.register("memory_head")
def memory_head() -> configs.Experiment:
    """Names MegaDetector's boxes with a memory of their camera, learned on stored features.

    `context-rcnn head` sets where the data are and which network the features are of. The boxes
    stay as they are: their offsets do not learn. Batch norms within attention make one rate fit
    networks of any scale of features.
    """
    steps = 1000
    experiment = detection.faster_rcnn_c4()
    task, trainer = experiment.task, experiment.trainer
    task.learn_on = "features"
    model = task.model
    model.image_size, model.keep_aspect_ratio = [960, 1280], True
    model.backbone.kind = "embedder"
    model.proposals.source, model.proposals.count = "given", 8
    model.boxes.samples, model.boxes.positive_fraction = 8, 0.75
    model.detections.count, model.detections.nms_iou = 8, 1.0
    model.detections.best_class_only = True
    task.losses.boxes = 0.0
    task.temporal.type = "context_rcnn"
    memory = task.temporal.context_rcnn
    memory.variant, memory.depth, memory.temperature = "released", 128, 0.1
    task.memory.max_entries = 500
    task.train_data.global_batch_size = task.validation_data.global_batch_size = 32
    task.train_data.flip_probability = 0.0
    task.train_data.cache = True
    trainer.train_steps = steps
    trainer.validation_interval = trainer.checkpoint_interval = steps // 4
    trainer.optimizer_config = configs.momentum(0.02, steps, warmup_steps=50)
    return experiment


@experiments.register("context_rcnn_tiny")
def context_rcnn_tiny() -> configs.Experiment:
    """A toy for simulated cameras: starts from a trained `faster_rcnn_tiny`, and takes minutes.

    The paper's temperature is for features of depth 2048; at depth 128, attention would look at one
    entry only.
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
