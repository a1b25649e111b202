"""Alignment of truth and prediction: every overlap, and the best pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from reid_stream.evaluation.align import MATCH_IOU, Boxes, align, matched
from tests.evaluation.rows import box, boxes


def test_each_frame_has_its_own_table() -> None:
    aligned = align(
        boxes([("door", 1, 1, 2, 0), ("door", 2, 2, 2, 20)]), boxes([("door", "a", 2, 3, 0), ("till", "a", 1, 1, 0)])
    )
    assert [aligned.cameras[n] for n in aligned.steps] == ["door", "door", "door", "till"]
    assert aligned.table(1) == pytest.approx(np.asarray([[1.0], [1 / 3]]))
    assert [aligned.table(step).size for step in (0, 2, 3)] == [0, 0, 0]


def test_of_two_near_boxes_the_sum_decides_and_not_the_greatest() -> None:
    # The left box is nearest to 2, but then 1 would get nothing.
    aligned = align(
        boxes([("door", 1, 1, 1, 0), ("door", 2, 1, 1, 8)]), boxes([("door", "l", 1, 1, 7), ("door", "r", 1, 1, 15)])
    )
    rows, columns = matched(aligned)
    names = [(aligned.true.names[aligned.true.people[a]], aligned.predicted.names[aligned.predicted.people[b]])
             for a, b in zip(rows, columns, strict=True)]  # fmt: skip
    assert names == [(1, "l"), (2, "r")]


@given(st.lists(st.lists(st.integers(0, 90), max_size=5, unique=True), min_size=2, max_size=8), st.integers(0, 99))
def test_pairs_are_those_of_an_assignment_frame_by_frame(places: list[list[int]], seed: int) -> None:
    shift = np.random.default_rng(seed)
    true, published = (
        Boxes(
            np.asarray([frame for frame, here in enumerate(places) for _ in here], dtype=np.int64),
            tuple(n for here in places for n in range(len(here))),
            np.asarray([box(p + s * shift.normal(0, 12)) for here in places for p in here]).reshape(-1, 4),
        )
        for s in (0, 1)
    )
    aligned = align({"door": true}, {"door": published})
    rows, columns = matched(aligned)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    best, reached = 0.0, 0.0
    for step in range(len(aligned.steps)):
        table = np.where(aligned.table(step) >= MATCH_IOU, aligned.table(step), 0)
        best += table[linear_sum_assignment(table, maximize=True)].sum()
        here = (rows >= aligned.true.starts[step]) & (rows < aligned.true.starts[step + 1])
        reached += table[rows[here] - aligned.true.starts[step], columns[here] - aligned.predicted.starts[step]].sum()
    assert reached == pytest.approx(best)
