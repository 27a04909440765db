"""A Camera Trap Data Package, Camtrap DP 1.0.2: https://camtrap-dp.tdwg.org

Observations are media-based: one for every box, one `blank` for every image without any, one
`unclassified` for every image that could not be looked at. On demand each event has one as well,
with the largest number of animals at once. What the standard has no room for is
left out and reported: images without a date or a camera, and names it does not allow.
"""

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from context_rcnn.data.failures import Failure, Lost, Reason
from context_rcnn.data.timestamps import EPOCH
from context_rcnn.results.atomic import Transaction
from context_rcnn.results.classes import Classes
from context_rcnn.results.clock import CameraClock, iso
from context_rcnn.results.deployments import (
    COLUMNS,
    MISSING,
    Deployment,
    Deployments,
    read_deployments,
)
from context_rcnn.results.events import Event, EventCollector
from context_rcnn.results.numbers import corner_and_size, to_box
from context_rcnn.results.options import CamtrapOptions, Options
from context_rcnn.results.order import CameraSpan, Index
from context_rcnn.results.records import Detection, Header, ImageResult, Report

VERSION = "1.0.2"
STAGE = "camtrap_dp"
MEDIA_COLUMNS = (
    "mediaID",
    "deploymentID",
    "captureMethod",
    "timestamp",
    "filePath",
    "filePublic",
    "fileName",
    "fileMediatype",
    "exifData",
    "favorite",
    "mediaComments",
)
OBSERVATION_COLUMNS = (
    "observationID",
    "deploymentID",
    "mediaID",
    "eventID",
    "eventStart",
    "eventEnd",
    "observationLevel",
    "observationType",
    "cameraSetupType",
    "scientificName",
    "count",
    "lifeStage",
    "sex",
    "behavior",
    "individualID",
    "individualPositionRadius",
    "individualPositionAngle",
    "individualSpeed",
    "bboxX",
    "bboxY",
    "bboxWidth",
    "bboxHeight",
    "classificationMethod",
    "classifiedBy",
    "classificationTimestamp",
    "classificationProbability",
    "observationTags",
    "observationComments",
)
SCORE_DIGITS = 5
_BASE = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
_FILE_PATH = re.compile(r"[^./~](?:(?!\.\.).)*")
_MEDIATYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "heic": "image/heic",
    "heif": "image/heif",
}
_CLASS_TAG = "class:"
_BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")


def require(
    options: CamtrapOptions,
    cameras: Mapping[str, CameraSpan],
    leave_out: Callable[[str, str], None],
) -> tuple[CameraClock, Deployments]:
    """Facts that the standard requires and images lack; `leave_out` as in `read_deployments`.

    Raises:
        ValueError: If time zone or deployments are missing or wrong.
    """
    if not options.timezone:
        raise ValueError(
            "Camtrap DP requires the time zone of the camera clocks, which images do not tell. "
            "Give --timezone with an offset such as +01:00 or, if the clocks follow daylight "
            "saving, a name such as Europe/Berlin"
        )
    clock = CameraClock(options.timezone)
    deployments = read_deployments(options.deployments, cameras, clock, leave_out)
    if not deployments.all:
        raise ValueError(
            f"{options.deployments}: Camtrap DP requires one deployment with a start and an end at "
            "least; there is none, and no image with a date"
        )
    return clock, deployments


