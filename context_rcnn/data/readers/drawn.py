"""What the exports of annotation tools have in common: shapes that become boxes, and records.

The tools know files and shapes, but neither cameras nor dates: cameras are named by paths, and
dates are those of the photographs (`Layout.dated_by_exif`).
"""

import dataclasses
import math
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.records import (
    Archive,
    Box,
    ImageRecord,
    LabelState,
    is_empty_class,
    resolve_labels,
)

Point = tuple[float, float]

LOCAL_FILES = "data/local-files/?d="
"""What an address of Label Studio's local storage has before the path."""
_UPLOAD = re.compile(r"/?data/upload/(?:\d+/)?(.+)")


@dataclasses.dataclass
class Drawing:
    """What people said of one image.

    Attributes:
        names: class names of all that they labelled, with a box or not.
        boxes: the boxes.
        seen: whether somebody finished looking at it, so that no label means that it is empty.
    """

    names: set[str] = dataclasses.field(default_factory=set)
    boxes: list[Box] = dataclasses.field(default_factory=list)
    seen: bool = False


class DrawnArchive:
    """Collects the images of an export; what cannot be used becomes a failure record.

    Args:
        stage: the reader's name in failures.
        camera_namer: names the camera of a path.
    """

    def __init__(self, stage: str, camera_namer: CameraNamer):
        self._stage, self._namer = stage, camera_namer
        self._records: dict[str, ImageRecord] = {}
        self._listed = 0
        self.failures: list[Failure] = []

    def add(
        self,
        where: str,
        file_name: str,
        drawing: Drawing,
        size: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """Takes an image.

        Args:
            where: its place in the export, for failures.
            file_name: its path; it is the id of the image, too.
            drawing: what people said of it.
            size: width and height that the boxes refer to, None if the export does not say it.
        """
        self._listed += 1
        try:
            name = normalise_file_name(file_name)
            if name in self._records:
                raise FileError(Reason.DUPLICATE_IMAGE, "the image has an entry before")
            camera = self._namer(name)
            if camera is None:
                raise FileError(Reason.NO_CAMERA, "no camera rule covers this path")
        except FileError as error:
            self.fail(where, error.reason, error.detail, file_name, "image")
            return
        present = sorted(label for label in drawing.names if not is_empty_class(label))
        state = resolve_labels(drawing.names, tuple(drawing.boxes))
        if state is LabelState.UNLABELLED and drawing.seen:
            state = LabelState.EMPTY
        if present and len(present) < len(drawing.names):
            detail = f"labelled both empty and {', '.join(present)}; taken as not empty"
            self.fail(where, Reason.CONTRADICTORY_LABELS, detail, name)
        self._records[name] = ImageRecord(
            image_id=name,
            file_name=name,
            camera=camera,
            label_state=state,
            class_names=tuple(present),
            boxes=tuple(drawing.boxes),
            width=size[0],
            height=size[1],
        )

    def lose(self, where: str, detail: str) -> None:
        """Takes an entry that is no image."""
        self._listed += 1
        self.fail(where, Reason.BAD_RECORD, detail, "", "image")

    def fail(
        self, where: str, reason: Reason, detail: str, file: str, lost: Lost = "annotation"
    ) -> None:
        """Records what cannot be used."""
        names: dict[str, Any] = {"file": file, "image_id": file, "lost": lost}
        self.failures.append(Failure(self._stage, reason, f"{where}: {detail}", **names))

    def archive(self, class_names: Iterable[str] = ()) -> Archive:
        """All images; classes in the order of the export, then those that it does not list."""
        used = sorted({name for r in self._records.values() for name in r.class_names})
        names = dict.fromkeys([*class_names, *used])
        return Archive(
            records=list(self._records.values()),
            failures=self.failures,
            class_names=tuple(name for name in names if not is_empty_class(name)),
            images_listed=self._listed,
        )


def file_of(text: str) -> str:
    """The path of an image that Label Studio names by an address.

    Of local storage it is the path below the document root, of an upload its name with the prefix
    that Label Studio gave it, of the web or a bucket the path after the host.
    """
    address = urllib.parse.urlsplit(text)
    if LOCAL_FILES in text:
        return next(iter(urllib.parse.parse_qs(address.query).get("d", [])), "").lstrip("/")
    if upload := _UPLOAD.fullmatch(address.path):
        return urllib.parse.unquote(upload[1])
    if len(address.scheme) > 1:  # one letter is a drive of Windows
        return urllib.parse.unquote(address.path).lstrip("/")
    return text


def box_around(points: Sequence[Point], label: str, relative: bool = False) -> Box:
    """The box around points; ValueError if it has no area."""
    if not points:
        raise ValueError("a shape without points")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if min(xs) >= max(xs) or min(ys) >= max(ys):
        raise ValueError(f"a shape without area: {list(points)!s:.200}")
    return Box(min(xs), min(ys), max(xs), max(ys), label, relative=relative)


def turned(points: Iterable[Point], centre: Point, degrees: float) -> list[Point]:
    """Points turned about a centre, clockwise as one sees it."""
    if not degrees:
        return list(points)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    (cx, cy) = centre
    return [
        (
            cx + (x - cx) * cosine - (y - cy) * sine,
            cy + (x - cx) * sine + (y - cy) * cosine,
        )
        for x, y in points
    ]


def corners(x: float, y: float, width: float, height: float) -> list[Point]:
    """Corners of a rectangle."""
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
