"""Ways to choose k of n, all deterministic; each returns ascending positions."""

import numpy as np

_RESOLUTION = 1e5
_MAX_AT_ONCE = 4096
_MATRIX_SPEEDUP = 16  # of one product of matrices over many of a matrix and a vector


def uniform(count: int, keep: int) -> np.ndarray:
    """`keep` of `count` positions, the middles of equal parts; all if there are no more."""
    if keep >= count:
        return np.arange(count)
    return (2 * np.arange(keep) + 1) * count // (2 * keep)


def farthest_points(features: np.ndarray, keep: int) -> np.ndarray:
    """Rows that lie far apart (greedy k-center), so that every row has a chosen one near it.

    Begins with the row most like the mean, then takes again and again the row least like all that
    are taken. Alike is cosine similarity, rounded to 1e-5, so that equal rows tie whatever order
    the sums are done in; ties go to the first row.

    Takes O(n x keep) products; all O(n x n) at once where that is faster, which products of
    matrices are many times over for up to a few thousand rows.

    Args:
        features: [n, D]; a float32 copy of them is made.
        keep: rows to take.
    """
    count = len(features)
    if keep >= count:
        return np.arange(count)
    if keep < 1:
        return np.arange(0)
    rows = normalised(features)
    chosen = [int(np.argmax(_rounded(rows @ rows.mean(axis=0))))]
    nearest = np.full(count, -np.inf, np.float32)
    at_once = count <= _MAX_AT_ONCE and count <= keep * _MATRIX_SPEEDUP
    products = rows @ rows.T if at_once else None
    for _ in range(keep - 1):
        latest = chosen[-1]
        alike = rows @ rows[latest] if products is None else products[latest]
        np.maximum(nearest, _rounded(alike), out=nearest)
        nearest[chosen[-1]] = np.inf
        chosen.append(int(np.argmin(nearest)))
    return np.sort(np.array(chosen))


def share_budget(sizes: np.ndarray, budget: int) -> np.ndarray:
    """How many each bin may keep: the same number, except that none keeps more than it has.

    What is left over goes, one each, to evenly spaced bins of those that have more.

    Args:
        sizes: [bins] int, what each bin has.
        budget: number of entries that all may keep together.

    Returns:
        [bins] int64 with the sum min(budget, sum of sizes).
    """
    sizes = np.asarray(sizes, np.int64)
    if budget >= sizes.sum():
        return sizes
    ascending = np.sort(sizes)
    below = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    # With level ascending[i], the bins before i keep all they have, the others that level.
    needed = below + ascending * (len(sizes) - np.arange(len(sizes)))
    first = int(np.searchsorted(needed, budget, side="right"))
    level, rest = divmod(int(budget - below[first]), len(sizes) - first)
    shares = np.minimum(sizes, level)
    larger = np.flatnonzero(sizes > level)
    shares[larger[uniform(len(larger), rest)]] += 1
    return shares


def normalised(features: np.ndarray) -> np.ndarray:
    """Rows [n, D] as float32 of length 1; a row of zeros stays one."""
    rows = np.array(features, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)


def _rounded(similarities: np.ndarray) -> np.ndarray:
    return np.rint(similarities * np.float32(_RESOLUTION))
