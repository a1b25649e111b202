"""The better engine is swapped in between two batches, only if it agrees with float32; images are always served."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reid_stream.bundles import bundle
from reid_stream.bundles.catalog import SHIPPED
from reid_stream.bundles.wrap import wrap_embedder
from reid_stream.config.settings import Models
from reid_stream.engines import load
from reid_stream.engines.accuracy_check import Parity
from reid_stream.engines.background_build import TensorRtPreparation
from reid_stream.engines.build import get_plan
from reid_stream.engines.hot_swap import SwapEngine
from reid_stream.engines.load import load_engine
from reid_stream.engines.openvino import OpenVinoEngine
from reid_stream.engines.plan_cache import PlanCache
from reid_stream.engines.protocol import DetectRequest, PixelEngine, Pixels, device_engine
from reid_stream.engines.tensorrt_library import TensorRtLibrary, libraries
from reid_stream.errors import ModelError
from reid_stream.images import OnDevice, Picture
from tests.engines.cuda import FakeTensorRt
from tests.engines.networks import channel_means

needs_rtx = pytest.mark.skipif(
    not any(library.name == "tensorrt_rtx" for library in libraries()),
    reason="needs tensorrt_rtx: pip install 'reid-stream[rtx]'",
)


class Named:
    """An engine that answers with a number."""

    pixels = Pixels()
    input_shape = output_shape = (None, 3, None, None)

    def __init__(self, name: str, answer: float, error: str = "") -> None:
        self.name, self._answer, self.error = name, answer, error

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self.error:
            raise ModelError(self.error)
        return np.full(len(batch), self._answer, np.float32)

    images = __call__


class Prepared:
    label = "the better one"

    def __init__(self, make: Callable[[SwapEngine, threading.Event], PixelEngine | None]) -> None:
        self._make = make

    def __call__(self, swap: SwapEngine, stop: threading.Event) -> PixelEngine | None:
        return self._make(swap, stop)


def _pictures(count: int = 1, side: int = 8) -> np.ndarray:
    return np.zeros((count, side, side, 3), np.uint8)


def _until(is_so: Callable[[], bool], limit_s: float = 30) -> None:
    until = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_images_are_served_while_the_better_engine_is_made_and_then_by_it() -> None:
    go = threading.Event()

    def make(_swap: SwapEngine, _stop: threading.Event) -> PixelEngine:
        assert go.wait(30)
        return Named("better", 2)

    swap = SwapEngine(Named("first", 1), Prepared(make), "embedder")
    assert [swap.images(_pictures())[0] for _ in range(3)] == [1, 1, 1]
    assert (swap.name, swap.note != "") == ("first", True)
    go.set()
    _until(lambda: swap.name == "better")
    assert swap.images(_pictures())[0] == 2
    assert swap.note == ""


def test_the_metrics_show_which_engine_serves_and_how_far_the_next_is() -> None:
    from reid_stream.observe.collector import SiteCollector
    from reid_stream.pipeline import PerceiveCounts

    swap = SwapEngine(Named("first", 1), Prepared(lambda swap, stop: Named("better", 2)), "embedder")
    cameras = SimpleNamespace(stats={}, replaced={})
    scrape = SiteCollector(
        cameras=cameras, counts=PerceiveCounts(), rejected=dict, sending=None, engines={"embedder": swap}
    )

    def swaps() -> dict[str, tuple[dict[str, str], float]]:
        return {
            metric.name: (sample.labels, sample.value)
            for metric in scrape.collect()
            for sample in metric.samples
            if "engine" in metric.name
        }

    assert swaps() == {
        "reid_stream_engine_serving": ({"network": "embedder", "engine": "first"}, 1),
        "reid_stream_engine_built": ({"network": "embedder"}, 0),
    }
    swap.images(_pictures())
    _until(lambda: swap.name == "better")
    assert swaps() == {
        "reid_stream_engine_serving": ({"network": "embedder", "engine": "better"}, 1),
        "reid_stream_engine_built": ({"network": "embedder"}, 1),
    }


def test_a_probe_makes_nothing() -> None:
    made: list[int] = []
    swap = SwapEngine(Named("first", 1), Prepared(lambda swap, stop: made.append(1)), "embedder")
    assert swap(np.zeros((1, 3, 8, 8), np.float32))[0] == 1
    swap.close()
    assert made == []


class Near(Named):
    """An engine that works on pictures where it runs."""

    runs_on_device = True

    def people(self, pictures: Sequence[Picture], _asked: DetectRequest) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.empty((0, 4), np.float32), self(np.empty(1)))] * len(pictures)

    def vectors(self, crops: Sequence[OnDevice], _size: tuple[int, int]) -> np.ndarray:
        return self(np.empty((len(crops), 1)))

    def letterboxed(self, pictures: Sequence[Picture], _asked: DetectRequest) -> np.ndarray:
        return _pictures(len(pictures), side=32)

    def stretched(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> np.ndarray:
        return _pictures(len(crops), side=size[0])


def test_images_that_stay_where_the_networks_run_are_served_and_compared_on_as_well() -> None:
    asked = DetectRequest([], 114, "yolo", 0, 1, 0.5, 0.7, 10)
    kept: list[np.ndarray] = []
    go = threading.Event()
    better = Near("better", 2)

    def make(swap: SwapEngine, _stop: threading.Event) -> PixelEngine:
        assert go.wait(30)
        kept.extend(swap.samples(4, 30))
        return better

    swap = SwapEngine(Near("first", 1), Prepared(make), "detector", most_samples=4)
    assert device_engine(swap, swap.pixels) is swap
    pictures = list(_pictures(3))
    assert [scores[0] for _, scores in swap.people(pictures, asked)] == [1, 1, 1]
    assert swap.vectors(pictures, (64, 32)).tolist() == [1, 1, 1]
    go.set()
    _until(lambda: swap.name == "better")
    assert [batch.shape for batch in kept] == [(3, 32, 32, 3), (1, 64, 64, 3)]
    assert swap.people(pictures, asked)[0][1][0] == 2
    better.error = "the GPU is gone"
    assert swap.vectors(pictures, (64, 32)).tolist() == [1, 1, 1]
    assert swap.name == "first"


def test_an_engine_whose_fallback_is_elsewhere_takes_images_from_main_memory() -> None:
    swap = SwapEngine(Named("first", 1), Prepared(lambda swap, stop: Near("better", 2)), "detector")
    swap.images(_pictures())
    _until(lambda: swap.name == "better")
    assert device_engine(swap, swap.pixels) is None
    assert swap.images(_pictures())[0] == 2


def test_it_is_compared_on_what_the_first_engine_was_given() -> None:
    kept: list[np.ndarray] = []

    def make(swap: SwapEngine, _stop: threading.Event) -> None:
        kept.extend(swap.samples(5, 30))

    swap = SwapEngine(Named("first", 1), Prepared(make), "embedder", most_samples=6)
    for _ in range(4):
        swap.images(_pictures(2))
        swap.images(_pictures(1, side=16))
    swap.close()
    assert 5 <= sum(map(len, kept)) <= 6
    assert {batch.shape[1] for batch in kept} == {8, 16}


@pytest.mark.parametrize("error", [ModelError("no memory"), RuntimeError("CUDA error 700")])
def test_an_engine_that_cannot_be_made_leaves_the_first(error: Exception) -> None:
    def make(_swap: SwapEngine, _stop: threading.Event) -> None:
        raise error

    swap = SwapEngine(Named("first", 1), Prepared(make), "embedder")
    swap.images(_pictures())
    swap.close()
    assert swap.images(_pictures())[0] == 1
    assert str(error) in swap.note


def test_an_engine_that_fails_later_gives_its_batch_back() -> None:
    better = Named("better", 2)
    swap = SwapEngine(Named("first", 1), Prepared(lambda swap, stop: better), "embedder")
    swap.images(_pictures())
    _until(lambda: swap.name == "better")
    better.error = "the GPU fell off the bus"
    assert swap.images(_pictures())[0] == 1
    assert swap.name == "first"
    assert "fell off the bus" in swap.note


def test_the_first_engines_error_is_the_callers() -> None:
    swap = SwapEngine(Named("first", 1, "no"), Prepared(lambda swap, stop: None), "embedder")
    with pytest.raises(ModelError, match="no"):
        swap.images(_pictures())


def _preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> TensorRtPreparation:
    folder = tmp_path / "tiny"
    wrap_embedder(channel_means(tmp_path / "m.onnx", height=24, width=16), folder, name="tiny")
    fake = FakeTensorRt(folder / "model.onnx", **changes)
    import reid_stream.engines.background_build as module
    from reid_stream.engines.tensorrt_engine import TensorRtEngine

    def on_the_processor(plan: bytes, key: Any, model: Path, **options: Any) -> TensorRtEngine:
        return TensorRtEngine(plan, key, model, device="cpu", trt=fake, **options)

    monkeypatch.setattr(module, "TensorRtEngine", on_the_processor)
    return TensorRtPreparation(
        bundle.load(folder),
        folder / "model.onnx",
        TensorRtLibrary("tensorrt_rtx", next((one.version for one in libraries() if one.name == "tensorrt_rtx"), "1")),
        "sm_86",
        plans=PlanCache(tmp_path / "plans"),
        samples_s=20,
    )


def _served(preparation: TensorRtPreparation) -> SwapEngine:
    engine = OpenVinoEngine(preparation.model, Models(precision="f32", threads=1), pixels=_pixels(preparation))
    swap = SwapEngine(engine, preparation, "embedder")
    crops = np.random.default_rng(0).integers(0, 256, (40, 3, 2, 3), dtype=np.uint8)
    crops = crops.repeat(8, axis=1).repeat(8, axis=2)
    for start in range(0, 40, 8):
        swap.images(crops[start : start + 8])
    assert swap._thread is not None
    swap._thread.join(60)
    return swap


def _pixels(preparation: TensorRtPreparation) -> Pixels:
    from reid_stream.engines.plan_check import pixels_of

    return pixels_of(preparation.bundle)


@needs_rtx
def test_a_real_plan_is_built_compared_swapped_in_and_found_right_at_once_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = _preparation(tmp_path, monkeypatch)
    assert preparation.ready() is None
    swap = _served(preparation)
    assert swap.name == "tensorrt_rtx sm_86 f16"
    ready = preparation.ready()
    assert ready is not None
    crops = np.random.default_rng(1).integers(0, 256, (70, 24, 16, 3), dtype=np.uint8)
    reference = OpenVinoEngine(preparation.model, Models(precision="f32", threads=1), pixels=_pixels(preparation))
    np.testing.assert_allclose(ready.images(crops), reference.images(crops), atol=1e-4)


@needs_rtx
def test_an_engine_compared_on_probes_alone_is_compared_again_on_real_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = _preparation(tmp_path, monkeypatch)
    key = preparation._key("f16")
    plan = get_plan(key, preparation.model, preparation.plans, report=lambda _text: None).plan
    preparation.plans.remember(key, plan, Parity(pictures=16, is_finite=True, difference=0.0, cosine=1.0))
    assert preparation.ready() is None
    swap = _served(preparation)
    assert swap.name == "tensorrt_rtx sm_86 f16"
    parity = preparation.plans.checked(key, plan)
    assert parity is not None
    assert parity.ranked is not None
    assert preparation.ready() is not None


@needs_rtx
def test_an_engine_with_a_nan_is_refused_for_good_and_the_first_serves_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = _preparation(tmp_path, monkeypatch, spoil=lambda answer: answer * np.nan)
    preparation.precisions = ("f16",)
    swap = _served(preparation)
    assert swap.name == "openvino cpu f32"
    assert "does not agree with float32 in any precision" in swap.note
    again = _served(preparation)
    assert again.name == "openvino cpu f32"
    assert preparation.ready() is None


@needs_rtx
def test_a_plan_that_this_driver_does_not_take_is_reported_and_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = b"of another driver"
    preparation = _preparation(tmp_path, monkeypatch, takes=lambda plan: plan != old)
    key = preparation._key("f16")
    preparation.plans.write(key, old)
    swap = _served(preparation)
    assert swap.name == "tensorrt_rtx sm_86 f16"
    plan, _ = preparation.plans.read(key)
    assert plan is not None
    assert plan != old


def test_a_gpu_without_tensorrt_serves_by_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "gpu_arch", lambda: "sm_90")
    folder = SHIPPED / "embedder"
    embedder = bundle.load(folder)
    model = folder / "model.onnx"
    assert load_engine(model, Models(threads=1), bundle=embedder).name.startswith("openvino")
    with pytest.raises(ModelError, match="sm_90 must be built by tensorrt on such a GPU"):
        load_engine(model, Models(engine="tensorrt"), bundle=embedder)


@needs_rtx
def test_a_first_start_on_a_gpu_serves_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_STREAM_ENGINES", str(tmp_path))
    monkeypatch.setattr(load, "gpu_arch", lambda: "sm_86")
    folder = SHIPPED / "embedder"
    engine = load_engine(folder / "model.onnx", Models(threads=1), bundle=bundle.load(folder), size=(128, 64))
    assert isinstance(engine, SwapEngine)
    assert engine.name.startswith("openvino")
    assert engine.note == "tensorrt_rtx for sm_86 comes with the first pictures"


def test_without_a_gpu_tensorrt_advises_what_to_do(tmp_path: Path) -> None:
    folder = SHIPPED / "embedder"
    with pytest.raises(ModelError, match=r"set models\.engine to auto"):
        load_engine(folder / "model.onnx", Models(engine="tensorrt"), bundle=bundle.load(folder))
    with pytest.raises(ModelError, match=r"set models\.engine to auto"):
        load_engine(channel_means(tmp_path / "m.onnx"), Models(engine="tensorrt"))
