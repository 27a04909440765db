"""Reader of COCO Camera Traps JSON, as it is found in the wild.

Format: https://lila.science/coco-camera-traps. Also read are `date_captured` for `datetime`, ids
and locations that are numbers, iWildCam's `sub_location`, and files that lack any optional field,
such as the COCO exports of CVAT and Label Studio.

A file that is unusable as a whole raises ValueError. Anything smaller becomes a failure record and
the rest is read on.
"""

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from context_rcnn.data import fields
from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.readers.drawn import LOCAL_FILES, file_of
from context_rcnn.data.records import (
    Archive,
    Box,
    ImageRecord,
    LabelState,
    Visibility,
    is_empty_class,
    resolve_labels,
)
from context_rcnn.data.timestamps import ClockError, parse_timestamp

STAGE = "coco_camera_traps"
DATE_FIELDS = ("datetime", "date_captured")


@dataclasses.dataclass
class _Labels:
    """Annotations of one image."""

    names: set[str] = dataclasses.field(default_factory=set)
    boxes: list[Box] = dataclasses.field(default_factory=list)


def read_coco_camera_traps(
    path: str | Path,
    camera_namer: CameraNamer | None = None,
    clocks: CameraClocks = UNCORRECTED,
) -> Archive:
    """Images, labels and problems of a COCO Camera Traps file.

    Args:
        path: The JSON file.
        camera_namer: Names the camera of images without a `location`; by folder if None.
        clocks: Corrections of clocks that were wrong.

    Returns:
        The archive. Images without annotations are unlabelled; images whose only annotation is the
        class "empty" (or "blank") are empty. An annotation without a box labels the whole image;
        one that stands beside boxes of other classes makes the image IMAGE_LEVEL, boxes and all.

    Raises:
        ValueError: If the file is not JSON, not an object, or its lists are not lists.
    """
    document = fields.load_json_object(path)
    images = fields.list_field(document, "images", path, required=True)
    annotations = fields.list_field(document, "annotations", path, required=False)
    categories = fields.list_field(document, "categories", path, required=bool(annotations))
    reader = _Reader(camera_namer or CameraNamer(), clocks)
    reader.read_images(images)
    reader.read_categories(categories)
    reader.read_annotations(annotations)
    return reader.archive(len(images))


