"""What a model of images finds in them, as results have it."""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from context_rcnn.data.paths import FileError
from context_rcnn.export.exported import GivenImage
from context_rcnn.results.records import Detection, ImageResult
from context_rcnn.runners.engine.memory import CameraMemory
from context_rcnn.runners.engine.model import MemorySettings, Model, Outputs, run
from context_rcnn.runners.engine.prepared import Prepared

KEPT_FROM = 0.005
"""Detections below this score are not kept; MegaDetector's own limit."""
_DIGITS = 6


def detect_batch(
    model: Model, memory: CameraMemory | None, batch: Sequence[Prepared], batch_size: int
) -> list[ImageResult]:
    """Detects in images of one camera; what cannot be used becomes a failure.

    Args:
        model: model to run.
        memory: memory of the camera, None for none.
        batch: images, at most `batch_size`.
        batch_size: rows of each call.
    """
    usable = [p for p in batch if p.problem is None]
    found: list[Outputs | FileError] = []
    if usable:
        rows = [p.row for p in usable]
        seen = memory.seen_by([p.image for p in usable]) if memory else None
        if seen is None:
            found = run(model.detect, rows, batch_size)
        else:
            found = run(model.detect_with_projected, rows, batch_size, *seen)
    results = iter(found)
    return [to_result(p.image, p.problem or next(results)) for p in batch]


def to_result(image: ImageResult, found: Outputs | FileError) -> ImageResult:
    """What was found in an image, or why nothing was, as it is kept."""
    if isinstance(found, FileError):
        nothing: dict[str, Any] = {"width": None, "height": None, "detections": (), "damage": ""}
        return dataclasses.replace(
            image, failure=str(found.reason), failure_text=found.detail, **nothing
        )
    rows = zip(found["boxes"], found["scores"], found["classes"], strict=True)
    detections = tuple(
        Detection(
            _rounded(box),
            int(class_id),
            round(float(score), _DIGITS),
        )
        for box, score, class_id in rows
        if score >= KEPT_FROM
    )
    return dataclasses.replace(image, detections=detections)


def _rounded(box: np.ndarray) -> tuple[float, float, float, float]:
    y1, x1, y2, x2 = (round(float(edge), _DIGITS) for edge in box)
    return y1, x1, y2, x2


def check_model(model: Model, settings: MemorySettings | None, batch_size: int) -> None:
    """Runs the model once, so that one that cannot run at all is not taken for broken images."""
    image: Any = grey_image()
    if model.description.get("proposals"):
        image = GivenImage(grey_image(), np.zeros([0, 4], np.float32), np.zeros(0, np.float32))
    images = [image] * batch_size
    model.detect(images)
    if settings is not None:
        model.extract(images)


def grey_image() -> bytes:
    """A JPEG with nothing in it, to try a model with."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "#808080").save(buffer, "JPEG")
    return buffer.getvalue()
