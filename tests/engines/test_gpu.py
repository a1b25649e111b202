"""On a machine with an NVIDIA GPU: engines are built for it, agree with float32, and are swapped in."""

import os
from pathlib import Path

import numpy as np
import pytest

from reid_stream.bundles import bundle
from reid_stream.bundles.catalog import SHIPPED
from reid_stream.config.settings import Camera, Ingest, Models, Settings
from reid_stream.embed.selector import cut
from reid_stream.engines.build import get_plan, key_of
from reid_stream.engines.hot_swap import SwapEngine
from reid_stream.engines.load import load_engine
from reid_stream.engines.openvino import OpenVinoEngine
from reid_stream.engines.plan_cache import PlanCache
from reid_stream.engines.plan_check import check_plan, pixels_of
from reid_stream.engines.tensorrt_library import gpu_arch, library_for
from reid_stream.engines.torch_engine import TorchEngine
from reid_stream.images import OnDevice
from reid_stream.ingest.replay import FastReplay
from reid_stream.runtime.networks import load_networks, take_over

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(gpu_arch() is None, reason="needs an NVIDIA GPU")]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("precision", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("kind", ["embedder", "detector"])
def test_a_shipped_network_is_built_for_this_gpu_and_agrees_with_float32(
    tmp_path: Path, kind: str, precision: str
) -> None:
    folder, arch, plans = SHIPPED / kind, gpu_arch(), PlanCache(tmp_path)
    assert arch is not None
    found = bundle.load(folder)
    key = key_of(found, folder, library_for(arch, arch), arch, precision)  # type: ignore[arg-type]
    built = get_plan(key, folder / "model.onnx", plans, report=print)
    parity = check_plan(found, folder, key, built.plan, plans)
    print(kind, precision, parity)
    assert parity.faults == ()
    assert plans.checked(key, built.plan) == parity


@pytest.mark.parametrize("kind", ["embedder", "detector"])
def test_torch_on_the_gpu_gives_what_openvino_gives(kind: str) -> None:
    folder = SHIPPED / kind
    found = bundle.load(folder)
    height, width = (found.input.height, found.input.width) if kind == "embedder" else (384, 640)
    pictures = np.random.default_rng(0).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    engine = TorchEngine(folder / "model.onnx", Models(precision="f32"), pixels=pixels_of(found))
    assert engine.name == "torch cuda f32"
    expected = OpenVinoEngine(folder / "model.onnx", Models(precision="f32"), pixels=pixels_of(found)).images(pictures)
    for _ in range(2):  # the second replays the graph
        np.testing.assert_allclose(engine.images(pictures), expected, atol=2e-3 * np.abs(expected).max())


def test_images_decoded_on_the_gpu_stay_there_and_show_the_same_people(tmp_path: Path) -> None:
    folder = os.environ.get("REID_STREAM_DATA")
    if folder is None:
        pytest.skip("needs real footage: set REID_STREAM_DATA")
    clip = next((Path(folder) / "mot" / "ADL-Rundle-6").glob("*.mp4"))  # H.264, which GPUs decode
    camera = Camera.model_validate({"id": "a", "url": str(clip), "max_fps": 2.0})
    people: list[list[np.ndarray]] = []
    for on_gpu in (False, True):
        ingest = Ingest(gpu_frames=on_gpu, hardware_decode=on_gpu, isolate=False)
        settings = Settings(cameras=(camera,), ingest=ingest, models=Models(engine="torch"))
        networks = load_networks(settings)
        with FastReplay([camera], ingest, origin=0.0, take_over=take_over(settings)) as replay:
            frames = [frame for batch, _ in zip(replay, range(8), strict=False) for frame in batch]
        assert all(isinstance(frame.image, OnDevice) == on_gpu for frame in frames)
        found = [networks.detect([frame]) for frame in frames]
        people.append([boxes.boxes[boxes.scores > 0.5] for (boxes,) in found])
        crops = [cut(frame.image, box) for frame, (boxes,) in zip(frames, found, strict=True) for box in boxes.boxes]
        assert np.isfinite(networks.embed(crops)).all()
    for here, there in zip(*people, strict=True):
        assert abs(len(here) - len(there)) <= 1


@pytest.mark.timeout(1200)
def test_a_first_start_serves_by_torch_and_then_by_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_STREAM_ENGINES", str(tmp_path))
    folder = SHIPPED / "embedder"
    found = bundle.load(folder)
    pixels = pixels_of(found)
    engine = load_engine(folder / "model.onnx", Models(), pixels=pixels, bundle=found)
    assert isinstance(engine, SwapEngine)
    assert engine.name == "torch cuda f16"
    pictures = np.random.default_rng(0).integers(0, 256, (40, 128, 64, 3), dtype=np.uint8)
    before = engine.images(pictures)
    assert engine._thread is not None
    engine._thread.join(1000)
    assert engine.name.startswith("tensorrt")
    cosines = (before * engine.images(pictures)).sum(1)
    assert (cosines / np.linalg.norm(before, axis=1) / np.linalg.norm(engine.images(pictures), axis=1)).min() > 0.99
    again = load_engine(folder / "model.onnx", Models(), pixels=pixels, bundle=found)
    assert again.name == engine.name
