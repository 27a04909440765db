"""What people may choose about a run."""

import dataclasses
from typing import Literal, get_args

from context_rcnn.data.sequences import DEFAULT_GAP_SECONDS
from context_rcnn.evaluation.repeat_detections import RepeatDetectionOptions
from context_rcnn.runners.engine.options import RunOptions

RdeMode = Literal["off", "report", "auto", "review"]
RDE_MODES: tuple[RdeMode, ...] = get_args(RdeMode)


@dataclasses.dataclass(frozen=True)
class FolderOptions(RunOptions):
    """What may be chosen about images besides what holds for every run.

    Attributes:
        batch_size: images a call of the model.
        camera_regex, camera_csv: name the camera of a path, see `CameraNamer`.
        sequence_gap: longest pause within a burst, in seconds.
        memory: use the memory, if the model has one.
        top_k: best boxes of an image that are remembered; None for as many as in training.
        workers: threads that read images; 0 for one a processor.
        rde: what is done about boxes that come back in the same place.
        repeats: which those are.
        review_dir: folder of pictures for `rde="review"`.
        repeats_table: CSV file of suspicious places.
        explain: images of which the state tells what the memory did to them.
    """

    batch_size: int = 4
    camera_regex: str | None = None
    camera_csv: str | None = None
    sequence_gap: int = DEFAULT_GAP_SECONDS
    memory: bool = True
    top_k: int | None = None
    workers: int = 0
    rde: RdeMode = "off"
    repeats: RepeatDetectionOptions = dataclasses.field(default_factory=RepeatDetectionOptions)
    review_dir: str = ""
    repeats_table: str = ""
    explain: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.camera_regex and self.camera_csv:
            raise ValueError("give camera_regex or camera_csv, not both")
        if self.workers < 0 or (self.top_k or 1) < 1:
            raise ValueError("workers and top_k must be positive")
        if self.rde not in RDE_MODES:
            raise ValueError(f"rde must be one of {', '.join(RDE_MODES)}, got {self.rde!r}")
        if self.rde != "off" and not self.repeats_table:
            raise ValueError("repeats_table must name a file")
        if self.rde == "review" and not self.review_dir:
            raise ValueError("review_dir must name a folder")
