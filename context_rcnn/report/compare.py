"""Two runs held side by side at equal recall: what one finds or reports and the other does not.

Scores of two detectors do not mean the same, so one threshold for both would compare nothing. Each
run gets the highest score at which it finds a given share of the labelled animals (a detection of
any class with IoU .5 on them, as `evaluation.empties` counts); at these scores both find the same
share, and what differs is which ones, and what is reported on empty images.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from context_rcnn.report.runs import Run

IOU = 0.5
RECALL_STEP = 0.05


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Images that both runs have, by their places in each, and those that only one has."""

    baseline: np.ndarray
    memory: np.ndarray
    only_baseline: tuple[str, ...]
    only_memory: tuple[str, ...]
    truth_differs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Case:
    """What one run has in an image and the other has not.

    Attributes:
        image_id: Id of the image.
        image: Place of the image in the run with memory.
        edges: [boxes, 4], x1 y1 x2 y2 as fractions, strongest first.
        names: Classes of the boxes.
        scores: Scores of the run that has the boxes.
        truth: The labelled box and its class where this is about one, else None.
        other_score: Best score of the other run on that box, None if it has no box there.
    """

    image_id: str
    image: int
    edges: np.ndarray
    names: tuple[str, ...]
    scores: tuple[float, ...]
    truth: tuple[np.ndarray, str] | None = None
    other_score: float | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Both runs at the scores `thresholds` (baseline, memory), where each finds `recall`.

    Attributes:
        asked_recall: The one that was asked for; `recall` is lower if a run does not reach it.
        objects: Labelled boxes in the common images.
        empty_images: Common images without labelled boxes.
        both_found, none_found: Labelled boxes on which the runs agree.
        found, lost: One case an object, strongest first.
        removed, new: One case an empty image, strongest first.
        reported: Boxes on empty images, of baseline and memory.
        recall_at_equal_reports: Share of objects that the run with memory finds when it reports no
            more boxes on empty images than the baseline; None without empty images.
    """

    asked_recall: float
    recall: float
    thresholds: tuple[float, float]
    objects: int
    empty_images: int
    both_found: int
    none_found: int
    found: list[Case]
    lost: list[Case]
    removed: list[Case]
    new: list[Case]
    reported: tuple[int, int]
    recall_at_equal_reports: float | None


def pair(baseline: Run, memory: Run) -> Pairing:
    """Finds the images that both runs were measured on."""
    places = {name: i for i, name in enumerate(baseline.image_ids)}
    common = [i for i, name in enumerate(memory.image_ids) if name in places]
    mine = set(memory.image_ids)
    pairs = [(places[memory.image_ids[i]], i) for i in common]
    return Pairing(
        baseline=np.array([b for b, _ in pairs], np.int64),
        memory=np.array(common, np.int64),
        only_baseline=tuple(name for name in baseline.image_ids if name not in mine),
        only_memory=tuple(name for name in memory.image_ids if name not in places),
        truth_differs=tuple(
            memory.image_ids[m] for b, m in pairs if not _same_truth(baseline, b, memory, m)
        ),
    )


def compare(baseline: Run, memory: Run, pairing: Pairing, recall: float) -> Comparison | None:
    """Compares the runs on their common images; the labels are those of the run with memory.

    Returns None if no recall of at least .05 is reached by both, so that there is no threshold.
    """
    best = [
        _best_on_objects(run, images, memory, pairing.memory)
        for run, images in ((baseline, pairing.baseline), (memory, pairing.memory))
    ]
    shared = _shared_recall([scores for scores, _ in best], recall)
    if shared is None:
        return None
    before, after = (threshold_at_recall(scores, shared) for scores, _ in best)
    if before is None or after is None:
        return None
    at = (before, after)
    has = [scores >= threshold for (scores, _), threshold in zip(best, at, strict=True)]
    owners = _owners(memory, pairing.memory)
    found, lost = (
        [
            _object_case(winner, best[k][1][i], memory, owners[i], best[1 - k][0][i])
            for i in np.flatnonzero(has[k] & ~has[1 - k])
        ]
        for k, winner in ((1, memory), (0, baseline))
    )
    empty = [i for i, m in enumerate(pairing.memory) if memory.is_empty(m)]
    sides = ((baseline, pairing.baseline[empty], at[0]), (memory, pairing.memory[empty], at[1]))
    reported = (_reported(*sides[0]), _reported(*sides[1]))
    return Comparison(
        asked_recall=recall,
        recall=shared,
        thresholds=at,
        objects=len(best[0][0]),
        empty_images=len(empty),
        both_found=int((has[0] & has[1]).sum()),
        none_found=int((~has[0] & ~has[1]).sum()),
        found=_strongest(found),
        lost=_strongest(lost),
        removed=_strongest(_only_in(*sides, memory, pairing.memory[empty])),
        new=_strongest(_only_in(*sides[::-1], memory, pairing.memory[empty])),
        reported=reported,
        recall_at_equal_reports=_recall_at(best[1][0], memory, sides[1][1], reported[0]),
    )


def threshold_at_recall(best: np.ndarray, recall: float) -> float | None:
    """The highest score at which at least this share of the objects is found.

    Args:
        best: Best score of a detection on each object, -1 if there is none.
    """
    needed = int(np.ceil(recall * len(best) - 1e-9))
    found = np.sort(best[best >= 0])[::-1]
    return float(found[needed - 1]) if 0 < needed <= len(found) else None


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [a, b] of boxes x1 y1 x2 y2; fractions of one image will do."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    area = np.prod(a[:, 2:] - a[:, :2], axis=1)[:, None] + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return overlap / np.maximum(area - overlap, 1e-18)


def _best_on_objects(
    run: Run, images: np.ndarray, labels: Run, label_images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each object the best score of a detection on it (-1: none), and which detection."""
    scores, rows = [np.zeros(0)], [np.zeros(0, np.int64)]
    for image, label_image in zip(images, label_images, strict=True):
        truth, found = labels.truth.of(label_image), run.found.of(image)
        count = truth.stop - truth.start
        if not count:
            continue
        if found.start == found.stop:
            scores.append(np.full(count, -1.0))
            rows.append(np.full(count, -1))
            continue
        on_it = iou(labels.truth.edges[truth], run.found.edges[found]) >= IOU
        best = np.where(on_it, run.found.scores[found], -1.0)
        rows.append(found.start + best.argmax(axis=1))
        scores.append(best.max(axis=1))
    return np.concatenate(scores), np.concatenate(rows)


