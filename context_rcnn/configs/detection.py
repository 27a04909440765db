"""Settings of the still-image detector, its data, its training and its evaluation."""

import dataclasses

from official.core import config_definitions, exp_factory
from official.modeling import hyperparams, optimization


@dataclasses.dataclass
class Backbone(hyperparams.Config):
    """The feature extractor.

    Attributes:
        kind: `c4` (first stage on conv4 at stride 16, conv5 as second stage: Context R-CNN's),
            `dc5` (conv5 on the whole map, dilated, at the same stride: MEGA's), `fpn`, or
            `slim_c4`, as the Object Detection API's TensorFlow 1 models compute C4.
        model_id: depth of the ResNet: 10, 18, 34, 50, 101, 152, ...; `slim_c4` has the last three.
        depth_multiplier: scales the channels; small ones make toy models.
        freeze_batch_norm: use the moving statistics in training too, for fine-tuning.
        sync_batch_norm: share batch statistics between replicas.
        norm_momentum: of the moving statistics.
        norm_epsilon: added to variances.
        fpn_filters: channels of the pyramid (`fpn` only).
    """

    kind: str = "c4"
    model_id: int = 101
    depth_multiplier: float = 1.0
    freeze_batch_norm: bool = False
    sync_batch_norm: bool = False
    norm_momentum: float = 0.99
    norm_epsilon: float = 0.001
    fpn_filters: int = 256


@dataclasses.dataclass
class Anchors(hyperparams.Config):
    """Reference boxes: `size` at scale 1 (of a pyramid's coarsest level, halved per level)."""

    size: float = 256.0
    scales: list[float] = dataclasses.field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0])
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])


@dataclasses.dataclass
class Proposals(hyperparams.Config):
    """First stage.

    Attributes:
        filters: channels of the 3x3 convolution before the predictions.
        pre_nms: best boxes a level before suppression.
        nms_iou: boxes that overlap a better one by this much are suppressed.
        count: proposals an image, in training and in inference.
        anchor_samples: anchors an image the first stage learns from.
        anchor_positive_fraction: upper bound of positives among them.
        positive_iou: anchors from this IoU on are positive.
        negative_iou: anchors below this IoU are negative.
    """

    filters: int = 512
    pre_nms: int = 6000
    nms_iou: float = 0.7
    count: int = 300
    anchor_samples: int = 256
    anchor_positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3


@dataclasses.dataclass
class Boxes(hyperparams.Config):
    """Second stage.

    Attributes:
        samples: proposals an image the second stage learns from.
        positive_fraction: upper bound of positives among them.
        positive_iou: proposals from this IoU on are positive, the others background.
        offset_weights: multiply the offsets dy, dx, dh, dw.
        hidden: dense layers, a pyramid's before its predictions, `dc5`'s before its box memory;
            empty after conv5 on crops.
    """

    samples: int = 64
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    offset_weights: list[float] = dataclasses.field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])
    hidden: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Detections(hyperparams.Config):
    """Post-processing: score threshold, per-class suppression, detections an image."""

    score_threshold: float = 0.001
    nms_iou: float = 0.6
    count: int = 100


