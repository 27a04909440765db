"""Numbers of re-identification: CMC, mAP and mINP of queries ranked against a gallery.

A query is asked of the tracklets of other cameras: those of the same identity by the same camera
are left out. Junk is left out too, and so is what nobody has identified; distractors stay as wrong
answers. A query without a right answer is counted, but in no mean. Equal distances keep the order
of the gallery.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from context_rcnn.data.tracklets import DISTRACTOR, JUNK, UNKNOWN

CHUNK_BYTES = 256 << 20  # of distances held at a time


@dataclasses.dataclass(frozen=True)
class Described:
    """Tracklets with their features.

    Attributes:
        features: float32 [tracklets, depth].
        identities: who each one is.
        cameras: the camera of each one.
    """

    features: np.ndarray
    identities: Sequence[str]
    cameras: Sequence[str]

    def __post_init__(self):
        count = len(self.features)
        if self.features.ndim != 2 or not len(self.identities) == len(self.cameras) == count:
            raise ValueError(
                f"features {list(self.features.shape)}, {len(self.identities)} identities and "
                f"{len(self.cameras)} cameras do not belong together"
            )
        broken = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
        if len(broken):
            raise ValueError(
                f"features of {len(broken)} tracklets are not finite, such as number {broken[0]}"
            )

    def __len__(self) -> int:
        return len(self.features)

    def take(self, places: np.ndarray) -> "Described":
        """Some of them."""
        return Described(
            self.features[places],
            [self.identities[i] for i in places],
            [self.cameras[i] for i in places],
        )

    def joined(self, other: "Described") -> "Described":
        """These, and then others."""
        return Described(
            np.concatenate([self.features, other.features]),
            [*self.identities, *other.identities],
            [*self.cameras, *other.cameras],
        )


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The result of a ranking.

    Attributes:
        metrics: numbers by name; None where no query has a right answer.
        average_precision: of each query, NaN without a right answer.
        first_match: rank of the first right answer of each query, from 1; 0 without one.
        cmc: share of queries with a right answer up to each rank, [ranks].
    """

    metrics: dict[str, float | int | None]
    average_precision: np.ndarray
    first_match: np.ndarray
    cmc: np.ndarray


def unit_length(features: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    features = np.asarray(features, np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def distance_chunks(
    query: np.ndarray, gallery: np.ndarray, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[int, np.ndarray]]:
    """Cosine distances [some queries, gallery], with the number of the first query of each."""
    query, gallery = unit_length(query), unit_length(gallery)
    rows = max(1, chunk_bytes // max(1, 4 * len(gallery)))
    for start in range(0, len(query), rows):
        yield start, 1.0 - query[start : start + rows] @ gallery.T


def rank(
    query: Described,
    gallery: Described,
    *,
    ranks: Sequence[int] = (1, 5, 10, 20),
    distances: np.ndarray | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Ranked:
    """Ranks the gallery for each query.

    Args:
        query: tracklets that are looked for.
        gallery: tracklets among which they are looked for.
        ranks: ranks at which a right answer counts.
        distances: distances [queries, gallery] in place of the features' (from `re_rank`).
        chunk_bytes: memory for distances.
    """
    names, numbers = np.unique([*query.identities, *gallery.identities], return_inverse=True)
    _, cameras = np.unique([*query.cameras, *gallery.cameras], return_inverse=True)
    there = ~np.isin(np.asarray(gallery.identities, str), [JUNK, UNKNOWN])
    gallery_id, gallery_camera = numbers[len(query) :], cameras[len(query) :]
    deepest = max(ranks)
    hits = np.zeros(deepest, np.int64)
    precision = np.full(len(query), np.nan)
    hardest = np.full(len(query), np.nan)
    first = np.zeros(len(query), np.int64)
    chunks = (
        distance_chunks(query.features, gallery.features, chunk_bytes)
        if distances is None
        else iter([(0, distances)])
    )
    for start, chunk in chunks:
        for number, row in enumerate(chunk, start):
            same = gallery_id == numbers[number]
            use = there & ~(same & (gallery_camera == cameras[number]))
            if names[numbers[number]] in (JUNK, UNKNOWN, DISTRACTOR) or not (same & use).any():
                continue
            order = np.argsort(row[use], kind="stable")
            found = np.flatnonzero(same[use][order]) + 1  # ranks of all right answers
            first[number] = found[0]
            hits[found[0] - 1 :] += 1
            precision[number] = np.mean(np.arange(1, len(found) + 1) / found)
            hardest[number] = len(found) / found[-1]
    answered = int((first > 0).sum())
    cmc = hits / max(1, answered)
    metrics: dict[str, float | int | None] = {
        "queries": len(query),
        "queries_without_a_match": len(query) - answered,
        "gallery": int(there.sum()),
        "distractors": int(np.isin(np.asarray(gallery.identities, str), [DISTRACTOR]).sum()),
        "left_out": int((~there).sum()),
        "mAP": float(np.nanmean(precision)) if answered else None,
        "mINP": float(np.nanmean(hardest)) if answered else None,
    }
    for k in ranks:
        metrics[f"Rank-{k}"] = float(cmc[k - 1]) if answered else None
    return Ranked(metrics, precision, first, cmc)


def nearest(
    query: Described,
    gallery: Described,
    count: int,
    *,
    same_cameras: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[list[tuple[int, float]]]:
    """For each query, the nearest of the gallery with their cosine similarities, best first.

    Args:
        query: tracklets that are looked for.
        gallery: tracklets among which they are looked for; junk is left out.
        count: largest number of answers.
        same_cameras: whether tracklets of the query's own camera may be answers, too.
        chunk_bytes: memory for distances.
    """
    cameras = np.asarray(gallery.cameras, str)
    junk = np.asarray(gallery.identities, str) == JUNK
    for start, chunk in distance_chunks(query.features, gallery.features, chunk_bytes):
        for number, row in enumerate(chunk, start):
            out = junk if same_cameras else junk | (cameras == query.cameras[number])
            order = np.argsort(np.where(out, np.inf, row), kind="stable")[:count]
            yield [(int(i), float(1.0 - row[i])) for i in order if not out[i]]


def intra_and_inter(features: np.ndarray, labels: Sequence[str]) -> tuple[float, float]:
    """Mean cosine distance between tracklets of one identity, and between those of different ones.

    A distance that no pair has is NaN.
    """
    unit = unit_length(features).astype(np.float64)
    apart = 1.0 - unit @ unit.T
    names = np.asarray(labels, str)
    same = names[:, None] == names[None]
    pairs = ~np.eye(len(names), dtype=bool)

    def mean(values: np.ndarray) -> float:
        return float(values.mean()) if len(values) else float("nan")

    return mean(apart[same & pairs]), mean(apart[~same])
