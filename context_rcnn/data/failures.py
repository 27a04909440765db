"""Failure records: what could not be used, why, and how it is written down.

A failure never stops a run. `lost` says what the failure cost, so that the books balance:
images listed = images written + failures whose `lost` is "image".
"""

import dataclasses
import enum
import json
from collections.abc import Iterable
from typing import Literal

Lost = Literal["image", "annotation", "date", "folder", "tracklet", "nothing"]


class Reason(str, enum.Enum):  # noqa: UP042  (StrEnum needs Python 3.11)
    """The fixed vocabulary of failures; values appear in `failures.jsonl` and in manifests."""

    # The file.
    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    OUTSIDE_ROOT = "outside_root"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    DAMAGED_DATA = "damaged_data"
    TOO_LARGE = "too_large"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    # What a walk through a folder passes over.
    NOT_LISTED = "not_listed"
    OTHER_FILE = "other_file"
    HIDDEN = "hidden"
    LINKED_FOLDER = "linked_folder"
    # The metadata of an image.
    BAD_RECORD = "bad_record"
    BAD_FIELD = "bad_field"
    DUPLICATE_IMAGE = "duplicate_image"
    MARKED_CORRUPT = "marked_corrupt"
    NO_CAMERA = "no_camera"
    NOT_IN_SPLIT = "not_in_split"
    BAD_DATE = "bad_date"
    JUNK_DATE = "junk_date"
    # The annotations.
    BAD_ANNOTATION = "bad_annotation"
    DUPLICATE_ANNOTATION = "duplicate_annotation"
    UNKNOWN_IMAGE = "unknown_image"
    UNKNOWN_CATEGORY = "unknown_category"
    BAD_CATEGORY = "bad_category"
    BAD_BOX = "bad_box"
    BOX_OUTSIDE_IMAGE = "box_outside_image"
    SIZE_MISMATCH = "size_mismatch"
    CONTRADICTORY_LABELS = "contradictory_labels"
    CLASS_NOT_IN_LABEL_MAP = "class_not_in_label_map"
    # What a frozen extractor made of an image.
    UNDATED = "undated"
    NOT_FINITE = "not_finite"
    # A tracklet.
    NO_FRAMES = "no_frames"
    # The results of another detector.
    DETECTOR_FAILURE = "detector_failure"
    BAD_DETECTION = "bad_detection"

    __str__ = str.__str__


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """One thing that could not be used. Empty strings stand for "does not apply"."""

    stage: str
    reason: Reason
    detail: str
    file: str = ""
    image_id: str = ""
    camera: str = ""
    lost: Lost = "image"

    def to_json(self) -> str:
        """One line of `failures.jsonl` (ASCII, so any string from any file can be written)."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> "Failure":
        fields = json.loads(line)
        return cls(**{**fields, "reason": Reason(fields["reason"])})


def to_jsonl(failures: Iterable[Failure]) -> str:
    """All failures as sorted lines, so that equal runs write equal bytes."""
    return "".join(line + "\n" for line in sorted(failure.to_json() for failure in failures))
