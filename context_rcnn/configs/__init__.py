"""All settings, as dataclasses of tf-models-official; nothing here runs anything.

    model            the still-image detector
    temporal/        what a detector remembers: one file a memory, with its experiments
    data             what it learns from: examples, clips, the memory bank
    evaluation       how it is measured, and what is done to detections before
    detection        the detection task, the trainer, whole experiments
    detectors        experiments of the still-image detectors that papers on videos start from
    reid             the re-identification task, with its experiments
    flow             the flow task, with its experiments
    experiments      whole settings by name
    schema           reads YAML, overrides and other files of settings
    pipeline_config  reads the Object Detection API's files
    flags            the flags that name an experiment
    text_format      reads protocol buffers as text, for label maps too

`from context_rcnn import configs` gives the classes of settings by name. They are imported when
they are asked for: `text_format` belongs to the core, which has no tf-models-official.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from context_rcnn.configs.data import Clip, Data, Memory
    from context_rcnn.configs.detection import DetectionTask, Experiment, Losses, Trainer, momentum
    from context_rcnn.configs.evaluation import (
        Evaluation,
        MajorityVote,
        Nms,
        PostProcessing,
        RepeatDetections,
        SeqNms,
        Viterbi,
    )
    from context_rcnn.configs.model import (
        Anchors,
        Backbone,
        Boxes,
        Detections,
        FasterRcnn,
        Neck,
        Proposals,
    )
    from context_rcnn.configs.temporal import Temporal

_FILES = {
    "data": ("Clip", "Data", "Memory"),
    "detection": ("DetectionTask", "Experiment", "Losses", "Trainer", "momentum"),
    "evaluation": (
        "Evaluation",
        "MajorityVote",
        "Nms",
        "PostProcessing",
        "RepeatDetections",
        "SeqNms",
        "Viterbi",
    ),
    "model": ("Anchors", "Backbone", "Boxes", "Detections", "FasterRcnn", "Neck", "Proposals"),
    "temporal": ("Temporal",),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "Anchors",
    "Backbone",
    "Boxes",
    "Clip",
    "Data",
    "DetectionTask",
    "Detections",
    "Evaluation",
    "Experiment",
    "FasterRcnn",
    "Losses",
    "MajorityVote",
    "Memory",
    "Neck",
    "Nms",
    "PostProcessing",
    "Proposals",
    "RepeatDetections",
    "SeqNms",
    "Temporal",
    "Trainer",
    "Viterbi",
    "momentum",
]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
