"""A camera archive ready to be checked or written: records with cameras, sequences and splits."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import read_clock
from context_rcnn.data.label_map import make_label_map, read_label_map
from context_rcnn.data.paths import FileError, resolve_inside
from context_rcnn.data.prepare import failure_of, keep_boxes
from context_rcnn.data.readers import LAYOUTS, Layout
from context_rcnn.data.readers.image_folder import read_image_folder
from context_rcnn.data.readers.megadetector import (
    DEFAULT_MIN_SCORE,
    box_image_labels,
    check_overlap,
    propose_animals,
    read_megadetector,
)
from context_rcnn.data.readers.proposals import add_proposals, read_proposals
from context_rcnn.data.records import Archive, ImageRecord, LabelState
from context_rcnn.data.sequences import DEFAULT_GAP_SECONDS, assign_sequences
from context_rcnn.data.splits import TRAIN, Splits, hash_splits, read_splits
from context_rcnn.data.timestamps import ClockError

EXIF_STAGE = "exif"
SOURCES = tuple(layout.flag for layout in LAYOUTS)

_Sources: Any = dataclasses.make_dataclass(
    "_Sources",
    [
        (setting, str | None, None)
        for setting in dict.fromkeys(name for layout in LAYOUTS for name in layout.settings)
    ],
    frozen=True,
)
"""A field for each setting of the table of layouts, such as `input_json`, `image_root`, ..."""


@dataclasses.dataclass(frozen=True)
class ArchiveOptions(_Sources):
    """Where an archive is and how to read it.

    Exactly one of `SOURCES` must be given, the flags of `readers.LAYOUTS`, and with it the folder
    that file names start from where the layout has a setting for that.

    Attributes:
        megadetector_json: MegaDetector results that give boxes to image-level labels.
        min_megadetector_score: Confidence that makes an animal certain.
        megadetector_splits: Splits that get such boxes; evaluation keeps to human ones.
        proposals_json: Files with proposals of another detector, in COCO's results format.
        detections: MegaDetector results, whose boxes become the proposals of each image.
        splits_file: Cameras by split; without it cameras are split by hash.
        val_fraction: Share of cameras for validation when split by hash.
        seed: Seed of the hash.
        label_column: Column of the source's table that has the labels; by default the usual ones.
        label_map: Label map file; without it ids follow the order of the source's categories.
        unlabelled_are_empty: Whether somebody looked at all images, so that one without labels is
            empty.
        camera_regex: Names the camera by a group `camera` searched in the path.
        camera_csv: Names the camera by a table of files or folders.
        sequence_gap: Longest pause in seconds within a sequence.
        clock_shift, clock_csv: Corrections of camera clocks, see `CameraClocks`.
    """

    megadetector_json: str | None = None
    min_megadetector_score: float = DEFAULT_MIN_SCORE
    megadetector_splits: tuple[str, ...] = (TRAIN,)
    proposals_json: tuple[str, ...] = ()
    detections: str | None = None
    splits_file: str | None = None
    val_fraction: float = 0.2
    seed: int = 0
    label_column: str | None = None
    label_map: str | None = None
    unlabelled_are_empty: bool = False
    camera_regex: str | None = None
    camera_csv: str | None = None
    sequence_gap: int = DEFAULT_GAP_SECONDS
    clock_shift: tuple[str, ...] = ()
    clock_csv: str | None = None

    def __post_init__(self):
        if sum(bool(getattr(self, source)) for source in SOURCES) != 1:
            raise ValueError(f"give exactly one of {', '.join(SOURCES)}")
        layout = self.layout
        if layout.root and not getattr(self, layout.root):
            raise ValueError(
                f"{layout.flag} needs {layout.root}, the folder its file names start from"
            )
        for other in LAYOUTS:
            if other.root and other.root not in layout.settings and getattr(self, other.root):
                raise ValueError(f"{other.root} goes with {other.flag} only")
        if self.megadetector_json and layout.read is read_image_folder:
            raise ValueError(
                f"megadetector_json gives boxes to images that are labelled with a class, and "
                f"{layout.flag} has no labels; give them as COCO Camera Traps JSON (input_json)"
            )
        if self.detections and self.proposals_json:
            raise ValueError("give proposals_json or detections, not both")
        if self.label_column and not layout.labelled_column:
            raise ValueError(f"label_column is for tables, not for {layout.flag}")
        if self.camera_regex and self.camera_csv:
            raise ValueError("give camera_regex or camera_csv, not both")
        if (self.clock_shift or self.clock_csv) and not layout.has_clocks:
            raise ValueError(
                f"{layout.name} ({layout.flag}) has no dates, so no clock can be corrected "
                "(clock_shift, clock_csv)"
            )
        if not Path(self.root).is_dir():
            raise ValueError(f"{self.root} is not a folder")

    @property
    def layout(self) -> Layout:
        """The layout that was given."""
        return next(layout for layout in LAYOUTS if getattr(self, layout.flag))

    @property
    def source(self) -> str:
        """Where the archive is."""
        return getattr(self, self.layout.flag)

    @property
    def root(self) -> str:
        """Folder that file names are relative to."""
        return getattr(self, self.layout.root or self.layout.flag)


@dataclasses.dataclass(frozen=True)
class SplitArchive:
    """An archive with everything decided but the pixels.

    Attributes:
        records: Records of each split, by camera and time.
        failures: Everything that the readers and the splits left out.
        splits: The splits used.
        label_map: Class ids by name, from 1.
        images_listed: Images the source names; equals records plus lost images.
        notes: Counts of what was noticed but cost nothing.
        root: Folder that file names are relative to.
    """

    records: dict[str, list[ImageRecord]]
    failures: list[Failure]
    splits: Splits
    label_map: dict[str, int]
    images_listed: int
    notes: Counter
    root: str


def read_archive(options: ArchiveOptions) -> SplitArchive:
    """Reads an archive, forms sequences, splits cameras and pairs labels with detections.

    Raises:
        ValueError: If an input as a whole is unusable. Anything smaller is a failure record.
    """
    archive = _read_source(options)
    records = assign_sequences(archive.records, options.sequence_gap)
    failures = list(archive.failures)
    splits = _choose_splits(options, records)
    by_split = _split(records, splits, failures)
    notes = archive.notes.copy()
    if options.megadetector_json:
        json = options.megadetector_json
        by_split = _add_detector_boxes(json, options, by_split, failures, notes)
    if options.proposals_json:
        proposals = read_proposals(options.proposals_json)
        by_split = add_proposals(by_split, proposals, failures, notes)
    if options.detections:
        found = read_megadetector(options.detections)
        check_overlap((record for members in by_split.values() for record in members), found)
        failures.extend(found.failures)
        by_split = {
            split: [propose_animals(record, found, notes) for record in members]
            for split, members in by_split.items()
        }
    if options.label_map:
        label_map = read_label_map(options.label_map)
        by_split = {
            split: [_restrict_classes(record, label_map, failures) for record in members]
            for split, members in by_split.items()
        }
    else:
        label_map = make_label_map(archive.class_names)
    return SplitArchive(
        by_split, failures, splits, label_map, archive.images_listed, notes, options.root
    )


def _read_source(options: ArchiveOptions) -> Archive:
    namer = CameraNamer(
        options.camera_regex, options.camera_csv, root_camera=Path(options.root).resolve().name
    )
    clocks = CameraClocks(options.clock_shift, options.clock_csv)
    archive = options.layout.read_archive(options.source, namer, clocks, options.label_column)
    clocks.check(sorted({record.camera for record in archive.records}))
    if options.layout.dated_by_exif and not _has_dates(archive):
        archive = _dated_by_exif(archive, options.root, clocks)
    if options.unlabelled_are_empty:
        records = [_empty_if_unlabelled(record) for record in archive.records]
        archive = dataclasses.replace(archive, records=records)
    return archive


def _has_dates(archive: Archive) -> bool:
    """Whether it says of any image when it was taken, rightly or wrongly."""
    dated = any(record.seconds is not None for record in archive.records)
    return dated or any(failure.lost == "date" for failure in archive.failures)


def _dated_by_exif(archive: Archive, root: str, clocks: CameraClocks) -> Archive:
    """With the dates of the photographs; a missing one is reported when it is to be opened."""
    records, failures = [], list(archive.failures)
    for record in archive.records:
        seconds = None
        try:
            place = resolve_inside(root, record.file_name)
            seconds = read_clock(place, clocks.corrector(record.camera))
        except FileError:
            pass
        except ClockError as error:
            failures.append(failure_of(record, EXIF_STAGE, error.reason, str(error), "date"))
        records.append(dataclasses.replace(record, seconds=seconds))
    notes = archive.notes + Counter(dated_by_exif=sum(r.seconds is not None for r in records))
    return dataclasses.replace(archive, records=records, failures=failures, notes=notes)


def _empty_if_unlabelled(record: ImageRecord) -> ImageRecord:
    if record.label_state is not LabelState.UNLABELLED:
        return record
    return dataclasses.replace(record, label_state=LabelState.EMPTY)


def _choose_splits(options: ArchiveOptions, records: list[ImageRecord]) -> Splits:
    if options.splits_file:
        return read_splits(options.splits_file)
    splits = options.layout.read_splits(options.source)
    if splits is not None:
        return splits
    cameras = {record.camera for record in records}
    return hash_splits(cameras, options.val_fraction, options.seed)


def _split(
    records: list[ImageRecord], splits: Splits, failures: list[Failure]
) -> dict[str, list[ImageRecord]]:
    split_of = splits.by_camera()
    by_split: dict[str, list[ImageRecord]] = {split: [] for split in sorted(splits.cameras)}
    for record in records:
        split = split_of.get(record.camera)
        if split is None:
            detail = f"{splits.source} does not list camera {record.camera!r}"
            failures.append(failure_of(record, "splits", Reason.NOT_IN_SPLIT, detail))
        else:
            by_split[split].append(record)
    return by_split


def _add_detector_boxes(
    json: str,
    options: ArchiveOptions,
    by_split: dict[str, list[ImageRecord]],
    failures: list[Failure],
    notes: Counter,
) -> dict[str, list[ImageRecord]]:
    missing = set(options.megadetector_splits) - by_split.keys()
    if missing:
        raise ValueError(
            f"megadetector_splits: no split is named {', '.join(sorted(missing))}; "
            f"there are {', '.join(by_split)}"
        )
    results = read_megadetector(json)
    check_overlap((record for members in by_split.values() for record in members), results)
    failures.extend(results.failures)
    boxed = dict(by_split)
    for split in options.megadetector_splits:
        boxed[split], counts = box_image_labels(
            by_split[split], results, options.min_megadetector_score
        )
        notes.update({f"megadetector_{name}": count for name, count in counts.items()})
    return boxed


def _restrict_classes(
    record: ImageRecord, label_map: dict[str, int], failures: list[Failure]
) -> ImageRecord:
    """The record without classes that the label map lacks; each is reported."""
    unknown = [name for name in record.class_names if name not in label_map]
    if not unknown:
        return record
    detail = f"not in the label map: {', '.join(unknown)}"
    failures.append(
        failure_of(record, "label_map", Reason.CLASS_NOT_IN_LABEL_MAP, detail, "annotation")
    )
    names = tuple(name for name in record.class_names if name in label_map)
    record = dataclasses.replace(record, class_names=names)
    if record.boxes:
        return keep_boxes(record, [box.label in label_map for box in record.boxes])
    state = LabelState.IMAGE_LEVEL if names else LabelState.UNLABELLED
    return dataclasses.replace(record, label_state=state)
