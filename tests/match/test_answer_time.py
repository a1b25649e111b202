"""How long a track collects vectors before it is published: `match.answer_s` and `match.doubt_s`."""

import numpy as np
import pytest

from reid_stream.records import Floats, Sighting
from tests.match.test_matcher import look, matcher
from tests.worlds import unit

DIM = 16


def direction(number: int) -> Floats:
    return unit(np.eye(DIM, dtype=np.float32)[number])


HALFWAY = unit(0.6 * direction(0) + 0.8 * direction(3))
"""As like the known person as a match needs."""


def answered_at(
    answer_s: float, first: Floats, interval_s: float = 1.0, doubt_s: float = 2.0, then: Floats | None = None
) -> float:
    """Return when a new track, with a vector each interval, is first published; one person is known already."""
    one = matcher(similarity=0.6, answer_s=answer_s, doubt_s=doubt_s)
    for step in range(10):
        one.update([look("in", 1, step / 2, direction(0))], step / 2)
    one.update([], 100.0)
    for step in range(100):
        at = 200 + step / 10
        is_due = step % round(interval_s * 10) == 0
        vector = first if step == 0 or then is None else then
        decisions = one.update([look("out", 2, at, vector if is_due else None)], at)
        if any(isinstance(decision, Sighting) for decision in decisions):
            return step / 10
    raise AssertionError("the track was never published")


@pytest.mark.parametrize("answer_s", [0.0, 0.9, 2.4, 4.0])
def test_a_new_person_is_published_when_the_wait_is_over(answer_s: float) -> None:
    assert answered_at(answer_s, direction(3), interval_s=5.0) == pytest.approx(answer_s, abs=0.11)


def test_a_clear_match_does_not_wait() -> None:
    assert answered_at(4.0, direction(0)) == 0.0


@pytest.mark.parametrize("doubt_s", [0.0, 1.0, 2.0])
def test_a_track_in_doubt_waits_longer(doubt_s: float) -> None:
    assert answered_at(0.9, HALFWAY, 5.0, doubt_s) == pytest.approx(0.9 + doubt_s, abs=0.11)


@pytest.mark.parametrize("then", [0, 3])
def test_a_vector_that_leaves_no_doubt_ends_the_wait(then: int) -> None:
    assert answered_at(0.9, HALFWAY, then=unit(direction(then) - HALFWAY)) == pytest.approx(1.0, abs=0.01)


def test_enough_vectors_end_the_wait() -> None:
    assert answered_at(0.9, direction(3), interval_s=0.3) == pytest.approx(0.3, abs=0.01)
    assert answered_at(2.4, direction(3), interval_s=0.3) == pytest.approx(0.9, abs=0.01)
