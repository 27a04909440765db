"""What a reader knows about an image before its pixels are opened."""

import base64
import dataclasses
import enum
from collections import Counter
from collections.abc import Mapping
from typing import Any

from context_rcnn.data.failures import Failure


class LabelState(enum.IntEnum):
    """How much is known about what an image shows. Values are stored in `image/label_state`."""

    UNLABELLED = 0
    EMPTY = 1  # somebody looked: nothing there
    IMAGE_LEVEL = 2  # classes known; boxes absent, or not of every class
    BOXES = 3  # every class that is there has boxes: the rest is background


UNKNOWN = -1.0
"""Stands for a number of `Visibility` that its source does not give."""


@dataclasses.dataclass(frozen=True, slots=True)
class Visibility:
    """What a box shows of its object, as only a simulation knows it.

    Attributes:
        look: How the object appears: `clear`, or what hides it.
        shows: Whether the image shows what tells the object from its look-alikes.
        blur: Radius of its blur in pixels.
        occluded: Share of it that is hidden or outside of the image.
        speed: Cells of a feature map that it moved since the last frame.
    """

    look: str
    shows: bool
    blur: float = UNKNOWN
    occluded: float = UNKNOWN
    speed: float = UNKNOWN


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """An annotated box, in the units of its source (see `relative`).

    Attributes:
        xmin, ymin, xmax, ymax: Edges; they may still lie outside of the image.
        label: Class name.
        relative: Edges are fractions of the annotated image size, not pixels.
        area: Annotated area in the units of the edges, if the source gives one.
        score: Confidence of the detector that drew the box; None for a human's box.
        track: Name of the object in its video, if the source follows objects; "" if unknown.
        seen: What it shows of its object; None if unknown.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    label: str
    relative: bool = False
    area: float | None = None
    score: float | None = None
    track: str = ""
    seen: Visibility | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of an archive, as its source describes it.

    Attributes:
        image_id: Unique within the archive.
        file_name: Path relative to the image root, with forward slashes.
        camera: The place that never moves; `image/location` of the example.
        seconds: Wall-clock seconds since 1970, read as if UTC (time-zone free); None if unknown.
        seq_id: Burst the image belongs to; "" until `sequences.assign_sequences` fills it in.
        seq_num_frames: Frames in the burst; 0 if unknown.
        frame_num: Position in the burst; -1 if unknown. Zero- or one-based as the source has it.
        label_state: State of knowledge about the content.
        class_names: Image-level class names, sorted; never contains the empty class.
        boxes: Annotated boxes.
        width, height: Image size the boxes refer to, if the source states it.
        proposals: Boxes of another detector to choose from, float32 x1, y1, x2, y2, score each, in
            pixels; None where there were no files of them.
        relative_proposals: Proposals are fractions of the upright image, not pixels.
    """

    image_id: str
    file_name: str
    camera: str
    seconds: int | None = None
    seq_id: str = ""
    seq_num_frames: int = 0
    frame_num: int = -1
    label_state: LabelState = LabelState.UNLABELLED
    class_names: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    width: int | None = None
    height: int | None = None
    proposals: bytes | None = None
    relative_proposals: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; see `from_dict`."""
        plain = _shallow(self) | {"boxes": [_plain_box(box) for box in self.boxes]}
        proposals = plain.pop("proposals")
        if proposals is not None:
            plain["proposals"] = base64.b64encode(proposals).decode("ascii")
        return plain

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ImageRecord":
        typed = {
            "label_state": LabelState(fields["label_state"]),
            "class_names": tuple(fields["class_names"]),
            "boxes": tuple(_box(box) for box in fields["boxes"]),
            "proposals": base64.b64decode(fields["proposals"]) if "proposals" in fields else None,
        }
        return cls(**{**fields, **typed})


def _shallow(row: ImageRecord | Box | Visibility) -> dict[str, Any]:
    """Fields by name; `dataclasses.asdict` would copy every value, millions of times."""
    return {name: getattr(row, name) for name in row.__slots__}


def _plain_box(box: Box) -> dict[str, Any]:
    return _shallow(box) | {"seen": _shallow(box.seen) if box.seen else None}


def _box(fields: Mapping[str, Any]) -> Box:
    seen = fields.get("seen")
    return Box(**{**fields, "seen": Visibility(**seen) if seen else None})


@dataclasses.dataclass
class Archive:
    """What a reader found.

    Attributes:
        records: Usable images.
        failures: Everything that could not be used, each named.
        class_names: Class names of the source in its own order, without the empty class.
        images_listed: Images the source names; equals records plus lost images.
        notes: Counts of what was noticed but cost nothing (ignored files, skipped folders, ...).
    """

    records: list[ImageRecord]
    failures: list[Failure]
    class_names: tuple[str, ...]
    images_listed: int
    notes: Counter = dataclasses.field(default_factory=Counter)


EMPTY_NAMES = frozenset({"empty", "blank"})
"""Category names that mean "somebody looked, nothing there" (COCO Camera Traps, Camtrap DP)."""


def is_empty_class(name: str) -> bool:
    return name.strip().lower() in EMPTY_NAMES


def resolve_labels(label_names: set[str], boxes: tuple[Box, ...]) -> LabelState:
    """Label state of an image with these class names (empty and boxed ones included) and boxes."""
    present = {name for name in label_names if not is_empty_class(name)}
    if present:
        return (
            LabelState.IMAGE_LEVEL if present - {box.label for box in boxes} else LabelState.BOXES
        )
    return LabelState.EMPTY if label_names else LabelState.UNLABELLED
