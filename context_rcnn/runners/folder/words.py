"""Messages about images only: the cameras that were found, and suspicious places."""

from collections import Counter
from collections.abc import Sequence

from context_rcnn.data.console import table as table_of
from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.folder.table import READABLE, CameraFacts, ImageTable

BACKGROUND, NOT_ASKED = "yes", "no: not asked for"
REAL, NEW = "no: its picture was deleted", "not yet: to be reviewed"
"""Whether the detections in a suspicious place are marked as background."""

_MOST_CAMERAS = 60  # that are printed


def on_cameras(table: ImageTable, root: str) -> str:
    """The cameras that were found, with counts and dates, for a check before a long run."""
    cameras = table.cameras()
    rows = [("camera", "images", "undated", "first", "last")]
    rows += [_row(facts) for facts in cameras[:_MOST_CAMERAS]]
    lines = [table_of(rows)]
    if len(cameras) > _MOST_CAMERAS:
        lines.append(f"... and {len(cameras) - _MOST_CAMERAS:,} more cameras")
    images = sum(facts.images for facts in cameras)
    known = sum(1 for facts in cameras if facts.camera)
    lines += ["", f"{images:,} images of {known:,} cameras in {root}"]
    undated = sum(facts.undated for facts in cameras)
    if undated:
        unset = table.count_unset()
        lines.append(
            f"{undated:,} have no usable date: {unset:,} from a camera whose clock was not set or "
            f"wrote nonsense, {undated - unset:,} without an EXIF date or unreadable. Images "
            "without a date use the memory only if the model was exported with an unlimited "
            "time horizon. --clock_shift corrects a clock that was wrong"
        )
    if any(not facts.camera for facts in cameras):
        lines.append("images of (no camera) are detected without a memory")
    unusable = table.count(f"NOT ({READABLE})")
    if unusable:
        lines.append(f"{unusable:,} images cannot be used because of their names or links")
    return "\n".join(lines)


def _row(facts: CameraFacts) -> tuple[str, str, str, str, str]:
    first, last = (
        "-" if seconds is None else format_timestamp(seconds)
        for seconds in (facts.first, facts.last)
    )
    return facts.camera or "(no camera)", f"{facts.images:,}", f"{facts.undated:,}", first, last


def on_places(options: FolderOptions, verdicts: Sequence[str]) -> str:
    """What was done about boxes that come back, and what the user should do."""
    counts = Counter(verdicts)
    found = f"{len(verdicts):,} places where the same box comes back: {options.repeats_table}"
    if options.rde != "review":
        return found
    lines = [
        found,
        f"  {counts[BACKGROUND]:,} are background, because their pictures are still there: their "
        "detections now have a negative confidence",
        f"  {counts[REAL]:,} are real, because their pictures were deleted",
        f"  {counts[NEW]:,} are new, and still to be reviewed",
    ]
    if counts[NEW]:
        lines += [
            f"Look at the new pictures in {options.review_dir}",
            "  DELETE each picture whose box holds a REAL animal, a person or a vehicle.",
            "  KEEP each picture whose box holds only background: a rock, a branch, grass.",
            "Then run the same command again: it marks the detections in pictures that are STILL "
            "THERE as background.",
        ]
    return "\n".join(lines)
