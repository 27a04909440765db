"""Boxes for image-level labels, from MegaDetector results.

Context R-CNN (section 4) enlarges its training set this way: an image labelled with one species and
a class-agnostic detector that is sure there is an animal make a boxed example of that species.
Format: https://lila.science/megadetector-output-format, versions 1.0 to 1.6.
"""

import array
import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from context_rcnn.data import fields
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.records import Box, ImageRecord, LabelState

STAGE = "megadetector"
DEFAULT_MIN_SCORE = 0.9


@dataclasses.dataclass(frozen=True)
class Detection:
    """An animal, as fractions of the upright image."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    score: float


@dataclasses.dataclass
class MegaDetectorResults:
    """Animals by image file, and what could not be read."""

    animals: dict[str, list[Detection]]
    failures: list[Failure]


def read_megadetector(path: str | Path) -> MegaDetectorResults:
    """Animal detections of a MegaDetector batch file.

    Detections with a negative confidence were removed by repeat detection elimination and are
    passed over, as are people and vehicles.

    Raises:
        ValueError: If the file as a whole is not usable, or no category is named "animal".
    """
    document = fields.load_json_object(path)
    entries = fields.list_field(document, "images", path, required=True)
    categories = document.get("detection_categories")
    if not isinstance(categories, dict):
        raise ValueError(
            f"{path}: field 'detection_categories' must be an object, "
            f"found {fields.kind(categories)}"
        )
    animal_ids = {
        category_id
        for category_id, name in categories.items()
        if isinstance(name, str) and name.strip().lower() == "animal"
    }
    if not animal_ids:
        raise ValueError(f"{path}: no category named 'animal' among {list(categories.values())}")
    results = MegaDetectorResults({}, [])
    for position, entry in enumerate(entries):
        _read_image(entry, f"images[{position}]", animal_ids, results)
    return results


def box_image_labels(
    records: Iterable[ImageRecord],
    results: MegaDetectorResults,
    min_score: float = DEFAULT_MIN_SCORE,
) -> tuple[list[ImageRecord], Counter]:
    """Gives boxes to the images that have one image-level class and a certain detection.

    Returns:
        All records in their order, and counts of what was done with image-level labels. Images
        that get no box stay image-level.
    """
    counts: Counter = Counter()
    return [_box_one(record, results, min_score, counts) for record in records], counts


def propose_animals(
    record: ImageRecord, results: MegaDetectorResults, notes: Counter
) -> ImageRecord:
    """The record with its detections as proposals; `notes` gets the counts."""
    boxes = array.array("f")
    for animal in results.animals.get(record.file_name, ()):
        boxes.extend((animal.xmin, animal.ymin, animal.xmax, animal.ymax, animal.score))
    notes["proposals"] += len(boxes) // 5
    notes["images_without_proposals"] += not boxes
    return dataclasses.replace(record, proposals=boxes.tobytes(), relative_proposals=True)


def check_overlap(records: Iterable[ImageRecord], results: MegaDetectorResults) -> None:
    """ValueError if the results are about other files altogether (often another root folder)."""
    sample = None
    for record in records:
        if record.file_name in results.animals:
            return
        sample = sample or record.file_name
    if sample and results.animals:
        raise ValueError(
            "the MegaDetector file names none of the images: it has "
            f"{next(iter(results.animals))!r}, the archive has {sample!r}; "
            "both must be relative to the same folder"
        )


def _box_one(
    record: ImageRecord, results: MegaDetectorResults, min_score: float, counts: Counter
) -> ImageRecord:
    if record.label_state != LabelState.IMAGE_LEVEL:
        if record.label_state == LabelState.UNLABELLED and results.animals.get(record.file_name):
            counts["found_but_no_label"] += 1
        return record
    if len(record.class_names) != 1:
        counts["several_classes"] += 1
        return record
    if record.file_name not in results.animals:
        counts["not_in_results"] += 1
        return record
    (label,) = record.class_names
    boxes = tuple(
        Box(
            animal.xmin,
            animal.ymin,
            animal.xmax,
            animal.ymax,
            label,
            relative=True,
            score=animal.score,
        )
        for animal in results.animals[record.file_name]
        if animal.score >= min_score
    )
    if not boxes:
        counts["no_certain_animal"] += 1
        return record
    counts["boxed"] += 1
    # Without a stated size boxes are taken as upright, which is how MegaDetector sees images.
    return dataclasses.replace(
        record, boxes=boxes, label_state=LabelState.BOXES, width=None, height=None
    )


def _read_image(
    entry: object, where: str, animal_ids: set[str], results: MegaDetectorResults
) -> None:
    entry = entry if isinstance(entry, dict) else {}
    file_name = fields.text(entry.get("file"))

    def fail(reason: Reason, detail: str) -> None:
        results.failures.append(
            Failure(STAGE, reason, f"{where}: {detail}", file_name or "", lost="annotation")
        )

    if file_name is None:
        fail(Reason.BAD_DETECTION, "field 'file' must be a file name")
        return
    try:
        normalised = normalise_file_name(file_name)
    except FileError as error:
        fail(error.reason, error.detail)
        return
    detections = entry.get("detections")
    if detections is None:
        fail(Reason.DETECTOR_FAILURE, str(entry.get("failure") or "no detections")[:200])
        return
    if not isinstance(detections, list) or normalised in results.animals:
        fail(Reason.BAD_DETECTION, "a second entry of this file, or 'detections' is no list")
        return
    animals = results.animals[normalised] = []
    for position, detection in enumerate(detections):
        try:
            animals.extend(_read_detection(detection, animal_ids))
        except ValueError as error:
            fail(Reason.BAD_DETECTION, f"detections[{position}]: {error}")


def _read_detection(detection: object, animal_ids: set[str]) -> list[Detection]:
    """The detection if it is an animal that still stands."""
    if not isinstance(detection, dict):
        raise ValueError(f"must be an object, is {fields.kind(detection)}")
    score = fields.number(detection.get("conf"))
    if score is None or score > 1:
        raise ValueError(f"field 'conf' is {detection.get('conf')!r:.80}")
    if str(detection.get("category")) not in animal_ids or score < 0:
        return []
    corner_and_size = fields.quadruple(detection.get("bbox"))
    if corner_and_size is None or min(corner_and_size[2:]) <= 0:
        raise ValueError(f"field 'bbox' is {detection.get('bbox')!r:.80}")
    x, y, width, height = corner_and_size
    if max(corner_and_size) > 1.5:
        raise ValueError(f"field 'bbox' must be fractions, is {corner_and_size}")
    return [Detection(x, y, x + width, y + height, score)]
