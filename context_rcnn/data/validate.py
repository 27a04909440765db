"""Checks a whole archive without writing it, in the same way as `create_examples`."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from context_rcnn.data import console
from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.data.failures import Failure, Reason
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.prepare import prepare
from context_rcnn.data.records import ImageRecord
from context_rcnn.data.splits import lopsided
from context_rcnn.data.summary import Summary, format_camera_table, format_counts, format_notes


@dataclasses.dataclass(frozen=True)
class ValidationReport:
    """What `create_examples` would write and leave out.

    Attributes:
        summary: Counts per camera and per reason.
        failures: Every failure.
        images_listed: Images the source names.
        notes: Counts of what was noticed but cost nothing.
        splits: Images that can be used, by split.
        classes: The same of each class, by its name.
        label_map: Class ids by name.
        warnings: What to look at.
    """

    summary: Summary
    failures: list[Failure]
    images_listed: int
    notes: dict[str, int]
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    label_map: dict[str, int]
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def images_lost(self) -> int:
        return sum(failure.lost == "image" for failure in self.failures)

    def to_dict(self) -> dict[str, Any]:
        return {
            "images_listed": self.images_listed,
            "images_usable": self.summary.images,
            "images_lost": self.images_lost,
            "splits": self.splits,
            "classes": self.classes,
            "notes": self.notes,
            "label_map": self.label_map,
            "warnings": self.warnings,
            **self.summary.to_dict(),
            "failed": [dataclasses.asdict(failure) for failure in self.failures],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def to_text(self) -> str:
        """For a terminal; control characters of file and camera names are escaped."""
        facts = self.to_dict()
        usable = f"{facts['images_usable']} of {self.images_listed} images can be used"
        sections = [
            format_camera_table(facts["cameras"]),
            f"splits\n{format_counts(self.splits)}",
            f"classes, in images\n{self._classes()}",
            f"failures\n{format_counts(facts['failures'])}",
            f"image changes\n{format_counts(facts['image_changes'])}",
            f"notes\n{format_notes(self.notes)}",
            *self._named(),
            *(f"WARNING: {warning}" for warning in self.warnings),
            f"{usable}; {self.images_lost} cannot.",
        ]
        return "\n\n".join(sections) + "\n"

    def _classes(self) -> str:
        rows = [["class", *self.splits]]
        for name, counts in self.classes.items():
            rows.append([name, *(str(count) for count in counts.values())])
        return console.table(rows) if self.classes else "none"

    def _named(self) -> list[str]:
        """Sections with each file that cannot be used, each folder that cannot be listed, and each
        file that is damaged but used."""
        lost = [f for f in self.failures if f.lost in ("image", "folder")]
        damaged = [f for f in self.failures if f.reason is Reason.DAMAGED_DATA]
        return [
            f"{heading}\n" + "\n".join(map(_line, sorted(failures, key=_by_file)))
            for heading, failures in (("cannot be used", lost), ("used, but damaged", damaged))
            if failures
        ]


def validate_archive(
    archive_options: ArchiveOptions,
    image_options: ImageOptions | None = None,
    *,
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> ValidationReport:
    """Reads an archive and opens every image, as `create_examples` does, but writes nothing.

    Args:
        archive_options: Place of the archive, and options for reading it.
        image_options: Rules for the images that are accepted.
        workers: Threads that open images.
        progress: Called with the images and their number, to show how far it is; such as
            `lambda images, total: tqdm(images, "validate", total)`.

    Raises:
        ValueError: If an input as a whole is unusable.
    """
    image_options = image_options or ImageOptions()
    archive = read_archive(archive_options)
    summary = Summary()
    failures = list(archive.failures)
    for failure in failures:
        summary.add_failure(failure)
    usable = dict.fromkeys(archive.records, 0)
    classes: dict[str, dict[str, int]] = {}
    jobs = [(split, record) for split, members in archive.records.items() for record in members]

    def check(job: tuple[str, ImageRecord]):
        split, record = job
        return split, prepare(record, archive.root, image_options)

    results = _ordered_map(check, jobs, workers)
    for split, (prepared, problems) in progress(results, len(jobs)) if progress else results:
        if prepared is not None:
            summary.add_image(prepared)
            usable[split] += 1
            for name in prepared.record.class_names:
                classes.setdefault(name, dict.fromkeys(usable, 0))[split] += 1
        for failure in problems:
            summary.add_failure(failure)
        failures.extend(problems)
    return ValidationReport(
        summary,
        failures,
        archive.images_listed,
        dict(sorted(archive.notes.items())),
        usable,
        dict(sorted(classes.items())),
        archive.label_map,
        lopsided(archive.splits, usable, archive_options.val_fraction),
    )


def _line(failure: Failure) -> str:
    name = console.shown(failure.file or failure.image_id)
    return f"  {name}: {failure.reason}: {console.shown(failure.detail)}"


def _by_file(failure: Failure) -> tuple[str, str]:
    return failure.file, failure.image_id


def _ordered_map(function: Callable, jobs: list, workers: int) -> Iterator:
    """Results in the order of the jobs; a bounded number of images is in memory."""
    if workers <= 1:
        yield from map(function, jobs)
        return
    remaining = iter(jobs)
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(itertools.islice(remaining, 4 * workers)):
            yield from pool.map(function, batch)
