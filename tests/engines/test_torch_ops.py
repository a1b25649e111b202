"""Pre- and post-processing on the device: the same pixels, boxes and vectors as on the CPU."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.bundles.catalog import SHIPPED, detector, embedder
from reid_stream.config.settings import Camera, Detect, Embed, Models, Settings
from reid_stream.detect.decoders import Decoder, decode, suppress, yolox_cells
from reid_stream.detect.letterbox import fit
from reid_stream.detect.yolo import Detector, spec_of
from reid_stream.embed.embedder import Embedder, pixels_of
from reid_stream.embed.embedder import spec_of as crops_of
from reid_stream.embed.preprocess import resize
from reid_stream.embed.selector import cut
from reid_stream.engines import torch_ops
from reid_stream.engines.openvino import OpenVinoEngine
from reid_stream.engines.protocol import DetectRequest, Engine, Pixels
from reid_stream.engines.tensorrt_engine import TensorRtEngine
from reid_stream.engines.torch_engine import TorchEngine
from reid_stream.errors import ModelError
from reid_stream.images import host
from reid_stream.ingest.replay import FastReplay
from reid_stream.records import CameraId, Floats, Frame, Observation, Perceived, unpack_vector
from reid_stream.runtime.networks import load_networks, make_perception
from tests.engines.cuda import FakeTensorRt

CPU = torch.device("cpu")
F32 = Models(precision="f32", threads=1)


def _scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Soft shapes with some texture: noise alone has no grey value that resampling would keep."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 3)
    return np.clip((soft - 127) * 8 + 127, 0, 255).astype(np.uint8)


def _asked(
    sizes: list[tuple[int, int]], limit: tuple[int, int] = (640, 640), *, is_centred: bool = True
) -> DetectRequest:
    places = [fit(size, limit, stride=32, is_centred=is_centred) for size in sizes]
    return DetectRequest(places=places, pad=114, family="yolo", person=0, classes=1, score=0.25, iou=0.7, most=1000)


@pytest.mark.parametrize("is_centred", [True, False])
@pytest.mark.parametrize("size", [(1920, 1080), (768, 576), (640, 384), (333, 777), (64, 48)])
def test_the_network_sees_the_same_image(size: tuple[int, int], *, is_centred: bool) -> None:
    asked = _asked([size, size], is_centred=is_centred)
    pictures = [_scene(*size, seed) for seed in (1, 2)]
    width, height = asked.places[0].network
    expected = np.empty((2, height, width, 3), np.uint8)
    for picture, canvas in zip(pictures, expected, strict=True):
        fit(size, (640, 640), stride=32, is_centred=is_centred).draw(picture, canvas, 114)
    got = torch_ops.letterbox([pictures[0], torch_ops.DevicePicture(torch.from_numpy(pictures[1]))], asked, CPU).numpy()
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_images_of_several_sizes_go_in_one_batch() -> None:
    sizes = [(320, 180), (640, 360), (320, 180)]
    asked = _asked(sizes)
    pictures = [_scene(*size, seed) for seed, size in enumerate(sizes)]
    together = torch_ops.letterbox(pictures, asked, CPU)
    for row, (size, picture) in enumerate(zip(sizes, pictures, strict=True)):
        assert torch.equal(together[row], torch_ops.letterbox([picture], _asked([size]), CPU)[0])


def test_crops_are_stretched_as_on_this_side() -> None:
    """Of real proportions: people higher and lower than the network's input."""
    pictures = [_scene(640, 480, seed) for seed in (1, 2)]
    there = [torch_ops.DevicePicture(torch.from_numpy(picture)) for picture in pictures]
    boxes = [(10, 20, 60, 170), (100.5, 30.2, 220.1, 400.9), (600, 400, 639.5, 479.5), (0, 0, 20, 40)]
    crops = [cut(there[row % 2], np.array(box, np.float32)) for row, box in enumerate(boxes)]
    got = torch_ops.stretch([crop for crop in crops if not isinstance(crop, np.ndarray)], (256, 128), CPU).numpy()
    for row, box in enumerate(boxes):
        crop = cut(pictures[row % 2], np.array(box, np.float32))
        assert isinstance(crop, np.ndarray)
        assert crops[row].shape == crop.shape
        assert np.array_equal(host(crops[row]), crop)
        assert np.abs(got[row].astype(int) - resize(crop, 256, 128)).mean() < 1.5


def test_a_crop_of_a_crop_is_where_it_should_be() -> None:
    whole = _scene(64, 48)
    part = torch_ops.DevicePicture(torch.from_numpy(whole)).cut(10, 5, 50, 40).cut(3, 4, 20, 30)
    assert part.shape == (26, 17, 3)
    assert np.array_equal(part.host(), whole[9:35, 13:30])


