"""MegaDetector's batch output, version 1.6, which Timelapse and many other programs read.

https://lila.science/megadetector-output-format
"""

import dataclasses
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from context_rcnn.data import fields
from context_rcnn.data.failures import Reason
from context_rcnn.data.records import is_empty_class
from context_rcnn.data.timestamps import ClockError, format_timestamp, parse_timestamp
from context_rcnn.results.classes import Classes, Kind
from context_rcnn.results.json_list import JsonList
from context_rcnn.results.numbers import corner_and_size, rounded_score, to_box
from context_rcnn.results.options import Options
from context_rcnn.results.records import (
    NO_RATE,
    Detection,
    Header,
    ImageResult,
    frame_name,
)

FORMAT_VERSION = "1.6"
CATEGORIES: dict[Kind, str] = {"animal": "1", "human": "2", "vehicle": "3"}
CATEGORY_NAMES = {"1": "animal", "2": "person", "3": "vehicle"}
SCORE_DIGITS = 3  # as MegaDetector writes them

# MegaDetector's own words for what may fail.
IMAGE_FAILURE = "image access failure"
INFERENCE_FAILURE = "inference failure"
_IMAGE_REASONS = frozenset(
    {
        Reason.MISSING_FILE,
        Reason.EMPTY_FILE,
        Reason.OUTSIDE_ROOT,
        Reason.UNREADABLE,
        Reason.TRUNCATED,
        Reason.TOO_LARGE,
        Reason.UNSUPPORTED_PIXELS,
        Reason.MARKED_CORRUPT,
    }
)


class MegaDetectorWriter:
    """Writes images one by one; frames of a video file follow each other and are one entry.

    A detector of species gives one score for both, that there is an animal and which; so it stands
    as the detection's confidence and as the classification's.
    """

    def __init__(self, file: TextIO, header: Header, classes: Classes, options: Options):
        self._classes = classes
        self._native = options.native_categories
        self._datetimes = options.datetimes
        completed = (options.completed or header.created).replace("T", " ").rstrip("Z")
        names = {str(i): classes.name(i) for i in classes.names}
        before = {
            "info": {
                "format_version": FORMAT_VERSION,
                "detector": f"{header.model} {header.model_version}",
                "detection_completion_time": completed,
                "detector_metadata": {
                    "typical_detection_threshold": float(options.typical_threshold),
                    "conservative_detection_threshold": float(options.conservative_threshold),
                    "extractor_hash": header.extractor_hash,
                },
            },
            "detection_categories": names if self._native else CATEGORY_NAMES,
        }
        if not self._native:
            before["classification_categories"] = names
            if classes.taxa:
                before["classification_category_descriptions"] = {
                    str(i): classes.seven_parts(i) for i in classes.names
                }
        self._list = JsonList(file, before, "images")
        self._video: _Video | None = None

    def add(self, image: ImageResult) -> None:
        if image.frame is not None:
            self._add_frame(image, image.frame)
            return
        self._end_video()
        entry: dict[str, object] = {"file": image.file}
        if image.frame_rate is not None:
            entry |= {"frame_rate": image.frame_rate, "frames_processed": []}
        if self._datetimes and image.seconds is not None:
            # The form of EXIF, as MegaDetector's --include_image_timestamp has it.
            entry["datetime"] = format_timestamp(image.seconds).replace("-", ":")
        if image.failure:
            entry["failure"] = (
                IMAGE_FAILURE if image.failure in _IMAGE_REASONS else INFERENCE_FAILURE
            )
            entry["detections"] = None
            entry["failure_detail"] = f"{image.failure}: {image.failure_text}".rstrip(": ")
        else:
            entry["detections"] = [self._detection(found) for found in image.detections]
        self._list.add(entry)

    def finish(self) -> None:
        self._end_video()
        self._list.finish()

    def _add_frame(self, image: ImageResult, number: int) -> None:
        """Adds to the entry of the video, which is written as it comes: videos may be long."""
        file = posixpath.dirname(image.file)
        if self._video is None or self._video.file != file:
            self._end_video()
            entry = {"file": file, "frame_rate": image.frame_rate}
            self._video = _Video(file, self._list.nest(entry, "detections"))
        (self._video.failed if image.failure else self._video.processed).append(number)
        for found in image.detections:
            self._video.detections.add(self._detection(found) | {"frame_number": number})

    def _end_video(self) -> None:
        if self._video is not None:
            numbers = {"frames_processed": self._video.processed}
            if self._video.failed:
                numbers["frames_failed"] = self._video.failed  # no word of the format, but ours
            self._video.detections.finish(numbers)
            self._video = None

    def _detection(self, found: Detection) -> dict[str, object]:
        class_id = found.class_id
        kind = self._classes.kinds[class_id]
        score = rounded_score(found.score, SCORE_DIGITS)
        entry = {
            "category": str(class_id) if self._native else CATEGORIES[kind],
            "conf": score,
            "bbox": corner_and_size(found.box),
        }
        if not self._native and not self._classes.is_generic(class_id):
            entry["classifications"] = [[str(class_id), abs(score)]]
        return entry


