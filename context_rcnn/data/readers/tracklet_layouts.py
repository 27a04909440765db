"""Readers of re-identification's data sets by name; what each needs to know besides the folder.

The readers only read. Pictures of people need their consent or another legal ground, and
DukeMTMC-VideoReID was withdrawn by its authors for the lack of it: nothing here downloads any.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from context_rcnn.data.readers import (
    duke_video,
    ilids_vid,
    mars,
    prid2011,
    tracklet_folder,
)
from context_rcnn.data.tracklets import TrackletSet


@dataclasses.dataclass(frozen=True)
class TrackletOptions:
    """Where a set of tracklets is, and how it is split.

    Attributes:
        root: folder of the data set.
        layout: one of `TRACKLET_LAYOUTS`.
        split: number of the half/half split of iLIDS-VID and PRID-2011, from 0 on.
        split_seed: seed of a split that the data set does not have itself.
        min_frames: shortest tracklet of PRID-2011 that is used, in both cameras.
        test_fraction: share of identities held out for evaluation, in the layout `folder`.
    """

    root: str
    layout: str = "folder"
    split: int = 0
    split_seed: int = 0
    min_frames: int = 27
    test_fraction: float = 0.5

    def __post_init__(self):
        if self.layout not in TRACKLET_LAYOUTS:
            known = ", ".join(TRACKLET_LAYOUTS)
            raise ValueError(f"layout of tracklets must be one of {known}, got {self.layout!r}")
        if not 0 <= self.test_fraction <= 1:
            raise ValueError(f"test_fraction must be in 0..1, got {self.test_fraction}")
        if self.split < 0:
            raise ValueError(f"split must be at least 0, got {self.split}")
        if not Path(self.root).is_dir():
            raise ValueError(f"{self.root} is not a folder")


def _two_cameras(read) -> Callable[[TrackletOptions], TrackletSet]:
    return lambda options: read(Path(options.root), options.split, options.split_seed)


TRACKLET_LAYOUTS: dict[str, Callable[[TrackletOptions], TrackletSet]] = {
    "mars": lambda options: mars.read_mars(Path(options.root)),
    "duke_video": lambda options: duke_video.read_duke_video(Path(options.root)),
    "ilids_vid": _two_cameras(ilids_vid.read_ilids_vid),
    "prid2011": lambda options: prid2011.read_prid2011(
        Path(options.root), options.split, options.split_seed, options.min_frames
    ),
    "folder": lambda options: tracklet_folder.read_tracklet_folder(
        Path(options.root), options.test_fraction, options.split_seed
    ),
}


def read_tracklets(options: TrackletOptions) -> TrackletSet:
    """Reads a set of tracklets.

    Raises:
        ValueError: If the folder as a whole is not in that layout. Anything smaller is a failure.
    """
    return TRACKLET_LAYOUTS[options.layout](options)
