"""A whole daemon on a machine with a GPU and no engines: it serves at once, and both engines follow."""

import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from benchmarks.rtsp.clips import draw_clip
from reid_stream.assembly.site import assemble
from reid_stream.config.settings import Settings
from reid_stream.engines import background_build, load
from reid_stream.engines.hot_swap import SwapEngine
from reid_stream.engines.tensorrt_engine import TensorRtEngine
from reid_stream.engines.tensorrt_library import libraries
from reid_stream.events import IdentityEntered
from tests.builders import ListSink
from tests.engines.cuda import FakeTensorRt
from tests.integration.program import tiny_models


@pytest.mark.skipif(
    not any(library.name == "tensorrt_rtx" for library in libraries()),
    reason="needs tensorrt_rtx: pip install 'reid-stream[rtx]'",
)
def test_people_are_followed_from_the_first_frame_and_both_engines_are_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_the_processor(plan: bytes, key: Any, model: Path, **options: Any) -> TensorRtEngine:
        return TensorRtEngine(plan, key, model, device="cpu", trt=FakeTensorRt(model), **options)

    monkeypatch.setenv("REID_STREAM_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr(load, "gpu_arch", lambda: "sm_86")
    monkeypatch.setattr(background_build, "TensorRtEngine", on_the_processor)
    monkeypatch.setattr(background_build, "_ENOUGH", {"detector": 1, "embedder": 1})
    models, clip = tiny_models(tmp_path / "models"), draw_clip(tmp_path / "a.mp4", seconds=3)
    settings = Settings.model_validate(
        {
            "cameras": [{"id": "door", "url": str(clip)}],
            "models": {"detector": str(models / "detector"), "embedder": str(models / "embedder"), "threads": 1},
        }
    )
    sink = ListSink()
    with assemble(settings, run="r", fast=True, sink=sink) as site:
        assert site.loaded is not None
        engines = (site.loaded.detector_engine, site.loaded.embedder_engine)
        assert all(isinstance(engine, SwapEngine) and engine.name.startswith("openvino") for engine in engines)
        site.daemon.run(threading.Event())
        for engine in engines:
            assert isinstance(engine, SwapEngine)
            assert engine._thread is not None
            engine._thread.join(60)
        text = generate_latest(site.metrics.registry).decode()
    assert any(isinstance(event, IdentityEntered) for event in sink.events)
    for network in ("detector", "embedder"):
        assert f'reid_stream_engine_serving{{engine="tensorrt_rtx sm_86 f16",network="{network}"}} 1.0' in text
        assert f'reid_stream_engine_built{{network="{network}"}} 1.0' in text
    with assemble(settings, run="r2", fast=True, sink=sink) as site:
        assert site.loaded is not None
        assert site.loaded.detector_engine.name == "tensorrt_rtx sm_86 f16"
        # So few crops give no ranking: it serves, and is checked again at the next start.
        assert isinstance(site.loaded.embedder_engine, SwapEngine)