@dataclasses.dataclass(frozen=True)
class _Video:
    """An entry that is being written, with the numbers of its frames so far."""

    file: str
    detections: JsonList
    processed: list[int] = dataclasses.field(default_factory=list)
    failed: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class MegaDetectorResults:
    """The content of a file: class names by new ids, and images, including frames of videos."""

    label_map: dict[int, str]
    images: list[ImageResult]


def read_megadetector_results(path: str | Path) -> MegaDetectorResults:
    """Reads what `MegaDetectorWriter` writes; classes are the classifications where there are any.

    Raises:
        ValueError: Naming the file, if it is not that.
    """
    document = fields.load_json_object(path)
    entries = fields.list_field(document, "images", path, required=True)
    detection_names = document.get("detection_categories", {})
    class_names = document.get("classification_categories", {})
    names = dict.fromkeys([*class_names.values(), *detection_names.values()])
    label_map = dict(enumerate(names, start=1))
    ids = {name: i for i, name in label_map.items()}
    try:
        images = list(_images(entries, detection_names, class_names, ids))
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ValueError(
            f"{path}: not MegaDetector results as they are written here: "
            f"{type(error).__name__}: {error}"
        ) from error
    return MegaDetectorResults(label_map, images)


def _images(
    entries: list, detection_names: dict, class_names: dict, ids: dict[str, int]
) -> Iterator[ImageResult]:
    for entry in entries:
        found: dict[int | None, list[Detection]] = {}
        for detection in entry["detections"] or ():
            name = detection_names[detection["category"]]
            if detection.get("classifications"):
                best = class_names[detection["classifications"][0][0]]
                # A classifier may call a box blank; the detector's own word stands then.
                name = name if is_empty_class(best) else best
            found.setdefault(detection.get("frame_number"), []).append(
                Detection(to_box(detection["bbox"]), ids[name], detection["conf"])
            )
        rate = entry.get("frame_rate")
        if rate is not None and not entry.get("failure"):
            yield from _frames(entry, float(rate), found)
            continue
        reason, _, text = entry.get("failure_detail", entry.get("failure") or "").partition(": ")
        yield ImageResult(
            entry["file"],
            seconds=_believable(entry.get("datetime")),
            width=fields.whole_number(entry.get("width"), minimum=1),
            height=fields.whole_number(entry.get("height"), minimum=1),
            detections=tuple(found.get(None, ())),
            failure=reason,
            failure_text=text,
            frame_rate=None if rate is None else NO_RATE,
        )


def _believable(text: object) -> int | None:
    """Seconds of a date; None for one of a clock that was never set."""
    try:
        return parse_timestamp(text)
    except ClockError:
        return None


def _frames(
    entry: dict, rate: float, found: dict[int | None, list[Detection]]
) -> Iterator[ImageResult]:
    """The frames of a video; before version 1.5 only those with detections are known."""
    for number in sorted({*entry.get("frames_processed", ()), *found}):
        yield ImageResult(
            frame_name(entry["file"], number / rate),
            detections=tuple(found.get(number, ())),
            frame=number,
            frame_rate=rate,
        )