class CamtrapDpWriter:
    """Writes a folder with `datapackage.json`, `deployments.csv`, `media.csv`, `observations.csv`.

    Raises:
        ValueError: If time zone or deployments are missing or wrong.
    """

    def __init__(
        self,
        transaction: Transaction,
        folder: str | Path,
        header: Header,
        classes: Classes,
        options: Options,
        index: Index,
        report: Report,
    ):
        self._options, self._classes = options, classes
        self._index, self._report = index, report
        self._clock, self._deployments = require(
            options.camtrap, index.cameras, self._leave_out_deployment
        )
        self._completed = options.completed or header.created
        self._classified_by = f"{header.model} {header.model_version}"
        self._used: set[int] = set()
        self._events: EventCollector[str] | None = None
        if options.camtrap.events:
            self._events = EventCollector(options.event_minutes, options.typical_threshold)
        folder = Path(folder)
        files = {
            name: transaction.open(folder / f"{name}.csv")
            for name in ("deployments", "media", "observations")
        }
        self._package = transaction.open(folder / "datapackage.json")
        deployments = _table(files["deployments"], COLUMNS)
        for deployment in self._deployments.all:
            deployments.writerow(deployment.row)
        self._media = _table(files["media"], MEDIA_COLUMNS)
        self._observations = _table(files["observations"], OBSERVATION_COLUMNS)

    def add(self, image: ImageResult) -> None:
        deployment = self._deployment(image)
        mediatype = _MEDIATYPES.get(image.file.rpartition(".")[2].lower())
        if deployment is None or image.seconds is None:
            return
        if not _FILE_PATH.fullmatch(image.file) or image.file in MISSING:
            self._leave_out(image, Reason.BAD_FIELD, f"filePath cannot be {image.file!r:.200}")
            return
        if mediatype is None:
            self._leave_out(image, Reason.BAD_FIELD, "no image type is known for this name")
            return
        observations = self._observe(image)
        methods = self._options.camtrap.capture_methods
        public = self._options.camtrap.file_public and all(
            observation["observationType"] in ("animal", "vehicle", "blank")
            for observation in observations
        )
        failed = f"{image.failure}: {image.failure_text}".rstrip(": ") if image.failure else ""
        self._media.writerow(
            {
                "mediaID": image.file,
                "deploymentID": deployment.id,
                "captureMethod": methods[0] if len(methods) == 1 else "",
                "timestamp": iso(self._clock.at(image.seconds)),
                "filePath": image.file,
                "filePublic": "true" if public else "false",
                "fileName": image.file.rpartition("/")[2],
                "fileMediatype": mediatype,
                "mediaComments": failed,
            }
        )
        shared = self._event(image, image.seconds) | {
            "deploymentID": deployment.id,
            "mediaID": image.file,
            "observationLevel": "media",
        }
        for number, observation in enumerate(observations, start=1):
            name = {"observationID": f"{image.file}#{number}"}
            self._observations.writerow(name | shared | observation)
        if self._events is not None:
            self._events.add(image, deployment.id)

    def finish(self) -> None:
        for event in self._events.events() if self._events is not None else ():
            self._observations.writerow(self._event_row(event))
        json.dump(self._descriptor(), self._package, indent=1, allow_nan=False)
        self._package.write("\n")

    def _deployment(self, image: ImageResult) -> Deployment | None:
        """Where the image was taken; None, and a report, if it cannot be told."""
        if image.seconds is None:
            self._leave_out(image, Reason.UNDATED, "Camtrap DP requires a timestamp")
            return None
        if not image.camera:
            self._leave_out(image, Reason.NO_CAMERA, "Camtrap DP requires a deployment")
            return None
        deployments = self._deployments.of_camera[image.camera]
        time = self._clock.at(image.seconds)
        for deployment in deployments:
            if deployment.covers(time):
                return deployment
        detail = f"{iso(time)} lies in no deployment of camera {image.camera!r:.80}"
        if len(deployments) > 1:
            self._leave_out(image, Reason.BAD_DATE, detail)
            return None
        self._leave_out(image, Reason.BAD_DATE, f"{detail}; it has only one", lost="nothing")
        return deployments[0]

    def _leave_out_deployment(self, name: str, detail: str) -> None:
        self._report(Failure(STAGE, Reason.UNDATED, detail, camera=name, lost="nothing"))

    def _leave_out(
        self, image: ImageResult, reason: Reason, detail: str, lost: Lost = "image"
    ) -> None:
        names = {"file": image.file, "image_id": image.image_id, "camera": image.camera}
        self._report(Failure(STAGE, reason, detail, lost=lost, **names))

    def _event(self, image: ImageResult, seconds: int) -> dict[str, str]:
        first = last = seconds
        if image.burst:
            first, last = self._index.bursts.span(image.camera, image.burst)
        return {
            "eventID": "" if image.burst in MISSING else image.burst,
            "eventStart": iso(self._clock.at(first)),
            "eventEnd": iso(self._clock.at(last)),
        }

    def _event_row(self, event: Event[str]) -> dict[str, Any]:
        """The observation of an event: of no single image, with the largest number at once."""
        start, end = (iso(self._clock.at(seconds)) for seconds in (event.start, event.end))
        name = f"{event.place}|{self._classes.names[event.class_id]}|{start}"
        best = Detection((0, 0, 1, 1), event.class_id, event.best_score)
        of_box = self._observation(best) | dict.fromkeys(_BOX)
        return (
            of_box
            | self._machine()
            | {
                "observationID": name,
                "eventID": name,
                "deploymentID": event.place,
                "eventStart": start,
                "eventEnd": end,
                "observationLevel": "event",
                "count": event.count,
                "observationComments": f"largest number at once in {event.images} images",
            }
        )

    def _machine(self) -> dict[str, str]:
        return {
            "classificationMethod": "machine",
            "classifiedBy": self._classified_by,
            "classificationTimestamp": self._completed,
        }

    def _observe(self, image: ImageResult) -> list[dict[str, Any]]:
        if image.failure:
            return [{"observationType": "unclassified"}]
        machine = self._machine()
        kept = [
            found for found in image.detections if found.score >= self._options.typical_threshold
        ]
        if not kept:
            return [{"observationType": "blank"} | machine]
        return [self._observation(found) | machine for found in kept]

    def _observation(self, found: Detection) -> dict[str, Any]:
        self._used.add(found.class_id)
        taxon = self._classes.taxa.get(found.class_id)
        x, y, width, height = corner_and_size(found.box)
        return {
            "observationType": self._classes.kinds[found.class_id],
            "scientificName": taxon.scientific_name if taxon else "",
            "count": 1,
            "bboxX": x,
            "bboxY": y,
            "bboxWidth": width,
            "bboxHeight": height,
            "classificationProbability": round(found.score, SCORE_DIGITS),
            # The standard separates tags by pipes.
            "observationTags": _CLASS_TAG + self._classes.names[found.class_id].replace("|", "/"),
        }

    def _descriptor(self) -> dict[str, Any]:
        camtrap = self._options.camtrap
        name = re.sub(r"[^a-z0-9]+", "-", camtrap.title.lower()).strip("-")
        taxa = {
            taxon.scientific_name: taxon
            for class_id, taxon in self._classes.taxa.items()
            if class_id in self._used and taxon.scientific_name
        }
        return {
            "profile": f"{_BASE}/camtrap-dp-profile.json",
            **({"name": name} if name else {}),
            "title": camtrap.title,
            "created": self._completed,
            "contributors": [
                {"title": person, "role": "contributor"} for person in camtrap.contributors
            ],
            "project": _project(camtrap),
            "spatial": _spatial(self._deployments.all),
            "temporal": {
                "start": min(d.start for d in self._deployments.all).date().isoformat(),
                "end": max(d.end for d in self._deployments.all).date().isoformat(),
            },
            "taxonomic": [taxa[name].camtrap() for name in sorted(taxa)],
            "resources": [
                {
                    "name": name,
                    "path": f"{name}.csv",
                    "profile": "tabular-data-resource",
                    "format": "csv",
                    "mediatype": "text/csv",
                    "encoding": "utf-8",
                    "dialect": {"delimiter": ",", "quoteChar": '"', "doubleQuote": True},
                    "schema": f"{_BASE}/{name}-table-schema.json",
                }
                for name in ("deployments", "media", "observations")
            ],
        }


