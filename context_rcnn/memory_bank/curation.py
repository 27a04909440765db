"""What is stored: which boxes of a frame, then which frames and entries of a camera.

The paper stores the best box of each frame (Snapshot Serengeti, Caltech) or the best eight
(CityCam), and stores it also where the detector found nothing: what an empty scene looks like is
worth remembering. Every entry that is left out is counted by reason.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Literal

import numpy as np

from context_rcnn.memory_bank import sampling
from context_rcnn.memory_bank.entries import Entries

Policy = Literal["newest", "uniform", "diverse"]
POLICIES: tuple[Policy, ...] = ("newest", "uniform", "diverse")

BELOW_SCORE = "below_score"
NOT_TOP_K = "not_top_k"
EMPTY_FRAME = "empty_frame"
NOT_POSITIVE = "not_positive"
NO_BOXES = "frame_without_boxes"  # counts frames: there is no entry to count
STRIDE = "stride"
OVER_BUDGET = "over_budget"

_MAX_BIN = 8192  # entries compared with each other; bounds memory


@dataclasses.dataclass(frozen=True)
class FrameOptions:
    """Which boxes of a frame are stored.

    Attributes:
        top_k: Number of boxes with the highest scores.
        bottom_k: Number of boxes with the lowest scores, which show the background.
        score_threshold: Boxes below it are not among the highest.
        keep_empty: Store the best box of a frame that has none at the threshold.
        positives_only: Leave out frames without a box at `positive_score`.
        positive_score: See `positives_only`.
    """

    top_k: int = 1
    bottom_k: int = 0
    score_threshold: float = 0.0
    keep_empty: bool = True
    positives_only: bool = False
    positive_score: float = 0.7

    def __post_init__(self):
        if self.top_k < 1 or self.bottom_k < 0:
            raise ValueError(
                f"top_k {self.top_k} must be positive, bottom_k {self.bottom_k} not negative"
            )


def select_boxes(scores: np.ndarray, options: FrameOptions) -> tuple[np.ndarray, Counter]:
    """The boxes of one frame to store.

    Args:
        scores: [n] of the detections or proposals of the frame.
        options: Rules for what to keep.

    Returns:
        Positions, highest score first (of equals the first box), and the number of boxes left out
        by reason. A box's rank is its place among these positions.
    """
    scores = np.asarray(scores)
    count = len(scores)
    order = np.argsort(-scores, kind="stable")
    if count == 0:
        return order, Counter({NO_BOXES: 1})
    if options.positives_only and scores[order[0]] < options.positive_score:
        return order[:0], Counter({NOT_POSITIVE: count})
    found = int(np.count_nonzero(scores >= options.score_threshold))
    if found == 0 and not options.keep_empty:
        return order[:0], Counter({EMPTY_FRAME: count})
    top = min(max(found, 1), options.top_k)
    bottom = max(top, count - options.bottom_k)
    left_out = {
        NOT_TOP_K: max(0, min(found, bottom) - top),
        BELOW_SCORE: max(0, bottom - max(found, top)),
    }
    kept = np.concatenate([order[:top], order[bottom:]])
    return kept, Counter({reason: number for reason, number in left_out.items() if number})


@dataclasses.dataclass(frozen=True)
class CameraOptions:
    """Which entries of a camera are stored.

    Attributes:
        stride: Keep every so many-th frame, beginning with the first.
        max_entries: Keep at most so many entries; None for all.
        policy: How to keep the budget. "newest" keeps the last ones, those without a date going
            first; "uniform" evenly spaced ones in order of time; "diverse" shares the budget among
            stretches of time and keeps in each what lies far apart in feature space, so that it
            stands for the whole month and all that was seen in it.
        bin_seconds: Length of a stretch; entries without a date are one stretch.
    """

    stride: int = 1
    max_entries: int | None = None
    policy: Policy = "diverse"
    bin_seconds: int = 86400

    def __post_init__(self):
        if self.policy not in POLICIES:
            raise ValueError(f"policy {self.policy!r}: must be one of {', '.join(POLICIES)}")
        for name in ("stride", "max_entries", "bin_seconds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value}: must be positive")


def curate(entries: Entries, options: CameraOptions) -> tuple[Entries, Counter]:
    """The entries of a camera to store, in time order, and what was left out by reason."""
    entries = entries.in_time_order()
    kept = stride_frames(entries.image_ids, options.stride)
    dropped = Counter({STRIDE: len(entries) - len(kept)})
    entries = entries.take(kept)
    kept = within_budget(
        entries.seconds,
        entries.dated,
        lambda indices: entries.take(indices).float_features(),
        options,
    )
    dropped[OVER_BUDGET] = len(entries) - len(kept)
    return entries.take(kept), +dropped


def stride_frames(image_ids: np.ndarray, stride: int) -> np.ndarray:
    """Positions of the entries of every `stride`-th image; an image's entries lie together."""
    if not len(image_ids):
        return np.arange(0)
    frame = np.concatenate([[0], np.cumsum(image_ids[1:] != image_ids[:-1])])
    return np.flatnonzero(frame % stride == 0)


def within_budget(
    seconds: np.ndarray,
    dated: np.ndarray,
    features: Callable[[np.ndarray], np.ndarray],
    options: CameraOptions,
) -> np.ndarray:
    """Positions of the entries that `max_entries` leaves, ascending.

    Args:
        seconds: [n] int64, in time order, undated entries last.
        dated: [n] bool.
        features: Gives [k, D] float32 features at k positions.
        options: Number of entries to keep, and the rule to choose them.
    """
    count, budget = len(seconds), options.max_entries
    if budget is None or count <= budget:
        return np.arange(count)
    if options.policy == "newest":
        num_dated = int(np.count_nonzero(dated))
        return np.arange(count)[max(0, num_dated - budget) :][:budget]
    if options.policy == "uniform":
        return sampling.uniform(count, budget)
    bins = _time_bins(seconds, dated, options.bin_seconds)
    shares = sampling.share_budget(np.diff(bins), budget)
    kept = []
    for start, stop, share in zip(bins, bins[1:], shares, strict=False):
        if share:
            members = np.arange(start, stop)
            kept.append(members[_spread(features, members, int(share))])
    return np.concatenate(kept)


def _spread(
    features: Callable[[np.ndarray], np.ndarray], members: np.ndarray, share: int
) -> np.ndarray:
    if share == len(members):
        return np.arange(len(members))
    return sampling.farthest_points(features(members), share)


def _time_bins(seconds: np.ndarray, dated: np.ndarray, bin_seconds: int) -> np.ndarray:
    """Edges [bins + 1] of the stretches; long ones are cut into equal parts."""
    stretch = np.where(dated, seconds // bin_seconds, 0)
    new = (np.diff(stretch) != 0) | (dated[1:] != dated[:-1])
    edges = [0, *(np.flatnonzero(new) + 1), len(seconds)]
    cut = []
    for start, stop in zip(edges, edges[1:], strict=False):
        parts = -(-(stop - start) // _MAX_BIN)
        cut += [start + (stop - start) * part // parts for part in range(parts)]
    return np.array([*cut, len(seconds)])
