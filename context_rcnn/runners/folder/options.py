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
        batch_size: number of images per call of the model.
        camera_regex, camera_csv: rules that name the camera of a path, see `CameraNamer`.
        clock_shifts, clock_csv: corrections of camera clocks, see `CameraClocks`.
        sequence_gap: longest pause within a burst, in seconds.
        memory: whether to use the memory, if the model has one.
        top_k: number of best boxes per image in the memory; None for the number in training.
        workers: number of threads that read images; 0 for one per processor.
        rde: treatment of boxes that come back in the same place.
        repeats: rules that say which boxes these are.
        review_dir: folder of pictures for `rde="review"`.
        repeats_table: CSV file of suspicious places.
        videos: whether videos that lie among the photographs are detected in, too.
        fps: number of frames to use per second of a video; None for all.
        explain: number of images for which the state records what the memory did.
        detections: MegaDetector's results, for a model that names the boxes of another detector.
    """

    batch_size: int = 4
    camera_regex: str | None = None
    camera_csv: str | None = None
    clock_shifts: tuple[str, ...] = ()
    clock_csv: str | None = None
    sequence_gap: int = DEFAULT_GAP_SECONDS
    memory: bool = True
    top_k: int | None = None
    workers: int = 0
    rde: RdeMode = "off"
    repeats: RepeatDetectionOptions = dataclasses.field(default_factory=RepeatDetectionOptions)
    review_dir: str = ""
    repeats_table: str = ""
    videos: bool = True
    fps: float | None = 1.0
    explain: int = 0
    detections: str = ""

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
