"""Counts of identity errors, on worlds small enough to count by hand."""

import pytest

from reid_stream.evaluation.align import align
from reid_stream.evaluation.identity_errors import IdentityErrors, count_identity_errors
from reid_stream.evaluation.visits import visits
from tests.evaluation.rows import FPS, Row, boxes

TRUTH: list[Row] = [
    ("door", 1, 1, 20, 0),
    ("door", 2, 1, 20, 100),
    ("till", 1, 31, 50, 0),
    ("till", 2, 31, 50, 100),
]


def count(published: list[Row], truth: list[Row] = TRUTH) -> IdentityErrors:
    aligned = align(boxes(truth), boxes(published))
    return count_identity_errors(aligned, visits(aligned, FPS))


def test_everybody_right_has_nothing_to_count() -> None:
    found = count([(camera, f"s-{who}", first, last, place) for camera, who, first, last, place in TRUTH])
    assert found == IdentityErrors(
        people=2, found=2, identities=2, ghosts=0, visits=4, visits_unseen=0, purity=1.0, fragmentation=1.0,
        wrong_merges=0, wrong_pairs=0, links=2, missed_links=0, switches=0,
    )  # fmt: skip


def test_a_number_a_camera_is_a_missed_link_and_no_wrong_merge() -> None:
    found = count([(camera, f"{camera}-{who}", first, last, place) for camera, who, first, last, place in TRUTH])
    assert (found.links, found.missed_links, found.fragmentation) == (2, 2, 2.0)
    assert (found.wrong_merges, found.purity) == (0, 1.0)


def test_swapped_on_the_second_camera_both_ids_hold_two_people() -> None:
    found = count(
        [("door", "a", 1, 20, 0), ("door", "b", 1, 20, 100), ("till", "b", 31, 50, 0), ("till", "a", 31, 50, 100)]
    )
    assert (found.wrong_merges, found.wrong_pairs, found.missed_links) == (2, 1, 2)
    assert found.purity == pytest.approx(0.5)


def test_one_id_for_three_people_makes_three_wrong_pairs() -> None:
    truth: list[Row] = [("door", who, 20 * who + 1, 20 * who + 10, 0) for who in range(3)]
    found = count([("door", "s", first, last, place) for _, _, first, last, place in truth], truth)
    assert (found.wrong_merges, found.wrong_pairs, found.links) == (1, 3, 0)
    assert found.mixed == {"s": ("0", "1", "2")}
    assert found.purity == pytest.approx(1 / 3)


def test_a_swap_of_two_frames_is_a_switch_and_no_belief() -> None:
    published: list[Row] = [
        ("door", "a", 1, 9, 0), ("door", "b", 10, 11, 0), ("door", "a", 12, 20, 0),
        ("door", "b", 1, 9, 100), ("door", "a", 10, 11, 100), ("door", "b", 12, 20, 100),
        ("till", "a", 31, 50, 0), ("till", "b", 31, 50, 100),
    ]  # fmt: skip
    found = count(published)
    assert (found.wrong_merges, found.fragmentation, found.switches) == (0, 1.0, 4)
    assert found.purity == pytest.approx(76 / 80)


def test_a_quarter_of_a_short_visit_counts_beside_long_ones() -> None:
    truth: list[Row] = [("door", 1, 1, 100, 0), ("till", 2, 1, 4, 0)]
    found = count([("door", "a", 1, 100, 0), ("till", "a", 1, 1, 0), ("till", "b", 2, 4, 0)], truth)
    assert (found.wrong_merges, found.wrong_pairs, found.fragmentation) == (1, 1, 1.5)


def test_a_person_who_comes_back_after_the_gap_visits_twice() -> None:
    truth: list[Row] = [("door", 1, 1, 10, 0), ("door", 1, 41, 50, 0), ("door", 1, 75, 80, 0)]
    found = count([("door", "a", 1, 10, 0), ("door", "b", 41, 50, 0), ("door", "b", 75, 80, 0)], truth)
    # 31 frames at 10 a second are more than 3 s, 25 are not.
    assert (found.visits, found.links, found.missed_links) == (2, 1, 1)


def test_missed_people_and_false_boxes_are_counted_apart() -> None:
    found = count([("door", "a", 1, 20, 0), ("door", "ghost", 1, 20, 400)])
    assert (found.people, found.found, found.visits_unseen, found.ghosts, found.links) == (2, 1, 3, 1, 0)


def test_no_prediction_at_all_gives_zeros() -> None:
    found = count([])
    assert (found.purity, found.fragmentation, found.visits_unseen, found.missed_links) == (0, 0, 4, 0)
