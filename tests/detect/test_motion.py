"""Motion is caused by people, not by light, noise, rain or a switch to infrared."""

from collections.abc import Sequence

import numpy as np
import pytest

from reid_stream.config.settings import Track
from reid_stream.detect.gate import HOLD_S, MotionGate
from reid_stream.detect.motion import WARM_UP, MotionDetector
from reid_stream.images import UInt8
from reid_stream.pipeline import Perception
from reid_stream.records import CameraId, Detections, Frame, Observation
from reid_stream.track.tracker import Tracker

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


def warm(detector: MotionDetector, count: int = 40) -> MotionDetector:
    for number in range(count):
        detector.moves(image(seed=number))
    return detector


def test_an_empty_scene_is_quiet_once_its_background_is_known() -> None:
    detector = MotionDetector()
    assert all(detector.moves(image(seed=number)) for number in range(WARM_UP))
    assert not any(detector.moves(image(seed=100 + number)) for number in range(200))


@pytest.mark.parametrize("height", [28, 60, 160])
@pytest.mark.parametrize("step_px", [1, 4, 20])
def test_a_person_who_walks_moves_in_every_image_from_the_first_one(height: int, step_px: int) -> None:
    detector = warm(MotionDetector())
    found = [detector.moves(with_person(100 + step_px * number, height, number)) for number in range(20)]
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
    found = [detector.moves(disturbed(number)) for number in range(300)]  # type: ignore[operator]
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
    dry = [detector.moves(rain(image(seed=number))) for number in range(200)]
    assert np.mean(dry[100:]) < 0.1
    assert all(detector.moves(rain(with_person(100 + 6 * number, 80, number))) for number in range(20))


def test_a_camera_that_switches_to_infrared_moves_once_and_is_learned_again() -> None:
    detector = warm(MotionDetector())
    night = [detector.moves(255 - image(seed=number)) for number in range(60)]
    assert night[0]
    assert not any(night[WARM_UP + 2 :])


def test_a_parked_car_becomes_background() -> None:
    detector = warm(MotionDetector())
    found = [detector.moves(with_person(300, 120, number)) for number in range(600)]
    assert all(found[:50])
    assert not any(found[-50:])


def test_an_image_of_another_size_starts_a_new_background() -> None:
    detector = warm(MotionDetector())
    assert detector.moves(np.ascontiguousarray(image()[:200]))


def frame(camera: str, at: float, picture: UInt8) -> Frame:
    return Frame(CameraId(camera), 0, at, "file", picture)


def test_a_quiet_camera_is_looked_at_as_often_as_asked_and_no_more() -> None:
    gate = MotionGate(full_every_s=2.0)
    looks = [gate([frame("door", number / 10, image(seed=number))], {})[0] for number in range(300)]
    assert all(looks[:WARM_UP])
    assert 7 <= sum(looks[-150:]) <= 8


def test_a_camera_with_an_open_track_is_looked_at_though_nothing_moves() -> None:
    gate = MotionGate(full_every_s=2.0)
    for number in range(100):
        gate([frame("door", number / 10, image(seed=number))], {})
    later = [gate([frame("door", 10 + number / 10, image(seed=number))], {CameraId("door"): 1}) for number in range(50)]
    assert all(looked for (looked,) in later)


def test_a_camera_is_looked_at_until_some_time_after_the_last_motion_and_others_are_not() -> None:
    gate = MotionGate(full_every_s=1000.0)
    for number in range(100):
        gate([frame(camera, number / 10, image(seed=number)) for camera in ("door", "till")], {})
    walked = gate([frame("door", 10.0, with_person(200)), frame("till", 10.0, image())], {})
    assert walked == [True, False]
    after = [gate([frame("door", 10.1 + number / 10, image(seed=number))], {})[0] for number in range(40)]
    assert all(after[: int(HOLD_S * 10) - 2])
    assert not any(after[-20:])


def test_a_clock_that_is_put_back_never_closes_the_gate() -> None:
    gate = MotionGate(full_every_s=2.0)
    for number in range(100):
        gate([frame("door", 1000 + number / 10, image(seed=number))], {})
    assert gate([frame("door", 500.0, image(seed=1))], {}) == [True]


def test_perception_follows_a_person_who_stands_still_and_leaves_an_empty_room_alone() -> None:
    seen: list[float] = []

    def detect(frames: Sequence[Frame]) -> list[Detections]:
        seen.extend(frame.captured_at for frame in frames)
        dark = [bool((frame.pixels[185:235, 200:220] < 70).all()) for frame in frames]
        box, score = np.array([[200, 180, 224, 240]], np.float32), np.array([0.9], np.float32)
        return [Detections(box[: int(is_there)], score[: int(is_there)]) for is_there in dark]

    door = CameraId("door")
    perception = Perception(
        run="r",
        model="m",
        detect=detect,
        follow={door: Tracker(Track()).update},
        select=lambda _frame, _tracks: [],
        embed=lambda _crops: np.empty((0, 8), np.float32),
        gate=MotionGate(full_every_s=2.0),
    )
    person = [with_person(200, seed=number) for number in range(7)]
    records = []
    for number in range(1200):
        there = 400 <= number < 800  # from 40 s to 80 s, at 10 frames/s
        picture = person[number % 7] if there else image(seed=number)
        records += perception.step([frame("door", number / 10, picture)])

    observed = [record.seen_at for record in records if isinstance(record, Observation)]
    assert min(observed) == pytest.approx(40.0, abs=0.11)
    assert max(observed) == pytest.approx(79.9)
    assert len(observed) >= 398
    assert len({record.track for record in records if isinstance(record, Observation)}) == 1
    assert len([at for at in seen if 5 < at < 40]) < 20
    assert perception.counts.gated == 1200 - len(seen) > 550
