"""Settings of the evaluation."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class MajorityVote(hyperparams.Config):
    """In a burst, the most frequent class wins (`evaluation/majority_vote.py`).

    Attributes:
        window: number of frames that vote on the keyframe in their middle.
        score_threshold: score below which a detection neither votes nor changes.
    """

    window: int = 3
    score_threshold: float = 0.5


@dataclasses.dataclass
class RepeatDetections(hyperparams.Config):
    """Boxes that come back in the same place are removed (`evaluation/repeat_detections.py`).

    Attributes:
        iou: lowest IoU at which two boxes count as the same, 0.5 to 1.
        min_occurrences: number of images with the same box that make it suspicious; choose less
            for small data sets.
        min_score: lowest score of a detection that takes part.
        min_area, max_area: smallest and largest area of a box that takes part, as shares of the
            image.
        any_class: whether boxes of different classes are compared too.
        excluded_classes: classes that do not take part, as ids of the label map.
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

    This replaces the detector's own suppression: it needs a loose `model.detections.nms_iou`, such
    as .9, and a large `model.detections.count`.

    Attributes:
        link_iou: IoU above which boxes of neighbouring frames are linked.
        nms_iou: IoU with a linked path above which other boxes of the frame are suppressed.
        rescore: `average` or `maximum` of a path's scores (Seq-NMS), or `best_half`, the mean of
            the better half of them (a rule of this package).
        score_threshold: score below which a detection takes no part and stays as it is.
    """

    link_iou: float = 0.5
    nms_iou: float = 0.3
    rescore: str = "average"
    score_threshold: float = 0.001


@dataclasses.dataclass
class Viterbi(hyperparams.Config):
    """Boxes are linked as STMN's released code links them (`evaluation/viterbi.py`).

    Like Seq-NMS, this replaces the detector's own suppression.

    Attributes:
        pre_nms_iou: IoU with a better box of any class above which a box is dropped; 1 for
            detectors whose boxes differ between classes.
        min_side: shortest side of a box that is kept, in pixels of the image as it was read.
        nms_iou: IoU with a better box of the same class above which a box is dropped.
        vote_iou: IoU from which boxes of the class take part in the corners of a box.
        most: largest number of boxes of a class and frame.
        track_score: score above which a box of a frame helps to link boxes that overlap it.
    """

    pre_nms_iou: float = 0.9
    min_side: float = 5.0
    nms_iou: float = 0.4
    vote_iou: float = 0.5
    most: int = 25
    track_score: float = 0.01


@dataclasses.dataclass
class Nms(hyperparams.Config):
    """Boxes of a class are suppressed once more in each frame, for joined detections.

    Attributes:
        nms_iou: IoU with a better box of the same class above which a box is dropped.
    """

    nms_iou: float = 0.5


@dataclasses.dataclass
class PostProcessing(hyperparams.OneOfConfig):
    """Post-processing of the detections of a run, before they are measured and written.

    Attributes:
        type: name of the method: `none`, `majority_vote`, `repeat_detections`, `seq_nms`,
            `viterbi` or `nms`.
    """

    type: str = "none"
    none: hyperparams.Config = dataclasses.field(default_factory=hyperparams.Config)
    majority_vote: MajorityVote = dataclasses.field(default_factory=MajorityVote)
    repeat_detections: RepeatDetections = dataclasses.field(default_factory=RepeatDetections)
    seq_nms: SeqNms = dataclasses.field(default_factory=SeqNms)
    viterbi: Viterbi = dataclasses.field(default_factory=Viterbi)
    nms: Nms = dataclasses.field(default_factory=Nms)


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
    """Numbers to measure, and pictures to draw.

    Attributes:
        recalls: recalls at which false positives per 1000 empty images are counted.
        images: number of images drawn with boxes, for TensorBoard and the contact sheet.
        draw_threshold: score below which boxes are not drawn.
        ensemble: folder evaluation/step-N of another run on the same images, whose detections are
            joined before the post-processing; empty for none.
        post_processing: post-processing of the detections before they are measured.
    """

    recalls: list[float] = dataclasses.field(default_factory=lambda: [0.5, 0.8, 0.9, 0.95])
    images: int = 24
    draw_threshold: float = 0.3
    ensemble: str = ""
    post_processing: PostProcessing = dataclasses.field(default_factory=PostProcessing)
