"""Motion is caused by people, not by light, noise, rain or a switch to infrared."""

import av
import cv2
import numpy as np
import pytest

from reid_stream.images import UInt8
from reid_stream.ingest.convert import DecodedImage, Orientation
from reid_stream.ingest.motion import WARM_UP, MotionDetector, PictureMotion, luma_of, small_grey
from reid_stream.records import Floats

HEIGHT, WIDTH = 360, 640
SCENE = np.kron(np.random.default_rng(1).integers(40, 200, (9, 16, 3)), np.ones((40, 40, 1))).astype(np.float32)
GRAIN = np.random.default_rng(2).normal(0, 1, (7, *SCENE.shape)).astype(np.float32)


def image(light: float = 1.0, noise: float = 3.0, seed: int = 0) -> UInt8:
    return np.asarray((SCENE * light + noise * GRAIN[seed % len(GRAIN)]).clip(0, 255), dtype=np.uint8)


def with_person(x: float, height: int = 60, seed: int = 0) -> UInt8:
    picture = image(seed=seed)
    left = round(x)
    picture[180 : 180 + height, left : left + height * 2 // 5] = (5, 5, 30)
    return picture


def regions(detector: MotionDetector, picture: UInt8) -> Floats | None:
    size = picture.shape[1], picture.shape[0]
    return detector.regions(small_grey(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8), size), size)


def moves(detector: MotionDetector, picture: UInt8) -> bool:
    found = regions(detector, picture)
    return found is None or len(found) > 0


def warm(detector: MotionDetector, count: int = 40) -> MotionDetector:
    for number in range(count):
        moves(detector, image(seed=number))
    return detector


def test_an_empty_scene_is_quiet_once_its_background_is_known() -> None:
    detector = MotionDetector()
    assert all(moves(detector, image(seed=number)) for number in range(WARM_UP))
    assert not any(moves(detector, image(seed=100 + number)) for number in range(200))


@pytest.mark.parametrize("height", [28, 60, 160])
@pytest.mark.parametrize("step_px", [1, 4, 20])
def test_a_person_who_walks_moves_in_every_image_from_the_first_one(height: int, step_px: int) -> None:
    detector = warm(MotionDetector())
    found = [moves(detector, with_person(100 + step_px * number, height, number)) for number in range(20)]
    assert all(found)


@pytest.mark.parametrize(
    "disturbed",
    [
        lambda number: image(light=1 + 0.15 * np.sin(number / 5), seed=number),  # clouds
        lambda number: image(light=1 + 0.06 * (number % 2), seed=number),  # a lamp that flickers
        lambda number: image(noise=12, seed=number),  # a night sensor
        lambda number: image(noise=3 + 4 * (number % 10 == 0), seed=number),  # key frames that beat
    ],
    ids=["clouds", "flicker", "noise", "key-frames"],
)
def test_light_and_noise_are_no_motion(disturbed: object) -> None:
    detector = MotionDetector()
    found = [moves(detector, disturbed(number)) for number in range(300)]  # type: ignore[operator]
    assert np.mean(found[100:]) < 0.02


def test_rain_becomes_background_and_a_person_in_it_does_not() -> None:
    random = np.random.default_rng(2)

    def rain(picture: UInt8) -> UInt8:
        for _ in range(40):
            x, y = int(random.integers(WIDTH - 2)), int(random.integers(HEIGHT - 20))
            streak = picture[y : y + 20, x : x + 1]
            streak[:] = np.minimum(streak.astype(int) + 70, 255)
        return picture

    detector = MotionDetector()
    dry = [moves(detector, rain(image(seed=number))) for number in range(200)]
    assert np.mean(dry[100:]) < 0.1
    assert all(moves(detector, rain(with_person(100 + 6 * number, 80, number))) for number in range(20))


def test_a_camera_that_switches_to_infrared_moves_once_and_is_learned_again() -> None:
    detector = warm(MotionDetector())
    night = [moves(detector, 255 - image(seed=number)) for number in range(60)]
    assert night[0]
    assert not any(night[WARM_UP + 2 :])


def test_a_parked_car_becomes_background() -> None:
    detector = warm(MotionDetector())
    found = [moves(detector, with_person(300, 120, number)) for number in range(600)]
    assert all(found[:50])
    assert not any(found[-50:])


def test_an_image_of_another_size_starts_a_new_background() -> None:
    detector = warm(MotionDetector())
    assert moves(detector, np.ascontiguousarray(image()[:200]))


def test_what_moves_is_said_in_pixels_of_the_frame_and_two_people_apart_are_two() -> None:
    detector = warm(MotionDetector())
    picture = with_person(100, 100)
    picture[180:280, 400:440] = (5, 5, 30)
    found = regions(detector, picture)
    assert found is not None
    assert len(found) == 2
    for box, left in zip(sorted(found.tolist()), (100, 400), strict=True):
        assert left - 20 <= box[0] <= left
        assert 160 <= box[1] <= 180
        assert left + 40 <= box[2] <= left + 60
        assert 280 <= box[3] <= 300


def test_too_many_motions_may_be_everywhere() -> None:
    detector = warm(MotionDetector())
    picture = image()
    for x in range(10, WIDTH - 30, 60):
        for y in range(10, HEIGHT - 30, 60):
            picture[y : y + 20, x : x + 20] = (5, 5, 30)
    assert regions(detector, picture) is None


@pytest.mark.parametrize("format_", ["yuv420p", "yuv422p", "yuv420p10le", "rgb24", "gray"])
def test_luma_is_that_of_the_image_whatever_its_format(format_: str) -> None:
    picture = av.VideoFrame.from_ndarray(image(), format="rgb24").reformat(format=format_)
    grey = np.asarray(cv2.cvtColor(image(), cv2.COLOR_RGB2GRAY), np.float32)
    luma = luma_of(picture)
    assert luma.shape == (HEIGHT, WIDTH)
    is_limited = format_ not in ("rgb24", "gray")
    expected = grey * 219 / 255 + 16 if is_limited else grey
    assert np.abs(luma - expected).mean() < 4


def test_motion_in_a_turned_image_is_where_it_is_upright() -> None:
    motion = PictureMotion()
    for number in range(60):
        picture = with_person(100) if number == 59 else image(seed=number)
        turned = np.ascontiguousarray(np.rot90(picture, -1))  # as the sensor gives it
        frame = av.VideoFrame.from_ndarray(turned, format="rgb24").reformat(format="yuv420p")
        found = motion(DecodedImage(frame, Orientation(1)), (WIDTH, HEIGHT))
    assert found is not None
    (box,) = found.tolist()
    assert 80 <= box[0] <= 100
    assert 160 <= box[1] <= 180
