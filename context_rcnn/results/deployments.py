"""Where cameras stood and when: Camtrap DP's deployments, from a table that people fill in."""

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from context_rcnn.data import fields
from context_rcnn.data.tables import Table
from context_rcnn.results.clock import CameraClock, iso
from context_rcnn.results.order import CameraSpan

COLUMNS = (
    "deploymentID",
    "locationID",
    "locationName",
    "latitude",
    "longitude",
    "coordinateUncertainty",
    "deploymentStart",
    "deploymentEnd",
    "setupBy",
    "cameraID",
    "cameraModel",
    "cameraDelay",
    "cameraHeight",
    "cameraDepth",
    "cameraTilt",
    "cameraHeading",
    "detectionDistance",
    "timestampIssues",
    "baitUse",
    "featureType",
    "habitat",
    "deploymentGroups",
    "deploymentTags",
    "deploymentComments",
)
CAMERA_COLUMNS = ("camera", "deploymentID", "locationID", "cameraID")
"""Columns that may hold the name of a camera, the first that knows it counts."""

MISSING = frozenset({"", "NA", "NaN", "nan"})
"""Values that Camtrap DP reads as nothing; no identifier may be one of them."""

_FEATURES = frozenset(
    {"roadPaved", "roadDirt", "roadUnderpass", "roadOverpass", "roadBridge", "trailHiking"}
    | {"trailGame", "culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"}
)


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A camera in its place.

    Attributes:
        row: values of `COLUMNS`.
        start, end: times with their offsets.
    """

    row: dict[str, str]
    start: datetime.datetime
    end: datetime.datetime

    @property
    def id(self) -> str:
        return self.row["deploymentID"]

    @property
    def place(self) -> tuple[float, float]:
        """Longitude and latitude."""
        return float(self.row["longitude"]), float(self.row["latitude"])

    def covers(self, time: datetime.datetime) -> bool:
        return self.start <= time <= self.end


@dataclasses.dataclass(frozen=True)
class Deployments:
    """All deployments by their ids, and those of each camera in the order of their starts."""

    all: list[Deployment]
    of_camera: dict[str, list[Deployment]]


def read_deployments(
    path: str | Path | None,
    cameras: Mapping[str, CameraSpan],
    clock: CameraClock,
    leave_out: Callable[[str, str], None],
) -> Deployments:
    """Deployments of all cameras that have images.

    The table has Camtrap DP's columns. `deploymentID`, `latitude` and `longitude` are required;
    `deploymentStart` and `deploymentEnd` may be empty for a camera with one deployment: its first
    and its last image then stand for them. The camera of a row, as the results call it, is in the
    column `camera`, or else it is the `deploymentID`, `locationID` or `cameraID`. Other columns are
    passed over.

    Args:
        path: path of the table.
        cameras: cameras that have images.
        clock: clock that all cameras follow.
        leave_out: gets the name of a deployment that has neither dates nor dated images, and where
            it stands.

    Raises:
        ValueError: Saying what is missing or wrong, where, and how to give it.
    """
    named = {camera: span for camera, span in cameras.items() if camera}
    if path is None:
        raise ValueError(_how_to_give(named))
    rows = list(_rows(Path(path)))
    rows_of_camera = _rows_of_cameras(named, rows)
    lost = sorted(camera for camera, found in rows_of_camera.items() if not found)
    if lost:
        raise ValueError(
            f"{path}: no deployment for {len(lost)} of {len(named)} cameras: {_some(lost)}. "
            f"Add a row for each, with its name in one of the columns {', '.join(CAMERA_COLUMNS)}"
        )
    spans: dict[str, CameraSpan] = {}
    shared = set()
    for camera, found in rows_of_camera.items():
        names = [row["deploymentID"] for row in found]
        if len(names) > 1:
            shared.update(names)
        else:
            _extend(spans.setdefault(names[0], CameraSpan()), named[camera])
    deployments: dict[str, Deployment | None] = {}
    for row in rows:
        name, where = row["deploymentID"], row["where"]
        if name in deployments:
            raise ValueError(f"{where}: deploymentID {name!r} occurs twice")
        span = spans.get(name, CameraSpan())
        empty = [c for c in ("deploymentStart", "deploymentEnd") if row.get(c, "") in MISSING]
        if empty and name in shared:
            raise ValueError(
                f"{where}: {empty[0]} of {name!r} is empty and cannot be told from images: "
                "the camera has several deployments"
            )
        if empty and span.first is None:
            leave_out(name, f"{where}: {empty[0]} is empty, and there is no dated image")
            deployments[name] = None
        else:
            deployments[name] = _deployment(row, span, clock)
    return Deployments(
        all=[found for _, found in sorted(deployments.items()) if found],
        of_camera={
            camera: sorted(
                filter(None, (deployments[row["deploymentID"]] for row in found)),
                key=lambda deployment: (deployment.start, deployment.id),
            )
            for camera, found in rows_of_camera.items()
        },
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows with the place they stand at as `where`."""
    table = Table(path)
    needed = ("deploymentID", "latitude", "longitude")
    if lost := [column for column in needed if column not in table.columns]:
        raise ValueError(
            f"{path}: the columns {', '.join(lost)} are missing; the first line is {table.columns}"
        )
    for where, row in table.rows():
        yield row | {"where": where}


