"""What people may choose about a run."""

import dataclasses
import os

from context_rcnn.data.images import ImageOptions
from context_rcnn.results.options import Options
from context_rcnn.results.write import Outputs


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """What is detected, and how.

    Attributes:
        root: folder of the videos.
        state_dir: folder of the state.
        outputs: what to write, and where.
        results: how.
        fps: frames of a video file to take of each second; None for all.
        images: what frames are accepted, and how they are changed.
        batch_size: videos side by side; for a model of single images, frames a call.
        dry_run: stop after the list of videos.
        restart: forget the state of earlier runs.
        overwrite: replace results that are not of an earlier run of this state.
    """

    root: str
    state_dir: str
    outputs: Outputs
    results: Options = dataclasses.field(default_factory=Options)
    fps: float | None = None
    images: ImageOptions = dataclasses.field(default_factory=ImageOptions)
    batch_size: int = 1
    dry_run: bool = False
    restart: bool = False
    overwrite: bool = False

    def __post_init__(self):
        if not os.path.isdir(self.root):
            raise ValueError(f"{self.root} is not a folder")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {self.batch_size}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"fps must be positive, got {self.fps}")
