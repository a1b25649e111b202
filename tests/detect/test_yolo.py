"""The detector: frames of many cameras in, people in each out."""

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from reid_stream import boxes as box_maths
from reid_stream.config.settings import Camera, Detect, Models
from reid_stream.detect.yolo import Detector, DetectorSpec
from reid_stream.detect.zones import zones_of
from reid_stream.engines.load import load_engine
from reid_stream.errors import ModelError
from reid_stream.records import CameraId, Detections, Frame
from tests.engines.networks import answers

SPEC = DetectorSpec(height=64, width=64, decoder="yolo", classes=1)


def _frame(camera: str, image: np.ndarray) -> Frame:
    return Frame(CameraId(camera), 0, 0.0, "file", image)


def _blank(camera: str, width: int, height: int) -> Frame:
    return _frame(camera, np.zeros((height, width, 3), dtype=np.uint8))


def _detector(folder: Path, *people: tuple[float, ...], settings: Detect | None = None, **kwargs: Any) -> Detector:
    """Build a detector that sees `people` (centre, size, score in the network's pixels) in every picture."""
    output = np.zeros((5, 20), dtype=np.float32)
    output[:, : len(people)] = np.array(people, dtype=np.float32).T
    engine = load_engine(answers(folder / "m.onnx", output), Models(precision="f32"), pixels=SPEC.pixels)
    return Detector(engine, SPEC, settings or Detect(min_height_px=0), **kwargs)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_each_frame_of_a_mixed_batch_gets_its_own_boxes_in_its_own_order(tmp_path: Path) -> None:
    detector = _detector(tmp_path, (32, 16, 16, 24, 0.9), settings=Detect(min_height_px=0, max_batch=2))
    sizes = [(640, 320), (64, 64), (640, 320), (320, 160), (640, 320)]  # wide ones: 64x32 in the network, no bars
    found = detector([_blank(str(index), *size) for index, size in enumerate(sizes)])
    factors = [10, 1, 10, 5, 10]
    for people, factor in zip(found, factors, strict=True):
        np.testing.assert_allclose(people.boxes, [[24 * factor, 4 * factor, 40 * factor, 28 * factor]], rtol=1e-5)


def test_boxes_end_at_the_image(tmp_path: Path) -> None:
    (people,) = _detector(tmp_path, (0, 60, 40, 40, 0.9))([_blank("a", 64, 64)])
    np.testing.assert_allclose(people.boxes, [[0, 40, 20, 64]])


def test_small_people_are_not_seen(tmp_path: Path) -> None:
    people = (32, 32, 10, 20, 0.9), (10, 50, 6, 12, 0.9)
    (found,) = _detector(tmp_path, *people, settings=Detect(min_height_px=16))([_blank("a", 64, 64)])
    assert len(found) == 1


def test_people_count_where_their_feet_are(tmp_path: Path) -> None:
    left_half = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    low_left = ((0.0, 0.7), (0.5, 0.7), (0.5, 1.0), (0.0, 1.0))
    cameras = [Camera(id="a", url="x"), Camera(id="b", url="x", region=left_half, ignore=(low_left,))]  # type: ignore[arg-type]
    people = (16, 20, 8, 20, 0.9), (16, 50, 8, 20, 0.8), (48, 20, 8, 20, 0.7)
    everyone, some = _detector(tmp_path, *people, zones=zones_of(cameras))([_blank("a", 64, 64), _blank("b", 64, 64)])
    assert len(everyone) == 3
    np.testing.assert_allclose(some.scores, [0.9], rtol=1e-6)


def test_no_frames_give_no_answer(tmp_path: Path) -> None:
    assert _detector(tmp_path, (32, 32, 10, 20, 0.9))([]) == []


def test_a_network_of_another_family_is_refused(tmp_path: Path) -> None:
    engine = load_engine(answers(tmp_path / "m.onnx", np.zeros((300, 6))), Models())
    with pytest.raises(ModelError, match=r"yolox with 80 classes .* \(None, 300, 6\)"):
        Detector(engine, DetectorSpec(64, 64, "yolox"), Detect())


def test_a_network_of_another_size_is_refused(tmp_path: Path) -> None:
    engine = load_engine(answers(tmp_path / "m.onnx", np.zeros((5, 20)), height=96, width=96), Models())
    with pytest.raises(ModelError, match=r"must take 64x64 .* takes 96x96"):
        Detector(engine, SPEC, Detect())


def _data() -> Path:
    folder = os.environ.get("REID_STREAM_DATA")
    if not folder or not Path(folder, "detector").is_dir():
        pytest.skip("needs real models and clips: set REID_STREAM_DATA")
    return Path(folder)


def _stills(clip: Path, *numbers: int) -> list[np.ndarray]:
    with av.open(str(clip)) as container:
        pictures = enumerate(container.decode(video=0))
        stills = []
        for number, picture in pictures:
            if number in numbers:
                stills.append(picture.to_ndarray(format="rgb24"))
            if number >= max(numbers):
                break
    return stills


def test_yolo11_finds_exactly_whom_ultralytics_finds() -> None:
    data = _data()
    ultralytics = pytest.importorskip("ultralytics", reason="needs the train extra")
    stills = _stills(data / "mot/ADL-Rundle-6/ADL-Rundle-6.mp4", 0, 60) + _stills(data / "video/vtest.avi", 0, 200)
    spec = DetectorSpec(640, 640, "yolo")
    engine = load_engine(data / "detector/yolo11n_dequant.onnx", Models(precision="f32"), pixels=spec.pixels)
    found = Detector(engine, spec, Detect(score=0.25, min_height_px=0))(
        [_frame(str(i), s) for i, s in enumerate(stills)]
    )
    oracle = ultralytics.YOLO(str(data / "detector/yolo11n_dequant.pt"))
    for still, people in zip(stills, found, strict=True):
        (theirs,) = oracle.predict(still[..., ::-1], imgsz=640, conf=0.25, iou=0.7, classes=[0], verbose=False)
        expected = theirs.boxes.xyxy.numpy().astype(np.float32)
        assert len(people) == len(expected)
        overlaps = box_maths.iou(people.boxes, expected)
        assert overlaps.max(axis=1).min() > 0.98
        np.testing.assert_allclose(people.boxes, expected[overlaps.argmax(axis=1)], atol=1)


def test_low_precision_and_a_permissive_network_see_the_same_crowd() -> None:
    data = _data()
    frames = [_frame("a", still) for still in _stills(data / "video/vtest.avi", 0, 200)]
    exact = _people(data / "detector/yolo11n_dequant.onnx", DetectorSpec(640, 640, "yolo"), frames, "f32")
    auto = _people(data / "detector/yolo11n_dequant.onnx", DetectorSpec(640, 640, "yolo"), frames, "auto")
    yolox_spec = DetectorSpec(416, 416, "yolox", colour="bgr", scale=255)
    yolox = _people(data / "detector/yolox_nano.onnx", yolox_spec, frames, "f32")
    for mine, low, other in zip(exact, auto, yolox, strict=True):
        assert box_maths.iou(mine.boxes, low.boxes).max(axis=1).min() > 0.85
        assert (box_maths.iou(mine.boxes, other.boxes).max(axis=1) > 0.5).mean() >= 0.5


def _people(model: Path, spec: DetectorSpec, frames: list[Frame], precision: Any) -> list[Detections]:
    engine = load_engine(model, Models(precision=precision), pixels=spec.pixels)
    return Detector(engine, spec, Detect(score=0.4))(frames)