def _answer(family: Decoder, seed: int, classes: int, size: tuple[int, int]) -> np.ndarray:
    """Make up an answer (b, rows, columns) with boxes upon boxes."""
    rng = np.random.default_rng(seed)
    count = len(yolox_cells(size)) if family == "yolox" else 60
    centres = rng.uniform(10, 120, (2, count, 2))
    sides = rng.uniform(10, 40, (2, count, 2))
    scores = rng.uniform(0, 1, (2, count, classes))
    if family == "yolo":
        return np.concatenate([centres, sides, scores], 2).transpose(0, 2, 1).astype(np.float32)
    if family == "yolo_end2end":
        corners = np.concatenate([centres - sides / 2, centres + sides / 2], 2)
        return np.concatenate([corners, scores[..., :1], rng.integers(0, 2, (2, count, 1))], 2).astype(np.float32)
    offsets = rng.uniform(-1, 1, (2, count, 4))
    return np.concatenate([offsets, rng.uniform(0, 1, (2, count, 1)), scores], 2).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(["yolo", "yolo_end2end", "yolox"]),
    seed=st.integers(0, 10_000),
    classes=st.sampled_from([1, 3]),
    score=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    iou=st.sampled_from([0.3, 0.7]),
)
def test_answers_are_read_as_on_this_side(family: Decoder, seed: int, classes: int, score: float, iou: float) -> None:
    size = (160, 96)
    answer = _answer(family, seed, classes, size)
    person = 0
    asked = DetectRequest(
        _asked([size, size]).places, 114, family, person, classes, score, iou, 1000, yolox_cells(size)
    )
    for got, one in zip(torch_ops.people(torch.from_numpy(answer), asked), answer, strict=True):
        found = decode(family, one, person, score, size)
        boxes, scores = found if family == "yolo_end2end" else suppress(found, iou)
        np.testing.assert_allclose(got[1], scores, atol=1e-6)
        np.testing.assert_allclose(got[0], boxes, atol=1e-3)


def test_only_the_best_candidates_are_looked_at() -> None:
    answer = np.zeros((1, 5, 200), np.float32)
    answer[0, 0], answer[0, 1], answer[0, 2:4] = np.arange(200) * 50, 20, 10
    answer[0, 4] = np.linspace(0.5, 0.9, 200)
    asked = DetectRequest(_asked([(640, 640)]).places, 114, "yolo", 0, 1, 0.1, 0.7, 20)
    ((boxes, scores),) = torch_ops.people(torch.from_numpy(answer), asked)
    assert len(boxes) == 20
    np.testing.assert_allclose(scores, np.linspace(0.5, 0.9, 200)[:-21:-1], atol=1e-6)
    assert boxes.flags.c_contiguous


def test_an_answer_of_another_kind_is_refused(tmp_path: Path) -> None:
    from tests.engines.networks import channel_means

    engine = TorchEngine(channel_means(tmp_path / "m.onnx"), F32, pixels=Pixels())
    with pytest.raises(ModelError, match=r"kind yolo with 1 classes must have such output, got \(1, 4\)"):
        engine.people([_scene(64, 48)], _asked([(64, 48)]))
    with pytest.raises(ModelError, match="must be of its kind"):
        engine.vectors([SimpleNamespace(shape=(2, 2, 3))], (8, 8))
    assert engine.people([], _asked([(64, 48)])) == []
    assert engine.vectors([], (8, 8)).shape == (0, 4)


@pytest.fixture(scope="module")
def footage() -> list[np.ndarray]:
    """Six pictures of a street, 768x576."""
    folder = os.environ.get("REID_STREAM_DATA")
    if folder is None:
        pytest.skip("needs real footage: set REID_STREAM_DATA")
    with av.open(Path(folder) / "video" / "vtest.avi") as container:
        frames = [
            picture.to_ndarray(format="rgb24") for picture, _ in zip(container.decode(video=0), range(60), strict=False)
        ]
    return frames[::10]


def _frames(pictures: list[np.ndarray], *, are_there: bool) -> list[Frame]:
    return [
        Frame(
            CameraId(str(row)), 0, 0.0, "file",
            torch_ops.DevicePicture(torch.from_numpy(picture)) if are_there else picture,
        )
        for row, picture in enumerate(pictures)
    ]  # fmt: skip


