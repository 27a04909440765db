"""What detectors found in images that nobody labelled: counts, and samples to be looked at.

Results are read image by image, so there may be any number of them; what is kept are counts by
camera and class, and a few images of each kind, drawn by chance.
"""

import dataclasses
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.report.videos import SeenVideo, SeenVideos
from context_rcnn.results.journal import Journal
from context_rcnn.results.megadetector import read_megadetector_results
from context_rcnn.results.records import FORMAT, ImageResult

JOURNAL, EXPLAINED = "journal.jsonl", "explained.jsonl"  # in the state
KINDS = ("found", "empty", "almost", "suspect")
MOST_FAILURES = 200  # that are listed
_ALMOST = 0.5  # of the threshold


@dataclasses.dataclass
class Counts:
    """Counts of all images, or of those of a camera.

    Attributes:
        images: number of all images.
        found: number of images with a detection at the threshold or above.
        almost: number of other images with a detection not far below the threshold.
        failed: number of images that could not be used.
        suspects: detections that are suspected of being background.
        classes: detections by class name.
        first, last: seconds; None without a dated image.
    """

    images: int = 0
    found: int = 0
    almost: int = 0
    failed: int = 0
    suspects: int = 0
    classes: Counter = dataclasses.field(default_factory=Counter)
    first: int | None = None
    last: int | None = None

    @property
    def empty(self) -> int:
        return self.images - self.found - self.failed


class Sample:
    """So many of the images that come, each with the same chance."""

    def __init__(self, size: int, seed: str):
        self._size, self._random = size, random.Random(seed)
        self._seen = 0
        self._kept: list[ImageResult] = []

    def add(self, image: ImageResult) -> None:
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(image)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self._kept[place] = image

    @property
    def images(self) -> list[ImageResult]:
        """By file name."""
        return sorted(self._kept, key=lambda image: image.file)


@dataclasses.dataclass
class Found:
    """What is known of all results.

    Attributes:
        samples: images by kind: `found`, `empty` (nothing near the threshold), `almost` (the best
            score is not far below it) and `suspect` (all that would count is suspected).
        total: counts of all images.
        cameras: counts by camera, "" for images without one.
        images_by_class: images with a detection of the class.
        by_hour: images with a detection of a class, by (class, hour of the camera's clock).
        by_day: likewise by (class, day), as "2013-10-04".
        by_camera: likewise by (class, camera).
        videos: counts of each video, by name.
        timed: videos of which is known what was detected when.
        failures: the first ones.
        reasons: number of failures by reason.
    """

    samples: dict[str, Sample]
    total: Counts = dataclasses.field(default_factory=Counts)
    cameras: dict[str, Counts] = dataclasses.field(default_factory=dict)
    images_by_class: Counter = dataclasses.field(default_factory=Counter)
    by_hour: Counter = dataclasses.field(default_factory=Counter)
    by_day: Counter = dataclasses.field(default_factory=Counter)
    by_camera: Counter = dataclasses.field(default_factory=Counter)
    videos: dict[str, SeenVideo] = dataclasses.field(default_factory=dict)
    timed: list[SeenVideo] = dataclasses.field(default_factory=list)
    failures: list[ImageResult] = dataclasses.field(default_factory=list)
    reasons: Counter = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True)
class Source:
    """Results to read: who made them, class names by id, and images."""

    made_by: str
    class_names: Mapping[int, str]
    images: Iterable[ImageResult]


def open_results(path: str) -> Source:
    """Results of `context-rcnn detect`: its JSON file, its state, or its journal.

    MegaDetector's JSON may be of another program, too. It is read as a whole, a journal is not;
    the camera of its images is their folder.

    Raises:
        ValueError: If it is none of these.
    """
    if os.path.isdir(path):
        path = os.path.join(path, JOURNAL)
    if not os.path.exists(path):
        raise ValueError(f"{path}: no such results")
    if _is_journal(path):
        journal = Journal(path)
        header = journal.header
        made_by = f"{header.model} {header.model_version}"
        return Source(made_by, header.label_map, journal.results())
    results = read_megadetector_results(path)
    namer = CameraNamer(root_camera="")
    images = (dataclasses.replace(i, camera=namer(i.file) or "") for i in results.images)
    return Source("", results.label_map, images)


def explanations_of(path: str) -> str:
    """The explanations beside results that `open_results` reads, "" where there are none."""
    state = f"{path}.state"
    if os.path.isdir(path) or os.path.basename(path) == JOURNAL:
        state = path if os.path.isdir(path) else os.path.dirname(path)
    explained = os.path.join(state, EXPLAINED)
    return explained if os.path.isfile(explained) else ""


def gather(source: Source, threshold: float, sample: int, videos: int, seed: int) -> Found:
    """Counts all images and draws samples of them.

    Args:
        source: the results.
        threshold: score from which a detection counts.
        sample: images of each kind.
        videos: videos of which is kept what was detected when.
        seed: seed of the drawing.
    """
    found = Found({kind: Sample(sample, f"{seed} {kind}") for kind in KINDS})
    seen = SeenVideos(threshold, videos, seed)
    for image in source.images:
        seen.add(image, source.class_names)
        best = max((d.score for d in image.detections), default=0.0)
        worst = min((d.score for d in image.detections), default=0.0)
        kind = _kind(best, worst, threshold)
        names = Counter(
            source.class_names[d.class_id] for d in image.detections if d.score >= threshold
        )
        for counts in (found.total, found.cameras.setdefault(image.camera, Counts())):
            counts.images += 1
            counts.failed += bool(image.failure)
            counts.found += best >= threshold
            counts.almost += kind == "almost"
            counts.suspects += sum(d.score <= -threshold for d in image.detections)
            counts.classes += names
            dates = [s for s in (counts.first, counts.last, image.seconds) if s is not None]
            counts.first, counts.last = min(dates, default=None), max(dates, default=None)
        found.images_by_class.update(names.keys())
        found.by_camera.update((name, image.camera) for name in names)
        if image.seconds is not None and names:
            when = format_timestamp(image.seconds)
            found.by_hour.update((name, int(when[11:13])) for name in names)
            found.by_day.update((name, when[:10]) for name in names)
        if image.failure:
            found.reasons[image.failure] += 1
            if len(found.failures) < MOST_FAILURES:
                found.failures.append(image)
        else:
            found.samples[kind].add(image)
    found.timed, found.videos = seen.finish(), seen.rows
    return found


def _kind(best: float, worst: float, threshold: float) -> str:
    if best >= threshold:
        return "found"
    if worst <= -threshold:
        return "suspect"
    return "almost" if best >= _ALMOST * threshold else "empty"


def _is_journal(path: str) -> bool:
    start = f'{{"format": "{FORMAT}"'.encode()
    with Path(path).open("rb") as file:
        return file.read(len(start)) == start


def shown(image: ImageResult, kind: str, threshold: float) -> Iterator[int]:
    """Places of the detections of an image that its kind is about, best first."""
    least = _ALMOST * threshold if kind == "almost" else threshold
    order = sorted(range(len(image.detections)), key=lambda i: -abs(image.detections[i].score))
    for place in order:
        score = image.detections[place].score
        if (kind == "suspect" and score <= -least) or (kind != "suspect" and score >= least):
            yield place
