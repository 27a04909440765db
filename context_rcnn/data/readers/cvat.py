"""Reader of CVAT's own export for images, `annotations.xml` of "CVAT for images 1.1".

https://docs.cvat.ai/docs/manual/advanced/xml_format/: an element per image, with its name, size
and shapes in pixels. CVAT does not say who looked at an image without shapes, so it is unlabelled
unless it has a tag called `empty` or `blank`.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from context_rcnn.data import fields
from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.drawn import (
    Drawing,
    DrawnArchive,
    Point,
    box_around,
    corners,
    turned,
)
from context_rcnn.data.readers.xml_annotations import parse_xml, read_number
from context_rcnn.data.records import Archive

STAGE = "cvat"
_MOST_BYTES = 500_000_000
_TAG = "tag"


def read_cvat(path: str | Path, camera_namer: CameraNamer | None = None) -> Archive:
    """All images of an export, in its order.

    Boxes, and the boxes around polygons, ellipses and masks, are boxes; a tag is a label of the
    whole image. Other shapes label the image, but have no box.

    Args:
        path: `annotations.xml`, taken out of the ZIP file.
        camera_namer: names the camera of a path; by default its folder.

    Raises:
        ValueError: If the file is no such export.
    """
    try:
        root = parse_xml(Path(path), _MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    images = root.findall("image")
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(
            f"{path}: not CVAT's export for images; choose the format 'CVAT for images 1.1'"
        )
    archive = DrawnArchive(STAGE, camera_namer or CameraNamer())
    for position, image in enumerate(images):
        where, name = f"image[{position}]", image.get("name") or ""
        if not name:
            archive.lose(where, "has no name")
            continue
        drawing = Drawing()
        for shape in image:
            _read_shape(archive, where, name, shape, drawing)
        width, height = (
            fields.whole_number(read_number(image.get(side)), minimum=1)
            for side in ("width", "height")
        )
        size = (width, height) if width and height else (None, None)
        archive.add(where, name, drawing, size)
    labels = (label.findtext("name") or "" for label in root.iterfind("meta//labels/label"))
    named = {name for record in archive.archive().records for name in record.class_names}
    return archive.archive(label for label in labels if label in named)


def _read_shape(
    archive: DrawnArchive, where: str, file: str, shape: ElementTree.Element, drawing: Drawing
) -> None:
    label = fields.text(shape.get("label"))
    if label is None:
        archive.fail(where, Reason.BAD_ANNOTATION, f"a {shape.tag} without label", file)
        return
    drawing.names.add(label)
    if shape.tag == _TAG:
        return
    try:
        points = _points(shape)
        if points is None:
            detail = f"a {shape.tag} has no box"
            archive.fail(where, Reason.BAD_ANNOTATION, detail, file)
            return
        drawing.boxes.append(box_around(points, label))
    except ValueError as error:
        archive.fail(where, Reason.BAD_BOX, f"{shape.tag}: {error}", file)


def _points(shape: ElementTree.Element) -> list[Point] | None:
    """Points in pixels that a shape lies between; None for a shape that has no box."""
    degrees = read_number(shape.get("rotation")) or 0.0
    if shape.tag == "box":
        xtl, ytl, xbr, ybr = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        centre = ((xtl + xbr) / 2, (ytl + ybr) / 2)
        return turned(corners(xtl, ytl, xbr - xtl, ybr - ytl), centre, degrees)
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        points = [tuple(read_number(number) for number in pair) for pair in pairs]
        if not all(len(point) == 2 and None not in point for point in points):
            raise ValueError("points must be pairs of numbers")
        return [(x, y) for x, y in points if x is not None and y is not None]
    if shape.tag == "ellipse" and not degrees:
        cx, cy, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
        return corners(cx - rx, cy - ry, 2 * rx, 2 * ry)
    if shape.tag == "mask":
        return corners(*_numbers(shape, "left", "top", "width", "height"))
    return None


def _numbers(shape: ElementTree.Element, *names: str) -> list[float]:
    found = [read_number(shape.get(name)) for name in names]
    numbers = [number for number in found if number is not None]
    if len(numbers) < len(names):
        raise ValueError(f"needs the numbers {', '.join(names)}")
    return numbers