def read_camtrap_dp(folder: str | Path, label_map: dict[int, str]) -> Iterator[ImageResult]:
    """Images of a package as written here, lazily; times are the camera's own clock again.

    Raises:
        ValueError: If the two tables do not have the same images in the same order.
    """
    ids = {name: i for i, name in label_map.items()}
    folder = Path(folder)
    with (
        (folder / "media.csv").open(newline="", encoding="utf-8") as media_file,
        (folder / "observations.csv").open(newline="", encoding="utf-8") as observation_file,
    ):
        rows_of_media = (row for row in csv.DictReader(observation_file) if row["mediaID"])
        observed = itertools.groupby(rows_of_media, key=lambda row: row["mediaID"])
        for media in csv.DictReader(media_file):
            media_id, rows = next(observed, ("", ()))
            if media_id != media["mediaID"]:
                raise ValueError(f"{folder}: media and observations differ at {media['mediaID']!r}")
            yield _image(media, list(rows), ids)


def _image(media: dict[str, str], rows: list[dict[str, str]], ids: dict[str, int]) -> ImageResult:
    wall_clock = CameraClock("Z").parse(media["timestamp"][:19]).replace(tzinfo=None)
    reason, _, text = media["mediaComments"].partition(": ")
    return ImageResult(
        media["filePath"],
        seconds=int((wall_clock - EPOCH).total_seconds()),
        burst=rows[0]["eventID"],
        detections=tuple(
            Detection(
                to_box([float(row[f"bbox{side}"]) for side in ("X", "Y", "Width", "Height")]),
                ids[row["observationTags"].removeprefix(_CLASS_TAG)],
                float(row["classificationProbability"]),
            )
            for row in rows
            if row["bboxX"]
        ),
        failure=reason,
        failure_text=text,
    )


def _table(file: TextIO, columns: tuple[str, ...]) -> csv.DictWriter:
    table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    table.writeheader()
    return table


def _project(camtrap: CamtrapOptions) -> dict[str, Any]:
    return {
        "title": camtrap.title,
        "samplingDesign": camtrap.sampling_design,
        "captureMethod": list(camtrap.capture_methods),
        "individualAnimals": False,
        "observationLevel": ["media", "event"] if camtrap.events else ["media"],
    }


def _spatial(deployments: list[Deployment]) -> dict[str, Any]:
    """GeoJSON: the place of the only camera, or the rectangle around all."""
    places = sorted({deployment.place for deployment in deployments})
    west, east = places[0][0], places[-1][0]
    south, north = min(y for _, y in places), max(y for _, y in places)
    if len(places) == 1:
        return {"type": "Point", "coordinates": [west, south]}
    if west == east or south == north:
        return {"type": "LineString", "coordinates": [[west, south], [east, north]]}
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]}
