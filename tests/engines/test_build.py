"""Engines are built by tensorrt-rtx in a child process; every failure is reported."""

import hashlib
import sys
import threading
import time
from pathlib import Path

import pytest

from reid_stream.bundles import bundle
from reid_stream.bundles.catalog import SHIPPED
from reid_stream.engines.build import BuildResult, get_plan, key_of, profile_of, run_builder
from reid_stream.engines.build_worker import BuildJob, BuildProgress
from reid_stream.engines.plan_cache import PlanCache, PlanKey
from reid_stream.engines.tensorrt_library import RTX_ARCHS, TensorRtLibrary, libraries, library_for
from reid_stream.errors import ModelError
from tests.engines.networks import channel_means
from tests.engines.test_plan_cache import KEY

needs_rtx = pytest.mark.skipif(
    not any(library.name == "tensorrt_rtx" for library in libraries()),
    reason="needs tensorrt_rtx: pip install 'reid-stream[rtx]'",
)


def _key(model: Path, arch: str = "sm_86") -> PlanKey:
    return PlanKey(
        model=hashlib.sha256(model.read_bytes()).hexdigest(),
        library=library_for(arch, None).label,
        arch=arch,
        precision="f16",
        profile=profile_of("embedder", (24, 16)),
    )


@pytest.mark.slow
@needs_rtx
@pytest.mark.parametrize("kind", ["embedder", "detector"])
def test_the_shipped_networks_are_built_for_a_gpu_that_is_not_here(tmp_path: Path, kind: str) -> None:
    folder, plans = SHIPPED / kind, PlanCache(tmp_path)
    lines: list[str] = []
    steps: list[BuildProgress] = []
    found = bundle.load(folder)
    key = key_of(found, folder, library_for("sm_86", None), "sm_86", "f16")
    built = get_plan(key, folder / "model.onnx", plans, report=lines.append, progress=steps.append)
    assert (built.origin, built.notes, lines) == ("built", (), [])
    assert len(built.plan) > found.model_bytes
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert len(shares) > 5
    again = get_plan(key, folder / "model.onnx", plans, report=lines.append, progress=steps.append)
    assert (again.origin, again.plan, len(shares)) == ("cache", built.plan, len(steps))


@needs_rtx
def test_a_truncated_engine_is_reported_and_built_again(tmp_path: Path) -> None:
    model, plans = channel_means(tmp_path / "m.onnx"), PlanCache(tmp_path / "cache")
    lines: list[str] = []
    key = _key(model)
    first = get_plan(key, model, plans, report=lines.append)
    path = plans.path(key)
    path.write_bytes(path.read_bytes()[:-10])
    second = get_plan(key, model, plans, report=lines.append)
    assert second.origin == "built"
    assert "cut off; building it again" in lines[0]
    assert plans.read(key) == (second.plan, "")
    assert len(first.plan) == len(second.plan)


@needs_rtx
def test_a_cache_that_cannot_be_written_leaves_the_engine_in_memory(tmp_path: Path) -> None:
    model = channel_means(tmp_path / "m.onnx")
    lines: list[str] = []
    (tmp_path / "file").write_text("no folder")
    built = get_plan(_key(model), model, PlanCache(tmp_path / "file" / "cache"), report=lines.append)
    assert built.plan
    assert built.origin == "built"
    assert "in memory only" in lines[0]


@needs_rtx
def test_of_two_at_once_one_builds_and_the_other_reads_that(tmp_path: Path) -> None:
    model = channel_means(tmp_path / "m.onnx")
    lines: list[str] = []
    found: list[BuildResult] = []
    key = _key(model)

    def start() -> None:
        found.append(get_plan(key, model, PlanCache(tmp_path / "cache"), report=lines.append))

    both = [threading.Thread(target=start) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert sorted(one.origin for one in found) == ["built", "cache"]
    assert found[0].plan == found[1].plan
    assert lines == ["another process builds this engine; waiting for it"]


@needs_rtx
def test_a_network_that_the_library_refuses_is_an_error_in_one_line(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(channel_means(tmp_path / "good.onnx").read_bytes()[:-40])
    with pytest.raises(ModelError, match="export it again") as refusal:
        get_plan(_key(model), model, PlanCache(tmp_path / "cache"), report=lambda _text: None)
    assert "\n" not in str(refusal.value)


def _fake(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_a_builder_that_crashes_is_an_error_that_names_the_signal() -> None:
    with pytest.raises(ModelError, match="died of SIGSEGV"):
        run_builder(
            BuildJob(key=KEY, model="m.onnx"), lambda _step: None, command=_fake("import os; os.kill(os.getpid(), 11)")
        )


def test_a_builder_that_writes_less_than_it_reports_is_an_error() -> None:
    code = 'import os, sys; os.write(int(sys.argv[1]), b\'12345\'); print(\'{"type":"built","bytes":6}\')'
    with pytest.raises(ModelError, match="must end with a plan"):
        run_builder(BuildJob(key=KEY, model="m.onnx"), lambda _step: None, command=_fake(code))


def test_a_builder_may_chatter() -> None:
    steps: list[BuildProgress] = []
    code = (
        'import os, sys; print(\'loading [1/2]\'); print(\'{"type":"progress","phase":"x","share":0.5}\');'
        'os.write(int(sys.argv[1]), b\'12345\'); print(\'{"type":"built","bytes":5}\')'
    )
    assert run_builder(BuildJob(key=KEY, model="m.onnx"), steps.append, command=_fake(code)) == b"12345"
    assert steps == [BuildProgress("x", 0.5)]


def test_a_builder_that_hangs_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    with pytest.raises(ModelError, match="was stopped"):
        run_builder(BuildJob(key=KEY, model="m.onnx"), lambda _step: None, stop, _fake("import time; time.sleep(600)"))
    assert time.monotonic() - began < 300


def test_tensorrt_builds_only_for_the_gpu_at_hand() -> None:
    library = TensorRtLibrary("tensorrt", "11.4")
    assert library.builds("sm_90", "sm_90")
    assert not library.builds("sm_86", "sm_90")
    assert not library.builds("sm_86", None)


def test_tensorrt_rtx_builds_for_every_rtx_card_and_no_other() -> None:
    library = TensorRtLibrary("tensorrt_rtx", "1.7")
    assert all(library.builds(arch, None) for arch in RTX_ARCHS)
    assert not library.builds("sm_90", "sm_90")


@needs_rtx
def test_an_architecture_that_is_not_supported_is_refused_with_the_supported_ones() -> None:
    with pytest.raises(ModelError, match=r"sm_90 .* sm_86.*reid-stream\[gpu\]"):
        library_for("sm_90", None)


def test_most_frames_are_wide_and_that_is_what_is_built_for() -> None:
    assert profile_of("detector", (640, 640)).usual == (384, 640)
    assert profile_of("detector", (256, 640)).usual == (256, 640)
    assert profile_of("embedder", (128, 64)).least == (128, 64)
