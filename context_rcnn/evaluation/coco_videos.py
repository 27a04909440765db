"""Detections of videos in COCO's files, of one detector or of several, joined and linked.

Images are those of COCO-VID: `video_id` is the video of an image and `frame_id` its place there;
those of neighbours differ by one. What else the files hold is handed on as it is.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from context_rcnn.data import fields
from context_rcnn.evaluation.overlaps import NmsOptions, suppress_frames
from context_rcnn.evaluation.seq_nms import SeqNmsOptions, seq_nms
from context_rcnn.evaluation.viterbi import ViterbiOptions, link_paths

Value = TypeVar("Value")
Options = SeqNmsOptions | ViterbiOptions | NmsOptions
# Videos, frames, boxes x1 y1 x2 y2, scores and classes.
Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def link_files(
    groundtruth: str | Path,
    detections: Sequence[str | Path],
    output: str | Path,
    options: Options | None = None,
) -> dict[str, int]:
    """Links COCO results through the frames of their videos, and writes what is left of them.

    Args:
        groundtruth: COCO-VID file with the images; labels are not looked at.
        detections: COCO results, lists of boxes with scores. Those of several files are joined.
        output: the list without what is dropped, in its order, with new scores (and boxes).
        options: those of `seq_nms` (the default), of `viterbi` or of `overlaps`, which decide what
            is done.

    Returns:
        Counts of what was read and of what was changed.

    Raises:
        ValueError: Naming file, record and field, where something is missing or is not what it
            should be.
    """
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise ValueError(f"{output}: its folder does not exist")
    if output.resolve() in (Path(file).resolve() for file in (groundtruth, *detections)):
        raise ValueError(f"{output}: is read from, and must not be written over")
    frames = _read_frames(groundtruth)
    rows: list[dict] = []
    parts: list[Columns] = []
    numbers: dict[str, int] = {}
    for path in detections:
        read = fields.load_json_list(path)
        parts.append(_read_detections(read, frames, groundtruth, path, numbers))
        rows += read
    columns = [np.concatenate(part) for part in zip(*parts, strict=True)]
    left, counts = _processed(rows, columns, options or SeqNmsOptions())
    partial = f"{output}.partial"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(left, file)
    os.replace(partial, output)
    known = set(frames.values())
    return {
        "images": len(frames),
        "videos": len({video for video, _ in known}),
        "images_with_a_next_frame": sum((video, frame + 1) in known for video, frame in known),
        "detections": len(rows),
        **counts,
    }


def _processed(
    rows: Sequence[dict], columns: Sequence[np.ndarray], options: Options
) -> tuple[list[dict], dict[str, int]]:
    """The rows that are left, changed, and counts of the changes."""
    videos, places, boxes, scores, classes = columns
    if isinstance(options, ViterbiOptions):
        # Rows and columns make no difference to it.
        linked = link_paths(videos, places, boxes, scores, classes, options)
        corners = linked.boxes.copy()
        corners[:, 2:] -= corners[:, :2]
        found = zip(linked.rows.tolist(), corners.tolist(), linked.scores.tolist(), strict=True)
        return [rows[i] | {"bbox": box, "score": score} for i, box, score in found], linked.counts
    if isinstance(options, NmsOptions):
        kept = suppress_frames(np.stack([videos, places], 1), boxes, scores, classes, options)
        left = [row for row, stays in zip(rows, kept, strict=True) if stays]
        return left, {"dropped_detections": len(rows) - len(left)}
    tubes = seq_nms(videos, places, boxes, scores, classes, options)
    found = zip(rows, tubes.scores.tolist(), tubes.suppressed, strict=True)
    return [row | {"score": score} for row, score, gone in found if not gone], tubes.counts


def _read_frames(path: str | Path) -> dict[str, tuple[int, int]]:
    """Number of the video, and place there, of each image by id."""
    document = fields.load_json_object(path)
    frames: dict[str, tuple[int, int]] = {}
    owners: dict[tuple[int, int], str] = {}
    videos: dict[str, int] = {}
    for i, row in enumerate(fields.list_field(document, "images", path, required=True)):
        where = f"{path}: images[{i}]"
        image = _field(row, "id", fields.identifier, "a whole number or a text", where)
        video = _field(
            row, "video_id", fields.identifier, "that of its video, as COCO-VID has it", where
        )
        place = _field(
            row, "frame_id", _place, "its place in the video, a whole number from 0 on", where
        )
        if image in frames:
            raise ValueError(f"{where}: id {image!r:.80} occurs before")
        frame = (videos.setdefault(video, len(videos)), place)
        if frame in owners:
            raise ValueError(
                f"{where}: frame_id {place} of video_id {video!r:.80} is that of image "
                f"{owners[frame]!r:.80}, too"
            )
        frames[image], owners[frame] = frame, image
    return frames


def _read_detections(
    rows: list,
    frames: Mapping[str, tuple[int, int]],
    groundtruth: str | Path,
    path: str | Path,
    numbers: dict[str, int],
) -> Columns:
    """The columns of COCO results; `numbers` are those of the classes, and grow."""
    places = np.zeros((len(rows), 2), np.int64)
    boxes, scores = np.zeros((len(rows), 4)), np.zeros(len(rows))
    labels = np.zeros(len(rows), np.int64)
    for i, row in enumerate(rows):
        where = f"{path}: row {i}"
        image = _field(row, "image_id", fields.identifier, "the id of an image", where)
        if image not in frames:
            raise ValueError(f"{where}: image_id {image!r:.80} is of no image in {groundtruth}")
        label = _field(row, "category_id", fields.identifier, "the id of a class", where)
        places[i], labels[i] = frames[image], numbers.setdefault(label, len(numbers))
        boxes[i] = _field(row, "bbox", _box, "x, y, width, height, none below 0 in size", where)
        scores[i] = _field(row, "score", fields.number, "a finite number", where)
    boxes[:, 2:] += boxes[:, :2]
    return places[:, 0], places[:, 1], boxes, scores, labels


def _place(value: object) -> int | None:
    return fields.whole_number(value, 0)


def _box(value: object) -> tuple[float, float, float, float] | None:
    box = fields.quadruple(value)
    return None if box is None or min(box[2:]) < 0 else box


def _field(
    row: Any, name: str, read: Callable[[object], Value | None], expected: str, where: str
) -> Value:
    """A field as `read` gives it; where that is nothing, an error says what was expected."""
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be an object, is {fields.kind(row)}")
    value = read(row.get(name))
    if value is None:
        found = f"{row[name]!r:.80}" if name in row else "missing"
        raise ValueError(f"{where}: field {name!r} is {found}, expected {expected}")
    return value
