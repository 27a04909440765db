"""Results of another detector, in MegaDetector's format, as a journal of ours.

The file says which boxes are in which image. The images themselves, if they are at hand, say when
they were taken and how large they are; their folders say which camera took them.
"""

import dataclasses
import datetime
import functools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from context_rcnn.data import fields
from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.images import read_clock, read_size
from context_rcnn.data.paths import FileError, normalise_file_name, resolve_inside
from context_rcnn.data.records import ImageRecord, is_empty_class
from context_rcnn.data.sequences import DEFAULT_GAP_SECONDS, sequence_ids, time_order
from context_rcnn.data.timestamps import ClockError
from context_rcnn.evaluation.repeat_detections import (
    RepeatDetectionOptions,
    find_repeat_detections,
)
from context_rcnn.results.megadetector import read_megadetector_results
from context_rcnn.results.records import CREATED_FORMAT, FORMAT, Header, ImageResult
from context_rcnn.runners.engine.ahead import ahead
from context_rcnn.runners.engine.files import UNKNOWN_CAMERA

STAGE = "imported"


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What may be chosen about results of another program.

    Attributes:
        image_root: folder that the file names start from; "" for the folder of the results.
        camera_regex, camera_csv: rules that name the camera of a path, see `CameraNamer`.
        sequence_gap: longest pause within a burst, in seconds.
        repeats: rules for boxes that come back in the same place, whose scores turn negative; None
            leaves all scores as they are.
        clocks: corrections of clocks that were wrong.
    """

    image_root: str = ""
    camera_regex: str | None = None
    camera_csv: str | None = None
    sequence_gap: int = DEFAULT_GAP_SECONDS
    repeats: RepeatDetectionOptions | None = None
    clocks: CameraClocks = dataclasses.field(default_factory=CameraClocks)


def is_journal(path: str | Path) -> bool:
    """Whether a file, or the files of a folder, are journals of ours."""
    start = f'{{"format": "{FORMAT}"'.encode()
    if os.path.isdir(path) or not os.path.exists(path):
        return True  # which is then read or refused as one
    with Path(path).open("rb") as file:
        return file.read(len(start)) == start


def import_megadetector(
    path: str | Path,
    target: str | Path,
    options: ImportOptions,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[Failure]:
    """Writes a journal of MegaDetector's results; returns what could not be taken over.

    Args:
        path: file in MegaDetector's format, of any program.
        target: journal to write.
        options: options of the import.
        progress: wraps the images, with their number.

    Raises:
        ValueError: Naming the file, if it is not in this format.
    """
    root = options.image_root or os.path.dirname(os.path.abspath(path))
    results = read_megadetector_results(path)
    namer = CameraNamer(options.camera_regex, options.camera_csv, Path(root).resolve().name)
    clocks, failures = options.clocks, list[Failure]()
    images: dict[str, ImageResult] = {}
    look = functools.partial(_look, root=root, namer=namer, clocks=clocks)
    looks = ahead(look, results.images, os.cpu_count() or 1)
    for image, problems in progress(looks, len(results.images)):
        failures += problems
        if image is None:
            continue
        if image.file in images:
            failures.append(_failure(image.file, Reason.DUPLICATE_IMAGE, "has two entries"))
            continue
        images[image.file] = image
    clocks.check(sorted({image.camera for image in images.values() if image.camera}))
    by_camera: dict[str, list[ImageResult]] = defaultdict(list)
    for image in images.values():
        by_camera[image.camera].append(image)
    with Path(target).open("w", encoding="ascii") as file:
        file.write(_header(path, results.label_map).to_json() + "\n")
        for camera, members in sorted(by_camera.items()):
            members = _in_bursts(members, options.sequence_gap) if camera else members
            if options.repeats is not None and camera:
                members = _without_repeats(members, options.repeats)
            for image in members:
                file.write(_line(image) + "\n")
    return failures


def _look(
    image: ImageResult, root: str, namer: CameraNamer, clocks: CameraClocks
) -> tuple[ImageResult | None, list[Failure]]:
    """The image with its camera, its date and its size, as far as they are known."""
    try:
        file = normalise_file_name(image.file)
    except FileError as error:
        return None, [_failure(image.file, error.reason, error.detail)]
    of = file.rpartition("/")[0] if image.frame is not None else file
    image = dataclasses.replace(
        image, file=file, image_id=file, camera=namer(of) or UNKNOWN_CAMERA, burst=""
    )
    if image.frame_rate is not None:
        return dataclasses.replace(image, burst=of), []
    problems = []
    seconds, size = image.seconds, (image.width, image.height)
    correct = clocks.corrector(image.camera)
    if seconds is not None and correct is not None:
        seconds = correct(seconds)
    try:
        place = resolve_inside(root, file)
        if None in size and (found := read_size(place)):
            size = found
        if seconds is None:
            seconds = read_clock(place, correct)
    except FileError as error:
        problems.append(_failure(file, error.reason, error.detail, "nothing"))
    except ClockError as error:
        problems.append(_failure(file, error.reason, f"EXIF date: {error}", "date"))
    return dataclasses.replace(image, seconds=seconds, width=size[0], height=size[1]), problems


def _in_bursts(images: Sequence[ImageResult], gap_seconds: int) -> list[ImageResult]:
    """Images of a camera in time order, with the names of their bursts."""
    frames = [image for image in images if image.frame_rate is not None]
    records = sorted(
        (
            (ImageRecord(i.file, i.file, i.camera, i.seconds), i)
            for i in images
            if i.frame_rate is None
        ),
        key=lambda pair: time_order(pair[0]),
    )
    bursts = sequence_ids((record for record, _ in records), gap_seconds)
    named = zip(bursts, records, strict=True)
    return [*(dataclasses.replace(image, burst=name) for name, (_, image) in named), *frames]


def _without_repeats(
    images: Sequence[ImageResult], options: RepeatDetectionOptions
) -> list[ImageResult]:
    """Images of a camera; boxes that come back in the same place get a negative score."""
    rows = [(i, found) for i, image in enumerate(images) for found in image.detections]
    repeats = find_repeat_detections(
        [""] * len(rows),
        [i for i, _ in rows],
        [found.box for _, found in rows],
        [abs(found.score) for _, found in rows],
        [found.class_id for _, found in rows],
        options,
    )
    suspects = np.asarray(repeats.suspect, bool).tolist()
    kept = defaultdict(list)
    for (i, found), suspect in zip(rows, suspects, strict=True):
        score = -abs(found.score) if suspect else found.score
        kept[i].append(dataclasses.replace(found, score=score))
    return [dataclasses.replace(image, detections=tuple(kept[i])) for i, image in enumerate(images)]


def _header(path: str | Path, label_map: dict[int, str]) -> Header:
    info = fields.load_json_object(path).get("info")
    info = info if isinstance(info, dict) else {}
    metadata = info.get("detector_metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    text = fields.text(info.get("detection_completion_time")) or ""
    try:
        created = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        created = datetime.datetime.now(datetime.timezone.utc)
    return Header(
        model=fields.text(info.get("detector")) or "unknown detector",
        model_version=fields.text(metadata.get("megadetector_version")) or "unknown version",
        extractor_hash="",
        label_map={i: name for i, name in label_map.items() if not is_empty_class(name)},
        created=created.strftime(CREATED_FORMAT),
        settings={"imported": os.path.basename(path)},
    )


def _line(image: ImageResult) -> str:
    line = image.to_json()
    if image.failure or image.width is not None:
        return line
    return json.dumps(json.loads(line) | {"size_unknown": True})


def _failure(file: str, reason: Reason, detail: str, lost: Lost = "image") -> Failure:
    return Failure(STAGE, reason, detail, file=file, lost=lost)


def count_unknown(journal: Iterable[ImageResult]) -> Counter:
    """How many images have no date and no size, for a message."""
    counts: Counter = Counter()
    for image in journal:
        counts["images"] += 1
        counts["undated"] += image.seconds is None and image.frame_rate is None
        counts["unsized"] += not image.failure and image.width is None
    return counts
