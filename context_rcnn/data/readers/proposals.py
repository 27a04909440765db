"""Proposals of another detector, such as DeepMask, from JSON files in COCO's results format.

A file is a list of `{"image_id": ..., "bbox": [x, y, width, height], "score": ...}`, boxes in
pixels of the annotated image. A list may be long: it is read entry by entry, and kept as five
float32 a box.
"""

import array
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from context_rcnn.data import fields
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.prepare import failure_of
from context_rcnn.data.records import ImageRecord

STAGE = "proposals"
_PIECE = 1 << 20  # characters
_LARGEST = 64 * _PIECE  # of an item
_SPACES = re.compile(r"\s*")
_DECODE = json.JSONDecoder().raw_decode


@dataclasses.dataclass
class ProposalFiles:
    """Boxes of each image as float32 x1, y1, x2, y2, score; and what could not be used.

    Attributes:
        boxes: by image id.
        bad: entries of each image that are no boxes, and an example.
        failures: entries that name no image.
    """

    boxes: dict[str, array.array] = dataclasses.field(default_factory=dict)
    bad: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    failures: list[Failure] = dataclasses.field(default_factory=list)


def read_proposals(paths: Iterable[str | Path]) -> ProposalFiles:
    """The proposals of several files.

    Raises:
        ValueError: If a file is not JSON, or no list.
    """
    read = ProposalFiles()
    for path in paths:
        with open(path, encoding="utf-8-sig") as file:
            for position, entry in enumerate(_Items(file, path)):
                _read_entry(entry, f"{path}[{position}]", read)
    return read


def add_proposals(
    by_split: dict[str, list[ImageRecord]],
    read: ProposalFiles,
    failures: list[Failure],
    notes: Counter,
) -> dict[str, list[ImageRecord]]:
    """The records with their proposals.

    Args:
        by_split: records of each split.
        read: the files.
        failures: gets one failure for each image with entries that are no boxes.
        notes: gets the counts.

    Raises:
        ValueError: If the files name none of the images.
    """
    known: set[str] = set()
    given = {}
    for split, records in by_split.items():
        given[split] = [_with_proposals(record, read, failures, notes) for record in records]
        known.update(record.image_id for record in records)
    named = read.boxes.keys() | read.bad.keys()
    if known and named and not known & named:
        raise ValueError(
            f"the proposals name none of the images: they have {min(named)!r}, the archive has "
            f"{min(known)!r}"
        )
    failures.extend(read.failures)
    notes["proposals_of_unknown_images"] += len(named - known)
    return given


def _with_proposals(
    record: ImageRecord, read: ProposalFiles, failures: list[Failure], notes: Counter
) -> ImageRecord:
    boxes = read.boxes.get(record.image_id, array.array("f"))
    notes["proposals"] += len(boxes) // 5
    notes["images_without_proposals"] += not boxes
    if record.image_id in read.bad:
        count, example = read.bad[record.image_id]
        notes["proposals_that_are_no_boxes"] += count
        detail = f"{count} proposals are no boxes, such as {example}"
        failures.append(failure_of(record, STAGE, Reason.BAD_DETECTION, detail, "annotation"))
    return dataclasses.replace(record, proposals=boxes.tobytes())


def _read_entry(entry: object, where: str, read: ProposalFiles) -> None:
    entry = entry if isinstance(entry, dict) else {}
    image_id = fields.identifier(entry.get("image_id"))
    if image_id is None:
        found = str(entry.get("image_id"))[:80]
        detail = f"{where}: field 'image_id' must be an id, is {found!r}"
        read.failures.append(Failure(STAGE, Reason.BAD_DETECTION, detail, lost="annotation"))
        return
    score, box = fields.number(entry.get("score")), fields.quadruple(entry.get("bbox"))
    if score is None or box is None or min(box[2:]) <= 0:
        count, example = read.bad.get(image_id, (0, ""))
        found = f"bbox {entry.get('bbox')!r}, score {entry.get('score')!r}"[:120]
        read.bad[image_id] = (count + 1, example or found)
        return
    x, y, width, height = box
    boxes = read.boxes.setdefault(image_id, array.array("f"))
    boxes.extend((x, y, x + width, y + height, score))


class _Items:
    """The items of a long JSON list, one after the other."""

    def __init__(self, file: TextIO, path: str | Path):
        self._file, self._path = file, path
        self._text, self._at = "", 0

    def __iter__(self) -> Iterator[object]:
        if self._next_character() != "[":
            raise ValueError(f"{self._path}: the top level must be a list")
        self._at += 1
        if self._next_character() == "]":
            return
        while True:
            self._next_character()
            yield self._decode()
            separator = self._next_character()
            self._at += 1
            if separator == "]":
                return
            if separator != ",":
                raise self._error(f"expected ',' or ']', found {separator!r}")

    def _decode(self) -> object:
        while True:
            try:
                item, end = _DECODE(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) > _LARGEST or not self._read_on():
                    raise self._error(str(error)) from None
                continue
            # A number that ends the text may go on in the next piece.
            if end < len(self._text) or not self._read_on():
                self._at = end
                return item

    def _next_character(self) -> str:
        """The next one that is no space, without passing it."""
        while True:
            self._at = _SPACES.match(self._text, self._at).end()  # type: ignore[union-attr]  # empty matches
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                raise self._error("it ends early")

    def _read_on(self) -> bool:
        piece = self._file.read(_PIECE)
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{self._path}: not a JSON file: {what}")
