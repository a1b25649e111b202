"""The verification head folds into the vectors, and its margins become calibrated probabilities."""

import numpy as np
import pytest

from reid_stream.bundles.bundle import Verifier
from reid_stream.bundles.calibration import sigmoid
from trainer.errors import DataError
from trainer.evaluate.calibration_fit import Pairs, cross_validated, fit, measure, pairs_of
from trainer.evaluate.network import folded, folded_verifier, unit
from trainer.evaluate.reliability import brier, expected_error, weights_for


def draw(seed: int = 0, count: int = 20_000, persons: int = 60) -> Pairs:
    """Pairs whose log odds at even priors are exactly 1.5 margin - 2."""
    random = np.random.default_rng(seed)
    margins = random.normal(4 / 3, 2, count)
    same = random.random(count) < sigmoid(1.5 * margins - 2)
    first = random.integers(0, persons, count)
    return Pairs(margins, same, first, np.where(same, first, (first + random.integers(1, persons, count)) % persons))


def test_a_search_over_folded_vectors_ranks_exactly_as_the_head() -> None:
    random = np.random.default_rng(0)
    v, b = random.normal(size=32).astype(np.float32), 3.0
    query, gallery = (unit(random.normal(size=(n, 32)).astype(np.float32)) for n in (10, 200))
    head = b - ((query[:, None] - gallery).astype(np.float64) ** 2) @ np.log1p(np.exp(v.astype(np.float64)))
    verifier = folded_verifier(v, b, 0.5)
    left, right = folded(query, verifier).astype(np.float64), folded(gallery, verifier).astype(np.float64)
    squared = ((left[:, None] - right) ** 2).sum(axis=2)
    np.testing.assert_allclose(b - squared, head, atol=1e-5)
    np.testing.assert_array_equal(np.argsort(squared, axis=1), np.argsort(-head, axis=1))


def test_pairs_are_across_cameras_and_counted_once() -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32))
    pairs = pairs_of(
        vectors, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), Verifier(d=[1.0] * 8, b=1, train_prior=0.5)
    )
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 0), (0, 1), (0, 1), (1, 1)]
    expected = 1 - ((vectors[0] - vectors[1]) ** 2).sum()
    assert pairs.margins[0] == pytest.approx(expected, abs=1e-5)


def test_one_camera_has_no_pairs_to_learn_from() -> None:
    vectors = unit(np.ones((3, 8), np.float32))
    with pytest.raises(DataError, match="across cameras, got 0 and 0"):
        pairs_of(vectors, np.array([0, 0, 1]), np.zeros(3, int), Verifier(d=[1.0] * 8, b=1.0, train_prior=0.5))


def test_platt_finds_the_curve_that_made_the_pairs() -> None:
    pairs = draw()
    found = fit(pairs.keep(np.arange(len(pairs.same)) < 1500), "f32", "drawn")  # too few for isotonic
    assert found.kind == "platt"
    assert found.parameters["slope"] == pytest.approx(1.5, rel=0.15)
    assert measure(found, draw(1), 0.5)[0]["ECE"] < 0.03


def test_isotonic_wins_where_the_curve_has_a_step() -> None:
    pairs = draw()
    chance = np.where(pairs.margins > 0, 0.9, 0.1) + 0.05 * (np.abs(pairs.margins) > 2) * np.sign(pairs.margins)
    same = np.random.default_rng(3).random(len(chance)) < chance
    stepped = Pairs(pairs.margins, same, pairs.first, np.where(same, pairs.first, (pairs.first + 1) % 60))
    losses = cross_validated(stepped)
    assert losses["isotonic"] < losses["platt"]
    assert fit(stepped, "bf16", "drawn").kind == "isotonic"


def test_prior_correction_keeps_probabilities_true_at_one_in_a_hundred() -> None:
    found = fit(draw(), "f32", "drawn")
    numbers, _ = measure(found, draw(1), 1 / 101)
    assert numbers["ECE"] < 0.005


def test_margins_that_point_the_wrong_way_are_refused() -> None:
    pairs = draw()
    with pytest.raises(DataError, match="train again"):
        fit(Pairs(-pairs.margins, pairs.same, pairs.first, pairs.second), "f32", "drawn")


def test_ece_and_brier_are_those_of_the_definition() -> None:
    scores, same = np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, False, False, False])
    weight = np.full(4, 0.25)
    assert expected_error(scores, same, weight) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert brier(scores, same, weight) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert weights_for(same, 0.01).tolist() == pytest.approx([0.01, 0.33, 0.33, 0.33])
