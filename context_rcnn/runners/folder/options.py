"""What people may choose about a run."""

import dataclasses
import os
from typing import Literal, get_args

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.sequences import DEFAULT_GAP_SECONDS
from context_rcnn.evaluation.repeat_detections import RepeatDetectionOptions
from context_rcnn.results.options import Options
from context_rcnn.results.write import Outputs

KEPT_FROM = 0.005
"""Detections below this score are not kept; MegaDetector's own limit."""

RdeMode = Literal["off", "report", "auto", "review"]
RDE_MODES: tuple[RdeMode, ...] = get_args(RdeMode)


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """What is detected, and how.

    Attributes:
        root: folder of the images.
        state_dir: folder of the state.
        outputs: what to write, and where.
        results: how.
        camera_regex, camera_csv: name the camera of a path, see `CameraNamer`.
        sequence_gap: longest pause within a burst, in seconds.
        images: what images are accepted, and how they are changed.
        memory: use the memory, if the model has one.
        top_k: best boxes of an image that are remembered; None for as many as in training.
        batch_size: images a call of the model.
        workers: threads that read images; 0 for one a processor.
        rde: what is done about boxes that come back in the same place.
        repeats: which those are.
        review_dir: folder of pictures for `rde="review"`.
        repeats_table: CSV file of suspicious places.
        explain: images of which the state tells what the memory did to them.
        dry_run: stop after the cameras and an estimate of the time.
        restart: forget the state of earlier runs.
        overwrite: replace results that are not of an earlier run of this state.
    """

    root: str
    state_dir: str
    outputs: Outputs
    results: Options = dataclasses.field(default_factory=Options)
    camera_regex: str | None = None
    camera_csv: str | None = None
    sequence_gap: int = DEFAULT_GAP_SECONDS
    images: ImageOptions = dataclasses.field(default_factory=ImageOptions)
    memory: bool = True
    top_k: int | None = None
    batch_size: int = 4
    workers: int = 0
    rde: RdeMode = "off"
    repeats: RepeatDetectionOptions = dataclasses.field(default_factory=RepeatDetectionOptions)
    review_dir: str = ""
    repeats_table: str = ""
    explain: int = 0
    dry_run: bool = False
    restart: bool = False
    overwrite: bool = False

    def __post_init__(self):
        if not os.path.isdir(self.root):
            raise ValueError(f"{self.root} is not a folder")
        if self.camera_regex and self.camera_csv:
            raise ValueError("give camera_regex or camera_csv, not both")
        if self.batch_size < 1 or self.workers < 0 or (self.top_k or 1) < 1:
            raise ValueError("batch_size, workers and top_k must be positive")
        if self.rde not in RDE_MODES:
            raise ValueError(f"rde must be one of {', '.join(RDE_MODES)}, got {self.rde!r}")
        if self.rde != "off" and not self.repeats_table:
            raise ValueError("repeats_table must name a file")
        if self.rde == "review" and not self.review_dir:
            raise ValueError("review_dir must name a folder")