def _owners(labels: Run, images: np.ndarray) -> list[tuple[int, int]]:
    """Image and row of each object, in the order of `_best_on_objects`."""
    return [
        (int(image), row)
        for image in images
        for row in range(labels.truth.of(image).start, labels.truth.of(image).stop)
    ]


def _shared_recall(best: Sequence[np.ndarray], asked: float) -> float | None:
    """The recall asked for, or else the highest step below it that both runs reach."""
    steps = [asked, *(k * RECALL_STEP for k in range(int(1 / RECALL_STEP), 0, -1))]
    for recall in (step for step in steps if step <= asked):
        if all(threshold_at_recall(scores, recall) is not None for scores in best):
            return round(recall, 10)
    return None


def _object_case(winner: Run, row: int, labels: Run, owner: tuple[int, int], other: float) -> Case:
    image, truth_row = owner
    return Case(
        image_id=labels.image_ids[image],
        image=image,
        edges=winner.found.edges[row : row + 1],
        names=(winner.class_names[int(winner.found.classes[row])],),
        scores=(float(winner.found.scores[row]),),
        truth=(
            labels.truth.edges[truth_row],
            labels.class_names[int(labels.truth.classes[truth_row])],
        ),
        other_score=float(other) if other >= 0 else None,
    )


def _only_in(
    one: tuple[Run, np.ndarray, float],
    other: tuple[Run, np.ndarray, float],
    labels: Run,
    label_images: np.ndarray,
) -> list[Case]:
    """Boxes on empty images that one run reports and the other does not report there."""
    (run, images, least), (rival, rival_images, rival_least) = one, other
    cases = []
    for image, rival_image, label_image in zip(images, rival_images, label_images, strict=True):
        mine, theirs = _above(run, image, least), _above(rival, rival_image, rival_least)
        edges, rivals = run.found.edges[mine], rival.found.edges[theirs]
        alone = ~(iou(edges, rivals) >= IOU).any(axis=1)
        if alone.any():
            rows = mine[alone]
            case = Case(
                image_id=labels.image_ids[label_image],
                image=int(label_image),
                edges=run.found.edges[rows],
                names=tuple(run.class_names[int(c)] for c in run.found.classes[rows]),
                scores=tuple(run.found.scores[rows].tolist()),
            )
            cases.append(case)
    return cases


def _above(run: Run, image: int, threshold: float) -> np.ndarray:
    """Rows of an image's detections with at least this score."""
    part = run.found.of(image)
    return part.start + np.flatnonzero(run.found.scores[part] >= threshold)


def _reported(run: Run, images: np.ndarray, threshold: float) -> int:
    return sum(len(_above(run, image, threshold)) for image in images)


def _recall_at(best: np.ndarray, run: Run, empty: np.ndarray, allowed: int) -> float | None:
    """Share of objects found with at most so many boxes reported on these empty images."""
    if not len(empty):
        return None
    scores = np.concatenate([run.found.scores[run.found.of(image)] for image in empty])
    scores = np.sort(scores)[::-1]
    # The first box that is one too many, and all scored like it, may no longer be reported.
    return float((best > (scores[allowed] if len(scores) > allowed else -1)).mean())


def _strongest(cases: list[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: (-case.scores[0], case.image_id))


def _same_truth(a: Run, i: int, b: Run, j: int) -> bool:
    one, two = a.truth.of(i), b.truth.of(j)
    return (
        one.stop - one.start == two.stop - two.start
        and np.allclose(a.truth.edges[one], b.truth.edges[two], atol=1e-4)
        and [a.class_names[c] for c in a.truth.classes[one].tolist()]
        == [b.class_names[c] for c in b.truth.classes[two].tolist()]
    )