@dataclasses.dataclass
class FasterRcnn(hyperparams.Config):
    """The still-image detector.

    Attributes:
        num_classes: without background; 0 takes it from the label map.
        image_size: height and width of the network's input.
        keep_aspect_ratio: fit the image into `image_size` and pad, rather than stretch it.
    """

    num_classes: int = 0
    image_size: list[int] = dataclasses.field(default_factory=lambda: [640, 640])
    keep_aspect_ratio: bool = False
    backbone: Backbone = dataclasses.field(default_factory=Backbone)
    anchors: Anchors = dataclasses.field(default_factory=Anchors)
    proposals: Proposals = dataclasses.field(default_factory=Proposals)
    boxes: Boxes = dataclasses.field(default_factory=Boxes)
    detections: Detections = dataclasses.field(default_factory=Detections)


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
class Data(hyperparams.Config):
    """One input: TFRecord files of examples (docs/formats.md).

    Attributes:
        input_path: a file pattern, or several separated by commas.
        is_training: shuffle, repeat and flip.
        global_batch_size: clips a step, over all replicas; a clip is one image unless `task.clip`
            says otherwise, and in evaluation of a `mega` the next frame of a video.
        seed: of the order and the flips.
        shuffle_buffer_size: examples held while shuffling.
        flip_probability: of a horizontal flip in training.
        empty_fraction: share of empty images in training batches; negative takes what there is.
        max_boxes: most groundtruth boxes an image may have; more is an error.
        shard_files: several hosts read different files rather than different examples. Faster on
            many hosts; the batches then depend on the number of hosts.
        sample_1_of_n: evaluate every n-th example only.
        cache: keep the encoded examples in memory after the first pass.
    """

    input_path: str = ""
    is_training: bool = False
    global_batch_size: int = 8
    seed: int = 0
    shuffle_buffer_size: int = 1000
    flip_probability: float = 0.5
    empty_fraction: float = -1.0
    max_boxes: int = 100
    shard_files: bool = False
    sample_1_of_n: int = 1
    cache: bool = False


@dataclasses.dataclass
class MajorityVote(hyperparams.Config):
    """In a burst, the most frequent class wins (`evaluation/majority_vote.py`).

    Attributes:
        window: frames that vote on the keyframe in their middle.
        score_threshold: detections below it neither vote nor change.
    """

    window: int = 3
    score_threshold: float = 0.5


@dataclasses.dataclass
class RepeatDetections(hyperparams.Config):
    """Boxes that come back in the same place are removed (`evaluation/repeat_detections.py`).

    Attributes:
        iou: from which two boxes are the same, 0.5 to 1.
        min_occurrences: images with that box which make it suspicious; less on small sets.
        min_score: detections below it take no part.
        min_area, max_area: shares of the image; smaller and larger boxes take no part.
        any_class: compare boxes of different classes, too.
        excluded_classes: ids of the label map; these classes take no part.
    """

    iou: float = 0.9
    min_occurrences: int = 20
    min_score: float = 0.1
    min_area: float = 0.0
    max_area: float = 0.2
    any_class: bool = False
    excluded_classes: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class SeqNms(hyperparams.Config):
    """Boxes are linked through the frames of a burst (`evaluation/seq_nms.py`).

    In place of the detector's own suppression: it wants a loose `model.detections.nms_iou`, such as
    .9, and a large `model.detections.count`.

    Attributes:
        link_iou: boxes of neighbouring frames above it are linked.
        nms_iou: boxes of a frame that overlap a linked path by more are suppressed.
        rescore: `average` or `maximum` of a path's scores (Seq-NMS), or `best_half`, the mean of
            the better half of them (this package's own).
        score_threshold: detections below it take no part and stay as they are.
    """

    link_iou: float = 0.5
    nms_iou: float = 0.3
    rescore: str = "average"
    score_threshold: float = 0.001


@dataclasses.dataclass
class PostProcessing(hyperparams.OneOfConfig):
    """What is done to the detections of a run before they are measured and written.

    Attributes:
        type: `none`, `majority_vote`, `repeat_detections` or `seq_nms`.
    """

    type: str = "none"
    none: hyperparams.Config = dataclasses.field(default_factory=hyperparams.Config)
    majority_vote: MajorityVote = dataclasses.field(default_factory=MajorityVote)
    repeat_detections: RepeatDetections = dataclasses.field(default_factory=RepeatDetections)
    seq_nms: SeqNms = dataclasses.field(default_factory=SeqNms)


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
    """How detections are measured.

    Attributes:
        recalls: false positives per 1000 empty images are counted at these recalls.
        images: images with boxes drawn for TensorBoard and the contact sheet.
        draw_threshold: boxes below this score are not drawn.
        post_processing: what is done to the detections before.
    """

    recalls: list[float] = dataclasses.field(default_factory=lambda: [0.5, 0.8, 0.9, 0.95])
    images: int = 24
    draw_threshold: float = 0.3
    post_processing: PostProcessing = dataclasses.field(default_factory=PostProcessing)


