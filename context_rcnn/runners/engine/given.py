"""Boxes of another detector for a model that names given boxes, from MegaDetector's results."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from context_rcnn.data import console
from context_rcnn.data.readers.megadetector import read_megadetector
from context_rcnn.export.exported import GivenImage
from context_rcnn.runners.engine.model import Model


class GivenBoxes:
    """The animals of a file of results, image by image.

    Args:
        path: file in MegaDetector's format, whose names start from the folder of the images.

    Attributes:
        hash: hash of the file's content.
        failures: what could not be read of it.
    """

    def __init__(self, path: str):
        results = read_megadetector(path)
        self._path, self._animals = path, results.animals
        self.failures = results.failures
        self.hash = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()

    def of(self, file: str, encoded: bytes) -> GivenImage:
        """An image with its boxes; without any where the results do not name it."""
        animals = self._animals.get(file, ())
        boxes = np.array([[a.ymin, a.xmin, a.ymax, a.xmax] for a in animals], np.float32)
        scores = np.array([a.score for a in animals], np.float32)
        return GivenImage(encoded, boxes.reshape(-1, 4), scores)

    def unnamed(self, files: Iterable[str]) -> str:
        """A line on the images that the results do not name, "" if there are none.

        Raises:
            ValueError: If they name none at all.
        """
        number, missing, example = 0, 0, ""
        for file in files:
            number += 1
            if file not in self._animals:
                missing, example = missing + 1, example or file
        if not missing:
            return ""
        if missing == number:
            named = next(iter(self._animals), "nothing")
            raise ValueError(
                f"--detections {self._path} names none of the images: it has {named!r}, the folder "
                f"has {example!r}; both must be relative to the same folder"
            )
        return (
            f"{missing:,} of {number:,} images are not in {self._path}, and get no boxes, such as "
            f"{console.shown(example)}"
        )


def check_takes_boxes(model: Model, given: bool) -> None:
    """Refuses a model that names given boxes without boxes, and boxes for any other.

    Raises:
        ValueError: Saying which flag is missing or too many.
    """
    wants = bool(model.description.get("proposals"))
    if wants and not given:
        raise ValueError(
            "this model names the boxes of another detector: give MegaDetector's results with "
            "--detections"
        )
    if given and not wants:
        raise ValueError(
            "--detections: this model finds its boxes itself; --detections is for models that name "
            "the boxes of another detector"
        )
