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
        evidence_every: n, to look at every n-th frame of a video; of the others the model sees how
            they have moved.
        two_speed: whether the strong detector of a two-speed model works in a thread of its own,
            as late as it is; otherwise it is late by a fixed number of frames.
        anticipate: number of frames before each at which its detections are foretold; 0 looks at
            it.
    """

    fps: float | None = None
    frames: bool = False
    evidence_every: int = 1
    anticipate: int = 0
    two_speed: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"fps must be positive, got {self.fps}")
        for name, least in (("evidence_every", 1), ("anticipate", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

        if self.two_speed and self.is_sparing:
            raise ValueError("two_speed goes with neither evidence_every nor anticipate")

    @property
    def is_sparing(self) -> bool:
        """Whether the model does not look at every frame that it detects in."""
        return self.evidence_every > 1 or self.anticipate > 0
