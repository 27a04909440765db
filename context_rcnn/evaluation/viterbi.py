"""Detections of a video linked as STMN's released code links them (arXiv 1712.06317).

The paper calls this Seq-NMS, but it is another rule. In each video:

- Boxes of a frame that overlap a better box above `pre_nms_iou` are dropped, whatever their class,
  and so are boxes with a side below `min_side` pixels.
- Each class is suppressed in each frame above `nms_iou`, and its best `most` boxes are left. The
  corners of each become the mean of all boxes of the class that overlap it by `vote_iou` or more,
  weighted by their scores (box voting).
- Paths go through all frames that have a box of the class, one box in each, whatever lies between
  them. A path is worth the sum of its links. A link is worth the scores of its two boxes, and 1
  more where both overlap one box of the earlier frame, of any class with a score above
  `track_score`, by half or more.
- The best path is taken out, then the next, until a frame has no box left. A box of a path scores
  its own score plus twice the mean of the better half of the path's scores. What is left keeps its
  score. No path suppresses anything.

So scores go up to 3, and only their order means something. Of equally good paths, the one through
the better boxes of the first frames wins.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from context_rcnn.evaluation.overlaps import iou, suppress
from context_rcnn.evaluation.video_rows import detections_of, rows_of

if TYPE_CHECKING:  # they import TensorFlow
    from context_rcnn.evaluation.coco import Detections
    from context_rcnn.evaluation.groundtruth import Image

_TRACK_IOU = 0.5


@dataclasses.dataclass(frozen=True)
class ViterbiOptions:
    """What is dropped before, and what links boxes. The defaults are the release's.

    Attributes:
        pre_nms_iou: IoU with a better box of any class above which a box is dropped. The rows of
            one box with several classes count as one box; give 1 for detectors whose boxes differ
            between classes.
        min_side: Shortest side of a box, in pixels.
        nms_iou: IoU with a better box of the same class above which a box is dropped.
        vote_iou: IoU from which boxes of the class take part in the corners of a box.
        most: Largest number of boxes of a class and frame.
        track_score: Score above which a box of a frame helps to link boxes that overlap it.
    """

    pre_nms_iou: float = 0.9
    min_side: float = 5.0
    nms_iou: float = 0.4
    vote_iou: float = 0.5
    most: int = 25
    track_score: float = 0.01

    def __post_init__(self):
        for name in ("pre_nms_iou", "nms_iou", "vote_iou", "track_score"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"viterbi.{name} must lie in 0..1, got {getattr(self, name)}")
        if not self.min_side >= 0.0:
            raise ValueError(f"viterbi.min_side must be at least 0, got {self.min_side}")
        if self.most < 1:
            raise ValueError(f"viterbi.most must be at least 1, got {self.most}")


class Linked(NamedTuple):
    """The detections that are left, in the order of the input."""

    rows: np.ndarray  # int64 [left], places in the input
    boxes: np.ndarray  # float64 [left, 4], voted
    scores: np.ndarray  # float64 [left]
    path: np.ndarray  # int64 [left], number of the path, -1 where in none
    dropped: int  # detections that are not left

    @property
    def counts(self) -> dict[str, int]:
        """Paths, detections in these, and detections that were dropped before."""
        return {
            "paths": int(self.path.max(initial=-1)) + 1,
            "linked_detections": int((self.path >= 0).sum()),
            "dropped_detections": self.dropped,
        }


def link_paths(
    videos: np.ndarray,
    frames: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    options: ViterbiOptions | None = None,
) -> Linked:
    """Links detections through the frames of their videos.

    Args:
        videos: [detections], of each detection, in any order.
        frames: [detections], whole numbers that grow with time.
        boxes: [detections, 4], y1 x1 y2 x2 in pixels.
        scores: [detections].
        classes: [detections].
        options: the release's by default.
    """
    options = options or ViterbiOptions()
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores, classes = np.asarray(scores, np.float64), np.asarray(classes)
    places = np.stack([np.asarray(videos, np.int64), np.asarray(frames, np.int64)], axis=1)
    by_frame: dict[tuple, list[int]] = defaultdict(list)
    for i, place in enumerate(map(tuple, places.tolist())):
        by_frame[place].append(i)
    tracks: dict[tuple, np.ndarray] = {}
    # Of each video and class, frame after frame: rows, boxes and scores.
    chains: dict[tuple, list[tuple]] = defaultdict(list)
    for (video, frame), members in sorted(by_frame.items()):
        rows = _distinct(np.array(members), boxes, scores, options)
        helps = rows[scores[rows] > options.track_score]
        tracks[video, frame] = np.unique(boxes[helps], axis=0)
        for label in np.unique(classes[rows]):
            kept = _suppressed_and_voted(rows[classes[rows] == label], boxes, scores, options)
            chains[video, label].append((frame, *kept))
    parts, number = [], 0
    for (video, _), chain in chains.items():
        path = [np.full(len(rows), -1) for _, rows, _ in chain]
        new = [scores[rows] for _, rows, _ in chain]
        overlapping = [
            _link_bonus(ours, theirs, tracks[video, frame])
            for (frame, _, ours), (_, _, theirs) in zip(chain, chain[1:], strict=False)
        ]
        for choice in _paths(new, overlapping):
            its = np.array([scores[chain[t][1][i]] for t, i in enumerate(choice)])
            best_half = np.sort(its)[len(its) // 2 :].mean()
            for t, i in enumerate(choice):
                new[t][i], path[t][i] = its[t] + 2.0 * best_half, number
            number += 1
        parts += [(rows, corners, new[t], path[t]) for t, (_, rows, corners) in enumerate(chain)]
    nothing = (np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    columns = [np.concatenate(column) for column in zip(nothing, *parts, strict=True)]
    order = np.argsort(columns[0])
    rows, corners, new_scores, paths = (column[order] for column in columns)
    return Linked(rows, corners, new_scores, paths, len(scores) - len(rows))


def link_images(
    images: "Sequence[Image]",
    detections: Mapping[int, tuple],
    options: ViterbiOptions | None = None,
) -> "tuple[Detections, Linked]":
    """Links the detections of the images of an evaluation, by `burst` and `place`.

    Returns:
        What is left, best first, and what `link_paths` made of all detections, image after image.

    Raises:
        ValueError: If two images have the same place.
    """
    rows = rows_of(images, detections)
    pixels = rows.boxes * rows.sides
    linked = link_paths(rows.videos, rows.places, pixels, rows.scores, rows.classes, options)
    left = np.zeros(len(pixels), bool)
    left[linked.rows] = True
    boxes, scores = rows.boxes.copy(), rows.scores.copy()
    boxes[linked.rows] = linked.boxes / rows.sides[linked.rows]
    scores[linked.rows] = linked.scores
    return detections_of(rows, detections, left, scores, boxes), linked


def _distinct(
    rows: np.ndarray, boxes: np.ndarray, scores: np.ndarray, options: ViterbiOptions
) -> np.ndarray:
    """Rows of a frame whose boxes are large enough and overlap no better one too much."""
    sides = boxes[rows, 2:] - boxes[rows, :2]
    rows = rows[(sides >= options.min_side).all(axis=1)]
    different, which = np.unique(boxes[rows], axis=0, return_inverse=True)
    best = np.full(len(different), -np.inf)
    np.maximum.at(best, which.ravel(), scores[rows])
    order = np.argsort(-best, kind="stable")
    kept = np.zeros(len(different), bool)
    kept[order[suppress(different[order], options.pre_nms_iou)]] = True
    return rows[kept[which.ravel()]]


def _suppressed_and_voted(
    rows: np.ndarray, boxes: np.ndarray, scores: np.ndarray, options: ViterbiOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Of the rows of a frame and class those that are left, best first, and their voted boxes."""
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    left = rows[suppress(boxes[rows], options.nms_iou)][: options.most]
    votes = iou(boxes[left], boxes[rows]) >= options.vote_iou
    # A box without area has no overlap, not even with itself.
    weights = votes * (np.maximum(scores[rows], 0.0) + np.finfo(np.float64).eps)
    total = weights.sum(axis=1, keepdims=True)
    voted = weights @ boxes[rows] / np.where(total > 0, total, 1.0)
    return left, np.where(total > 0, voted, boxes[left])


