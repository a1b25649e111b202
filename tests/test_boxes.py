"""Geometry of boxes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from supervision import box_iou_batch

from reid_stream import boxes as box_maths

Row = tuple[float, float, float, float]
corner, side = st.floats(0, 1000, width=32), st.floats(1, 500, width=32)
many = st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=8)


def _boxes(rows: list[Row]) -> np.ndarray:
    table = np.array(rows, dtype=np.float32)
    return np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], axis=1)


@given(many, many)
def test_iou_is_that_of_supervision(first: list[Row], second: list[Row]) -> None:
    one, other = _boxes(first), _boxes(second)
    np.testing.assert_allclose(box_maths.iou(one, other), box_iou_batch(one, other), atol=1e-3)


@given(many)
def test_no_box_is_covered_by_one_behind_it(rows: list[Row]) -> None:
    boxes = _boxes(rows)
    share = box_maths.covered(boxes)
    assert ((share >= 0) & (share <= 1)).all()
    assert share[boxes[:, 3].argmax()] == 0


def test_covered_is_the_share_of_the_hidden_box() -> None:
    boxes = np.array([[0, 0, 10, 20], [5, 0, 15, 30], [100, 0, 110, 20]], dtype=np.float32)
    np.testing.assert_allclose(box_maths.covered(boxes), [0.5, 0, 0])


@given(many)
def test_clipped_boxes_lie_in_the_image(rows: list[Row]) -> None:
    clipped = box_maths.clip(_boxes(rows), (320, 240))
    assert (clipped >= 0).all()
    assert (clipped[:, [0, 2]] <= 320).all()
    assert (clipped[:, [1, 3]] <= 240).all()


def test_a_point_on_the_edge_is_inside() -> None:
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    points = np.array([[0.5, 0.5], [1, 0.5], [1.01, 0.5]], dtype=np.float32)
    assert box_maths.inside(points, square).tolist() == [True, True, False]
