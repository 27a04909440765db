"""COCO results (a list of boxes) and the index of images that their ids mean.

`COCO(index).loadRes(results)` of pycocotools reads the two. The index has no annotations: put those
of people in, and it is a groundtruth. It lists the images that failed, too; scored as they are,
they count as images in which nothing was found.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from context_rcnn.data import fields
from context_rcnn.data.timestamps import format_timestamp, parse_timestamp
from context_rcnn.results.classes import Classes
from context_rcnn.results.json_list import JsonList
from context_rcnn.results.options import Options
from context_rcnn.results.records import Detection, Header, ImageResult

PIXEL_DIGITS = 2
SCORE_DIGITS = 5


class CocoWriter:
    """Writes images one by one, numbered from 1. Suspect detections are left out."""

    def __init__(
        self,
        results: TextIO,
        index: TextIO,
        header: Header,
        classes: Classes,
        options: Options,
    ):
        completed = options.completed or header.created
        before = {
            "info": {
                "version": "1.0",
                "description": f"images of results of {header.model} {header.model_version}",
                "date_created": completed,
            },
            "categories": [{"id": i, "name": name} for i, name in classes.names.items()],
            "annotations": [],
        }
        self._results = JsonList(results)
        self._index = JsonList(index, before, "images")
        self._images = 0

    def add(self, image: ImageResult) -> None:
        self._images += 1
        entry: dict[str, object] = {
            "id": self._images,
            "file_name": image.file,
            "width": image.width,
            "height": image.height,
        }
        if image.camera:
            entry["location"] = image.camera
        if image.seconds is not None:
            entry["datetime"] = format_timestamp(image.seconds)
        if image.burst:
            entry["seq_id"] = image.burst
        if image.failure:
            entry["failure"] = f"{image.failure}: {image.failure_text}".rstrip(": ")
        self._index.add(entry)
        for found in image.detections:
            if found.score >= 0:
                self._results.add(
                    {
                        "image_id": self._images,
                        "category_id": found.class_id,
                        "bbox": _pixels(found, image),
                        "score": round(found.score, SCORE_DIGITS),
                    }
                )

    def finish(self) -> None:
        self._results.finish()
        self._index.finish()


def read_coco_results(
    results_path: str | Path, index_path: str | Path
) -> tuple[dict[int, str], Iterator[ImageResult]]:
    """Class names by id, and the images of an index with their results.

    Raises:
        ValueError: Naming the file, if one of the two is not of that form.
    """
    index = fields.load_json_object(index_path)
    results = json.loads(Path(results_path).read_text(encoding="utf-8"))
    if not isinstance(results, list):
        raise ValueError(f"{results_path}: the top level must be a list")
    found: dict[int, list[dict]] = {}
    for result in results:
        found.setdefault(result["image_id"], []).append(result)
    images = fields.list_field(index, "images", index_path, required=True)
    strangers = sorted(set(found) - {image["id"] for image in images})
    if strangers:
        raise ValueError(f"{results_path}: images that {index_path} does not have: {strangers[:5]}")
    label_map = {category["id"]: category["name"] for category in index["categories"]}
    return label_map, (_image(image, found.get(image["id"], [])) for image in images)


def _image(entry: dict, results: list[dict]) -> ImageResult:
    reason, _, text = entry.get("failure", "").partition(": ")
    detections = []
    for result in results:
        x, y, width, height = result["bbox"]
        across, down = entry["width"], entry["height"]
        box = (y / down, x / across, (y + height) / down, (x + width) / across)
        detections.append(Detection(box, result["category_id"], result["score"]))
    return ImageResult(
        entry["file_name"],
        camera=entry.get("location", ""),
        seconds=parse_timestamp(entry.get("datetime")),
        width=entry["width"],
        height=entry["height"],
        burst=entry.get("seq_id", ""),
        detections=tuple(detections),
        failure=reason,
        failure_text=text,
    )


def _pixels(found: Detection, image: ImageResult) -> list[float]:
    """x, y, width, height in pixels: edges are rounded, then subtracted."""
    y1, x1, y2, x2 = found.box
    width, height = image.size
    left, right = _edges(x1 * width, x2 * width)
    top, bottom = _edges(y1 * height, y2 * height)
    return [left, top, round(right - left, PIXEL_DIGITS), round(bottom - top, PIXEL_DIGITS)]


def _edges(low: float, high: float) -> tuple[float, float]:
    """Rounded, a hundredth of a pixel apart at least, inside of the image."""
    low, high = round(low, PIXEL_DIGITS), round(high, PIXEL_DIGITS)
    unit = 10.0**-PIXEL_DIGITS
    if high > low:
        return low, high
    return (low, low + unit) if low < unit else (round(low - unit, PIXEL_DIGITS), high)
