"""One record to one usable image with boxes, or to named failures.

`validate` and the Beam pipeline both call `prepare`, so they cannot disagree.
"""

import dataclasses
from pathlib import Path

import numpy as np

from context_rcnn.data.boxes import normalise
from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.images import CheckedImage, ImageOptions, check_image, read_file
from context_rcnn.data.paths import FileError
from context_rcnn.data.records import Box, ImageRecord, LabelState

STAGE = "image"


@dataclasses.dataclass(frozen=True)
class PreparedImage:
    """Everything an example holds.

    Attributes:
        record: The record; its boxes are those rows of `boxes` stand for.
        image: The checked JPEG.
        boxes: [n, 4] float32 (ymin, xmin, ymax, xmax), upright, in 0..1.
        areas: [n] float32, annotated areas in pixels of the JPEG.
        proposals: [m, 5] float32 (ymin, xmin, ymax, xmax, score), as `boxes`; None without any.
    """

    record: ImageRecord
    image: CheckedImage
    boxes: np.ndarray
    areas: np.ndarray
    proposals: np.ndarray | None = None


def prepare(
    record: ImageRecord, image_root: str | Path, options: ImageOptions
) -> tuple[PreparedImage | None, list[Failure]]:
    """Reads and checks the image of a record and puts its boxes upright.

    Returns:
        The prepared image, None if it cannot be used, and what went wrong. Without an image there
        is exactly one failure, which says so; beside an image failures are about single boxes, or
        about damage in spite of which it is used.
    """
    try:
        image = check_image(read_file(image_root, record.file_name, options), options)
    except FileError as error:
        return None, [failure_of(record, STAGE, error.reason, error.detail)]
    damaged = []
    if image.damage:
        damaged.append(failure_of(record, STAGE, *damage_of(image.damage), "nothing"))
    record, boxes, failures = _upright_boxes(record, image)
    proposals, more = _upright_proposals(record, image)
    areas = _areas(record, image, boxes)
    return PreparedImage(record, image, boxes, areas, proposals), damaged + failures + more


def damage_of(damage: str) -> tuple[Reason, str]:
    """Reason and words for an image that is used, though its data is damaged.

    Args:
        damage: what is wrong with the data.
    """
    return Reason.DAMAGED_DATA, f"a damaged JPEG, of which parts may be wrong: {damage}"


def failure_of(
    record: ImageRecord, stage: str, reason: Reason, detail: str, lost: Lost = "image"
) -> Failure:
    """A failure that carries the names of its record."""
    return Failure(
        stage=stage,
        reason=reason,
        detail=detail,
        file=record.file_name,
        image_id=record.image_id,
        camera=record.camera,
        lost=lost,
    )


def keep_boxes(record: ImageRecord, keep: list[bool]) -> ImageRecord:
    """The record with some of its boxes; without any left, its classes are still known."""
    boxes = tuple(box for box, kept in zip(record.boxes, keep, strict=True) if kept)
    state = record.label_state
    if record.boxes and not boxes:
        state = LabelState.IMAGE_LEVEL if record.class_names else LabelState.UNLABELLED
    return dataclasses.replace(record, boxes=boxes, label_state=state)


def _upright_boxes(
    record: ImageRecord, image: CheckedImage
) -> tuple[ImageRecord, np.ndarray, list[Failure]]:
    no_boxes = np.zeros([0, 4], np.float32)
    if not record.boxes:
        return record, no_boxes, []
    stated = (record.width, record.height) if record.width and record.height else None
    try:
        edges = normalise(record.boxes, stated, image.file_size, image.orientation)
    except ValueError as error:
        failure = failure_of(record, STAGE, Reason.SIZE_MISMATCH, str(error), "annotation")
        return keep_boxes(record, [False] * len(record.boxes)), no_boxes, [failure]
    clipped = np.clip(edges, 0, 1).astype(np.float32)
    inside = ((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])).tolist()
    failures = [
        failure_of(
            record,
            STAGE,
            Reason.BOX_OUTSIDE_IMAGE,
            f"{box.label!r} box {(box.xmin, box.ymin, box.xmax, box.ymax)} lies outside",
            "annotation",
        )
        for box, kept in zip(record.boxes, inside, strict=True)
        if not kept
    ]
    return keep_boxes(record, inside), clipped[inside], failures


def _upright_proposals(
    record: ImageRecord, image: CheckedImage
) -> tuple[np.ndarray | None, list[Failure]]:
    """Proposals inside the image, clipped."""
    if record.proposals is None:
        return None, []
    given = np.frombuffer(record.proposals, np.float32).reshape(-1, 5)
    stated = (record.width, record.height) if record.width and record.height else None
    if record.relative_proposals:
        stated = None  # without a size, fractions are of the upright image
    relative = record.relative_proposals
    boxes = [
        Box(x1, y1, x2, y2, label="", relative=relative) for x1, y1, x2, y2 in given[:, :4].tolist()
    ]
    try:
        edges = normalise(boxes, stated, image.file_size, image.orientation)
    except ValueError as error:
        failure = failure_of(record, STAGE, Reason.SIZE_MISMATCH, str(error), "annotation")
        return np.zeros([0, 5], np.float32), [failure]
    clipped = np.clip(edges, 0, 1).astype(np.float32)
    inside = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    failures = []
    if not inside.all():
        detail = f"{(~inside).sum()} of {len(inside)} proposals lie outside"
        reason = Reason.BOX_OUTSIDE_IMAGE
        failures = [failure_of(record, STAGE, reason, detail, "annotation")]
    return np.concatenate([clipped, given[:, 4:]], axis=1)[inside], failures


def _areas(record: ImageRecord, image: CheckedImage, boxes: np.ndarray) -> np.ndarray:
    """Annotated areas in stored pixels; half of the box where none is given.

    Half a box is what the Object Detection API's own script writes for camera traps.
    """
    stored = image.width * image.height
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * stored / 2
    for i, box in enumerate(record.boxes):
        if box.area is not None:
            full = (box.xmax - box.xmin) * (box.ymax - box.ymin)
            areas[i] *= 2 * min(1.0, box.area / full)
    return areas.astype(np.float32)
