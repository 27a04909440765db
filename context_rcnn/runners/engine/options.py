"""What people may choose about every run over a folder."""

import dataclasses
import os

from context_rcnn.data.images import ImageOptions
from context_rcnn.results.options import Options
from context_rcnn.results.write import Outputs


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What is detected, and how.

    Attributes:
        root: folder of the images or videos.
        state_dir: folder of the state.
        outputs: files to write.
        results: options of these files.
        images: which images or frames are accepted, and how they are converted.
        batch_size: number of rows per call of the model.
        dry_run: whether to stop after the estimate of the work.
        restart: whether to forget the state of earlier runs.
        overwrite: whether to replace results that are not of an earlier run of this state.
    """

    root: str
    state_dir: str
    outputs: Outputs
    results: Options = dataclasses.field(default_factory=Options)
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
