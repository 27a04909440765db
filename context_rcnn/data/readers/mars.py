"""MARS: bbox_train, bbox_test, and in info/ the lists of names, of tracklets and of queries.

A tracklet is a run of lines in a list of names: `start, end, person, camera`, counted from 1, both
ends included. The folder of an image is the first four characters of its name. Person -1, in the
folder 00-1, is junk; person 0 is everybody who is not asked for.
"""

from pathlib import Path

import numpy as np

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.matlab import read_matrix
from context_rcnn.data.tracklets import JUNK, Collector, Tracklet, TrackletSet


def read_mars(root: Path) -> TrackletSet:
    """Reads MARS. Queries are also in the gallery, as in the published evaluations."""
    collector = Collector("mars")
    info = root / "info"
    train = _read_part(root, "train", collector)
    test = _read_part(root, "test", collector)
    queries = read_matrix(info / "query_IDX.mat", "query_IDX").ravel()
    wrong = queries[(queries < 1) | (queries > len(test))]
    for number in wrong:
        detail = f"query {number} is none of the {len(test)} tracklets of the test"
        collector.fail(Reason.BAD_RECORD, detail, "info/query_IDX.mat")
    chosen = set(queries.tolist()) - set(wrong.tolist())
    ours = {number: part for number, part in enumerate(test, 1) if part is not None}
    return TrackletSet(
        str(root),
        train=[part for part in train if part is not None and part.identity != JUNK],
        query=[part for number, part in ours.items() if number in chosen],
        gallery=[part for number, part in ours.items() if number not in chosen],
        failures=collector.failures,
        notes=collector.notes,
        queries_in_gallery=True,
        split="of the data set",
    )


def _read_part(root: Path, part: str, collector: Collector) -> list[Tracklet | None]:
    """The tracklets of a part by number, None for those that cannot be used."""
    lists, name = root / "info", f"tracks_{part}_info.mat"
    names = _read_names(lists / f"{part}_name.txt")
    rows = read_matrix(lists / name, f"track_{part}_info")
    if rows.shape[1] != 4:
        raise ValueError(
            f"{lists / name}: expected the columns start, end, person, camera, "
            f"found {rows.shape[1]}"
        )
    return [_tracklet(row, number, part, names, collector) for number, row in enumerate(rows, 1)]


def _tracklet(
    row: np.ndarray, number: int, part: str, names: list[str], collector: Collector
) -> Tracklet | None:
    start, end, person, camera = row.tolist()
    title = f"{part}/{number:05d}"
    if start < 1 or end > len(names):
        detail = f"tracklet {number} goes from {start} to {end} of {len(names)} names"
        collector.fail(Reason.BAD_RECORD, detail, title, f"C{camera}")
        return None
    frames = [f"bbox_{part}/{name[:4]}/{name}" for name in names[start - 1 : end]]
    return collector.tracklet(title, frames, str(person), f"C{camera}")


def _read_names(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; is its folder that of MARS?")
    return path.read_text(encoding="utf-8", errors="replace").split()
