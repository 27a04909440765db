"""The class scores that a trained single-frame detector gives the boxes of an archive."""

import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.ceiling.boxes import Boxes, Study

MATCHED = 0.5  # overlap from which a detection is of a box

Found = Mapping[str, np.ndarray]
Detect = Callable[[Sequence[bytes]], Found]


def load_detector(folder: str) -> tuple[Detect, dict[int, str]]:
    """A detector and its class names, from the folder of an exported model or of a run."""
    from context_rcnn.export import export
    from context_rcnn.export.exported import DESCRIPTION, ExportedModel
    from context_rcnn.tasks.loading import load_run

    if os.path.exists(os.path.join(folder, DESCRIPTION)):
        model = ExportedModel(folder)
        return model.detect, model.class_names
    served = export.serve(load_run(folder))
    names = {int(number): name for number, name in served.describe()["classes"].items()}

    def detect(encoded: Sequence[bytes]) -> Found:
        import tensorflow as tf

        found = served.detect(tf.constant(encoded))
        return {name: found[f"detection_{name}"].numpy() for name in ("boxes", "scores", "classes")}

    return detect, names


def scores_of_study(
    study: Study, detect: Detect, names: Mapping[int, str], batch_size: int = 16
) -> Iterator[tuple[str, np.ndarray]]:
    """Scores [boxes, classes] of each camera, in its boxes' order; see `match`.

    Raises:
        ValueError: if the detector does not know a class of the archive.
    """
    ids = {name: number for number, name in study.classes.items()}
    used = {study.classes[number] for boxes in study.cameras for number in boxes.classes.tolist()}
    if missing := used - set(names.values()):
        raise ValueError(f"--model does not know the class {', '.join(sorted(missing))}")
    own = np.zeros(max(names) + 1, int)
    for number, name in names.items():
        own[number] = ids.get(name, 0)
    for boxes, records in zip(study.cameras, study.records, strict=True):
        scores = np.full((len(boxes.classes), max(study.classes) + 1), np.nan)
        wanted = sorted(set(boxes.images.tolist()))
        for start in range(0, len(wanted), batch_size):
            places = wanted[start : start + batch_size]
            paths = [study.root / records[place].file_name for place in places]
            found = detect([pathlib.Path(path).read_bytes() for path in paths])
            for row, place in enumerate(places):
                mine = boxes.images == place
                record = records[place]
                size = np.array([record.width, record.height] * 2, float)
                scores[mine] = match(
                    boxes.places[mine] / size,
                    found["boxes"][row][:, [1, 0, 3, 2]],
                    found["scores"][row],
                    own[found["classes"][row]],
                    scores.shape[1],
                )
        yield boxes.camera, scores


def match(
    truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, size: int
) -> np.ndarray:
    """The best score of each class among the detections on each true box [truths, size].

    A detection is of the true box that it overlaps most, by at least MATCHED; a true box without
    any has NaN. Detections of no score or class are padding.
    """
    real = (scores > 0) & (classes > 0)
    boxes, scores, classes = boxes[real], scores[real], classes[real]
    result = np.full((len(truth), size), np.nan)
    overlaps = _ious(truth, boxes)
    if not overlaps.size:
        return result
    best = overlaps.argmax(axis=0)
    for number, (place, score, name) in enumerate(zip(best, scores, classes, strict=True)):
        if overlaps[place, number] >= MATCHED:
            row = result[place]
            if np.isnan(row[0]):
                row[:] = 0.0
            row[name] = max(row[name], score)
    return result


def plain_right(cameras: Sequence[Boxes], scores: Mapping[str, np.ndarray]) -> float:
    """Share of the found boxes that show themselves and are named right by their own frame."""
    right = [
        scores[boxes.camera][k].argmax() == boxes.classes[k]
        for boxes in cameras
        for k in np.flatnonzero(boxes.shows & ~np.isnan(scores[boxes.camera][:, 0]))
    ]
    return float(np.mean(right)) if right else float("nan")


def _ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Overlaps [a, b] of boxes left, top, right, bottom."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b)]
    return both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-12)
