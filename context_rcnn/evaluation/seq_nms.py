"""Seq-NMS: detections of a video linked through its frames (Han et al., arXiv 1602.08465).

A video is a burst of a camera; each of its classes is looked at alone. In rounds, until no box is
left:

- Boxes of frames next to each other are linked where their IoU is above `link_iou`. A frame that
  is missing, or has no box of the class, ends all links; an image without a burst is a video of
  one frame.
- The path along links with the largest sum of scores is a tube. All its boxes get one score
  (`rescore`): `average` and `maximum` are Seq-NMS's two; `best_half`, the mean of the better half,
  half a box rounded up, is a choice of this package and of no paper. (STMN's release does something
  else: see `viterbi`.)
- Boxes that overlap the tube's box of their frame with an IoU above `nms_iou` are suppressed.

A box that is linked to none is a tube of its own and keeps its score. Detections below
`score_threshold` take no part, and stay as they are. Of paths with equal sums the one that ends
first wins, of those with the same last frame the one whose box was given first in it, and so
backwards through the frames.

This takes the place of a detector's own suppression, and wants the boxes before it: a loose
`task.model.detections.nms_iou` such as .9, and a large `count`. Of boxes that were suppressed as
usual too few are left to link. Every frame must be evaluated: `sample_1_of_n` above 1 leaves no
neighbours.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from context_rcnn.evaluation.video_rows import detections_of, rows_of

if TYPE_CHECKING:  # they import TensorFlow
    from context_rcnn.evaluation.coco import Detections
    from context_rcnn.evaluation.groundtruth import Image

RESCORES = ("average", "maximum", "best_half")


@dataclasses.dataclass(frozen=True)
class SeqNmsOptions:
    """What is linked, how tubes are scored, and what they suppress.

    Attributes:
        link_iou: Boxes of neighbouring frames above this IoU are linked.
        nms_iou: Boxes of a frame above this IoU with a tube's box are suppressed.
        rescore: `average` or `maximum` of a tube's scores (Seq-NMS's), or the mean of their
            `best_half` (this package's).
        score_threshold: Detections below it take no part.
    """

    link_iou: float = 0.5
    nms_iou: float = 0.3
    rescore: str = "average"
    score_threshold: float = 0.001

    def __post_init__(self):
        if not 0.0 <= self.link_iou < 1.0:
            raise ValueError(
                f"seq_nms.link_iou must be at least 0 and below 1, got {self.link_iou}"
            )
        if not 0.0 <= self.nms_iou <= 1.0:
            raise ValueError(f"seq_nms.nms_iou must lie in 0..1, got {self.nms_iou}")
        if self.rescore not in RESCORES:
            raise ValueError(
                f"seq_nms.rescore must be one of {', '.join(RESCORES)}, got {self.rescore!r}"
            )
        if not 0.0 <= self.score_threshold <= 1.0:
            raise ValueError(
                f"seq_nms.score_threshold must lie in 0..1, got {self.score_threshold}"
            )


class Tubes(NamedTuple):
    """The result for each detection, in the order of the input."""

    scores: np.ndarray  # float64 [detections], those of their tubes
    suppressed: np.ndarray  # bool [detections]
    tube: np.ndarray  # int64 [detections], number of the tube, -1 where in none

    @property
    def counts(self) -> dict[str, int]:
        """Tubes of several boxes, detections in these, and detections that are suppressed."""
        lengths = np.bincount(self.tube[self.tube >= 0])
        several = lengths[lengths > 1]
        return {
            "tubes": len(several),
            "linked_detections": int(several.sum()),
            "suppressed_detections": int(self.suppressed.sum()),
        }


def seq_nms(
    videos: np.ndarray,
    frames: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    options: SeqNmsOptions | None = None,
) -> Tubes:
    """Links detections through the frames of their videos.

    A round looks again only at paths that led through what it took away. Memory grows with the
    square of the boxes that a frame has of a class.

    Args:
        videos: [detections], of each detection, in any order.
        frames: [detections], whole numbers; those of neighbours differ by one.
        boxes: [detections, 4], y1 x1 y2 x2 in any unit.
        scores: [detections].
        classes: [detections].
        options: the paper's, with its average, by default.
    """
    options = options or SeqNmsOptions()
    videos, frames, classes = np.asarray(videos), np.asarray(frames, np.int64), np.asarray(classes)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    new = np.array(scores, np.float64)
    tube = np.full(len(new), -1, np.int64)
    order = np.lexsort((frames, classes, videos))
    order = order[new[order] >= options.score_threshold]
    suppressed = np.zeros(len(new), bool)
    suppressed[order] = True  # until a tube takes them
    count = 0
    for run in _runs(videos[order], classes[order], frames[order]):
        members = order[run]
        run_scores = new[members]
        for path in _paths(boxes[members], run_scores, frames[members], options):
            new[members[path]] = _score(run_scores[path], options.rescore)
            tube[members[path]], suppressed[members[path]] = count, False
            count += 1
    return Tubes(new, suppressed, tube)


def link_detections(
    images: "Sequence[Image]",
    detections: Mapping[int, tuple],
    options: SeqNmsOptions | None = None,
) -> "tuple[Detections, Tubes]":
    """Links the detections of the images of an evaluation, by `burst` and `place`.

    Returns:
        What is left, best first, and what `seq_nms` made of all detections, image after image.

    Raises:
        ValueError: If two images have the same place.
    """
    rows = rows_of(images, detections)
    tubes = seq_nms(rows.videos, rows.places, rows.boxes, rows.scores, rows.classes, options)
    return detections_of(rows, detections, ~tubes.suppressed, tubes.scores), tubes


def _runs(videos: np.ndarray, classes: np.ndarray, frames: np.ndarray) -> list[slice]:
    """Of sorted detections, those of one class in frames that follow each other without a gap."""
    if not len(frames):
        return []
    ends = (videos[1:] != videos[:-1]) | (classes[1:] != classes[:-1]) | (np.diff(frames) > 1)
    edges = [0, *(np.flatnonzero(ends) + 1).tolist(), len(frames)]
    return [slice(start, end) for start, end in zip(edges, edges[1:], strict=False)]


def _score(scores: np.ndarray, rescore: str) -> float:
    """The score of a tube with these scores."""
    if rescore == "maximum":
        return scores.max()
    if rescore == "best_half":
        scores = np.sort(scores)[len(scores) // 2 :]
    return scores.mean()


def _paths(boxes: np.ndarray, scores: np.ndarray, frames: np.ndarray, options: SeqNmsOptions):
    """Yields the boxes of each tube of a run, best sum first, until no box is left."""
    chain = _Chain(boxes, scores, frames, options.link_iou)
    while len(path := chain.best_path()):
        yield path
        chain.remove(path, options.nms_iou)


class _Chain:
    """The boxes of a run, and the best path that ends at each of them.

    Taking boxes away makes sums smaller, never larger. So the best path to a box stays what it is
    unless the box before in it is gone or has another sum, and only then is it looked for again.
    """

    def __init__(self, boxes: np.ndarray, scores: np.ndarray, frames: np.ndarray, link_iou: float):
        self._boxes, self._scores = _edges_and_area(boxes), scores
        self._frame = frames - frames[0]  # [boxes]
        self._starts = np.searchsorted(self._frame, np.arange(self._frame[-1] + 2)).tolist()
        # The sum of the best path to each box, minus infinity for a box that is gone.
        self._sums = scores.copy()
        self._before = np.full(len(boxes), -1)  # the box before in that path, -1 where it starts
        self._changed = np.zeros(len(boxes) + 1, bool)  # the last one is never set: that of -1
        # Of each frame's boxes to those before, bits.
        self._links: list[np.ndarray] = [np.zeros((0, 0), np.uint8)]
        for frame in range(1, len(self._starts) - 1):
            here, before = self._of(frame), self._of(frame - 1)
            ours, theirs = self._boxes[:, here, None], self._boxes[:, None, before]
            self._links.append(np.packbits(_overlap(ours, theirs, link_iou), axis=1))
            self._extend(frame, np.arange(here.stop - here.start))
        self._best = np.maximum.reduceat(self._sums, self._starts[:-1])  # of each frame

    def best_path(self) -> np.ndarray:
        """The boxes of the path with the largest sum, from its first frame on; [] at the end."""
        frame = int(self._best.argmax())
        if self._best[frame] == -np.inf:
            return np.zeros(0, np.int64)
        here = self._of(frame)
        box = here.start + int(self._sums[here].argmax())
        path = [box]
        while (box := int(self._before[box])) >= 0:
            path.append(box)
        return np.array(path[::-1])

    def remove(self, path: np.ndarray, nms_iou: float) -> None:
        """Takes away a path and what overlaps it, and finds the best paths of what is left."""
        first, last = int(self._frame[path[0]]), int(self._frame[path[-1]])
        start = self._starts[first]
        (left,) = (self._sums[start : self._starts[last + 1]] > -np.inf).nonzero()
        left += start
        beside = path[self._frame[left] - first]  # the path's box in the same frame
        overlap = _overlap(self._boxes[:, left], self._boxes[:, beside], nms_iou)
        gone = left[overlap | (left == beside)]
        self._sums[gone], self._before[gone], self._changed[gone] = -np.inf, -1, True
        frame, moved = first + 1, True
        while frame < len(self._best) and (frame <= last + 1 or moved):
            here = self._of(frame)
            (rows,) = self._changed[self._before[here]].nonzero()
            moved = len(rows) > 0
            if moved:
                sums = self._sums[here][rows]
                self._extend(frame, rows)
                self._changed[here.start + rows] = self._sums[here][rows] != sums
            frame += 1
        span = slice(start, self._starts[frame])
        self._changed[span] = False
        offsets = np.array(self._starts[first:frame]) - start
        self._best[first:frame] = np.maximum.reduceat(self._sums[span], offsets)

    def _of(self, frame: int) -> slice:
        return slice(self._starts[frame], self._starts[frame + 1])

    def _extend(self, frame: int, rows: np.ndarray) -> None:
        """Finds the best path to these boxes of a frame, from the paths to the frame before."""
        here, before = self._of(frame), self._of(frame - 1)
        sums = self._sums[before]
        links = np.unpackbits(self._links[frame][rows], axis=1, count=len(sums)).view(bool)
        reach = np.where(links, sums, -np.inf)
        best = reach.argmax(axis=1)
        reached = reach[np.arange(len(rows)), best]
        linked = reached > -np.inf
        boxes = here.start + rows
        self._sums[boxes] = self._scores[boxes] + np.where(linked, reached, 0.0)
        self._before[boxes] = np.where(linked, before.start + best, -1)


def _edges_and_area(boxes: np.ndarray) -> np.ndarray:
    """Rows [5, boxes] y1, x1, y2, x2, area of boxes [boxes, 4]."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.concatenate([boxes.T, [sides[:, 0] * sides[:, 1]]])


def _overlap(boxes: np.ndarray, others: np.ndarray, iou: float) -> np.ndarray:
    """Whether boxes overlap others with an IoU above `iou`, both as rows [5, ...]."""
    starts, ends = np.maximum(boxes[:2], others[:2]), np.minimum(boxes[2:4], others[2:4])
    height, width = np.maximum(ends - starts, 0.0)
    both = height * width
    return both > iou * (boxes[4] + others[4] - both)