class _Reader:
    """Collects one file, list by list."""

    def __init__(self, camera_namer: CameraNamer, clocks: CameraClocks):
        self._camera_namer, self._clocks = camera_namer, clocks
        self._images: dict[str, ImageRecord] = {}
        self._lost_ids: set[str] = set()
        self._categories: dict[str, str] = {}
        self._labels: defaultdict[str, _Labels] = defaultdict(_Labels)
        self._failures: list[Failure] = []
        self._notes: Counter = Counter()

    def read_images(self, entries: list) -> None:
        for position, entry in enumerate(entries):
            record = self._read_image(entry, f"images[{position}]")
            if record is not None:
                self._images[record.image_id] = record
            elif isinstance(entry, dict):
                self._lost_ids.add(fields.identifier(entry.get("id")) or "")

    def read_categories(self, entries: list) -> None:
        for position, entry in enumerate(entries):
            entry = entry if isinstance(entry, dict) else {}
            category_id = fields.identifier(entry.get("id"))
            name = fields.text(entry.get("name"))
            if category_id is None or name is None or category_id in self._categories:
                self._fail(
                    Reason.BAD_CATEGORY,
                    f"categories[{position}]: needs a new 'id' and a 'name'",
                    lost="annotation",
                )
                continue
            self._categories[category_id] = name

    def read_annotations(self, entries: list) -> None:
        seen = set()
        for position, entry in enumerate(entries):
            where = f"annotations[{position}]"
            if not isinstance(entry, dict):
                self._lose_annotation(
                    Reason.BAD_ANNOTATION, f"{where}: must be an object, is {fields.kind(entry)}"
                )
                continue
            image_id = fields.identifier(entry.get("image_id"))
            annotation_id = fields.identifier(entry.get("id"))
            if annotation_id is not None and annotation_id in seen:
                self._lose_annotation(
                    Reason.DUPLICATE_ANNOTATION,
                    f"{where}: id {annotation_id!r:.80} occurs before",
                    image_id,
                )
                continue
            seen.add(annotation_id)
            self._read_annotation(entry, where, image_id)

    def archive(self, images_listed: int) -> Archive:
        records = [self._labelled(record) for record in self._images.values()]
        names = dict.fromkeys(self._categories.values())
        return Archive(
            records=records,
            failures=self._failures,
            class_names=tuple(name for name in names if not is_empty_class(name)),
            images_listed=images_listed,
            notes=self._notes,
        )

    def _read_image(self, entry: Any, where: str) -> ImageRecord | None:
        if not isinstance(entry, dict):
            self._fail(Reason.BAD_RECORD, f"{where}: must be an object, is {fields.kind(entry)}")
            return None
        image_id = fields.identifier(entry.get("id"))
        file_name = fields.text(entry.get("file_name"))
        names = {"image_id": image_id or "", "file": file_name or ""}
        if image_id is None or file_name is None:
            missing = "id" if image_id is None else "file_name"
            found = fields.kind(entry.get(missing))
            self._fail(Reason.BAD_RECORD, f"{where}: field {missing!r} is {found}", **names)
            return None
        if image_id in self._images:
            self._fail(Reason.DUPLICATE_IMAGE, f"{where}: id occurs before", **names)
            return None
        if entry.get("corrupt") is True:
            self._fail(Reason.MARKED_CORRUPT, f"{where}: field 'corrupt' is true", **names)
            return None
        try:
            if LOCAL_FILES in file_name:
                file_name = file_of(file_name)
            file_name = normalise_file_name(file_name)
        except FileError as error:
            self._fail(error.reason, f"{where}: {error.detail}", **names)
            return None
        camera = self._camera(entry, file_name)
        if camera is None:
            self._fail(Reason.NO_CAMERA, f"{where}: no 'location', and no rule names it", **names)
            return None
        names["camera"] = camera
        return ImageRecord(
            image_id=image_id,
            file_name=file_name,
            camera=camera,
            seconds=self._seconds(entry, where, names),
            seq_id=fields.identifier(entry.get("seq_id")) or "",
            seq_num_frames=self._count(entry, "seq_num_frames", 0, 0, where, names),
            frame_num=self._count(entry, "frame_num", 0, -1, where, names),
            width=self._count(entry, "width", 1, None, where, names),
            height=self._count(entry, "height", 1, None, where, names),
        )

    def _camera(self, entry: dict, file_name: str) -> str | None:
        location = fields.identifier(entry.get("location"))
        if location is None:
            self._notes["camera_named_by_path"] += 1
            return self._camera_namer(file_name)
        sub_location = fields.identifier(entry.get("sub_location"))
        return location if sub_location is None else f"{location}_{sub_location}"

    def _seconds(self, entry: dict, where: str, names: dict) -> int | None:
        problem, correct = None, self._clocks.corrector(names["camera"])
        for field in DATE_FIELDS:
            text = entry.get(field) or None  # CVAT writes 0 for none
            try:
                seconds = parse_timestamp(text, correct=correct)
            except ClockError as error:
                problem = problem or (error.reason, f"{where}: field {field!r}: {error}")
            else:
                if seconds is not None:
                    return seconds
        if problem:
            self._fail(*problem, lost="date", **names)
        return None

    def _count(
        self, entry: dict, field: str, minimum: int, default: Any, where: str, names: dict
    ) -> Any:
        """A whole number, `default` if absent; anything else is reported and left out."""
        value = entry.get(field)
        if value is None:
            return default
        count = fields.whole_number(value, minimum)
        if count is None:
            detail = f"{where}: field {field!r} is {value!r:.80}"
            self._fail(Reason.BAD_FIELD, detail, lost="nothing", **names)
            return default
        return count

    def _read_annotation(self, entry: dict, where: str, image_id: str | None) -> None:
        if image_id in self._lost_ids and image_id not in self._images:
            return  # the image has a failure of its own
        if image_id not in self._images:
            found = entry.get("image_id")
            self._lose_annotation(Reason.UNKNOWN_IMAGE, f"{where}: image_id {found!r:.80}")
            return
        category_id = fields.identifier(entry.get("category_id"))
        name = None if category_id is None else self._categories.get(category_id)
        if name is None:
            detail = f"{where}: category_id {entry.get('category_id')!r:.80}"
            self._lose_annotation(Reason.UNKNOWN_CATEGORY, detail, image_id)
            return
        labels = self._labels[image_id]
        labels.names.add(name)
        try:
            box = _read_box(entry, name)
        except ValueError as error:
            self._lose_annotation(Reason.BAD_BOX, f"{where}: {error}", image_id)
            return
        if box is not None:
            labels.boxes.append(box)

    def _labelled(self, record: ImageRecord) -> ImageRecord:
        labels = self._labels.get(record.image_id)
        if labels is None:
            return record
        names = tuple(sorted(name for name in labels.names if not is_empty_class(name)))
        boxes = tuple(labels.boxes)
        state = resolve_labels(labels.names, boxes)
        if names and len(names) < len(labels.names):
            detail = f"labelled both empty and {', '.join(names)}; taken as not empty"
            self._lose_annotation(Reason.CONTRADICTORY_LABELS, detail, record.image_id)
        if boxes and state is not LabelState.BOXES:
            self._notes["images_with_boxes_of_some_classes_only"] += 1
        return dataclasses.replace(record, label_state=state, class_names=names, boxes=boxes)

    def _lose_annotation(self, reason: Reason, detail: str, image_id: str | None = None) -> None:
        record = None if image_id is None else self._images.get(image_id)
        names = {"image_id": image_id or ""}
        if record is not None:
            names |= {"file": record.file_name, "camera": record.camera}
        self._fail(reason, detail, lost="annotation", **names)

    def _fail(self, reason: Reason, detail: str, **names: Any) -> None:
        self._failures.append(Failure(STAGE, reason, detail, **names))


def _read_box(entry: dict, name: str) -> Box | None:
    """The box of an annotation, None if it has none; ValueError if it cannot be one."""
    field = next((key for key in ("bbox", "bbox_relative") if entry.get(key) not in (None, [])), "")
    if not field:
        return None
    corner_and_size = fields.quadruple(entry[field])
    if corner_and_size is None:
        raise ValueError(f"field {field!r} must be four finite numbers, is {entry[field]!r:.80}")
    x, y, width, height = corner_and_size
    if width <= 0 or height <= 0:
        raise ValueError(f"field {field!r} has no area: {entry[field]!r:.80}")
    if is_empty_class(name):
        raise ValueError(f"a box of class {name!r}")
    area = fields.number(entry.get("area"))
    return Box(
        xmin=x,
        ymin=y,
        xmax=x + width,
        ymax=y + height,
        label=name,
        relative=field == "bbox_relative",
        area=area if area is not None and area > 0 else None,
        seen=_read_visibility(entry),
    )


def _read_visibility(entry: dict) -> Visibility | None:
    """What a box shows, where a simulation says it."""
    look = entry.get("difficulty")
    return Visibility(look, look == "clear") if isinstance(look, str) else None
