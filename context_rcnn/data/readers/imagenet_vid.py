"""Reader of ImageNet VID (ILSVRC2015), videos whose objects are followed from frame to frame.

    Data/VID/train/ILSVRC2015_VID_train_0000/<video>/000000.JPEG    the middle folder in train only
    Data/VID/val/<video>/000000.JPEG
    Annotations/VID/<the same>/000000.xml

A video stands in the place of a camera, and is one burst. There is no clock: a frame's number is
its second after 2015 began. Classes are WordNet ids in the files, and words here.

Simulated videos have a file beside them that says what each box shows (docs/formats.md):

    Visibility/VID/<the same>.json

Detectors of videos also learn from still images of ImageNet DET, if they are there. Those with an
object of the same 30 classes make the split `det`; or those that a list names which FGFA, MEGA and
others have in common.

    Data/DET/train/ILSVRC2013_train/n02691156/n02691156_10037.JPEG
    Annotations/DET/train/<the same>.xml
    ImageSets/DET_train_30classes.txt                   or below ImageSets/VID
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.fields import whole_number
from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.readers.xml_annotations import BadObject, parse_xml, read_edges, read_number
from context_rcnn.data.records import Archive, Box, ImageRecord, LabelState, Visibility
from context_rcnn.data.splits import Splits
from context_rcnn.data.walk import IMAGE_SUFFIXES

STAGE = "imagenet_vid"
SPLITS = ("train", "val", "test")
STILLS = "det"
"""The split of still images."""
STILL_LIST = "DET_train_30classes.txt"
FIRST_SECOND = 1_420_070_400  # 2015-01-01 00:00:00
CLASS_NAMES = {
    "n02691156": "airplane",
    "n02419796": "antelope",
    "n02131653": "bear",
    "n02834778": "bicycle",
    "n01503061": "bird",
    "n02924116": "bus",
    "n02958343": "car",
    "n02402425": "cattle",
    "n02084071": "dog",
    "n02121808": "domestic_cat",
    "n02503517": "elephant",
    "n02118333": "fox",
    "n02510455": "giant_panda",
    "n02342885": "hamster",
    "n02374451": "horse",
    "n02129165": "lion",
    "n01674464": "lizard",
    "n02484322": "monkey",
    "n03790512": "motorcycle",
    "n02324045": "rabbit",
    "n02509815": "red_panda",
    "n02411705": "sheep",
    "n01726692": "snake",
    "n02355227": "squirrel",
    "n02129604": "tiger",
    "n04468005": "train",
    "n01662784": "turtle",
    "n04530566": "watercraft",
    "n02062744": "whale",
    "n02391049": "zebra",
}
"""In the data set's own order, which is that of class ids from 1."""


def read_imagenet_vid(root: str | Path) -> Archive:
    """All frames of all videos, and the still images that go with them.

    Frames with an annotation are labelled, and empty if it names no object. Frames without one, as
    all of `test`, or with one that cannot be read, are unlabelled. Objects in still images that are
    of none of the 30 classes are counted, and left out.

    Raises:
        ValueError: If `root` has no video.
    """
    root = Path(root)
    notes: Counter = Counter()
    records: list[ImageRecord] = []
    failures: list[Failure] = []
    listed = 0
    for split, video in _videos(root):
        frames = _frames(root / "Data" / "VID" / split / video, notes)
        annotations = root / "Annotations" / "VID" / split / video
        seen = _visibility(root, split, video, failures)
        stems = {path.stem for path in annotations.glob("*.xml")} if annotations.is_dir() else set()
        for stem in sorted(frames.keys() | stems):
            listed += 1
            record = _record(split, video, stem, frames)
            if stem not in frames:
                detail = "an XML file without image"
                failures.append(_failure(record, Reason.MISSING_FILE, detail))
                continue
            if stem in stems:
                record = _annotate(record, annotations / f"{stem}.xml", failures)
                record = _with_visibility(record, seen.get(stem, {}))
            records.append(record)
    if not listed:
        raise ValueError(
            f"{root}: no video Data/VID/<{' | '.join(SPLITS)}>/...; give the folder ILSVRC2015"
        )
    listed += _add_stills(root, records, failures, notes)
    return Archive(records, failures, tuple(CLASS_NAMES.values()), listed, notes)


def read_imagenet_vid_splits(root: str | Path) -> Splits:
    """The data set's own splits, by video."""
    videos: dict[str, set[str]] = {}
    for split, video in _videos(Path(root)):
        videos.setdefault(split, set()).add(_camera(split, video))
    if stills := _stills(Path(root)):
        videos[STILLS] = {_still_camera(name) for name in stills}
    return Splits(videos, source=str(Path(root) / "Data" / "VID"))


def _add_stills(
    root: Path, records: list[ImageRecord], failures: list[Failure], notes: Counter
) -> int:
    """Adds images of DET with an object of the classes; returns how many were looked at."""
    names = _stills(root)
    chosen = _still_list(root) is not None
    for name in names:
        paths = [root / "Data" / "DET" / "train" / f"{name}{end}" for end in (".JPEG", ".jpg")]
        record = ImageRecord(
            image_id=f"{STILLS}/{name}",
            file_name=next((p for p in paths if p.exists()), paths[0]).relative_to(root).as_posix(),
            camera=_still_camera(name),
            seconds=None,
        )
        found: list[Failure] = []
        labelled = _annotate(
            record, root / "Annotations" / "DET" / "train" / f"{name}.xml", found, notes
        )
        if not labelled.boxes and not found and not chosen:
            continue  # of other classes: not one of ours
        failures += found
        records.append(labelled)
    return len(names)


