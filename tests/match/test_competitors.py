"""What is required of a match beyond the threshold, where a track looks like several known people."""

import numpy as np
import pytest

from reid_stream.config.settings import Match
from reid_stream.match.competitors import PRIOR_STRANGERS, excess
from reid_stream.match.scoring import Scorer
from reid_stream.records import Floats
from tests.match.test_site_strangers import CURVE, HEAD, strangers

SCORER = Scorer(Match(), HEAD, CURVE)


def squared_at(llrs: list[float]) -> Floats:
    """Return the squared distances with these log likelihood ratios by the calibration: 8 (2 - s) - 6."""
    return np.asarray([2 - (llr + 6) / 8 for llr in llrs], dtype=np.float32)


def added(own: float, others: list[float]) -> float:
    (found,) = excess(SCORER, squared_at([own, *others]), np.asarray([own]), 0.0, len(others)).tolist()
    return float(found)


def test_the_distance_of_even_odds_has_a_log_likelihood_ratio_of_0() -> None:
    for floor in (0.0, 0.3):
        even = np.asarray([SCORER.even_squared(floor)], dtype=np.float32)
        assert SCORER.llr(even, floor)[0] == pytest.approx(0, abs=1e-5)


def test_strangers_as_the_calibration_knows_them_add_little() -> None:
    found = [added(6.0, strangers(200, seed)) for seed in range(20)]
    assert np.median(found) < 0.3


def test_people_in_the_same_uniform_add_the_more_the_more_there_are() -> None:
    found = [added(6.0, strangers(40) + [4.0] * many) for many in (0, 5, 10, 20)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 1.5


def test_one_more_identity_of_the_same_person_is_no_obstacle() -> None:
    assert added(14.0, [13.0, *strangers(40)]) == pytest.approx(added(14.0, [7.0, *strangers(40)]), abs=0.01)
    assert added(14.0, [13.0, *strangers(40)]) < 2.5


def test_nothing_is_ever_taken_from_a_threshold() -> None:
    assert added(6.0, []) == 0.0
    assert added(6.0, [-5.0] * 500) == 0.0


def test_few_people_who_look_alike_count_less_than_many() -> None:
    few, many = added(6.0, [4.0] * 2), added(6.0, [4.0] * 30)
    assert few < np.log((PRIOR_STRANGERS + 2 * np.exp(4.0)) / 2)
    assert few < many


def test_scores_without_calibration_are_left_alone() -> None:
    scorer = Scorer(Match(similarity=0.5), None, None)
    found = excess(scorer, np.zeros(30, dtype=np.float32), np.full(3, 20.0), 0.0, 29)
    assert found.tolist() == [0.0] * 3