def _link_bonus(ours: np.ndarray, theirs: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """Bonus of each link [ours, theirs]: 1 where both boxes overlap the same box of `tracks`."""
    if not len(tracks):
        return np.zeros((len(ours), len(theirs)))
    first, second = (iou(part, tracks) >= _TRACK_IOU for part in (ours, theirs))
    return (first.astype(float) @ second.T.astype(float) > 0).astype(float)


def _paths(scores: list[np.ndarray], bonus: list[np.ndarray]) -> Iterator[list[int]]:
    """The box of each frame of the best path, of the next, ... until a frame is empty."""
    left = [np.ones(len(row), bool) for row in scores]
    start = [row.copy() for row in scores]
    links = [start[t][:, None] + start[t + 1][None] + bonus[t] for t in range(len(bonus))]
    while all(row.any() for row in left):
        # From the last frame to the first: the best sum from each box on, and the box after it.
        value, after = np.where(left[-1], 0.0, -np.inf), []
        for t in range(len(links) - 1, -1, -1):
            sums = np.where(left[t][:, None], links[t] + value[None], -np.inf)
            after.append(sums.argmax(axis=1))
            value = sums.max(axis=1)
        box = int(value.argmax())
        choice = [box]
        for nexts in reversed(after):
            box = int(nexts[box])
            choice.append(box)
        for t, i in enumerate(choice):
            left[t][i] = False
        yield choice