@dataclasses.dataclass
class Memory(hyperparams.Config):
    """The memory bank that keyframes are joined with, and which part of it they see.

    Attributes:
        bank: Folder of the bank; empty joins nothing.
        horizon: `minute`, `hour`, `day`, `week`, `month` (30 days) or `any`, centred on the
            keyframe.
        calendar: The calendar's minute, ..., month that the keyframe is in, as the released code.
        causal: Only what came before the keyframe, for online use.
        include_keyframe: Keep the keyframe's own entries.
        policy: How a window that is too large is cut: `nearest` in time, `newest`, `uniform`, or
            `diverse` (slow: better prune the bank with it).
        max_entries: Entries of a window, padded to this number.
        variant: Encoding of place and time: `paper` or `released`.
        strict: A camera that is not in the bank is an error, not an empty window.
        cache_megabytes: Memory for cameras kept as float32.
    """

    bank: str = ""
    horizon: str = "month"
    calendar: bool = False
    causal: bool = False
    include_keyframe: bool = True
    policy: str = "nearest"
    max_entries: int = 2000
    variant: str = "paper"
    strict: bool = False
    cache_megabytes: int = 1024


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


@dataclasses.dataclass
class StSpatial(hyperparams.Config):
    """Box features averaged with those in the same place of nearby frames.

    Attributes:
        window: frames that are averaged, the keyframe in their middle. In training, clips must be
            as long at least.
        decay: a frame weighs decay ** (its distance from the keyframe in frames): 1 is the plain
            mean, 0 the single-frame detector.
    """

    window: int = 3
    decay: float = 0.5


@dataclasses.dataclass
class S3d(hyperparams.Config):
    """Separable 3D convolutions over nearby frames, on the maps (`c4` only).

    Attributes:
        window: frames that are convolved, the keyframe in their middle. In training, clips must be
            as long at least.
        blocks: Inception blocks, one after the other.
        gating: weight the channels after each convolution in time, as S3D-G does.
    """

    window: int = 3
    blocks: int = 2
    gating: bool = False


@dataclasses.dataclass
class MegaTraining(hyperparams.Config):
    """The frames that a MEGA learns with.

    Attributes:
        local_frames: near the keyframe, besides it.
        memory_frames: before these.
        global_frames: from anywhere in the video.
        keyframes: most keyframes of a video in one pass over the data, evenly spaced.
    """

    local_frames: int = 2
    memory_frames: int = 2
    global_frames: int = 2
    keyframes: int = 15


