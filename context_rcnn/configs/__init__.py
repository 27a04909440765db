"""All settings, as dataclasses of tf-models-official; nothing here runs anything.

model        the still-image detector
temporal/    what a detector remembers: one file per memory, with its experiments
data         the data for training and evaluation: examples, clips, the memory bank
evaluation   numbers to measure, and post-processing before them
detection    the detection task, the trainer, whole experiments
schema       reads YAML, overrides and, by `pipeline_config`, the Object Detection API's files
"""

from context_rcnn.configs.data import Clip, Data, Memory
from context_rcnn.configs.detection import DetectionTask, Experiment, Losses, Trainer, momentum
from context_rcnn.configs.evaluation import (
    Evaluation,
    MajorityVote,
    PostProcessing,
    RepeatDetections,
    SeqNms,
)
from context_rcnn.configs.model import (
    Anchors,
    Backbone,
    Boxes,
    Detections,
    FasterRcnn,
    Proposals,
)
from context_rcnn.configs.temporal import Temporal

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
    "PostProcessing",
    "Proposals",
    "RepeatDetections",
    "SeqNms",
    "Temporal",
    "Trainer",
    "momentum",
]
