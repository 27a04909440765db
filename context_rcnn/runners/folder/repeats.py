"""Stage 4, repeats: boxes that come back in the same place of a camera (RDE).

off     nothing
report  a table of suspicious places; the results stay as they are
auto    detections in suspicious places become suspects: their scores turn negative
review  the same, but only where a person has looked at a picture and kept it (`review`)
"""

import collections
import csv
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.evaluation.repeat_detections import (
    RepeatDetectionOptions,
    find_repeat_detections,
)
from context_rcnn.results.atomic import Transaction
from context_rcnn.results.table import MARK, as_text
from context_rcnn.runners.folder.table import DETECTED, ImageTable
from context_rcnn.runners.folder.words import BACKGROUND

COLUMNS = (
    "camera",
    "class",
    "images",
    "first",
    "last",
    "x",
    "y",
    "width",
    "height",
    "best_score",
    "best_file",
    "suspect",
)


@dataclasses.dataclass(frozen=True)
class Place:
    """A suspicious place: where boxes of a camera come back.

    Attributes:
        camera: camera that sees the place.
        class_id: class of the boxes.
        box: the first one, y1 x1 y2 x2.
        images: images in which it was seen.
        first, last: when, as far as known.
        best_file: image with the highest score there,
        best_box, best_score: box and score of its best detection.
        members: all detections there, as (file, place among the detections of the image).
    """

    camera: str
    class_id: int
    box: tuple[float, float, float, float]
    images: int
    first: int | None
    last: int | None
    best_file: str
    best_box: tuple[float, float, float, float]
    best_score: float
    members: tuple[tuple[str, int], ...]


def find_places(table: ImageTable, options: RepeatDetectionOptions) -> Iterator[Place]:
    """Suspicious places, camera by camera. Images without a camera are not looked at."""
    for facts in table.cameras(DETECTED):
        if facts.camera:
            yield from _places_of(table, facts.camera, options)


def _places_of(table: ImageTable, camera: str, options: RepeatDetectionOptions) -> Iterator[Place]:
    files: list[str] = []
    owners, seconds = [], []
    places, boxes, scores, classes = [], [], [], []
    for image in table.in_time(DETECTED, camera):
        for place, found in enumerate(image.detections):
            owners.append(len(files))
            places.append(place)
            boxes.append(found.box)
            scores.append(abs(found.score))
            classes.append(found.class_id)
        files.append(image.file)
        seconds.append(image.seconds)
    repeats = find_repeat_detections([camera] * len(boxes), owners, boxes, scores, classes, options)
    members = collections.defaultdict(list)
    for row in np.flatnonzero(repeats.suspect).tolist():
        members[int(repeats.group[row])].append(row)
    for group in sorted(members):
        rows = members[group]
        dates = [date for row in rows if (date := seconds[owners[row]]) is not None]
        best = max(rows, key=lambda row: scores[row])
        yield Place(
            camera=camera,
            class_id=classes[rows[0]],
            box=boxes[rows[0]],
            images=int(repeats.images[rows[0]]),
            first=min(dates, default=None),
            last=max(dates, default=None),
            best_file=files[owners[best]],
            best_box=boxes[best],
            best_score=scores[best],
            members=tuple((files[owners[row]], places[row]) for row in rows),
        )


def judge_places(
    table: ImageTable,
    options: RepeatDetectionOptions,
    judge: Callable[[list[Place]], list[str]],
) -> tuple[list[Place], list[str]]:
    """Makes suspects of the detections in places that are background, and of no others.

    Args:
        table: table of the run.
        options: rules that make a place suspicious.
        judge: says of each place of a camera whether it is background.

    Returns:
        The suspicious places, without their members, and what was said of each.
    """
    places, verdicts = [], []
    with table.change():
        table.clear_suspects()
        found = find_places(table, options)
        for _, group in itertools.groupby(found, key=lambda place: place.camera):
            of_camera = list(group)
            said = judge(of_camera)
            suspects = collections.defaultdict(list)
            for place, verdict in zip(of_camera, said, strict=True):
                for file, number in place.members if verdict == BACKGROUND else ():
                    suspects[file].append(number)
            table.set_suspects(suspects)
            places += [dataclasses.replace(place, members=()) for place in of_camera]
            verdicts += said
    return places, verdicts


def write_table(
    path: str | Path,
    places: Sequence[Place],
    verdicts: Sequence[str],
    class_names: Mapping[int, str],
) -> None:
    """A CSV file of suspicious places; the last column says whether they are suspects."""
    with Transaction() as files:
        file = files.open(path)
        file.write(MARK)
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for place, verdict in zip(places, verdicts, strict=True):
            y1, x1, y2, x2 = place.box
            rows.writerow(
                [
                    as_text(place.camera),
                    as_text(class_names[place.class_id]),
                    place.images,
                    *("" if s is None else format_timestamp(s) for s in (place.first, place.last)),
                    *(round(side, 4) for side in (x1, y1, x2 - x1, y2 - y1)),
                    round(place.best_score, 3),
                    as_text(place.best_file),
                    verdict,
                ]
            )
