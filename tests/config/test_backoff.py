"""The retry policy: waits double up to a bound, are partly random, and reset after a run that worked long enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.config.backoff import RESET_S, RetryPolicy


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.01, 10), st.floats(10, 600))
def test_waits_stay_within_half_and_full_of_a_doubling_that_ends(
    failures: int, chance: float, first_s: float, max_s: float
) -> None:
    retry = RetryPolicy(first_s, max_s, lambda: chance)
    for failure in range(failures):
        full_s = min(max_s, first_s * 2.0**failure)
        assert full_s / 2 <= retry.next_wait_s(0.0) <= full_s


def test_a_run_that_worked_resets_the_waits_and_one_that_fails_at_once_does_not() -> None:
    retry = RetryPolicy(1.0, 60.0, lambda: 1.0)
    assert [retry.next_wait_s(0.0) for _ in range(4)] == [1, 2, 4, 8]
    assert retry.next_wait_s(RESET_S) == 16
    assert retry.next_wait_s(31.0) == 32  # less than twice the last wait
    assert retry.next_wait_s(65.0) == 1


def test_a_connection_that_worked_for_more_than_twice_the_last_wait_is_retried_at_once() -> None:
    retry = RetryPolicy(1.0, 60.0, lambda: 1.0, reset_s=0.0)
    assert [retry.next_wait_s(0.0) for _ in range(3)] == [1, 2, 4]
    assert retry.next_wait_s(7.9) == 8
    assert retry.next_wait_s(16.1) == 1
    assert retry.next_wait_s(2.1) == 1


def test_a_refusal_waits_long_from_the_first_time_on() -> None:
    retry = RetryPolicy(1.0, 60.0, lambda: 0.0)
    assert retry.next_wait_s(0.0, is_slow=True) == 30
    assert retry.next_wait_s(1000.0) == 0.5


def test_waits_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="first_s <= max_s"):
        RetryPolicy(2.0, 1.0, lambda: 0.5)
