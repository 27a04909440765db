"""Tracklets: short image sequences of one person or animal, and the splits of a set of them.

A reader of `data.readers.tracklet_layouts` makes a `TrackletSet`. Nothing is opened then: images
are read, and what is wrong with them is found, by `data.tracklet_images`.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.paths import FileError, normalise_file_name

JUNK = "-1"  # of no person: never in a ranking
DISTRACTOR = "0"  # of somebody who is not asked for: a wrong answer
UNKNOWN = ""  # nobody has said who it is
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True, slots=True)
class Tracklet:
    """Images of one person or animal by one camera, in their order.

    Attributes:
        name: name of the tracklet in its set.
        frames: file names below the root of the set.
        identity: who it is; `JUNK`, `DISTRACTOR` and `UNKNOWN` are nobody.
        camera: the camera.
    """

    name: str
    frames: tuple[str, ...]
    identity: str
    camera: str


@dataclasses.dataclass(frozen=True)
class TrackletSet:
    """A data set with its protocol.

    Attributes:
        root: folder that file names are relative to.
        train: tracklets to learn from.
        query: tracklets that are looked for.
        gallery: tracklets among which they are looked for, without the queries.
        failures: everything that the reader could not use.
        notes: counts of what was noticed but cost nothing.
        queries_in_gallery: whether the protocol also looks among the other queries.
        split: what says which tracklets belong where.
    """

    root: str
    train: list[Tracklet]
    query: list[Tracklet]
    gallery: list[Tracklet]
    failures: list[Failure] = dataclasses.field(default_factory=list)
    notes: Counter = dataclasses.field(default_factory=Counter)
    queries_in_gallery: bool = False
    split: str = ""

    @property
    def parts(self) -> dict[str, list[Tracklet]]:
        """The tracklets by part."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}

    def describe(self) -> str:
        """How much there is, in a few words."""
        parts = ", ".join(f"{name} {count(part)}" for name, part in self.parts.items() if part)
        lost = Counter(str(failure.reason) for failure in self.failures)
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(lost.items()))
        return f"{parts or 'no tracklets'}" + (f"; left out: {reasons}" if lost else "")


def count(tracklets: Sequence[Tracklet]) -> str:
    """Tracklets, identities and cameras in words."""
    people = len(identities(tracklets))
    cameras = len({tracklet.camera for tracklet in tracklets})
    return f"{len(tracklets)} tracklets of {people} identities by {cameras} cameras"


def identities(tracklets: Iterable[Tracklet]) -> list[str]:
    """Names of all who are somebody, sorted: the labels of a model follow this order."""
    return sorted({t.identity for t in tracklets} - {JUNK, DISTRACTOR, UNKNOWN})


class Collector:
    """Collects tracklets, and the failures of those that cannot be used.

    Args:
        stage: name of the reader, for the failures.
    """

    def __init__(self, stage: str):
        self._stage = stage
        self.failures: list[Failure] = []
        self.notes: Counter = Counter()

    def tracklet(
        self, name: str, frames: Iterable[str], identity: str, camera: str
    ) -> Tracklet | None:
        """The tracklet, or None with a failure where it has no frames."""
        inside = []
        for frame in frames:
            try:
                inside.append(normalise_file_name(frame))
            except FileError as error:
                self.fail(error.reason, error.detail, frame, camera, "image")
        if not inside:
            self.fail(Reason.NO_FRAMES, f"tracklet {name!r:.200} has no frames", name, camera)
            return None
        return Tracklet(name, tuple(inside), identity, camera)

    def fail(
        self, reason: Reason, detail: str, file: str = "", camera: str = "", lost="tracklet"
    ) -> None:
        """Records something that cannot be used."""
        self.failures.append(
            Failure(self._stage, reason, detail, file=file, camera=camera, lost=lost)
        )


def list_images(root: Path, folder: str) -> list[str]:
    """Images directly in a folder below the root, as names below the root, sorted."""
    path = root / folder
    if not path.is_dir():
        return []
    names = sorted(entry.name for entry in path.iterdir())
    return [
        f"{folder}/{name}"
        for name in names
        if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")
    ]


def list_folders(path: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are not looked at."""
    if not path.is_dir():
        return []
    return sorted(e.name for e in path.iterdir() if e.is_dir() and not e.name.startswith("."))
