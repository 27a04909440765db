"""Reader of CityCam / WebCamT, a data set of city traffic cameras, with its known dirt.

    <camera>/<camera>-<YYYYMMDD>-<HH>/NNNNNN.jpg and NNNNNN.xml
    train_test_separation/{Downtown,Parkway}_{Train,Test}.txt

Known dirt, and what is done: a raw `&` in the weather makes the XML ill-formed (repaired);
`<frame>` numbers repeat (the file name counts); boxes reach outside of the image (clipped later) or
have their edges exchanged (dropped and named); folders called "big..." hold special subsets
(passed over and counted).
"""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.fields import whole_number
from context_rcnn.data.readers.xml_annotations import BadObject, parse_xml, read_edges, read_number
from context_rcnn.data.records import Archive, Box, ImageRecord, LabelState
from context_rcnn.data.splits import Splits
from context_rcnn.data.timestamps import ClockError, parse_timestamp
from context_rcnn.data.walk import IMAGE_SUFFIXES

STAGE = "citycam"
SPLIT_FOLDER = "train_test_separation"
CLASS_NAMES = (
    "taxi",
    "black_sedan",
    "other_cars",
    "little_truck",
    "middle_truck",
    "big_truck",
    "van",
    "middle_bus",
    "big_bus",
    "other",
)
"""Names of vehicle types 1 to 10."""

_CLIP = re.compile(r"(?P<camera>.+)-\d{8}-\d{1,2}")


def read_citycam(root: str | Path, clocks: CameraClocks = UNCORRECTED) -> Archive:
    """All frames of all clips.

    Frames with an XML file are labelled, and empty if it names no vehicle. Frames without one, or
    with one that cannot be read, are unlabelled.

    Raises:
        ValueError: If there is no clip folder below `root`.
    """
    root = Path(root)
    notes: Counter = Counter()
    clips = _clip_folders(root, notes)
    if not clips:
        raise ValueError(
            f"{root}: no folder <camera>/<camera>-<YYYYMMDD>-<HH> with frames; "
            "give the folder that holds the camera folders"
        )
    failures: list[Failure] = []
    records = []
    images_listed = 0
    for clip in clips:
        frames, annotations = _clip_files(clip, notes)
        for stem in sorted(frames.keys() | annotations.keys()):
            first, *others = frames.get(stem, [f"{stem}.jpg"])
            images_listed += 1 + len(others)
            record = _base_record(root, clip, stem, first)
            for other in others:
                detail = f"{other} is a second image of frame {stem}"
                failures.append(_failure(record, Reason.DUPLICATE_IMAGE, detail))
            if stem not in frames:
                failures.append(_failure(record, Reason.MISSING_FILE, "an XML file without image"))
                continue
            if stem in annotations:
                record = _annotate(record, annotations[stem], clocks, failures)
            records.append(record)
    return Archive(records, failures, CLASS_NAMES, images_listed, notes)


def read_citycam_splits(root: str | Path) -> Splits | None:
    """Splits of the data set's own lists, by camera; None if it has none.

    Raises:
        ValueError: If the lists put one camera into two splits, or name no clip.
    """
    folder = Path(root) / SPLIT_FOLDER
    cameras: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*.txt")):
        split = path.stem.rpartition("_")[2].lower()
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if not line.strip():
                continue
            clip = line.strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
            match = _CLIP.fullmatch(clip)
            if match is None:
                raise ValueError(f"{path}, line {number}: {clip!r} is not a clip folder name")
            cameras.setdefault(split, set()).add(match["camera"])
    return Splits(cameras, source=str(folder)) if cameras else None


def _clip_folders(root: Path, notes: Counter) -> list[Path]:
    clips = []
    for camera in sorted(path for path in root.glob("*") if path.is_dir()):
        if camera.name == SPLIT_FOLDER:
            continue
        if camera.name.lower().startswith("big"):
            notes["big_folders_ignored"] += 1
            continue
        for clip in sorted(path for path in camera.glob("*") if path.is_dir()):
            if clip.name.lower().startswith("big"):
                notes["big_folders_ignored"] += 1
            elif _CLIP.fullmatch(clip.name):
                clips.append(clip)
            else:
                notes["other_folders_ignored"] += 1
    return clips


def _clip_files(clip: Path, notes: Counter) -> tuple[dict[str, list[str]], dict[str, Path]]:
    """Names of the images and paths of the annotations of a clip, by frame."""
    frames: dict[str, list[str]] = {}
    annotations = {}
    for path in sorted(clip.iterdir()):
        suffix = path.suffix.lower()
        if suffix == ".xml":
            annotations[path.stem] = path
        elif suffix in IMAGE_SUFFIXES:
            frames.setdefault(path.stem, []).append(path.name)
        else:
            notes["other_files_ignored"] += 1
    return frames, annotations


def _base_record(root: Path, clip: Path, stem: str, image_name: str) -> ImageRecord:
    folder = clip.relative_to(root).as_posix()
    return ImageRecord(
        image_id=f"{folder}/{stem}",
        file_name=f"{folder}/{image_name}",
        camera=clip.parent.name,
        seq_id=clip.name,
        frame_num=int(stem) if stem.isdecimal() and len(stem) < 18 else -1,
    )


def _annotate(
    record: ImageRecord, path: Path, clocks: CameraClocks, failures: list[Failure]
) -> ImageRecord:
    """The record with the labels of its XML file; what cannot be used goes to `failures`."""
    try:
        root = parse_xml(path)
    except ValueError as error:
        failures.append(
            _failure(record, Reason.BAD_ANNOTATION, f"{path.name}: {error}", "annotation")
        )
        return record
    seconds, correct = None, clocks.corrector(record.camera)
    try:
        seconds = parse_timestamp(root.findtext("time"), correct=correct)
    except ClockError as error:
        failures.append(_failure(record, error.reason, f"{path.name}: {error}", "date"))
    vehicles = root.findall("vehicle")
    boxes = []
    for position, vehicle in enumerate(vehicles):
        try:
            boxes.append(_read_vehicle(vehicle))
        except BadObject as error:
            detail = f"{path.name}: vehicle[{position}]: {error}"
            failures.append(_failure(record, error.reason, detail, "annotation"))
    state = LabelState.BOXES if boxes else LabelState.EMPTY
    if vehicles and not boxes:
        state = LabelState.UNLABELLED
    size = [whole_number(read_number(root.findtext(tag)), 1) for tag in ("width", "height")]
    return dataclasses.replace(
        record,
        seconds=seconds,
        label_state=state,
        class_names=tuple(sorted({box.label for box in boxes})),
        boxes=tuple(boxes),
        width=size[0],
        height=size[1],
    )


def _read_vehicle(vehicle: ElementTree.Element) -> Box:
    kind = whole_number(read_number(vehicle.findtext("type")), 1)
    if kind is None or kind > len(CLASS_NAMES):
        raise BadObject(
            Reason.UNKNOWN_CATEGORY, f"type {vehicle.findtext('type')!r:.40} is not 1 to 10"
        )
    xmin, ymin, xmax, ymax = read_edges(vehicle)
    return Box(xmin, ymin, xmax, ymax, CLASS_NAMES[kind - 1])


def _failure(record: ImageRecord, reason: Reason, detail: str, lost: Lost = "image") -> Failure:
    return Failure(
        STAGE, reason, detail, record.file_name, record.image_id, record.camera, lost=lost
    )
