"""What people may choose about the results of a run."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from context_rcnn.results.records import CREATED_FORMAT
from context_rcnn.results.taxonomy import Taxonomy

SAMPLING_DESIGNS = (
    "simpleRandom",
    "systematicRandom",
    "clusteredRandom",
    "experimental",
    "targeted",
    "opportunistic",
)
CAPTURE_METHODS = ("activityDetection", "timeLapse")


@dataclasses.dataclass(frozen=True)
class CamtrapOptions:
    """Facts that Camtrap DP requires and images do not contain.

    Attributes:
        deployments: CSV file with one line per deployment; see `deployments.read_deployments`.
        timezone: time zone of the camera clocks: an offset such as "+01:00" for clocks never
            changed, or a name such as "Europe/Berlin" for clocks that follow daylight saving.
        title: title of the project.
        sampling_design: one of `SAMPLING_DESIGNS`.
        capture_methods: some of `CAPTURE_METHODS`.
        contributors: names of people or organisations.
        events: whether the package also has an observation for each event.
        file_public: whether the images are accessible to everybody. Images that show a human never
            are.
    """

    deployments: str | Path | None = None
    timezone: str = ""
    title: str = "Camera trap images"
    sampling_design: str = "opportunistic"
    capture_methods: tuple[str, ...] = ("activityDetection",)
    contributors: tuple[str, ...] = ("Not stated",)
    file_public: bool = False
    events: bool = False

    def __post_init__(self):
        if self.sampling_design not in SAMPLING_DESIGNS:
            raise ValueError(
                f"sampling_design must be one of {SAMPLING_DESIGNS}, got {self.sampling_design!r}"
            )
        methods = set(self.capture_methods)
        if (
            not methods
            or methods - set(CAPTURE_METHODS)
            or len(methods) < len(self.capture_methods)
        ):
            raise ValueError(
                f"capture_methods must be among {CAPTURE_METHODS}, got {self.capture_methods}"
            )
        if not self.title.strip() or not all(name.strip() for name in self.contributors):
            raise ValueError("title and contributors of a project must not be blank")
        if not self.contributors:
            raise ValueError("Camtrap DP needs one contributor at least")


@dataclasses.dataclass(frozen=True)
class SpeciesNetOptions:
    """What SpeciesNet's predictions may say about all images.

    Attributes:
        root: put before the file names; SpeciesNet's own are absolute paths.
        country: three letters, ISO 3166-1.
        admin1_region: code of a region, such as a US state, two letters.
        version: version of the format, 5 or 4.
    """

    root: str = ""
    country: str = ""
    admin1_region: str = ""
    version: Literal[5, 4] = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """How results are written.

    Attributes:
        min_score: score below which detections are left out of every format. Keep it low: programs
            that show results have thresholds of their own.
        typical_threshold: threshold recommended to MegaDetector's readers, and lowest score of an
            observation in Camtrap DP; an image without any is blank there.
        conservative_threshold: recommended threshold for missing as little as possible.
        native_categories: whether MegaDetector's detection categories are the classes of the model,
            in place of animal, person and vehicle with the classes as classifications.
        datetimes: whether MegaDetector's images have a `datetime`.
        kinds: "animal", "human" or "vehicle" by class name, where the name does not say it.
        taxa: scientific name or SpeciesNet's seven parts by class name.
        smooth: whether animals of a burst get the class that most of them have; see `smoothing`.
        taxonomy: tree of taxa; detections of which no class is certain get the taxon that their
            classes share. None leaves all as they are. See `taxonomy`.
        certain_score: score from which a class, or the sum of a taxon's classes, is certain.
        event_minutes: longest pause within an event, in minutes.
        completed: UTC, "2026-05-26T19:11:27Z"; by default when the journal was begun, so that a run
            that was killed and continued writes the same bytes.
    """

    min_score: float = 0.0
    typical_threshold: float = 0.2
    conservative_threshold: float = 0.05
    native_categories: bool = False
    datetimes: bool = False
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    taxa: Mapping[str, str] = dataclasses.field(default_factory=dict)
    smooth: bool = False
    taxonomy: Taxonomy | None = None
    certain_score: float = 0.5
    event_minutes: float = 30
    completed: str = ""
    camtrap: CamtrapOptions = dataclasses.field(default_factory=CamtrapOptions)
    speciesnet: SpeciesNetOptions = dataclasses.field(default_factory=SpeciesNetOptions)

    def __post_init__(self):
        for name, flag in (
            ("min_score", "--threshold"),
            ("typical_threshold", "--observation_threshold"),
            ("conservative_threshold", "conservative_threshold"),
            ("certain_score", "--taxonomy_score"),
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{flag} must lie in 0..1, got {getattr(self, name)}")
        if not 0 < self.event_minutes < float("inf"):
            raise ValueError(f"--event_minutes must be positive, got {self.event_minutes}")
        if self.completed:
            datetime.datetime.strptime(self.completed, CREATED_FORMAT)
