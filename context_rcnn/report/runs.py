"""A run's evaluation, read from its files and checked, as arrays.

Read are metrics.json, groundtruth_coco.json and detections_coco.json, as
`evaluation.results.write_results` leaves them. Images are known by their ids (`file_name`), since
two runs may number them differently.
"""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FILES = ("metrics.json", "groundtruth_coco.json", "detections_coco.json")
_METRICS = {
    "images": int,
    "empty_images": int,
    "boxes": int,
    "mAP@.5": float,
    "AR@1": float,
    "per_class": dict,
    "per_camera": dict,
    "false_positives_per_1000_empty_images": dict,
}


@dataclasses.dataclass(frozen=True)
class Boxes:
    """Boxes of all images, side by side in the images' order.

    `offsets` [images + 1] says where each image's begin; `edges` [boxes, 4] are x1 y1 x2 y2 as
    fractions of the image.
    """

    offsets: np.ndarray
    edges: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def of(self, image: int) -> slice:
        return slice(int(self.offsets[image]), int(self.offsets[image + 1]))


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        folder: Folder of the evaluation.
        metrics: The content of metrics.json.
        image_ids: Ids of the images, in the order of the files.
        sizes: [images, 2], width and height.
        class_names: Names of the classes by category id.
        truth, found: Labelled and detected boxes.
    """

    folder: str
    metrics: dict[str, Any]
    image_ids: tuple[str, ...]
    sizes: np.ndarray
    class_names: dict[int, str]
    truth: Boxes
    found: Boxes

    @property
    def step(self) -> int | None:
        step = self.metrics.get("step")
        return step if isinstance(step, int) else None

    def is_empty(self, image: int) -> bool:
        part = self.truth.of(image)
        return part.start == part.stop


def evaluation_folder(path: str, flag: str) -> str:
    """The folder with the results: `path` itself, or its newest evaluation/step-N.

    Raises:
        ValueError: Naming the flag, if there is none.
    """
    if os.path.exists(os.path.join(path, FILES[0])):
        return path
    steps = {}
    for parent in (os.path.join(path, "evaluation"), path):
        for name in os.listdir(parent) if os.path.isdir(parent) else ():
            match = re.fullmatch(r"step-(\d+)", name)
            if match and os.path.exists(os.path.join(parent, name, FILES[0])):
                steps[int(match[1])] = os.path.join(parent, name)
    if not steps:
        raise ValueError(
            f"{flag}={path}: neither {FILES[0]} nor evaluation/step-N/{FILES[0]} is there; a "
            "run writes them when it evaluates (context-rcnn train --mode=eval)"
        )
    return steps[max(steps)]


def read_run(path: str, flag: str) -> Run:
    """Reads a run's newest evaluation, or a given one.

    Raises:
        ValueError: Naming file and field, where something is missing or is not what it should be.
    """
    folder = evaluation_folder(path, flag)
    metrics_file, truth_file, found_file = (os.path.join(folder, name) for name in FILES)
    metrics = _read_metrics(metrics_file)
    truth = _read_json(truth_file, dict)
    images = _rows(truth, "images", truth_file)
    if not images:
        raise ValueError(f"{truth_file}: 'images' is empty: nothing was evaluated")
    ids = tuple(_field(row, "file_name", str, truth_file, i) for i, row in enumerate(images))
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise ValueError(f"{truth_file}: 'images' holds the file_name {twice!r:.200} twice")
    sizes = _numbers([(row.get("width"), row.get("height")) for row in images], 2, truth_file)
    if (sizes <= 0).any():
        row = int(np.argmax((sizes <= 0).any(axis=1)))
        raise ValueError(f"{truth_file}: image {row}: 'width' and 'height' must be above 0")
    class_names = {
        _field(row, "id", int, truth_file, i): _field(row, "name", str, truth_file, i)
        for i, row in enumerate(_rows(truth, "categories", truth_file))
    }
    places = {_field(row, "id", int, truth_file, i): i for i, row in enumerate(images)}
    known = (places, class_names, sizes)
    return Run(
        folder=folder,
        metrics=metrics,
        image_ids=ids,
        sizes=sizes,
        class_names=class_names,
        truth=_boxes(_rows(truth, "annotations", truth_file), known, truth_file, scored=False),
        found=_boxes(_read_json(found_file, list), known, found_file, scored=True),
    )


def _boxes(
    rows: Sequence[Any],
    known: tuple[Mapping[int, int], Mapping[int, str], np.ndarray],
    file: str,
    *,
    scored: bool,
) -> Boxes:
    """Rows of a COCO file, ordered by image and then best first."""
    places, class_names, sizes = known
    for i, row in enumerate(rows):
        if _field(row, "image_id", int, file, i) not in places:
            raise ValueError(f"{file}: row {i}: 'image_id' {row['image_id']} is of no image")
        if _field(row, "category_id", int, file, i) not in class_names:
            raise ValueError(f"{file}: row {i}: 'category_id' {row['category_id']} is of no class")
    images = np.array([places[row["image_id"]] for row in rows], np.int64)
    edges = _numbers([row.get("bbox") for row in rows], 4, file, "bbox")
    scores: np.ndarray = np.ones(len(rows))
    if scored:
        scores = _numbers([[row.get("score")] for row in rows], 1, file, "score")[:, 0]
    order = np.lexsort((-scores, images))
    edges, images = edges[order], images[order]
    edges[:, 2:] += edges[:, :2]
    return Boxes(
        offsets=np.searchsorted(images, np.arange(len(sizes) + 1)),
        edges=edges / np.tile(sizes[images], 2),
        scores=scores[order],
        classes=np.array([row["category_id"] for row in rows], np.int64)[order],
    )


def _read_metrics(file: str) -> dict[str, Any]:
    metrics = _read_json(file, dict)
    for name, kind in _METRICS.items():
        value = metrics.get(name, ...)
        undefined = value is None and kind is float
        if not undefined and not isinstance(value, (int, float) if kind is float else kind):
            found = "missing" if value is ... else f"{value!r:.80}"
            raise ValueError(f"{file}: '{name}' is {found}, expected {kind.__name__}")
    for name in ("per_class", "per_camera", "false_positives_per_1000_empty_images"):
        for key, row in metrics[name].items():
            if not isinstance(row, dict):
                raise ValueError(f"{file}: '{name}' of {key!r:.80} is {row!r:.80}, expected dict")
            for field, value in row.items():
                if value is not None and not isinstance(value, (int, float)):
                    raise ValueError(
                        f"{file}: '{field}' of {key!r:.80} is {value!r:.80}, expected a number"
                    )
    return metrics


def _read_json(file: str, kind: type) -> Any:
    try:
        with open(file, encoding="utf-8") as stream:
            content = json.load(stream, parse_constant=_refuse)
    except FileNotFoundError:
        raise ValueError(f"{file} is missing; evaluate the run again") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{file}: expected a JSON {kind.__name__}")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _rows(content: Mapping[str, Any], name: str, file: str) -> list[Any]:
    if not isinstance(content.get(name), list):
        raise ValueError(f"{file}: '{name}' is missing or no list")
    return content[name]


def _field(row: Any, name: str, kind: type, file: str, place: int) -> Any:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(
            f"{file}: row {place}: '{name}' is {value!r:.80}, expected {kind.__name__}"
        )
    return value


def _numbers(
    rows: Sequence[Any], width: int, file: str, field: str = "width, height"
) -> np.ndarray:
    """Finite numbers [rows, width]; the first row that is none is named."""
    try:
        values = np.array(rows, np.float64).reshape(len(rows), width)
        if np.isfinite(values).all():
            return values
    except (TypeError, ValueError):
        pass
    for i, row in enumerate(rows):
        try:
            if np.isfinite(np.array(row, np.float64).reshape(width)).all():
                continue
        except (TypeError, ValueError):
            pass
        raise ValueError(f"{file}: row {i}: '{field}' is {row!r:.80}, expected {width} numbers")
    raise ValueError(f"{file}: '{field}' cannot be read")