@dataclasses.dataclass
class Mega(hyperparams.Config):
    """MEGA's global and local aggregation, and its long range memory.

    Attributes:
        variant: `paper`, or as the `released` code computes it.
        depth: of box features: the last of `model.boxes.hidden` with `dc5`.
        heads: of a relation module.
        global_modules: N_g.
        local_modules: N_l.
        local_frames: T_l, those around the keyframe, itself included: odd, unless `online`.
        memory_frames: T_m, those before them.
        global_frames: T_g, those from anywhere in the video.
        reference_boxes: best boxes of a frame that others see.
        kept_boxes: best boxes of a frame that go on after the first local module.
        global_location: whether places count in the global modules, too; in the paper it harms.
        online: a keyframe sees nothing that comes after it.
        seed: of the order of global frames in evaluation.
        training: the frames to learn with.
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


@dataclasses.dataclass
class Temporal(hyperparams.OneOfConfig):
    """What the detector remembers, and how.

    Attributes:
        type: `none` (the still-image detector), `context_rcnn`, a baseline of its paper
            (`st_spatial` or `s3d`), or `mega`.
    """

    type: str = "none"
    none: hyperparams.Config = dataclasses.field(default_factory=hyperparams.Config)
    context_rcnn: ContextRcnn = dataclasses.field(default_factory=ContextRcnn)
    st_spatial: StSpatial = dataclasses.field(default_factory=StSpatial)
    s3d: S3d = dataclasses.field(default_factory=S3d)
    mega: Mega = dataclasses.field(default_factory=Mega)


@dataclasses.dataclass
class Clip(hyperparams.Config):
    """Short runs of frames of one burst, in place of single images.

    Attributes:
        frames: of a clip; 1 trains on single images. In training, every labelled frame teaches.
        spacing: every so many-th frame of the burst.
    """

    frames: int = 1
    spacing: int = 1


@dataclasses.dataclass
class DetectionTask(config_definitions.TaskConfig):
    """A detector, what it learns from, and what it is measured on.

    Attributes:
        label_map: Object Detection API label map; empty takes `label_map.pbtxt` beside the data.
        init_checkpoint: a checkpoint, or a folder with one, to start from.
        init_checkpoint_modules: `backbone` (an ImageNet checkpoint of tf-models-official),
            `detector` (all but the memory: a trained still-image detector) or `all`.
        temporal: what the detector remembers.
        clip: frames that it sees together.
        memory: the bank that keyframes are joined with.
    """

    model: FasterRcnn = dataclasses.field(default_factory=FasterRcnn)
    losses: Losses = dataclasses.field(default_factory=Losses)
    train_data: Data = dataclasses.field(default_factory=lambda: Data(is_training=True))
    validation_data: Data = dataclasses.field(default_factory=Data)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    temporal: Temporal = dataclasses.field(default_factory=Temporal)
    clip: Clip = dataclasses.field(default_factory=Clip)
    memory: Memory = dataclasses.field(default_factory=Memory)
    label_map: str = ""
    init_checkpoint: str = ""
    init_checkpoint_modules: str = "backbone"


@dataclasses.dataclass
class Trainer(config_definitions.TrainerConfig):
    """tf-models-official's trainer settings, and ours.

    Attributes:
        seed: of weights and sampling.
        early_stopping_patience: stop after this many evaluations without a better
            `best_checkpoint_eval_metric`; 0 never stops early.
    """

    seed: int = 0
    early_stopping_patience: int = 0
    best_checkpoint_export_subdir: str = "best_checkpoint"
    best_checkpoint_eval_metric: str = "mAP@.5"


@dataclasses.dataclass
class Experiment(config_definitions.ExperimentConfig):
    """Everything one run needs to know; `name` is the experiment it started from."""

    name: str = ""
    task: DetectionTask = dataclasses.field(default_factory=DetectionTask)
    trainer: Trainer = dataclasses.field(default_factory=Trainer)


def momentum(
    learning_rate: float, steps: int, warmup_steps: int
) -> optimization.OptimizationConfig:
    """The paper's optimizer: momentum .9, and a rate that falls tenfold at 2/3 and 8/9."""
    return optimization.OptimizationConfig(
        {
            "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9, "global_clipnorm": 10.0}},
            "learning_rate": {
                "type": "stepwise",
                "stepwise": {
                    "boundaries": [steps * 2 // 3, steps * 8 // 9],
                    "values": [learning_rate, learning_rate / 10, learning_rate / 100],
                },
            },
            "warmup": {
                "type": "linear",
                "linear": {"warmup_steps": warmup_steps, "warmup_learning_rate": 0.0},
            },
        }
    )


@exp_factory.register_config_factory("faster_rcnn_c4")
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


@exp_factory.register_config_factory("faster_rcnn_fpn")
def faster_rcnn_fpn() -> Experiment:
    """The same detector on a feature pyramid, ResNet-50."""
    experiment = faster_rcnn_c4()
    model = experiment.task.model
    model.backbone = Backbone(kind="fpn", model_id=50)
    model.anchors = Anchors(size=512.0, scales=[1.0])
    model.proposals.filters = 256
    model.boxes.hidden = [1024, 1024]
    return experiment


@exp_factory.register_config_factory("faster_rcnn_tiny")
def faster_rcnn_tiny() -> Experiment:
    """A toy that learns the simulated cameras in minutes on a laptop: ResNet-10 C4, 192x256."""
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
