"""Counts of an archive: per camera, per label state, per reason of failure."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from context_rcnn.data import console
from context_rcnn.data.failures import Failure
from context_rcnn.data.prepare import PreparedImage
from context_rcnn.data.records import ImageRecord, LabelState
from context_rcnn.data.timestamps import format_timestamp

_STATE_COLUMNS = {
    LabelState.UNLABELLED: "unlabelled",
    LabelState.EMPTY: "empty",
    LabelState.IMAGE_LEVEL: "image_level",
    LabelState.BOXES: "boxed",
}


@dataclasses.dataclass
class CameraCounts:
    """Counts of one camera. `first` and `last` are seconds; None without any dated image."""

    images: int = 0
    boxes: int = 0
    states: Counter = dataclasses.field(default_factory=Counter)
    undated: int = 0
    failed: int = 0
    first: int | None = None
    last: int | None = None

    def see_clock(self, *readings: int | None) -> None:
        known = [seconds for seconds in (self.first, self.last, *readings) if seconds is not None]
        if known:
            self.first, self.last = min(known), max(known)

    def states_to_dict(self) -> dict[str, int]:
        return {column: self.states[state.name] for state, column in _STATE_COLUMNS.items()}

    def to_dict(self) -> dict[str, Any]:
        clocks = {
            name: None if seconds is None else format_timestamp(seconds)
            for name, seconds in (("first", self.first), ("last", self.last))
        }
        counts = {"images": self.images, **self.states_to_dict(), "boxes": self.boxes}
        return {**counts, "undated": self.undated, "failed": self.failed, **clocks}


@dataclasses.dataclass
class Summary:
    """Counts of a shard, a split or an archive; summaries of parts can be merged."""

    cameras: dict[str, CameraCounts] = dataclasses.field(default_factory=dict)
    classes: Counter = dataclasses.field(default_factory=Counter)
    reasons: Counter = dataclasses.field(default_factory=Counter)
    changes: Counter = dataclasses.field(default_factory=Counter)

    def add_image(self, prepared: PreparedImage) -> None:
        record = prepared.record
        counts = self.cameras.setdefault(record.camera, CameraCounts())
        counts.images += 1
        counts.boxes += len(prepared.boxes)
        counts.states[record.label_state.name] += 1
        counts.undated += record.seconds is None
        counts.see_clock(record.seconds)
        self.classes.update(box.label for box in record.boxes)
        self.changes.update(prepared.image.changes)

    def add_failure(self, failure: Failure) -> None:
        self.reasons[failure.reason.value] += 1
        if failure.lost == "image" and failure.camera:
            self.cameras.setdefault(failure.camera, CameraCounts()).failed += 1

    def merge(self, other: "Summary") -> None:
        for camera, counts in other.cameras.items():
            mine = self.cameras.setdefault(camera, CameraCounts())
            for field in ("images", "boxes", "undated", "failed"):
                setattr(mine, field, getattr(mine, field) + getattr(counts, field))
            mine.states.update(counts.states)
            mine.see_clock(counts.first, counts.last)
        self.classes.update(other.classes)
        self.reasons.update(other.reasons)
        self.changes.update(other.changes)

    @property
    def images(self) -> int:
        return sum(counts.images for counts in self.cameras.values())

    @property
    def total(self) -> CameraCounts:
        """Counts over all cameras."""
        total = Summary()
        for counts in self.cameras.values():
            total.merge(Summary({"": counts}))
        return total.cameras.get("", CameraCounts())

    def to_dict(self) -> dict[str, Any]:
        """For people and manifests."""
        return {
            "total": self.total.to_dict(),
            "cameras": {camera: self.cameras[camera].to_dict() for camera in sorted(self.cameras)},
            "boxes_by_class": dict(sorted(self.classes.items())),
            "failures": dict(sorted(self.reasons.items())),
            "image_changes": dict(sorted(self.changes.items())),
        }

    def to_json(self) -> str:
        """For programs; see `from_json`."""
        cameras = {camera: vars(counts) for camera, counts in self.cameras.items()}
        return json.dumps({**vars(self), "cameras": cameras}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Summary":
        fields = json.loads(text)
        cameras = {
            camera: CameraCounts(**{**counts, "states": Counter(counts["states"])})
            for camera, counts in fields["cameras"].items()
        }
        # A run that an earlier version began did not count classes.
        counters = [Counter(fields.get(name)) for name in ("classes", "reasons", "changes")]
        return cls(cameras, *counters)


def format_camera_table(cameras: dict[str, dict[str, Any]]) -> str:
    """Aligned text table of `Summary.to_dict()["cameras"]`."""
    columns = list(CameraCounts().to_dict())
    rows = [["camera", *columns]]
    for camera, counts in cameras.items():
        values = ["-" if counts[column] is None else str(counts[column]) for column in columns]
        rows.append([camera, *values])
    return console.table(rows)


def format_cameras_found(records: Mapping[str, Iterable[ImageRecord]]) -> str:
    """Cameras, splits and dates of records by split, to be looked at before a long run."""
    found: dict[tuple[str, str], CameraCounts] = {}
    for split, members in records.items():
        for record in members:
            counts = found.setdefault((record.camera, split), CameraCounts())
            counts.images += 1
            counts.see_clock(record.seconds)
    rows = [["camera", "split", "images", "first", "last"]]
    for (camera, split), counts in sorted(found.items()):
        facts = counts.to_dict()
        dates = [facts["first"] or "-", facts["last"] or "-"]
        rows.append([camera, split, str(counts.images), *dates])
    return console.table(rows)


def format_notes(notes: dict[str, int]) -> str:
    """Notes as words."""
    return format_counts({name.replace("_", " "): count for name, count in notes.items()})


def format_counts(counts: dict[str, int]) -> str:
    """Aligned lines "name  count", or "none"."""
    return console.table([name, str(count)] for name, count in counts.items()) or "none"