def _stills(root: Path) -> list[str]:
    """Images of DET, as `ILSVRC2013_train/n02691156/n02691156_10037`."""
    listed = _still_list(root)
    if listed is not None:
        lines = listed.read_text(encoding="utf-8").splitlines()
        names = {line.split()[0] for line in lines if line.strip()}
        try:
            return sorted(normalise_file_name(name.removeprefix("train/")) for name in names)
        except FileError as error:
            raise ValueError(f"{listed}: {error.detail}") from error
    folder = root / "Annotations" / "DET" / "train"
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.xml")
    )


def _still_list(root: Path) -> Path | None:
    paths = [root / "ImageSets" / place / STILL_LIST for place in ("", "VID")]
    return next((path for path in paths if path.exists()), None)


def _still_camera(name: str) -> str:
    return f"{STILLS}/{name.rpartition('/')[0] or name}"


def _videos(root: Path) -> list[tuple[str, str]]:
    """Split, and folder below it, of each video: a folder that holds files and no folders."""
    found = []
    for split in SPLITS:
        folder = root / "Data" / "VID" / split
        for path in sorted(folder.glob("*")):
            below = sorted(p for p in path.glob("*") if p.is_dir()) if path.is_dir() else []
            videos = below or ([path] if path.is_dir() else [])
            found += [(split, video.relative_to(folder).as_posix()) for video in videos]
    return found


def _frames(video: Path, notes: Counter) -> dict[str, str]:
    """Image file names by stem."""
    frames = {}
    for path in sorted(video.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.stem not in frames:
            frames[path.stem] = path.name
        else:
            notes["other_files_ignored"] += 1
    return frames


def _camera(split: str, video: str) -> str:
    return f"{split}/{video.rpartition('/')[2]}"


def _record(split: str, video: str, stem: str, frames: dict[str, str]) -> ImageRecord:
    number = int(stem) if stem.isdecimal() and len(stem) < 10 else -1
    camera = _camera(split, video)
    return ImageRecord(
        image_id=f"{camera}/{stem}",
        file_name=f"Data/VID/{split}/{video}/{frames.get(stem, f'{stem}.JPEG')}",
        camera=camera,
        seconds=FIRST_SECOND + number if number >= 0 else None,
        seq_id=camera,
        seq_num_frames=len(frames),
        frame_num=number,
    )


def _annotate(
    record: ImageRecord, path: Path, failures: list[Failure], notes: Counter | None = None
) -> ImageRecord:
    """The record with the labels of its XML file; what cannot be used goes to `failures`.

    With `notes`, objects of other classes are counted there instead.
    """
    try:
        root = parse_xml(path)
    except (OSError, ValueError) as error:
        failures.append(
            _failure(record, Reason.BAD_ANNOTATION, f"{path.name}: {error}", "annotation")
        )
        return record
    objects, boxes = root.findall("object"), []
    for position, element in enumerate(objects):
        try:
            name = (element.findtext("name") or "").strip()
            if name not in CLASS_NAMES and notes is not None:
                notes["objects_of_other_classes"] += 1
                continue
            if name not in CLASS_NAMES:
                raise BadObject(Reason.UNKNOWN_CATEGORY, f"name {name!r:.40} is not of the 30")
            track = (element.findtext("trackid") or "").strip()
            boxes.append(Box(*read_edges(element), CLASS_NAMES[name], track=track))
        except BadObject as error:
            detail = f"{path.name}: object[{position}]: {error}"
            failures.append(_failure(record, error.reason, detail, "annotation"))
    state = LabelState.BOXES if boxes else LabelState.EMPTY
    if objects and not boxes:
        state = LabelState.UNLABELLED
    width, height = (
        whole_number(read_number(root.findtext(f"size/{tag}")), 1) for tag in ("width", "height")
    )
    return dataclasses.replace(
        record,
        label_state=state,
        class_names=tuple(sorted({box.label for box in boxes})),
        boxes=tuple(boxes),
        width=width,
        height=height,
    )


def _visibility(
    root: Path, split: str, video: str, failures: list[Failure]
) -> dict[str, dict[str, Visibility]]:
    """What boxes show, by frame and track; {} for a video without such a file."""
    path = root / "Visibility" / "VID" / split / f"{video}.json"
    if not path.exists():
        return {}
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        return {
            stem: {str(line["trackid"]): _seen(line) for line in lines}
            for stem, lines in frames.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"not as docs/formats.md has it: {type(error).__name__}: {error}"
        name = path.relative_to(root).as_posix()
        failures.append(
            Failure(
                STAGE,
                Reason.BAD_ANNOTATION,
                detail,
                name,
                camera=_camera(split, video),
                lost="annotation",
            )
        )
        return {}


def _seen(line: Mapping[str, Any]) -> Visibility:
    return Visibility(
        str(line["look"]),
        bool(line["shows"]),
        *(float(line[name]) for name in ("blur", "occluded", "speed")),
    )


def _with_visibility(record: ImageRecord, seen: Mapping[str, Visibility]) -> ImageRecord:
    """The record with what each box shows, found by its track."""
    if not seen:
        return record
    boxes = (dataclasses.replace(box, seen=seen.get(box.track)) for box in record.boxes)
    return dataclasses.replace(record, boxes=tuple(boxes))


def _failure(record: ImageRecord, reason: Reason, detail: str, lost: Lost = "image") -> Failure:
    return Failure(
        STAGE, reason, detail, record.file_name, record.image_id, record.camera, lost=lost
    )
