"""What people may choose about a run."""

import dataclasses

from context_rcnn.runners.engine.options import RunOptions


@dataclasses.dataclass(frozen=True)
class VideoOptions(RunOptions):
    """What may be chosen about videos besides what holds for every run.

    Attributes:
        batch_size: number of videos side by side; with a model of single images, number of frames
            per call.
        fps: number of frames to use per second of a video file; None for all.
        frames: whether the images of every folder are the frames of a video.
    """

    fps: float | None = None
    frames: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"fps must be positive, got {self.fps}")
