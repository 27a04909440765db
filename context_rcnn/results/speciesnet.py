"""SpeciesNet's predictions: version 5 is written, version 5 and the older 4 are read.

https://github.com/google/cameratrapai
"""

import dataclasses
from pathlib import Path
from typing import TextIO

from context_rcnn.data import fields
from context_rcnn.results.classes import Classes, Kind
from context_rcnn.results.json_list import JsonList
from context_rcnn.results.numbers import corner_and_size, to_box
from context_rcnn.results.options import SpeciesNetOptions
from context_rcnn.results.records import Detection, Header, ImageResult

FORMAT_VERSION = "20261015"
CATEGORIES: dict[Kind, str] = {"animal": "1", "human": "2", "vehicle": "3"}
FAILURES = ["CLASSIFIER", "DETECTOR"]  # the two stages that an image did not get to
SCORE_DIGITS = 5


class SpeciesNetWriter:
    """Writes images one by one. Suspect detections are left out: no reader would know them."""

    def __init__(self, file: TextIO, header: Header, classes: Classes, options: SpeciesNetOptions):
        self._classes = classes
        self._version = f"{header.model} {header.model_version}"
        self._root = options.root.replace("\\", "/").rstrip("/")
        self._place = {
            name: getattr(options, name)
            for name in ("country", "admin1_region")
            if getattr(options, name)
        }
        info = {"info": {"format_version": FORMAT_VERSION}}
        self._list = JsonList(file, info, "predictions")

    def add(self, image: ImageResult) -> None:
        if image.frame_rate is not None:
            return  # it knows no videos
        path = f"{self._root}/{image.file}" if self._root else image.file
        entry: dict[str, object] = {"filepath": path}
        if image.failure:
            entry["failures"] = FAILURES
        entry |= self._place
        if not image.failure:
            entry["detections"] = [
                self._detection(found) for found in image.detections if found.score >= 0
            ]
        self._list.add(entry | {"model_version": self._version})

    def finish(self) -> None:
        self._list.finish()

    def _detection(self, found: Detection) -> dict[str, object]:
        kind = self._classes.kinds[found.class_id]
        score = round(found.score, SCORE_DIGITS)
        entry: dict[str, object] = {
            "category": CATEGORIES[kind],
            "label": kind,
            "conf": score,
            "bbox": corner_and_size(found.box),
        }
        if not self._classes.is_generic(found.class_id):
            name = self._classes.seven_parts(found.class_id)
            entry["raw_classifications"] = {"classes": [name], "scores": [score]}
            entry["processed_classification"] = {
                "class": name,
                "score": score,
                "source": "classifier",
            }
        return entry


@dataclasses.dataclass(frozen=True)
class SpeciesNetPredictions:
    """The content of a file: class names by new ids, and images."""

    label_map: dict[int, str]
    images: list[ImageResult]


def read_speciesnet(path: str | Path) -> SpeciesNetPredictions:
    """Predictions of version 5 or 4. A class is SpeciesNet's seven parts, or else the label.

    In version 4 the image has the prediction: it goes to all its animals. Whole-image
    classifications of version 5 have no box and are left out.

    Raises:
        ValueError: Naming the file, if it is not one of these.
    """
    document = fields.load_json_object(path)
    entries = fields.list_field(document, "predictions", path, required=True)
    ids: dict[str, int] = {}
    try:
        images = [_image(entry, ids) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: not predictions of SpeciesNet: {type(error).__name__}: {error}"
        ) from error
    return SpeciesNetPredictions({i: name for name, i in ids.items()}, images)


def _image(entry: dict, ids: dict[str, int]) -> ImageResult:
    found = []
    for detection in entry.get("detections", ()):
        if detection["label"] == "whole_image_classification":
            continue
        name = detection["label"]
        if detection.get("processed_classification"):
            name = detection["processed_classification"]["class"]
        elif name == "animal" and entry.get("prediction"):
            name = entry["prediction"]
        class_id = ids.setdefault(name, len(ids) + 1)
        found.append(Detection(to_box(detection["bbox"]), class_id, float(detection["conf"])))
    return ImageResult(
        entry["filepath"],
        detections=tuple(found),
        failure=", ".join(entry.get("failures", ())),
    )
