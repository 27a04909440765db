"""Events: visits of a class to a camera, with the largest number of animals seen at once (MaxN).

An image belongs to the event before it if no more than so many minutes lie between the two and both
show the class. An event counts as many animals as the image with most of them: one animal that is
photographed ten times counts once, two that are seen together count as two.
"""

import csv
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from typing import Generic, TextIO, TypeVar

from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.results.classes import Classes
from context_rcnn.results.numbers import rounded_score
from context_rcnn.results.records import ImageResult
from context_rcnn.results.table import MARK, SCORE_DIGITS, as_text

COLUMNS = (
    "camera",
    "class",
    "kind",
    "start",
    "end",
    "images",
    "max_count",
    "best_score",
    "best_file",
)
Place = TypeVar("Place", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Event(Generic[Place]):
    """A visit of a class.

    Attributes:
        place: camera, or deployment.
        class_id: class of the boxes.
        start, end: seconds of the first and the last image that shows the class.
        images: number of these images.
        count: largest number of boxes of the class in one of them.
        best_score, best_file: highest score, and the image that has it.
    """

    place: Place
    class_id: int
    start: int
    end: int
    images: int
    count: int
    best_score: float
    best_file: str


class EventCollector(Generic[Place]):
    """Takes images in any order; the memory that it needs grows with the images with detections.

    Args:
        minutes: longest pause within an event.
        threshold: lowest score of a detection that counts.
    """

    def __init__(self, minutes: float, threshold: float):
        self._gap, self._threshold = minutes * 60, threshold
        self._seen: dict[tuple[Place, int], list[tuple[int, str, int, float]]] = defaultdict(list)

    def add(self, image: ImageResult, place: Place) -> None:
        """Takes a dated image that a place has."""
        if image.seconds is None:
            raise ValueError(f"{image.file}: an image without a date is in no event")
        counting = [found for found in image.detections if found.score >= self._threshold]
        for class_id, count in Counter(found.class_id for found in counting).items():
            best = max(found.score for found in counting if found.class_id == class_id)
            self._seen[place, class_id].append((image.seconds, image.file, count, best))

    def events(self) -> Iterator[Event[Place]]:
        """Events by place, class and time."""
        for place, class_id in sorted(self._seen):
            seen = sorted(self._seen[place, class_id])
            first = 0
            for i in range(1, len(seen) + 1):
                if i == len(seen) or seen[i][0] - seen[i - 1][0] > self._gap:
                    yield _event(place, class_id, seen[first:i])
                    first = i


class EventTable:
    """A CSV table of events, one row each. Images without a date or a camera are in none."""

    def __init__(self, file: TextIO, classes: Classes, minutes: float, threshold: float):
        self._classes = classes
        self._collector: EventCollector[str] = EventCollector(minutes, threshold)
        file.write(MARK)
        self._table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        self._table.writerow(COLUMNS)

    def add(self, image: ImageResult) -> None:
        if image.camera and image.seconds is not None:
            self._collector.add(image, image.camera)

    def finish(self) -> None:
        for event in self._collector.events():
            self._table.writerow(
                [
                    as_text(event.place),
                    as_text(self._classes.names[event.class_id]),
                    self._classes.kinds[event.class_id],
                    format_timestamp(event.start),
                    format_timestamp(event.end),
                    event.images,
                    event.count,
                    rounded_score(event.best_score, SCORE_DIGITS),
                    as_text(event.best_file),
                ]
            )


def _event(place: Place, class_id: int, seen: list[tuple[int, str, int, float]]) -> Event[Place]:
    best = max(seen, key=lambda row: row[3])
    return Event(
        place=place,
        class_id=class_id,
        start=seen[0][0],
        end=seen[-1][0],
        images=len(seen),
        count=max(count for _, _, count, _ in seen),
        best_score=best[3],
        best_file=best[1],
    )
