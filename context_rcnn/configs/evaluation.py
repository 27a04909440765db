"""Settings of how detections are measured."""

import dataclasses

from official.modeling import hyperparams


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
            the better half of them (a rule of this package).
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
