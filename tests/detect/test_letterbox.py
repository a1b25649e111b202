"""The letterbox keeps proportions, and its inverse is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.detect.letterbox import fit

sides = st.integers(min_value=1, max_value=4000)
strides = st.sampled_from([None, 32])


@given(sides, sides, strides, st.booleans(), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_come_back_where_they_were(
    width: int, height: int, stride: int | None, is_centred: bool, at: list[float]
) -> None:
    layout = fit((width, height), (640, 640), stride=stride, is_centred=is_centred)
    boxes = np.array([at], dtype=np.float32) * np.array([width, height, width, height], dtype=np.float32)
    across, down = layout.scaled[0] / width, layout.scaled[1] / height
    inside = boxes * np.array([across, down, across, down]) + np.array([layout.left, layout.top] * 2)
    back = layout.to_picture(inside.astype(np.float32))
    # float32 holds about 7 digits of a coordinate in the network; the way back multiplies what is lost
    np.testing.assert_allclose(back, boxes, atol=1e-4 * max(1, width / layout.scaled[0], height / layout.scaled[1]))


@given(sides, sides, strides, st.booleans())
def test_the_image_lies_within_the_network_and_fills_one_side(
    width: int, height: int, stride: int | None, is_centred: bool
) -> None:
    layout = fit((width, height), (640, 384), stride=stride, is_centred=is_centred)
    assert 0 <= layout.left <= layout.network[0] - layout.scaled[0]
    assert 0 <= layout.top <= layout.network[1] - layout.scaled[1]
    assert layout.scaled[0] == 640 or layout.scaled[1] == 384
    assert layout.network[0] <= 640
    assert layout.network[1] <= 384
    if stride:
        assert layout.network[0] % stride == 0
        assert layout.network[1] % stride == 0
    else:
        assert layout.network == (640, 384)


@given(st.integers(1, 90), st.integers(1, 90), strides, st.booleans())
def test_every_pixel_of_the_canvas_is_written(width: int, height: int, stride: int | None, is_centred: bool) -> None:
    layout = fit((width, height), (64, 64), stride=stride, is_centred=is_centred)
    canvas = np.full((layout.network[1], layout.network[0], 3), 7, dtype=np.uint8)
    layout.draw(np.full((height, width, 3), 200, dtype=np.uint8), canvas, 114)
    picture = canvas[layout.top :, layout.left :][: layout.scaled[1], : layout.scaled[0]]
    assert (picture == 200).all()
    assert (canvas == 200).sum() + (canvas == 114).sum() == canvas.size


def test_a_wide_camera_costs_no_square() -> None:
    layout = fit((1920, 1080), (640, 640), stride=32)
    assert layout.network == (640, 384)
    assert layout.scaled == (640, 360)
    assert (layout.left, layout.top) == (0, 12)


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(ValueError, match="sizes must be positive"):
        fit((0, 10), (640, 640))