@pytest.mark.slow
def test_real_people_are_found_and_look_the_same_by_torch_tensorrt_and_here(
    footage: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped networks on a street; the three ways share nothing but the networks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    finds, found = SHIPPED / "detector" / "model.onnx", spec_of(detector("default")[1])
    bundle = embedder("default")[1]
    looks, crops = SHIPPED / "embedder" / "model.onnx", crops_of(bundle.input)
    key = SimpleNamespace(library="tensorrt_rtx 1", arch="sm_90", precision="f32")

    def plan(model: Path, pixels: object) -> TensorRtEngine:
        return TensorRtEngine(b"plan", key, model, pixels=pixels, device="cpu", trt=FakeTensorRt(model))  # type: ignore[arg-type]

    ways: dict[str, tuple[Engine, Engine]] = {
        "here": (
            OpenVinoEngine(finds, F32, pixels=found.pixels),
            OpenVinoEngine(looks, F32, pixels=pixels_of(crops), size=(crops.height, crops.width)),
        ),
        "torch": (TorchEngine(finds, F32, pixels=found.pixels), TorchEngine(looks, F32, pixels=pixels_of(crops))),
        "tensorrt": (plan(finds, found.pixels), plan(looks, pixels_of(crops))),
    }
    people: dict[str, list[Floats]] = {}
    vectors: dict[str, Floats] = {}
    for name, (one, other) in ways.items():
        frames = _frames(footage, are_there=name != "here")
        detections = Detector(one, found, Detect(score=0.5, max_batch=4))(frames)
        people[name] = [np.concatenate([each.boxes, each.scores[:, None]], 1) for each in detections]
        cuts = [cut(frame.image, box) for frame, each in zip(frames, people["here"], strict=True) for box in each]
        vectors[name] = Embedder(other, crops, bundle.dim, Embed())(cuts)
    assert sum(map(len, people["here"])) > 20
    for name in ("torch", "tensorrt"):
        for got, expected in zip(people[name], people["here"], strict=True):
            np.testing.assert_allclose(got[:, :4], expected[:, :4], atol=2.5)  # pixels; the largest seen is 1
            np.testing.assert_allclose(got[:, 4], expected[:, 4], atol=0.03)
        assert (vectors[name] * vectors["here"]).sum(1).min() > 0.97


@pytest.mark.slow
def test_perception_gives_the_same_for_images_on_a_device() -> None:
    """Five seconds of a street, followed and embedded both ways: the same tracks, nearly the same vectors."""
    folder = os.environ.get("REID_STREAM_DATA")
    if folder is None:
        pytest.skip("needs real footage: set REID_STREAM_DATA")
    camera = Camera.model_validate({"id": "a", "url": str(Path(folder) / "video" / "vtest.avi"), "max_fps": 5.0})
    seen: list[dict[tuple[float, int], Observation]] = []
    for engine in ("openvino", "torch"):
        models = Models.model_validate({"engine": engine, "precision": "f32"})
        settings = Settings(cameras=(camera,), models=models)
        half = make_perception(settings, load_networks(settings), "run")
        perceived: list[Perceived] = []
        with FastReplay([camera], settings.ingest, origin=0.0) as replay:
            for batch in itertools.islice(replay, 25):
                there = [replace(one, image=torch_ops.DevicePicture(torch.from_numpy(one.pixels))) for one in batch]
                perceived += half.step(there if engine == "torch" else batch)
        seen.append({(one.seen_at, one.track): one for one in perceived if isinstance(one, Observation)})
    here, there_too = seen
    assert len(here) > 80
    assert len(here.keys() & there_too.keys()) > 0.97 * max(len(here), len(there_too))
    cosines = []
    for key in here.keys() & there_too.keys():
        one, other = here[key], there_too[key]
        np.testing.assert_allclose(one.box, other.box, atol=4)
        if one.vector is not None and other.vector is not None:
            cosines.append(float(unpack_vector(one.vector) @ unpack_vector(other.vector)))
    assert len(cosines) > 10
    assert min(cosines) > 0.97


def test_crops_of_both_kinds_keep_their_order(footage: list[np.ndarray]) -> None:
    bundle = embedder("default")[1]
    spec = crops_of(bundle.input)
    engine = TorchEngine(SHIPPED / "embedder" / "model.onnx", F32, pixels=pixels_of(spec))
    boxes = [np.array(box, np.float32) for box in ((10, 10, 80, 200), (300, 90, 360, 250), (500, 200, 600, 500))]
    here = [cut(footage[0], box) for box in boxes]
    there = [cut(torch_ops.DevicePicture(torch.from_numpy(footage[0])), box) for box in boxes]
    embeds = Embedder(engine, spec, bundle.dim, Embed(max_batch=2))
    mixed = embeds([here[0], there[1], here[2], there[0], there[2]])
    alone = embeds(here)
    assert np.diag(mixed[:3] @ alone.T).min() > 0.97
    assert min(mixed[3] @ alone[0], mixed[4] @ alone[2]) > 0.97