def _rows_of_cameras(
    cameras: Iterable[str], rows: list[dict[str, str]]
) -> dict[str, list[dict[str, str]]]:
    """Rows of each camera, by the first column that knows it."""
    columns = []
    for column in CAMERA_COLUMNS:
        rows_of: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            rows_of.setdefault(row.get(column, ""), []).append(row)
        columns.append(rows_of)
    return {
        camera: next((rows_of[camera] for rows_of in columns if camera in rows_of), [])
        for camera in cameras
    }


def _extend(span: CameraSpan, other: CameraSpan) -> None:
    for name, choose in (("first", min), ("last", max)):
        known = [x for x in (getattr(span, name), getattr(other, name)) if x is not None]
        setattr(span, name, choose(known, default=None))


def _deployment(row: dict[str, str], span: CameraSpan, clock: CameraClock) -> Deployment:
    values = {column: "" if row.get(column, "") in MISSING else row[column] for column in COLUMNS}
    if not values["deploymentID"]:
        raise ValueError(f"{row['where']}: deploymentID is empty (or NA, which means the same)")
    for column, (rule, is_valid) in _RULES.items():
        if (values[column] or column in ("latitude", "longitude")) and not is_valid(values[column]):
            raise ValueError(f"{row['where']}: {column} must be {rule}, got {values[column]!r:.80}")
    times = {}
    for column, seconds in (("deploymentStart", span.first), ("deploymentEnd", span.last)):
        if values[column]:
            try:
                times[column] = clock.parse(values[column], column == "deploymentEnd")
            except ValueError as error:
                raise ValueError(f"{row['where']}: {column} is {error}") from error
        elif seconds is None:
            raise ValueError(f"{row['where']}: {column} is empty, and there is no dated image")
        else:
            times[column] = clock.at(seconds)
        values[column] = iso(times[column])
    start, end = times.values()
    if start > end:
        raise ValueError(f"{row['where']}: deploymentEnd {iso(end)} is before the start")
    return Deployment(values, start, end)


def _how_to_give(cameras: Mapping[str, CameraSpan]) -> str:
    lines = "".join(f"\n  {json.dumps(camera, ensure_ascii=False)},," for camera in _few(cameras))
    return (
        "Camtrap DP requires latitude and longitude of every camera, which images do not tell. "
        "Make a CSV file with one line per camera, fill in decimal degrees, and give it with "
        f"--deployments FILE:\n  deploymentID,latitude,longitude{lines}"
        + (f"\n  ... ({len(cameras)} cameras)" if len(cameras) > len(_few(cameras)) else "")
    )


def _few(names: Mapping[str, object] | list[str]) -> list[str]:
    return sorted(names)[:10]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in _few(names)) + more


def _number(low: float, high: float, whole: bool = False) -> tuple[str, Callable[[str], bool]]:
    def is_valid(text: str) -> bool:
        try:
            value = int(text) if whole else fields.number(float(text))
        except ValueError:
            return False
        # Python takes digits of other scripts and underscores, readers of the standard do not.
        return value is not None and low <= value <= high and text.isascii() and "_" not in text

    kind = "a whole number" if whole else "a number with a decimal point"
    limits = f" from {low} to {high}" if high < float("inf") else f" of at least {low}"
    return kind + limits, is_valid


_BOOLEAN = ("true or false", lambda text: text in ("true", "false"))
_RULES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "latitude": _number(-90, 90),
    "longitude": _number(-180, 180),
    "coordinateUncertainty": _number(1, float("inf"), whole=True),
    "cameraDelay": _number(0, float("inf"), whole=True),
    "cameraHeight": _number(0, float("inf")),
    "cameraDepth": _number(0, float("inf")),
    "cameraTilt": _number(-90, 90, whole=True),
    "cameraHeading": _number(0, 360, whole=True),
    "detectionDistance": _number(0, float("inf")),
    "timestampIssues": _BOOLEAN,
    "baitUse": _BOOLEAN,
    "featureType": (f"one of {sorted(_FEATURES)}", _FEATURES.__contains__),
}
