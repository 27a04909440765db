"""Majority vote over a burst ("Maj. Vote" in table 1(d) of Context R-CNN, arXiv 1912.03538).

The paper says no more than "a simple majority vote across the high-confidence single-frame
detections within the window". Read as simply as it can be:

- The window of a keyframe are the frames of its burst up to `window // 2` before and after it, as
  the clips of the temporal models have them. Frames that were not evaluated have no vote.
- Every detection of the window with a score of at least `score_threshold` votes for its class,
  wherever its box is: boxes are not linked from frame to frame.
- The keyframe's own detections from that score on get the class that wins. Boxes and scores stay
  as they are, and nothing is suppressed again.

Of classes with equally many votes the one with the larger sum of scores wins, then the lower id.
All votes are those of the detector: a frame's new classes never vote in another window.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from context_rcnn.evaluation.coco import Detections
from context_rcnn.evaluation.groundtruth import Image


@dataclasses.dataclass(frozen=True)
class MajorityVoteOptions:
    """Which detections vote with which.

    Attributes:
        window: Frames that vote, the keyframe in their middle.
        score_threshold: Detections below it neither vote nor change.
        spacing: Every so many-th frame of the burst, as in clips.
    """

    window: int = 3
    score_threshold: float = 0.5
    spacing: int = 1

    def __post_init__(self):
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(
                f"majority_vote.window must be odd, the keyframe in its middle, got {self.window}"
            )
        if self.spacing < 1:
            raise ValueError(f"majority_vote.spacing must be at least 1, got {self.spacing}")


def majority_vote(
    images: Sequence[Image],
    detections: Mapping[int, tuple],
    options: MajorityVoteOptions | None = None,
) -> tuple[Detections, int]:
    """Gives the high-confidence detections of each image the class that its window votes for.

    Args:
        images: evaluated images; `burst` and `place` say which are neighbours.
        detections: detections by image key.
        options: the paper's window by default.

    Returns:
        The detections, and how many of them have a new class.
    """
    options = options or MajorityVoteOptions()
    at = {(image.camera, image.burst, image.place): image.key for image in images if image.burst}
    reach = options.window // 2 * options.spacing
    distances = [d for d in range(-reach, reach + 1, options.spacing) if d]
    voted, changed = Detections(detections), 0
    for image in images:
        if image.key not in detections:
            continue
        boxes, scores, classes = detections[image.key]
        confident = scores >= options.score_threshold
        if not confident.any():
            continue
        places = [(image.camera, image.burst, image.place + d) for d in distances]
        window = [image.key, *(at[place] for place in places if place in at)]
        votes = [detections[key][1:] for key in window if key in detections]
        elected = np.where(confident, _winner(votes, options.score_threshold), classes)
        voted[image.key] = (boxes, scores, elected)
        changed += int((elected != classes).sum())
    return voted, changed


def _winner(votes: Sequence[tuple[np.ndarray, np.ndarray]], score_threshold: float) -> int:
    """The class with most votes among (scores, classes) of the frames of a window."""
    totals: dict[int, list[float]] = defaultdict(list)
    for scores, classes in votes:
        for score, label in zip(scores, classes, strict=True):
            if score >= score_threshold:
                totals[int(label)].append(float(score))
    return max(totals, key=lambda label: (len(totals[label]), sum(totals[label]), -label))
