"""People are cut out of the main stream's image where they were at its time."""

import numpy as np
import pytest

from reid_stream.config.settings import Embed
from reid_stream.embed.detail import boxes_in
from reid_stream.embed.selector import Selector
from reid_stream.images import Detail
from reid_stream.records import CameraId, Frame, Pick, Tracks

CAMERA = CameraId("a")
SUB, MAIN = (320, 240), (1280, 720)


def tracks(at: float, people: dict[int, tuple[float, ...]]) -> Tracks:
    boxes = np.array(list(people.values()), np.float32).reshape(-1, 4)
    ids = np.array(list(people), np.int64)
    return Tracks(CAMERA, at, boxes, np.full(len(ids), 0.9, np.float32), ids, 0, ())


def detail(at: float) -> Detail:
    image = np.zeros((MAIN[1], MAIN[0], 3), np.uint8)
    image[:, :, 0] = np.arange(MAIN[0])[None, :] % 251
    return Detail(at, image)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_box_is_interpolated_to_the_images_time_and_scaled_by_axis(share: float) -> None:
    before, now = tracks(10.0, {1: (100, 50, 120, 110)}), tracks(10.2, {1: (110, 50, 130, 110), 2: (5, 5, 20, 60)})
    found = boxes_in(detail(10.2 - 0.2 * share), now, before, SUB)
    left = 110 - 10 * share
    assert np.allclose(found[0], [left * 4, 150, (left + 20) * 4, 330], atol=0.01)
    assert np.isfinite(found[1]).all() == (share == 0.0)  # a new person is nowhere but in the frame's own moment


def test_images_too_far_from_both_frames_show_no_one() -> None:
    before, now = tracks(10.0, {1: (100, 50, 120, 110)}), tracks(10.2, {1: (110, 50, 130, 110)})
    assert np.isnan(boxes_in(detail(9.8), now, before, SUB)).all()
    assert np.isnan(boxes_in(detail(10.0), now, None, SUB)).all()
    assert np.isnan(boxes_in(detail(10.1), tracks(12.0, {1: (110, 50, 130, 110)}), before, SUB)).all()


def select(selector: Selector, at: float, box: tuple[float, ...], large: Detail | None = None) -> list[Pick]:
    image = np.zeros((SUB[1], SUB[0], 3), np.uint8)
    return selector(Frame(CAMERA, 0, at, "rtcp", image, detail=large), tracks(at, {1: box}))


def test_people_are_cut_out_of_the_larger_image_and_known_ones_wait_for_it() -> None:
    selector = Selector(Embed(choose="interval", interval_s=1, better_by=0.15))
    box = (100, 50, 120, 110)
    (first,) = select(selector, 0.0, box)
    assert first.crop.shape == (60, 20, 3)
    (second,) = select(selector, 0.2, box, detail(0.1))  # better: three times as high
    assert second.crop.shape == (180, 80, 3)
    assert second.quality > first.quality + 0.15
    assert isinstance(second.crop, np.ndarray)
    assert second.crop[0, 0, 0] == 400 % 251
    assert not [at for at in (0.6, 1.3, 1.9) if select(selector, at, box)]
    assert select(selector, 2.0, box, detail(2.0))
    # The main stream has failed: back to the frames themselves.
    assert [at for at in (3.5, 4.5, 5.1, 6.2) if select(selector, at, box)] == [5.1, 6.2]


def test_who_is_too_small_in_the_frame_may_be_large_enough_in_the_larger_image() -> None:
    selector = Selector(Embed(min_height_px=40, min_width_px=14))
    box = (100, 50, 108, 72)
    assert not select(selector, 0.0, box)
    assert select(selector, 0.1, box, detail(0.1))


def test_a_camera_that_is_forgotten_waits_for_nothing() -> None:
    selector = Selector(Embed(choose="interval", interval_s=1))
    assert select(selector, 0.0, (100, 50, 120, 110), detail(0.0))
    selector.forget(CAMERA)
    assert select(selector, 0.1, (100, 50, 120, 110))
    assert select(selector, 1.2, (100, 50, 120, 110))
