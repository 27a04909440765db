"""Reader of Timelapse's CSV export: a row per image, with a column of species.

https://timelapse.ucalgary.ca: `RelativePath` and `File` name the image, `DateTime` (or `Date` and
`Time`) its time; all other columns are the user's own. The species is in the column that is named,
or in the only one called `Species`, `Animal`, `Label` or `Class`.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.data.clocks import UNCORRECTED, CameraClocks
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError, normalise_file_name
from context_rcnn.data.records import Archive, ImageRecord, is_empty_class, resolve_labels
from context_rcnn.data.tables import Table
from context_rcnn.data.timestamps import ClockError, parse_timestamp

STAGE = "timelapse"
_USUAL = ("species", "animal", "label", "class")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"


def read_timelapse(
    path: str | Path,
    camera_namer: CameraNamer | None = None,
    column: str | None = None,
    clocks: CameraClocks = UNCORRECTED,
) -> Archive:
    """All images of an export, in its order.

    The path of an image, relative to Timelapse's root folder, is its id. An empty cell is an image
    that nobody labelled; `empty` or `blank` is one without animals.

    Args:
        path: the CSV file.
        camera_namer: names the camera of a path; by default its folder.
        column: name of the column with the species.
        clocks: corrections of clocks that were wrong.

    Raises:
        ValueError: If a column is missing, or which one has the species is not clear.
    """
    table = Table(path)
    names = table.columns
    file, folder = _column(path, names, "File"), _find(names, "RelativePath")
    species = _species_column(path, names, column)
    camera_namer = camera_namer or CameraNamer(root_camera=Path(path).resolve().parent.name)
    archive = Archive([], [], (), images_listed=0)
    seen: set[str] = set()
    for where, row in table.rows():
        archive.images_listed += 1
        name = "/".join(filter(None, (row[folder] if folder else "", row[file])))
        try:
            name = normalise_file_name(name)
            if name in seen:
                raise FileError(Reason.DUPLICATE_IMAGE, "the image has a row before")
            seen.add(name)
            camera = camera_namer(name)
            if camera is None:
                raise FileError(Reason.NO_CAMERA, "no camera rule covers this path")
        except FileError as error:
            detail = f"{where}: {error.detail}"
            archive.failures.append(Failure(STAGE, error.reason, detail, name, name))
            continue
        seconds = None
        try:
            seconds = parse_timestamp(_clock(row, names), correct=clocks.corrector(camera))
        except ClockError as error:
            facts = (STAGE, error.reason, f"{where}: {error}", name, name, camera)
            archive.failures.append(Failure(*facts, lost="date"))
        found = [part.strip() for part in re.split("[;,]", row[species]) if part.strip()]
        present = {label for label in found if not is_empty_class(label)}
        archive.records.append(
            ImageRecord(
                image_id=name,
                file_name=name,
                camera=camera,
                seconds=seconds,
                label_state=resolve_labels(set(found), ()),
                class_names=tuple(sorted(present)),
            )
        )
    classes = {name for record in archive.records for name in record.class_names}
    return dataclasses.replace(archive, class_names=tuple(sorted(classes)))


def _clock(row: Mapping[str, str], names: list[str]) -> str | None:
    """Date and time of a row; older versions have them in two columns, as 31-Dec-2022 09:52:50."""
    whole = _find(names, "DateTime")
    if whole:
        return row[whole]
    date, time = _find(names, "Date"), _find(names, "Time")
    if not date or not time:
        return None
    match = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", row[date])
    if match and match[2].lower() in _MONTHS.split():
        month = _MONTHS.split().index(match[2].lower()) + 1
        return f"{match[3]}-{month:02}-{int(match[1]):02} {row[time]}"
    return f"{row[date]} {row[time]}"


def _species_column(path: str | Path, names: list[str], wanted: str | None) -> str:
    if wanted:
        return _column(path, names, wanted, "label_column")
    usual = [name for name in names if name.strip().lower() in _USUAL]
    if len(usual) == 1:
        return usual[0]
    raise ValueError(
        f"{path}: which column has the species? Give label_column, one of {', '.join(names)}"
    )


def _column(path: str | Path, names: list[str], wanted: str, setting: str = "") -> str:
    found = _find(names, wanted)
    if found is None:
        asked = f" ({setting})" if setting else ""
        raise ValueError(f"{path}: has no column {wanted!r}{asked}; it has {', '.join(names)}")
    return found


def _find(names: list[str], wanted: str) -> str | None:
    """The column of this name, in whatever case it is written."""
    return next((name for name in names if name.strip().lower() == wanted.lower()), None)
