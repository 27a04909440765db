"""Two results of the same images, such as with and without a memory, without labels.

Scores of two detectors do not mean the same. So the second is compared at the threshold at which as
many images have a detection as in the first: what then differs is which images, and which class.
"""

import csv
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TextIO

from context_rcnn.results.numbers import rounded_score
from context_rcnn.results.records import ImageResult
from context_rcnn.results.table import MARK, SCORE_DIGITS, as_text

SAME, EMPTY, ONLY_FIRST, ONLY_SECOND, CLASS = "same", "empty", "only_first", "only_second", "class"
COLUMNS = ("file", "camera", "change", "first_class", "first_score", "second_class", "second_score")


@dataclasses.dataclass(frozen=True)
class Best:
    """The best detection of an image: class name and score, ("", 0.0) without any."""

    camera: str
    name: str
    score: float


@dataclasses.dataclass
class Compared:
    """What differs.

    Attributes:
        thresholds: of the first and of the second results.
        changes: number of images by change.
        cameras: likewise, by camera.
        classes: images whose class changes, by (class, other class).
        missing: number of images that only one of the two has.
        rows: images that differ, as in `COLUMNS`.
    """

    thresholds: tuple[float, float]
    changes: Counter = dataclasses.field(default_factory=Counter)
    cameras: dict[str, Counter] = dataclasses.field(default_factory=dict)
    classes: Counter = dataclasses.field(default_factory=Counter)
    missing: int = 0
    rows: list[tuple] = dataclasses.field(default_factory=list)


def best_of(images: Iterable[ImageResult], names: Mapping[int, str]) -> dict[str, Best]:
    """The best detection of each image that could be used; suspects do not count."""
    best = {}
    for image in images:
        if image.failure:
            continue
        top = max(image.detections, key=lambda found: found.score, default=None)
        if top is None or top.score <= 0:
            best[image.file] = Best(image.camera, "", 0.0)
        else:
            best[image.file] = Best(image.camera, names[top.class_id], top.score)
    return best


def equivalent_threshold(scores: Iterable[float], count: int) -> float:
    """The highest threshold that so many of the scores reach; above all of them for none."""
    ordered = sorted((score for score in scores if score > 0), reverse=True)
    if not count or not ordered:
        return 1.0 if not ordered else min(1.0, ordered[0] + 1e-6)
    return ordered[min(count, len(ordered)) - 1]


def compare(
    first: Mapping[str, Best],
    second: Mapping[str, Best],
    threshold: float,
    second_threshold: float | None = None,
) -> Compared:
    """Compares two results.

    Args:
        first, second: from `best_of`.
        threshold: of the first results.
        second_threshold: of the second; None for the equivalent one.

    Raises:
        ValueError: If the two have no image in common.
    """
    both = sorted(first.keys() & second.keys())
    if not both:
        raise ValueError("the two results have no image in common; file names must be the same")
    if second_threshold is None:
        count = sum(first[file].score >= threshold for file in both)
        second_threshold = equivalent_threshold((second[file].score for file in both), count)
    result = Compared((threshold, second_threshold), missing=len(first) + len(second))
    result.missing -= 2 * len(both)
    for file in both:
        a, b = first[file], second[file]
        change = _change(a, b, threshold, second_threshold)
        camera = a.camera or b.camera
        result.changes[change] += 1
        result.cameras.setdefault(camera, Counter())[change] += 1
        if change == CLASS:
            result.classes[a.name, b.name] += 1
        if change not in (SAME, EMPTY):
            result.rows.append((file, camera, change, a.name, a.score, b.name, b.score))
    return result


def write_differences(file: TextIO, compared: Compared) -> None:
    """A CSV table of the images that differ."""
    file.write(MARK)
    table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in compared.rows:
        table.writerow(
            [as_text(v) if isinstance(v, str) else rounded_score(v, SCORE_DIGITS) for v in row]
        )


def _change(a: Best, b: Best, threshold: float, second_threshold: float) -> str:
    in_first, in_second = a.score >= threshold, b.score >= second_threshold
    if in_first and in_second:
        return SAME if a.name == b.name else CLASS
    if in_first or in_second:
        return ONLY_FIRST if in_first else ONLY_SECOND
    return EMPTY
