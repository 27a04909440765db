"""From a task's settings to its model: the one place that knows all temporal models."""

import tensorflow as tf

from context_rcnn.configs import detection as configs
from context_rcnn.data.videos import VideoClips
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.models.context_rcnn.memory import build_context_rcnn
from context_rcnn.models.mega.aggregation import build_mega, training_clips
from context_rcnn.models.mega.stream import MegaStream, build_mega_stream
from context_rcnn.models.s3d import build_s3d
from context_rcnn.models.st_spatial import build_st_spatial
from context_rcnn.models.streaming import StreamNeeds

BUILDERS = {
    "context_rcnn": build_context_rcnn,
    "mega": build_mega,
    "s3d": build_s3d,
    "st_spatial": build_st_spatial,
}


def build_model(
    model: configs.FasterRcnn, temporal: configs.Temporal, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """Builds the detector and all its variables."""
    _check_type(temporal)
    if temporal.type == "none":
        detector = build_faster_rcnn(model, weight_decay=weight_decay)
    else:
        build = BUILDERS[temporal.type]
        detector = build(model, temporal.get(), weight_decay=weight_decay)
    height, width = model.image_size
    detector(
        tf.zeros([1, height, width, 3]),
        tf.constant([[height, width]], tf.float32),
        memory=_empty_memory(temporal),
    )
    return detector


def temporal_window(temporal: configs.Temporal) -> int:
    """Frames around a keyframe, itself included, that the model looks at."""
    _check_type(temporal)
    if temporal.type in ("none", "mega"):
        return 1
    if temporal.type == "context_rcnn":
        return max(1, temporal.get().short_term.window)
    return temporal.get().window


def video_clips(temporal: configs.Temporal, seed: int) -> VideoClips | None:
    """What a model learns with that draws frames from whole videos; None for the others."""
    return training_clips(temporal.get(), seed) if temporal.type == "mega" else None


def stream_needs(temporal: configs.Temporal) -> StreamNeeds | None:
    """What the stream of a model needs; None for models that need no stream."""
    if temporal.type != "mega":
        return None
    mega = temporal.get()
    delay = 0 if mega.online else mega.local_frames // 2
    return StreamNeeds(delay, bool(mega.global_frames) and not mega.online, mega.seed)


def build_stream(model: TwoStageDetector, temporal: configs.Temporal) -> MegaStream | None:
    """What takes videos through a model frame by frame, where it cannot be done otherwise."""
    return build_mega_stream(model, temporal.get()) if temporal.type == "mega" else None


def _check_type(temporal: configs.Temporal) -> None:
    choices = ("none", *BUILDERS)
    if temporal.type not in choices:
        raise ValueError(
            f"task.temporal.type must be one of {', '.join(choices)}, got {temporal.type!r}"
        )


def entry_size(temporal: configs.Temporal) -> int:
    """Length of the entries of the memory bank that the model attends to, 0 if to none."""
    if temporal.type != "context_rcnn" or not temporal.get().long_term.enabled:
        return 0
    return temporal.get().long_term.entry_size


def _empty_memory(temporal: configs.Temporal) -> dict[str, tf.Tensor]:
    """A memory without entries, of the right depth."""
    if temporal.type != "context_rcnn" or not temporal.get().long_term.enabled:
        return {}
    size = entry_size(temporal)
    if not size:
        raise ValueError("task.temporal.context_rcnn.long_term.entry_size must be set")
    return {
        "context_features": tf.zeros([1, 1, size]),
        "context_valid": tf.zeros([1, 1], tf.bool),
    }
