"""Post-processing of a run's detections before they are measured, as the settings choose it."""

from collections.abc import Callable, Sequence

from context_rcnn import configs
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.majority_vote import MajorityVoteOptions, majority_vote
from context_rcnn.evaluation.repeat_detections import (
    RepeatDetectionOptions,
    remove_repeat_detections,
)
from context_rcnn.evaluation.seq_nms import SeqNmsOptions, link_detections

TYPES = ("none", "majority_vote", "repeat_detections", "seq_nms")

# From images and detections to detections, and counts of what was changed.
PostProcessing = Callable[[Sequence[Image], Detections], tuple[Detections, dict[str, int]]]


def build_post_processing(config: configs.PostProcessing, *, spacing: int = 1) -> PostProcessing:
    """Returns the post-processing of the settings; raises an error for settings without sense.

    Args:
        config: `task.evaluation.post_processing`.
        spacing: spacing of the frames of a window within their burst, `task.clip.spacing`.
    """
    if config.type == "none":
        return lambda images, detections: (detections, {})
    if config.type == "majority_vote":
        vote = config.majority_vote
        return _majority_vote(MajorityVoteOptions(vote.window, vote.score_threshold, spacing))
    if config.type == "repeat_detections":
        settings = config.repeat_detections.as_dict()
        settings["excluded_classes"] = tuple(settings["excluded_classes"])
        return _repeat_detections(RepeatDetectionOptions(**settings))
    if config.type == "seq_nms":
        try:
            options = SeqNmsOptions(**config.seq_nms.as_dict())
        except ValueError as error:
            raise ValueError(f"task.evaluation.post_processing.{error}") from None
        return _seq_nms(options)
    raise ValueError(
        f"task.evaluation.post_processing.type must be one of {', '.join(TYPES)}, got "
        f"{config.type!r}"
    )


def _majority_vote(options: MajorityVoteOptions) -> PostProcessing:
    def process(images, detections):
        voted, changed = majority_vote(images, detections, options)
        return voted, {"detections_with_another_class": changed}

    return process


def _repeat_detections(options: RepeatDetectionOptions) -> PostProcessing:
    def process(images, detections):
        left, repeats = remove_repeat_detections(images, detections, options)
        removed = int(repeats.suspect.sum())
        return left, {"suspicious_places": repeats.groups, "removed_detections": removed}

    return process


def _seq_nms(options: SeqNmsOptions) -> PostProcessing:
    def process(images, detections):
        left, tubes = link_detections(images, detections, options)
        return left, tubes.counts

    return process
