"""Lines of a journal: the header, an image with its detections; and how lines are read."""

import dataclasses
import datetime
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from context_rcnn.data import fields
from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.records import is_empty_class
from context_rcnn.data.timestamps import EARLIEST_YEAR, EPOCH

FORMAT = "context-rcnn-results"
FORMAT_VERSION = 1
STAGE = "results"
CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
NO_RATE = -1.0  # MegaDetector's own for a video that cannot be read

_MAX_TEXT = 500
_EARLIEST = (datetime.datetime(EARLIEST_YEAR, 1, 1) - EPOCH) // datetime.timedelta(seconds=1)
_LATEST = (datetime.datetime(9998, 1, 1) - EPOCH) // datetime.timedelta(seconds=1)
_OUTSIDE = 1e-6  # beyond the rounding of float32

Report = Callable[[Failure], None]


@dataclasses.dataclass(frozen=True)
class Header:
    """What made the results of a journal.

    Attributes:
        model, model_version: name and version of the detector.
        extractor_hash: hash of the extractor whose memory was used; "" without a memory.
        label_map: class names by id, without the empty class.
        created: UTC, "2026-05-26T19:11:27Z"; the same for every run that adds to the journal.
        settings: everything else that changes results; values of JSON.
    """

    model: str
    model_version: str
    extractor_hash: str
    label_map: Mapping[int, str]
    created: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("model", "model_version"):
            if fields.text(getattr(self, name)) is None:
                raise ValueError(f"{name} must not be blank, got {getattr(self, name)!r}")
        datetime.datetime.strptime(self.created, CREATED_FORMAT)
        for number, name in self.label_map.items():
            if fields.whole_number(number, minimum=0) is None or fields.text(name) is None:
                raise ValueError(f"label map: not an id and a name: {number!r}: {name!r:.80}")
            if is_empty_class(name):
                raise ValueError(f"label map: {name!r} ({number}) is no class of objects")
        if len(set(self.label_map.values())) != len(self.label_map):
            raise ValueError(f"label map: a name occurs twice: {sorted(self.label_map.values())}")

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "model": self.model,
                "model_version": self.model_version,
                "extractor_hash": self.extractor_hash,
                "label_map": {str(i): name for i, name in sorted(self.label_map.items())},
                "created": self.created,
                "settings": self.settings,
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, line: str | bytes) -> "Header":
        """ValueError if the line is no header that this version reads."""
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError("not a journal of results: the first line is no header")
        if values.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {values.get('format_version')!r}, this version of context-rcnn "
                f"reads {FORMAT_VERSION}"
            )
        try:
            return cls(
                model=values["model"],
                model_version=values["model_version"],
                extractor_hash=values["extractor_hash"],
                label_map={int(i): name for i, name in values["label_map"].items()},
                created=values["created"],
                settings=values["settings"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"bad header: {type(error).__name__}: {error}") from error

    def differences(self, other: "Header") -> list[str]:
        """What is not the same, for messages; the date of creation does not count."""
        mine, theirs = json.loads(self.to_json()), json.loads(other.to_json())
        return [
            f"{name} is {mine[name]!r:.200}, not {theirs[name]!r:.200}"
            for name in mine
            if name != "created" and mine[name] != theirs[name]
        ]

    def refuse_others(self, other: "Header", where: object, otherwise: str) -> None:
        """Raises ValueError if a run with this header cannot continue with another.

        Args:
            other: header of the run that wants to continue.
            where: journal or state that has this header.
            otherwise: advice in place of that, as a sentence without its full stop.
        """
        if differences := self.differences(other):
            raise ValueError(
                f"{where} was begun with other settings: {'; '.join(differences)}. {otherwise}"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Detection:
    """A found object.

    Attributes:
        box: y1, x1, y2, x2 as fractions of the upright image.
        class_id: id of the class in the label map of the header.
        score: 0 to 1; its negative for a detection that is suspected of being background.
    """

    box: tuple[float, float, float, float]
    class_id: int
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of an image.

    Attributes:
        file: path relative to the image root, with forward slashes; what tells images apart.
        image_id: id in the source of the image; only passed on, need not be unique.
        camera: "" if unknown.
        seconds: camera clock since 1970 as if it were UTC, None if undated.
        width, height: width and height of the upright image, None if it failed.
        burst: the sequence it belongs to, "" if unknown.
        detections: () if nothing was found, or if the image failed.
        failure: "" or the reason why there are no results; a fixed word if this package set it.
        failure_text: the failure in words.
        frame: number in a video file, which `file` then has as its folder; None for an image.
        frame_rate: frames per second of that video file; `NO_RATE` for a file that failed as a
            whole, which has no `frame`.
        damage: what is wrong with the data of an image that is used in spite of it, "" if nothing.
    """

    file: str
    image_id: str = ""
    camera: str = ""
    seconds: int | None = None
    width: int | None = None
    height: int | None = None
    burst: str = ""
    detections: tuple[Detection, ...] = ()
    failure: str = ""
    failure_text: str = ""
    frame: int | None = None
    frame_rate: float | None = None
    damage: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of an image that did not fail."""
        if self.width is None or self.height is None:
            raise ValueError(f"{self.file}: nothing says how large the image is")
        return self.width, self.height

    def to_json(self, class_names: Mapping[int, str] | None = None) -> str:
        """One line; numbers that are not finite become null, which the reader names.

        Args:
            class_names: names by id, written beside the ids; a journal has them in its header.
        """
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("file", "image_id", "camera", "seconds", "width", "height", "burst")
        }
        if self.frame_rate is not None:
            values |= {"frame": self.frame, "frame_rate": self.frame_rate}
        if self.damage:
            values["damage"] = self.damage[:_MAX_TEXT]
        if self.failure:
            values["failure"] = {"reason": self.failure, "text": self.failure_text[:_MAX_TEXT]}
        else:
            values["detections"] = [
                {
                    "box": [_finite(edge) for edge in detection.box],
                    "class": int(detection.class_id),
                    **({"name": class_names[int(detection.class_id)]} if class_names else {}),
                    "score": _finite(detection.score),
                }
                for detection in self.detections
            ]
        return json.dumps(values, allow_nan=False, default=_plain)


def frame_name(video: str, seconds: float) -> str:
    """What a frame of a video file is called, after its time."""
    return f"{video}/{round(seconds * 1000):09d}.jpg"


class _BadDetection(Exception):
    """A detection cannot be used; `reason` is one of the fixed failure reasons."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_line(line: bytes, report: Report) -> dict[str, Any] | None:
    """Fields of a line with a normalised file name; None, and a report, if it has no such name."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        report(_failure(Reason.BAD_RECORD, f"not JSON: {error}: {line[:80]!r}", ""))
        return None
    name = values.get("file") if isinstance(values, dict) else None
    if not isinstance(name, str):
        report(_failure(Reason.BAD_RECORD, f"no file name: {line[:80]!r}", ""))
        return None
    try:
        values["file"] = normalise_file_name(name)
    except FileError as error:
        report(_failure(error.reason, error.detail, name))
        return None
    return values


def read_identity(values: Mapping[str, Any], report: Report) -> ImageResult:
    """Where and when of an image, without what was found."""
    file = values["file"]
    seconds = values.get("seconds")
    if seconds is not None:
        seconds = fields.whole_number(seconds, minimum=_EARLIEST)
        if seconds is None or seconds >= _LATEST:
            detail = f"camera clock was not set: {values['seconds']!r:.80} seconds since 1970"
            report(_failure(Reason.JUNK_DATE, detail, file, "date"))
            seconds = None
    return ImageResult(
        file=file,
        image_id=fields.identifier(values.get("image_id")) or file,
        camera=fields.identifier(values.get("camera")) or "",
        seconds=seconds,
        width=fields.whole_number(values.get("width"), minimum=1),
        height=fields.whole_number(values.get("height"), minimum=1),
        burst=fields.identifier(values.get("burst")) or "",
        frame=fields.whole_number(values.get("frame"), minimum=0),
        frame_rate=fields.number(values.get("frame_rate")),
        damage=_printable(values.get("damage")),
    )


def read_result(
    line: bytes, label_map: Mapping[int, str], report: Report, counts: Counter
) -> ImageResult | None:
    """The image of a line. What cannot be used is reported; boxes are cut to the image.

    Args:
        line: line of a journal.
        label_map: class names by id.
        report: gets every image, detection or date that is unusable.
        counts: `boxes_clipped` counts boxes that were cut.

    Returns:
        The image, as a failure if its results are unusable as a whole. None without a file name.
    """
    values = read_line(line, report)
    if values is None:
        return None
    image = read_identity(values, report)
    failure = values.get("failure")
    if isinstance(failure, dict):
        reason = fields.text(failure.get("reason")) or str(Reason.UNREADABLE)
        text = _printable(failure.get("text"))
        return dataclasses.replace(image, failure=reason, failure_text=text)
    found = values.get("detections")
    sized = image.width is not None and image.height is not None
    sized = sized or values.get("size_unknown") is True  # of another program's results
    if not isinstance(found, list) or not sized:
        what = "'width' and 'height'" if isinstance(found, list) else "'detections' or 'failure'"
        text = f"the journal has no usable {what} of this image"
        report(_failure(Reason.BAD_RECORD, text, image.file))
        return dataclasses.replace(image, failure=str(Reason.BAD_RECORD), failure_text=text)
    detections = []
    for place, detection in enumerate(found):
        try:
            detections.append(_read_detection(detection, label_map, counts))
        except _BadDetection as error:
            detail = f"detections[{place}]: {error.detail}"
            report(_failure(error.reason, detail, image.file, "annotation"))
    return dataclasses.replace(image, detections=tuple(detections))


def _read_detection(values: object, label_map: Mapping[int, str], counts: Counter) -> Detection:
    if not isinstance(values, dict):
        raise _BadDetection(Reason.BAD_DETECTION, f"must be an object, is {fields.kind(values)}")
    score = fields.number(values.get("score"))
    if score is None:
        raise _BadDetection(Reason.NOT_FINITE, f"'score' is {values.get('score')!r:.80}")
    if not -1 <= score <= 1:
        raise _BadDetection(Reason.BAD_DETECTION, f"'score' is {score}, must lie in -1..1")
    class_id = fields.whole_number(values.get("class"), minimum=0)
    if class_id is None or class_id not in label_map:
        detail = f"class {values.get('class')!r:.80} is not among {sorted(label_map)!s:.200}"
        raise _BadDetection(Reason.CLASS_NOT_IN_LABEL_MAP, detail)
    box = fields.quadruple(values.get("box"))
    if box is None:
        raise _BadDetection(Reason.NOT_FINITE, f"'box' is {values.get('box')!r:.200}")
    y1, x1, y2, x2 = cut = [min(max(edge, 0.0), 1.0) for edge in box]
    if y2 <= y1 or x2 <= x1:
        raise _BadDetection(Reason.BAD_BOX, f"no area inside of the image: {box}")
    if max(abs(a - b) for a, b in zip(cut, box, strict=True)) > _OUTSIDE:
        counts["boxes_clipped"] += 1
    return Detection((y1, x1, y2, x2), class_id, score)


def _failure(reason: Reason, detail: str, file: str, lost: Lost = "image") -> Failure:
    return Failure(STAGE, reason, detail, file=file, image_id=file, lost=lost)


def _printable(text: object) -> str:
    """Text that can be written as UTF-8, whatever an exception said."""
    text = text if isinstance(text, str) else ""
    return text[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()


def _finite(number: float) -> float | None:
    number = float(number)
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """NumPy's whole numbers, which JSON does not know."""
    return int(value)
