"""Assignment of tracks to people: the best sum of gains under conflicts."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.match.assignment import assign

Gains = dict[tuple[int, int], float]


def total(chosen: list[int | None], gains: Gains) -> float:
    return sum(gains[row, column] for row, column in enumerate(chosen) if column is not None)


def best_of_all(gains: Gains, conflicts: set[tuple[int, int]], rows: int, columns: int) -> float:
    """Try every choice."""
    most = 0.0
    for choice in product((None, *range(columns)), repeat=rows):
        if all(column is None or (row, column) in gains for row, column in enumerate(choice)) and not any(
            choice[a] is not None and choice[a] == choice[b] for a, b in conflicts
        ):
            most = max(most, total(list(choice), gains))
    return most


def test_tracks_on_overlapping_cameras_may_be_the_same_person() -> None:
    assert assign({(0, 7): 2.0, (1, 7): 1.0}, set(), 2) == [7, 7]


def test_of_two_tracks_side_by_side_the_surer_one_is_the_person() -> None:
    assert assign({(0, 7): 2.0, (1, 7): 3.0}, {(0, 1)}, 2) == [None, 7]


def test_a_second_choice_is_taken_where_it_makes_the_sum_greater() -> None:
    gains = {(0, 1): 5.0, (0, 2): 4.5, (1, 1): 3.0}
    assert assign(gains, {(0, 1)}, 2) == [2, 1]


def test_what_is_not_worth_it_is_left_alone() -> None:
    assert assign({(0, 1): -1.0, (1, 1): 0.0}, set(), 3) == [None, None, None]


def test_a_track_pushed_away_does_not_push_into_a_conflict_of_its_own() -> None:
    # 1 yields to 0 and would like column 2, which 2, seen beside it, has the better claim to.
    gains = {(0, 1): 9.0, (1, 1): 8.0, (1, 2): 2.0, (2, 2): 5.0}
    assert assign(gains, {(0, 1), (1, 2)}, 3) == [1, None, 2]


@given(
    gains=st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 2)), st.floats(-2, 5), max_size=12),
    conflicts=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda pair: pair[0] < pair[1])),
)
@settings(max_examples=60, deadline=None)
def test_no_choice_without_conflict_is_better(gains: Gains, conflicts: set[tuple[int, int]]) -> None:
    chosen = assign(gains, conflicts, 4)
    assert not any(chosen[a] is not None and chosen[a] == chosen[b] for a, b in conflicts)
    assert all(column is None or gains[row, column] > 0 for row, column in enumerate(chosen))
    useful = {place: gain for place, gain in gains.items() if gain > 0}
    assert total(chosen, gains) == pytest.approx(best_of_all(useful, conflicts, 4, 3), abs=1e-5)
