"""SpeciesNet's predictions: version 5 is written, version 5 and the older 4 are read.

https://github.com/google/cameratrapai
"""

import dataclasses
from pathlib import Path
from typing import Any, TextIO

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
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"
GENERIC: dict[Kind, str] = {
    "animal": "1f689929-883d-4dae-958c-3d57ab5b6c16;;;;;;animal",
    "human": "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human",
    "vehicle": "e2895ed5-780b-48f6-8a11-9e27cb594511;;;;;;vehicle",
}
"""SpeciesNet's own names of what is no species."""


class SpeciesNetWriter:
    """Writes images one by one. Suspect detections are left out: no reader would know them.

    In version 5 each detection has its class. In version 4, which version 5 refuses to read, the
    image as a whole has it: `classifications`, best first, and `prediction`, that of
    the best detection, or blank if none reaches the threshold.
    """

    def __init__(
        self,
        file: TextIO,
        header: Header,
        classes: Classes,
        options: SpeciesNetOptions,
        threshold: float,
    ):
        self._classes, self._threshold = classes, threshold
        self._version = f"{header.model} {header.model_version}"
        self._root = options.root.replace("\\", "/").rstrip("/")
        self._place = {
            name: getattr(options, name)
            for name in ("country", "admin1_region")
            if getattr(options, name)
        }
        self._of_image = options.version == 4
        info: dict[str, Any] = {"info": {"format_version": FORMAT_VERSION}}
        self._list = JsonList(file, {} if self._of_image else info, "predictions")

    def add(self, image: ImageResult) -> None:
        if image.frame_rate is not None:
            return  # it knows no videos
        path = f"{self._root}/{image.file}" if self._root else image.file
        entry: dict[str, object] = {"filepath": path}
        if image.failure:
            entry["failures"] = FAILURES
        entry |= self._place
        if not image.failure:
            found = [one for one in image.detections if one.score >= 0]
            if self._of_image:
                entry |= self._whole_image(found)
            entry["detections"] = [self._detection(one) for one in found]
        self._list.add(entry | {"model_version": self._version})

    def finish(self) -> None:
        self._list.finish()

    def _whole_image(self, found: list[Detection]) -> dict[str, object]:
        scores: dict[str, float] = {}
        for one in sorted(found, key=lambda one: -one.score):
            scores.setdefault(self._name(one), round(one.score, SCORE_DIGITS))
        best = max(found, key=lambda one: one.score, default=None)
        name, source = BLANK, "detector"
        score = 1 - (best.score if best else 0)
        if best is not None and best.score >= self._threshold:
            name, score = self._name(best), best.score
            source = "detector" if self._classes.is_generic(best.class_id) else "classifier"
        return {
            "classifications": {"classes": list(scores), "scores": list(scores.values())},
            "prediction": name,
            "prediction_score": round(score, SCORE_DIGITS),
            "prediction_source": source,
        }

    def _name(self, found: Detection) -> str:
        if self._classes.is_generic(found.class_id):
            return GENERIC[self._classes.kinds[found.class_id]]
        return self._classes.seven_parts(found.class_id)

    def _detection(self, found: Detection) -> dict[str, object]:
        kind = self._classes.kinds[found.class_id]
        score = round(found.score, SCORE_DIGITS)
        entry: dict[str, object] = {
            "category": CATEGORIES[kind],
            "label": kind,
            "conf": score,
            "bbox": corner_and_size(found.box),
        }
        if not self._of_image and not self._classes.is_generic(found.class_id):
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
