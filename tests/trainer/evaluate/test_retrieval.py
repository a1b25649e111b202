"""Retrieval equals torchreid and sklearn on fixed matrices, and follows the Market-1501 protocol to the letter."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_curve

from trainer.evaluate.retrieval import (
    Floats,
    RetrievalLabels,
    average_precision,
    average_precision_triangular,
    detection_rate,
    pair_distances,
    ranks_of,
    score,
    squared_distances,
    true_positive_rate,
)


def world(
    seed: int, queries: int = 40, gallery: int = 300, persons: int = 15, ties: bool = False
) -> tuple[Floats, RetrievalLabels]:
    random = np.random.default_rng(seed)
    labels = RetrievalLabels(
        random.integers(0, persons, queries),
        random.integers(0, 6, queries),
        random.integers(-1, persons + 3, gallery),
        random.integers(0, 6, gallery),
    )
    same = labels.query_persons[:, None] == labels.gallery_persons
    distances = (random.random((queries, gallery)) - 0.3 * same).astype(np.float32)
    return (np.round(distances, 1) if ties else distances), labels


def torchreid_market1501(distances: Floats, labels: RetrievalLabels, max_rank: int = 50) -> tuple[Any, Any, Any, int]:
    """The reference: a loop over queries, as torchreid/metrics/rank.py states it; junk is removed before."""
    keep = labels.gallery_persons != -1
    distances, persons, cameras = distances[:, keep], labels.gallery_persons[keep], labels.gallery_cameras[keep]
    order = np.argsort(distances, axis=1, kind="stable")
    matches = (persons[order] == labels.query_persons[:, None]).astype(np.int32)
    all_cmc, all_ap, all_inp = [], [], []
    for query in range(len(distances)):
        own = (persons[order[query]] == labels.query_persons[query]) & (
            cameras[order[query]] == labels.query_cameras[query]
        )
        raw = matches[query][~own]
        if not np.any(raw):
            continue
        cmc = raw.cumsum()
        last = np.max(np.where(raw == 1))
        all_inp.append(cmc[last] / (last + 1.0))
        cmc[cmc > 1] = 1
        all_cmc.append(cmc[:max_rank])
        precision = raw.cumsum() / (np.arange(len(raw)) + 1.0)
        all_ap.append((precision * raw).sum() / raw.sum())
    return np.mean(all_cmc, axis=0), np.mean(all_ap), np.mean(all_inp), len(all_ap)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_cmc_map_and_minp_equal_torchreids(seed: int, ties: bool) -> None:
    distances, labels = world(seed, ties=ties)
    expected_cmc, expected_ap, expected_inp, counted = torchreid_market1501(distances, labels)
    found = score([distances[:13], distances[13:]], labels)
    np.testing.assert_allclose(found.cmc, expected_cmc, atol=1e-12)
    assert found.mean_ap == pytest.approx(expected_ap, abs=1e-12)
    assert found.mean_inp == pytest.approx(expected_inp, abs=1e-12)
    assert (found.queries, found.skipped) == (counted, 40 - counted)


def test_step_ap_equals_sklearns_on_random_rankings() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        truth = random.random(60) < 0.2
        truth[random.integers(60)] = True
        distances = random.random(60).astype(np.float32)
        places = ranks_of(distances, np.flatnonzero(truth))
        assert average_precision(places) == pytest.approx(average_precision_score(truth, -distances), abs=1e-12)


def test_triangular_ap_follows_the_matlab_formula_and_never_exceeds_the_step_ap() -> None:
    random = np.random.default_rng(1)
    for _ in range(100):
        places = np.sort(random.choice(50, 6, replace=False))
        expected = 0.0
        for found, place in enumerate(places):  # compute_AP.m: (old_precision + precision) / 2 per match
            old = found / place if place else 1.0
            expected += (old + (found + 1) / (place + 1)) / 2 / len(places)
        assert average_precision_triangular(places) == pytest.approx(expected, abs=1e-12)
        assert average_precision_triangular(places) <= average_precision(places) + 1e-12


def test_same_camera_images_and_junk_do_not_count_and_distractors_do() -> None:
    #                 junk, same camera, distractor, true match
    distances = np.array([[0.0, 0.1, 0.2, 0.3]], dtype=np.float32)
    labels = RetrievalLabels(np.array([5]), np.array([1]), np.array([-1, 5, 0, 5]), np.array([2, 1, 2, 2]))
    found = score([distances], labels, ranks=3)
    assert found.cmc.tolist() == [0, 1, 1]
    assert found.mean_ap == 0.5


def test_a_query_without_a_match_is_skipped() -> None:
    distances = np.array([[0.1, 0.2], [0.1, 0.2]], dtype=np.float32)
    found = score([distances], RetrievalLabels(np.array([1, 9]), np.array([0, 0]), np.array([1, 2]), np.array([1, 1])))
    assert (found.queries, found.skipped, found.mean_ap) == (1, 1, 1.0)


def test_no_match_at_all_and_nan_are_errors() -> None:
    distances = np.array([[0.1, 0.2]], dtype=np.float32)
    with pytest.raises(ValueError, match="at least one query"):
        score([distances], RetrievalLabels(np.array([9]), np.array([0]), np.array([1, 2]), np.array([1, 1])))
    with pytest.raises(ValueError, match="NaN"):
        score([distances * np.nan], RetrievalLabels(np.array([1]), np.array([0]), np.array([1, 2]), np.array([1, 1])))


def test_squared_distances_are_those_of_the_definition() -> None:
    random = np.random.default_rng(2)
    query, gallery = random.normal(size=(7, 16)).astype(np.float32), random.normal(size=(9, 16)).astype(np.float32)
    expected = ((query[:, None] - gallery) ** 2).sum(axis=2)
    np.testing.assert_allclose(np.concatenate(list(squared_distances(query, gallery, 3))), expected, rtol=1e-5)


def test_true_positive_rates_equal_sklearns_roc() -> None:
    random = np.random.default_rng(3)
    positives, negatives = random.normal(1, 1, 500), random.normal(0, 1, 10_000)
    truth, values = np.r_[np.ones(500), np.zeros(10_000)], np.r_[positives, negatives]
    false, true, _ = roc_curve(truth, values, drop_intermediate=False)
    for rate in (1e-4, 1e-3, 1e-2):
        assert true_positive_rate(positives, negatives, rate) == pytest.approx(true[false <= rate].max())


def test_detection_rate_counts_only_right_first_places_above_the_strangers() -> None:
    # nearest own: 0.1 (right), 0.3 (right), 0.2 (wrong); nearest stranger: 0.5, 0.4, 0.2
    distances = np.array([[0.1, 0.5, 0.9], [0.4, 0.3, 0.8], [0.2, 0.6, 0.7]], dtype=np.float32)
    labels = RetrievalLabels(np.array([1, 2, 3]), np.zeros(3, int), np.array([1, 2, 3]), np.ones(3, int))
    found = score([distances], labels)
    assert detection_rate(found, 0.0)[0] == pytest.approx(1 / 3)  # below 0.2: only the first
    assert detection_rate(found, 1 / 3)[0] == pytest.approx(2 / 3)  # below 0.4: the first two


def test_pairs_are_across_cameras_only() -> None:
    distances = np.arange(6, dtype=np.float32).reshape(2, 3)
    labels = RetrievalLabels(np.array([1, 2]), np.array([0, 1]), np.array([1, 2, -1]), np.array([1, 0, 0]))
    same, other = pair_distances([distances], labels)
    assert (same.tolist(), other.tolist()) == ([0.0, 4.0], [])
