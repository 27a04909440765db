"""Annotations as XML, as CityCam, ImageNet and CVAT have them: safe parsing, and boxes."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from context_rcnn.data.failures import Reason

_RAW_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#[xX][0-9a-fA-F]+);)")
_DECLARATION = re.compile(r"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_MAX_XML_BYTES = 10_000_000


class BadObject(Exception):
    """An annotated object that cannot be used, and why."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


def parse_xml(path: Path, most_bytes: int = _MAX_XML_BYTES) -> ElementTree.Element:
    """Root of an annotation file, raw ampersands repaired.

    Args:
        path: file with the annotations of one image, or of as many as `most_bytes` allow.
        most_bytes: size from which a file is refused.

    Raises:
        ValueError: If it is ill-formed, or declares a document type or entities: annotations need
            neither, and entities that expand without end could fill the memory.
    """
    data = path.read_bytes()
    if len(data) > most_bytes:
        raise ValueError(f"{len(data)} bytes is too large for these annotations")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = data.decode("latin-1")
    if _DECLARATION.search(content):
        raise ValueError("declares a document type or entities; refused")
    content = re.sub(r"^\s*<\?xml.*?\?>", "", content, flags=re.DOTALL)
    try:
        return ElementTree.fromstring(_RAW_AMPERSAND.sub("&amp;", content))
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"ill-formed XML: {error}") from error


def read_edges(element: ElementTree.Element) -> tuple[float, float, float, float]:
    """xmin, ymin, xmax, ymax of an object's `bndbox`; raises `BadObject`."""
    tags = ("xmin", "ymin", "xmax", "ymax")
    read = [read_number(element.findtext(f"bndbox/{tag}")) for tag in tags]
    edges = [edge for edge in read if edge is not None]
    if len(edges) < len(tags):
        raise BadObject(Reason.BAD_BOX, "bndbox needs four numbers")
    xmin, ymin, xmax, ymax = edges
    if xmin >= xmax or ymin >= ymax:
        raise BadObject(Reason.BAD_BOX, f"edges without area: {edges}")
    return xmin, ymin, xmax, ymax


def read_number(value: str | None) -> float | None:
    """The number that a text says, None if it says none."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None
