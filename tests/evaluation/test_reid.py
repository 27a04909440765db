"""Rankings against cases worked by hand and against loops."""

import math

import numpy as np
import pytest

from context_rcnn.data.tracklets import DISTRACTOR, JUNK, UNKNOWN
from context_rcnn.evaluation import reid
from context_rcnn.evaluation.re_ranking import re_rank


def described(identities, cameras, features=None):
    if features is None:
        features = np.ones((len(identities), 2), np.float32)
    return reid.Described(np.asarray(features, np.float32), identities, cameras)


def one_query(gallery, **options):
    """Ranks (identity, camera) pairs that come in the order of distance for query 1, camera 1."""
    distances = np.arange(len(gallery), dtype=float)[None]
    identities, cameras = zip(*gallery, strict=True)
    return reid.rank(
        described(["1"], ["c1"]),
        described(identities, cameras),
        distances=distances,
        **options,
    )


def test_a_query_is_ranked_as_worked_by_hand():
    gallery = [("1", "c1"), ("2", "c2"), ("1", "c2"), ("1", "c3"), ("3", "c2")]
    found = one_query(gallery, ranks=(1, 2, 3, 4))
    assert found.cmc.tolist() == [0, 1, 1, 1]
    assert math.isclose(found.metrics["mAP"], 0.583333, abs_tol=1e-6)
    assert math.isclose(found.metrics["mINP"], 2 / 3)


def test_junk_is_left_out_and_a_distractor_is_a_wrong_answer():
    junk = one_query([(JUNK, "c2"), (UNKNOWN, "c2"), ("1", "c2")])
    assert junk.metrics["Rank-1"] == 1 and junk.metrics["left_out"] == 2
    distractor = one_query([(DISTRACTOR, "c2"), ("1", "c2")])
    assert distractor.metrics["Rank-1"] == 0 and distractor.metrics["mAP"] == 0.5
    assert distractor.metrics["distractors"] == 1


def test_a_query_without_a_match_is_counted_and_in_no_mean():
    query = described(["1", "9", DISTRACTOR], ["c1", "c1", "c1"])
    gallery = described(["1", "2", DISTRACTOR], ["c2", "c2", "c2"])
    found = reid.rank(query, gallery, distances=np.tile([0.0, 1, 2], (3, 1)))
    assert found.metrics["Rank-1"] == 1 and found.metrics["mAP"] == 1
    assert found.metrics["queries_without_a_match"] == 2
    nobody = reid.rank(described(["9"], ["c1"]), gallery)
    assert nobody.metrics["Rank-1"] is None and nobody.metrics["mAP"] is None


def test_mars_without_queries_in_its_gallery_lacks_some_matches():
    """Persons whose other tracklets are queries, too, are found only among these."""
    query = described(["1", "1", "2"], ["c1", "c2", "c1"])
    gallery = described(["2", "3"], ["c2", "c1"])
    assert reid.rank(query, gallery).metrics["queries_without_a_match"] == 2
    assert reid.rank(query, query.joined(gallery)).metrics["queries_without_a_match"] == 0


def brute_force(distances, query, gallery):
    """CMC, AP and INP from their definitions, pair by pair; ties in the gallery's order."""
    first, precisions, hardest = [], [], []
    for q in range(len(query)):
        order = sorted(range(len(gallery)), key=lambda g: (distances[q][g], g))
        answers = []
        for g in order:
            same = gallery.identities[g] == query.identities[q]
            if gallery.identities[g] in (JUNK, UNKNOWN):
                continue
            if same and gallery.cameras[g] == query.cameras[q]:
                continue
            answers.append(same)
        if not any(answers) or query.identities[q] == DISTRACTOR:
            continue
        ranks = [i + 1 for i, right in enumerate(answers) if right]
        first.append(ranks[0])
        precisions.append(sum((k + 1) / r for k, r in enumerate(ranks)) / len(ranks))
        hardest.append(len(ranks) / ranks[-1])
    cmc = {k: sum(r <= k for r in first) / len(first) for k in (1, 5, 10, 20)}
    return cmc, sum(precisions) / len(precisions), sum(hardest) / len(hardest)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_rankings_with_ties_junk_and_distractors_equal_brute_force(seed, chunk_bytes):
    rng = np.random.default_rng(seed)

    def some(count):
        identities = rng.choice([JUNK, DISTRACTOR, "1", "2", "3", "4", "5"], count).tolist()
        # Corners of a cube: their cosines are exact, and many of them equal.
        features = rng.choice([-1.0, 1.0], (count, 4))
        return described(identities, rng.choice(["a", "b", "c"], count).tolist(), features)

    query, gallery = some(30), some(60)
    cosines = query.features @ gallery.features.T / 4
    found = reid.rank(query, gallery, chunk_bytes=chunk_bytes)
    cmc, precision, hardest = brute_force((1 - cosines).tolist(), query, gallery)
    for k, value in cmc.items():
        assert math.isclose(found.metrics[f"Rank-{k}"], value)
    assert math.isclose(found.metrics["mAP"], precision, rel_tol=1e-9)
    assert math.isclose(found.metrics["mINP"], hardest, rel_tol=1e-9)


