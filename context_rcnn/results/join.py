"""Several journals of one model as one."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from context_rcnn.results.atomic import MARK
from context_rcnn.results.journal import Journal

PATTERN = "journal*.jsonl"


def find_journals(places: Iterable[str | Path]) -> list[Path]:
    """Journals by name, of folders all those in them.

    Raises:
        ValueError: For a place without any.
    """
    found = []
    for place in map(Path, places):
        paths = sorted(place.glob(PATTERN)) if place.is_dir() else [place]
        if not paths or not paths[0].exists():
            what = f"no {PATTERN} in it" if place.is_dir() else "no such journal"
            raise ValueError(f"{place}: {what}")
        found += paths
    return found


def join_journals(paths: Sequence[str | Path], target: str | Path) -> Path:
    """Writes the images of journals, which are of one model and its settings, to one.

    Raises:
        ValueError: If one is of another model or other settings, naming both.
    """
    target = Path(target)
    first = Journal(paths[0])
    journals = [first, *map(Journal, paths[1:])]
    for journal in journals[1:]:
        if differences := first.header.differences(journal.header):
            raise ValueError(
                f"{first.path} and {journal.path} cannot be one: {'; '.join(differences)}"
            )
    unfinished = target.with_name(target.name + MARK)
    with unfinished.open("wb") as file:
        file.write(first.header.to_json().encode("ascii") + b"\n")
        for journal in journals:
            file.writelines(journal.lines())
    os.replace(unfinished, target)
    return target
