"""Post-processing of a run's detections before they are measured, as the settings choose it."""

from collections.abc import Callable, Sequence

from context_rcnn import configs
from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.ensemble import join_run
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.majority_vote import MajorityVoteOptions, majority_vote
from context_rcnn.evaluation.overlaps import NmsOptions, suppress_images
from context_rcnn.evaluation.repeat_detections import (
    RepeatDetectionOptions,
    remove_repeat_detections,
)
from context_rcnn.evaluation.seq_nms import SeqNmsOptions, link_detections
from context_rcnn.evaluation.viterbi import ViterbiOptions, link_images

TYPES = ("none", "majority_vote", "repeat_detections", "seq_nms", "viterbi", "nms")
OF_JOINED = ("seq_nms", "viterbi", "nms")
"""Those that take boxes of two detectors."""

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
    if config.type in OF_JOINED:
        try:
            return _of_videos(config)
        except ValueError as error:
            raise ValueError(f"task.evaluation.post_processing.{error}") from None
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


def _of_videos(config: configs.PostProcessing) -> PostProcessing:
    if config.type == "seq_nms":
        return _linked(link_detections, SeqNmsOptions(**config.seq_nms.as_dict()))
    if config.type == "viterbi":
        return _linked(link_images, ViterbiOptions(**config.viterbi.as_dict()))
    options = NmsOptions(**config.nms.as_dict())

    def process(images, detections):
        left, dropped = suppress_images(images, detections, options)
        return left, {"dropped_detections": dropped}

    return process


def _linked(link: Callable, options: SeqNmsOptions | ViterbiOptions) -> PostProcessing:
    def process(images, detections):
        left, linked = link(images, detections, options)
        return left, linked.counts

    return process


def with_ensemble(process: PostProcessing, folder: str, type_: str) -> PostProcessing:
    """The same post-processing, of the joined detections of this run and another one.

    Args:
        process: from `build_post_processing`.
        folder: `task.evaluation.ensemble`; empty for no other run.
        type_: type of the post-processing.
    """
    if not folder:
        return process
    if type_ not in OF_JOINED:
        raise ValueError(
            "task.evaluation.ensemble joins boxes of two detectors, of which many are of the same "
            f"object: task.evaluation.post_processing.type must be one of {', '.join(OF_JOINED)}, "
            f"got {type_!r}"
        )

    def joined(images, detections):
        both = join_run(folder, images, detections)
        added = sum(len(part[1]) for part in both.values())
        added -= sum(len(part[1]) for part in detections.values())
        left, counts = process(images, both)
        return left, {"joined_detections": added, **counts}

    return joined
