"""Queries against a folder of embeddings: the tracklets that look most like each."""

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from context_rcnn.data.tracklets import Tracklet
from context_rcnn.evaluation.embeddings import Embeddings
from context_rcnn.evaluation.reid import nearest

FIELDS = ("query", "query_camera", "rank", "tracklet", "identity", "camera", "similarity", "right")


@dataclasses.dataclass(frozen=True)
class Answer:
    """One of the tracklets that look like a query.

    Attributes:
        place: number of the tracklet in the gallery.
        similarity: cosine of the two features.
        right: whether it is of the query's identity, None where one of the two is not known.
    """

    place: int
    similarity: float
    right: bool | None


def search(
    query: Embeddings,
    asked: Sequence[int],
    gallery: Embeddings,
    among: Sequence[int],
    *,
    count: int = 10,
    other_cameras: bool = False,
) -> list[list[Answer]]:
    """The nearest tracklets of each query, best first; never the query itself.

    Args:
        query: embeddings with the queries.
        asked: numbers of the queries.
        gallery: embeddings to look in.
        among: numbers of the tracklets to look in.
        count: largest number of answers.
        other_cameras: whether only other cameras than the query's are looked in.

    Raises:
        ValueError: If the two were made by different models.
    """
    if query.model != gallery.model:
        raise ValueError(
            f"the queries were embedded by {query.model or 'an unknown model'} and the gallery by "
            f"{gallery.model or 'an unknown model'}: features of different models cannot be "
            "compared; index both with the same model"
        )
    found = nearest(
        query.described(asked),
        gallery.described(among),
        count + 1,  # the query itself may be among them
        same_cameras=not other_cameras,
    )
    same_set = query.root == gallery.root
    return [
        _answers(query.tracklets[number], best, gallery, among, same_set)[:count]
        for number, best in zip(asked, found, strict=True)
    ]


def _answers(
    asked: Tracklet,
    best: Iterable[tuple[int, float]],
    gallery: Embeddings,
    among: Sequence[int],
    same_set: bool,
) -> list[Answer]:
    answers = []
    for row, similarity in best:
        other = gallery.tracklets[among[row]]
        if same_set and other.name == asked.name:
            continue
        known = bool(asked.identity and other.identity)
        right = asked.identity == other.identity if known else None
        answers.append(Answer(among[row], similarity, right))
    return answers


def choose(found: Embeddings, names: Sequence[str]) -> list[int]:
    """Numbers of the tracklets of these names; without names the queries, or all.

    Raises:
        ValueError: Naming a tracklet that is not there.
    """
    if not names:
        return found.places("query")
    places = {tracklet.name: number for number, tracklet in enumerate(found.tracklets)}
    unknown = [name for name in names if name not in places]
    if unknown:
        raise ValueError(
            f"--tracklet {unknown[0]!r:.200}: the index has no such tracklet; it has "
            f"{', '.join(sorted(places)[:5])}, ..."
        )
    return [places[name] for name in names]


def write_table(
    path: Path,
    query: Embeddings,
    asked: Sequence[int],
    gallery: Embeddings,
    answers: Sequence[Sequence[Answer]],
) -> None:
    """Writes a CSV table, one row per answer."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for number, found in zip(asked, answers, strict=True):
            tracklet = query.tracklets[number]
            for rank, answer in enumerate(found, 1):
                other = gallery.tracklets[answer.place]
                writer.writerow(
                    [
                        tracklet.name,
                        tracklet.camera,
                        rank,
                        other.name,
                        other.identity,
                        other.camera,
                        f"{answer.similarity:.4f}",
                        "" if answer.right is None else int(answer.right),
                    ]
                )


def in_words(query: Embeddings, asked: int, gallery: Embeddings, found: Sequence[Answer]) -> str:
    """A query and its answers for a terminal."""
    lines = [repr(query.tracklets[asked].name)[1:-1]]
    for rank, answer in enumerate(found, 1):
        name = repr(gallery.tracklets[answer.place].name)[1:-1]
        mark = {True: " right", False: " wrong", None: ""}[answer.right]
        lines.append(f"  {rank:3}  {answer.similarity:.3f}  {name}{mark}")
    return "\n".join(lines if found else [*lines, "  nothing to look in"])
