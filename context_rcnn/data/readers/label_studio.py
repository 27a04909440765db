"""Reader of Label Studio's JSON export: a list of tasks, each with an image and its annotations.

https://labelstud.io/guide/export.html: places and sizes are in percent of the image as a browser
shows it, that is upright. An annotation that was submitted without any label says that the image is
empty; a task that was skipped, or that nobody did, is unlabelled. Predictions are no labels.
"""

from pathlib import Path
from typing import Any

from context_rcnn.data import fields
from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.drawn import (
    Drawing,
    DrawnArchive,
    Point,
    box_around,
    corners,
    file_of,
    turned,
)
from context_rcnn.data.records import Archive
from context_rcnn.data.walk import IMAGE_SUFFIXES

STAGE = "label_studio"
_IMAGE = "image"  # what Label Studio's own templates call it
_SHAPES = ("rectanglelabels", "polygonlabels", "ellipselabels")
_CLASSES = "choices"


def read_label_studio(path: str | Path, camera_namer: CameraNamer | None = None) -> Archive:
    """All images of an export, in its order.

    Rectangles, polygons and ellipses become the boxes around them; choices are labels of the whole
    image, and the choice `empty` or `blank` says that it is empty. If several people annotated an
    image, the annotation that is marked as ground truth counts, else the last one.

    Args:
        path: the JSON file, with whole tasks: the export "JSON", not "JSON-MIN".
        camera_namer: names the camera of a path; by default its folder.

    Raises:
        ValueError: If the file is not such an export.
    """
    tasks = fields.load_json_list(path)
    if tasks and not any(isinstance(task, dict) and "data" in task for task in tasks):
        raise ValueError(
            f"{path}: no tasks of Label Studio ('data' and 'annotations'); choose the export "
            "format JSON, not JSON-MIN"
        )
    archive = DrawnArchive(STAGE, camera_namer or CameraNamer())
    for position, task in enumerate(tasks):
        where = f"tasks[{position}]"
        text = _image_of(task)
        if text is None:
            archive.lose(where, "names no image in 'data'")
            continue
        file_name = file_of(text)
        drawing = Drawing()
        size: tuple[int | None, int | None] = (None, None)
        annotation = _annotation_of(task)
        if annotation is not None:
            drawing.seen = True
            results = [one for one in _dicts(annotation.get("result")) if "value" in one]
            for result in results:
                _read_result(archive, where, file_name, result, drawing)
            size = _size(results)
        archive.add(where, file_name, drawing, size)
    return archive.archive()


def _image_of(task: Any) -> str | None:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return None
    if fields.text(data.get(_IMAGE)):
        return data[_IMAGE]
    texts = [text for text in data.values() if fields.text(text)]
    images = [text for text in texts if file_of(text).lower().endswith(IMAGE_SUFFIXES)]
    return images[0] if len(images) == 1 else None


def _annotation_of(task: dict) -> dict | None:
    """The annotation of a task that counts."""
    done = [
        annotation
        for annotation in _dicts(task.get("annotations"))
        if not annotation.get("was_cancelled")
    ]
    true = [annotation for annotation in done if annotation.get("ground_truth")]
    counting = true or done
    return counting[-1] if counting else None


def _size(results: list[dict]) -> tuple[int | None, int | None]:
    for result in results:
        width = fields.whole_number(result.get("original_width"), minimum=1)
        height = fields.whole_number(result.get("original_height"), minimum=1)
        if width and height:
            return width, height
    return None, None


def _read_result(
    archive: DrawnArchive, where: str, file: str, result: dict, drawing: Drawing
) -> None:
    kind, value = result.get("type"), result.get("value")
    if not isinstance(value, dict) or not isinstance(kind, str):
        archive.fail(where, Reason.BAD_ANNOTATION, "a result without type and value", file)
        return
    labels = value.get(kind)
    names = [name for name in labels if fields.text(name)] if isinstance(labels, list) else []
    if not kind.endswith("labels") and kind != _CLASSES:
        return  # ratings, remarks and the like
    drawing.names |= set(names)
    if kind == _CLASSES:
        return
    if len(names) != 1:
        detail = f"{kind} with {len(names)} labels, not one"
        archive.fail(where, Reason.BAD_ANNOTATION, detail, file)
        return
    if kind not in _SHAPES:
        archive.fail(where, Reason.BAD_ANNOTATION, f"no box in {kind}", file)
        return
    try:
        points = [(x / 100, y / 100) for x, y in _points(result, kind, value)]
        drawing.boxes.append(box_around(points, names[0], relative=True))
    except ValueError as error:
        archive.fail(where, Reason.BAD_BOX, f"{kind}: {error}", file)


def _points(result: dict, kind: str, value: dict) -> list[Point]:
    """Points in percent that a shape lies between."""
    if result.get("image_rotation"):
        raise ValueError("drawn on an image that was turned in Label Studio")
    if kind == "polygonlabels":
        points = value.get("points")
        pairs = [_numbers(pair) for pair in points] if isinstance(points, list) else []
        if not all(len(pair) == 2 for pair in pairs):
            raise ValueError("points must be pairs of numbers")
        return [(x, y) for x, y in pairs]
    edges = ("x", "y", "width", "height")
    if kind == "ellipselabels":
        edges = ("x", "y", "radiusX", "radiusY")
    numbers = _numbers([value.get(edge) for edge in edges])
    if len(numbers) < len(edges):
        raise ValueError(f"needs the numbers {', '.join(edges)}")
    x, y, width, height = numbers
    degrees = fields.number(value.get("rotation")) or 0.0
    if kind == "ellipselabels":
        if degrees:
            raise ValueError("a turned ellipse")
        return corners(x - width, y - height, 2 * width, 2 * height)
    if not degrees:
        return corners(x, y, width, height)
    size = _size([result])
    if size[0] is None or size[1] is None:
        raise ValueError("a turned rectangle without original_width and original_height")
    across, down = size[0] / 100, size[1] / 100  # pixels of a percent: angles are right in pixels
    inner = corners(x * across, y * down, width * across, height * down)
    return [(x / across, y / down) for x, y in turned(inner, inner[0], degrees)]


def _numbers(values: Any) -> list[float]:
    numbers = [fields.number(value) for value in values] if isinstance(values, list) else []
    return [number for number in numbers if number is not None]


def _dicts(value: Any) -> list[dict]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
