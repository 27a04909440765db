"""A CSV table, one row per detection; images without any have a row, too.

Names come from folders that anybody may have filled, and spreadsheets run what starts like a
formula: such a text gets an apostrophe in front, which spreadsheets take for "this is text" and
`read_table` takes away.
"""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from context_rcnn.data.timestamps import format_timestamp, parse_timestamp
from context_rcnn.results.classes import Classes
from context_rcnn.results.numbers import corner_and_size, rounded_score, to_box
from context_rcnn.results.records import Detection, ImageResult

COLUMNS = (
    "file",
    "image_id",
    "camera",
    "datetime",
    "burst",
    "image_width",
    "image_height",
    "result",
    "class",
    "kind",
    "score",
    "suspect",
    "x",
    "y",
    "width",
    "height",
    "failure",
)
SCORE_DIGITS = 5
MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""The byte-order mark, without which Excel takes UTF-8 for something else."""
# What spreadsheets run, plain and full-width; the apostrophe itself, so that it can be undone.
_RUNS = tuple("=+-@\t\r\n＝＋－＠'")  # noqa: RUF001


class TableWriter:
    """Writes images one by one. Texts are quoted, numbers are not."""

    def __init__(self, file: TextIO, classes: Classes):
        self._classes = classes
        file.write(MARK)
        self._table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        self._table.writerow(COLUMNS)

    def add(self, image: ImageResult) -> None:
        dated = "" if image.seconds is None else format_timestamp(image.seconds)
        start = [
            *(as_text(name) for name in (image.file, image.image_id, image.camera)),
            dated,
            as_text(image.burst),
            "" if image.width is None else image.width,
            "" if image.height is None else image.height,
        ]
        if image.failure:
            text = as_text(f"{image.failure}: {image.failure_text}".rstrip(": "))
            self._table.writerow([*start, "failure", *[""] * 8, text])
        elif not image.detections:
            self._table.writerow([*start, "empty", *[""] * 9])
        for found in image.detections:
            row = [
                *start,
                "detection",
                as_text(self._classes.names[found.class_id]),
                self._classes.kinds[found.class_id],
                rounded_score(found.score, SCORE_DIGITS),
                int(found.score < 0),
                *corner_and_size(found.box),
                "",
            ]
            self._table.writerow(row)

    def finish(self) -> None:
        """Nothing follows the last row."""


def as_text(text: str) -> str:
    """The text, so that no spreadsheet runs it."""
    return f"'{text}" if text.lstrip(" ").startswith(_RUNS) else text


def from_text(text: str) -> str:
    """What `as_text` was given."""
    return text[1:] if text.startswith("'") else text


def read_table(path: str | Path, label_map: dict[int, str]) -> Iterator[ImageResult]:
    """Images of a table, lazily, with classes by the ids of a label map.

    Raises:
        ValueError: Naming the file, if its columns are not those written here.
    """
    ids = {name: i for i, name in label_map.items()}
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: needs the columns {', '.join(COLUMNS)}")
        for _, group in itertools.groupby(rows, key=lambda row: row["file"]):
            image = list(group)
            yield _image(image, ids)


def _image(rows: list[dict[str, str]], ids: dict[str, int]) -> ImageResult:
    row = rows[0]
    reason, _, text = from_text(row["failure"]).partition(": ")
    return ImageResult(
        file=from_text(row["file"]),
        image_id=from_text(row["image_id"]),
        camera=from_text(row["camera"]),
        seconds=parse_timestamp(row["datetime"]),
        width=int(row["image_width"]) if row["image_width"] else None,
        height=int(row["image_height"]) if row["image_height"] else None,
        burst=from_text(row["burst"]),
        detections=tuple(
            Detection(
                to_box([float(found[name]) for name in ("x", "y", "width", "height")]),
                ids[from_text(found["class"])],
                float(found["score"]),
            )
            for found in rows
            if found["result"] == "detection"
        ),
        failure=reason,
        failure_text=text,
    )
