"""Re-ranking by k-reciprocal encoding (Zhong et al., CVPR 2017). The paper's tables do without."""

import numpy as np

from context_rcnn.evaluation.reid import unit_length

MOST = 20_000  # tracklets; distances of all pairs are in memory, several times


def re_rank(
    query: np.ndarray, gallery: np.ndarray, *, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """Distances of queries to a gallery, from the features and from the neighbours they share.

    Args:
        query: features [queries, depth].
        gallery: features [gallery, depth].
        k1: number of neighbours that must be mutual.
        k2: number of neighbours whose encodings are averaged.
        weight: weight of the features' own distance; the rest is that of the neighbours.

    Returns:
        float32 [queries, gallery].
    """
    both = np.concatenate([unit_length(query), unit_length(gallery)])
    count = len(both)
    if count > MOST:
        raise ValueError(
            f"re-ranking holds the distances of all pairs of {count} tracklets in memory; it does "
            f"so for at most {MOST}"
        )
    distances = np.maximum(2.0 - 2.0 * both @ both.T, 0.0)
    distances = (distances / np.maximum(distances.max(axis=0), 1e-12)).T
    order = np.argsort(distances, axis=1, kind="stable")
    encoding = np.zeros_like(distances)
    whole = [_reciprocal(order, i, k1) for i in range(count)]
    half = [_reciprocal(order, i, round(k1 / 2)) for i in range(count)]
    for i in range(count):
        members = whole[i]
        for candidate in whole[i]:
            theirs = half[candidate]
            if len(np.intersect1d(theirs, whole[i])) > 2 / 3 * len(theirs):
                members = np.union1d(members, theirs)
        weights = np.exp(-distances[i, members])
        encoding[i, members] = weights / weights.sum()
    if k2 > 1:
        encoding = np.stack([encoding[order[i, :k2]].mean(axis=0) for i in range(count)])
    jaccard = _jaccard(encoding, len(query))
    return ((1 - weight) * jaccard + weight * distances[: len(query), len(query) :]).astype(
        np.float32
    )


def _reciprocal(order: np.ndarray, i: int, k: int) -> np.ndarray:
    """The k nearest of i that have i among their k nearest, and i itself."""
    nearest = order[i, : k + 1]
    return nearest[(order[nearest, : k + 1] == i).any(axis=1)]


def _jaccard(encoding: np.ndarray, queries: int) -> np.ndarray:
    """Jaccard distances of the queries' encodings, which add up to 1, to those of the gallery."""
    found = np.empty((queries, len(encoding) - queries), np.float32)
    for i in range(queries):
        (members,) = encoding[i].nonzero()
        shared = np.minimum(encoding[i, members], encoding[queries:, members]).sum(axis=1)
        found[i] = 1.0 - shared / (2.0 - shared)
    return found