def test_lengths_of_features_make_no_difference():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(5, 8)), rng.normal(size=(20, 8))
    scale = rng.uniform(0.1, 10, (20, 1))
    ids, cameras = [str(i % 4) for i in range(20)], ["b"] * 20
    asked = described(ids[:5], ["a"] * 5, query)
    one, two = (
        reid.rank(asked, described(ids, cameras, features)).average_precision
        for features in (gallery, gallery * scale)
    )
    np.testing.assert_array_equal(one, two)


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="features of 1 tracklets are not finite.*number 1"):
        described(["1", "2"], ["a", "b"], [[1, 0], [np.nan, 0]])


def test_the_nearest_of_other_cameras_come_first():
    query = described(["1"], ["a"], [[1, 0]])
    gallery = described(
        ["1", "2", "1", JUNK], ["a", "b", "b", "b"], [[1, 0], [0.8, 0.6], [0.6, 0.8], [1, 0]]
    )
    (found,) = reid.nearest(query, gallery, 5)
    assert [place for place, _ in found] == [1, 2]
    np.testing.assert_allclose([similarity for _, similarity in found], [0.8, 0.6], rtol=1e-6)
    (found,) = reid.nearest(query, gallery, 2, same_cameras=True)
    assert [place for place, _ in found] == [0, 1]


def test_distances_within_and_between_identities():
    features = [[1, 0], [0.6, 0.8], [0, 1]]
    within, between = reid.intra_and_inter(np.array(features), ["a", "a", "b"])
    np.testing.assert_allclose([within, between], [0.4, (1.0 + 0.2) / 2], rtol=1e-6)


def sets_of_neighbours(distances, k1, k2, weight, queries):
    """Re-ranking written from the paper with sets."""
    n = len(distances)

    def nearest(i, k):
        return set(sorted(range(n), key=lambda j: (distances[i][j], j))[: k + 1])

    def mutual(i, k):
        return {j for j in nearest(i, k) if i in nearest(j, k)}

    encodings = []
    for i in range(n):
        members = mutual(i, k1)
        extended = set(members)
        for j in members:
            half = mutual(j, round(k1 / 2))
            if len(half & members) > 2 / 3 * len(half):
                extended |= half
        weights = {j: math.exp(-distances[i][j]) for j in extended}
        total = sum(weights.values())
        encodings.append({j: w / total for j, w in weights.items()})
    averaged = []
    for i in range(n):
        near = sorted(range(n), key=lambda j: (distances[i][j], j))[:k2]
        averaged.append({j: sum(encodings[m].get(j, 0) for m in near) / k2 for j in range(n)})
    found = np.zeros((queries, n - queries))
    for q in range(queries):
        for g in range(queries, n):
            low = sum(min(averaged[q][j], averaged[g][j]) for j in range(n))
            high = sum(max(averaged[q][j], averaged[g][j]) for j in range(n))
            found[q, g - queries] = (1 - weight) * (1 - low / high) + weight * distances[q][g]
    return found


def test_re_ranking_equals_sets_of_neighbours():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(24, 6)) + 2 * rng.normal(size=(6, 6)).repeat(4, axis=0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    apart = 2 - 2 * unit @ unit.T
    distances = (apart / apart.max(axis=0)).T
    expected = sets_of_neighbours(distances, 6, 3, 0.3, 8)
    found = re_rank(features[:8], features[8:], k1=6, k2=3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_re_ranking_of_too_many_is_refused():
    with pytest.raises(ValueError, match="20001 tracklets in memory"):
        re_rank(np.ones((1, 2), np.float32), np.ones((20_000, 2), np.float32))


@pytest.mark.slow
def test_a_gallery_of_a_hundred_thousand_is_ranked_in_bounded_memory():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(2000, 16)).astype(np.float32)
    who = rng.integers(0, 2000, 100_000)
    gallery = people[who] + 0.1 * rng.normal(size=(100_000, 16)).astype(np.float32)
    found = reid.rank(
        described([str(i) for i in range(50)], ["a"] * 50, people[:50]),
        described([str(i) for i in who], ["b"] * 100_000, gallery),
        chunk_bytes=8 << 20,
    )
    assert found.metrics["Rank-1"] > 0.95
