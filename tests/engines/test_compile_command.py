"""`reid-stream compile` as a user calls it."""

import subprocess
import sys
from pathlib import Path

import pytest

from reid_stream.bundles.wrap import wrap_embedder
from reid_stream.engines.tensorrt_library import libraries
from tests.engines.networks import channel_means

needs_rtx = pytest.mark.skipif(
    not any(library.name == "tensorrt_rtx" for library in libraries()),
    reason="needs tensorrt_rtx: pip install 'reid-stream[rtx]'",
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    wrap_embedder(channel_means(tmp_path / "m.onnx", height=24, width=16), tmp_path / "tiny", name="tiny")
    return tmp_path / "tiny"


def _start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "reid_stream", "compile", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@needs_rtx
def test_two_at_once_build_each_engine_once(tiny: Path, tmp_path: Path) -> None:
    words = [str(tiny), "--arch", "sm_86, sm_89", "--precision", "bf16", "--out", str(tmp_path / "engines")]
    both = [_start(*words) for _ in range(2)]
    lines = [one.communicate(timeout=100) for one in both]
    assert [one.returncode for one in both] == [0, 0], lines
    printed = sorted(line for out, _ in lines for line in out.splitlines())
    assert len(printed) == 4
    assert all(line.startswith("embedder tiny sm_8") and line.endswith("when a GPU first loads it") for line in printed)
    for arch in ("sm_86", "sm_89"):
        assert sorted(line.split(", ")[0].split()[-1] for line in printed if arch in line) == ["built", "cache"]
    assert len(list((tmp_path / "engines").glob("*.plan"))) == 2


def test_without_a_gpu_the_architectures_must_be_named(tiny: Path) -> None:
    process = _start(str(tiny))
    _, error = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "--arch sm_86,sm_89" in error


@needs_rtx
def test_what_cannot_be_kept_is_an_error(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    process = _start(str(tiny), "--arch", "sm_86", "--out", str(tmp_path / "file"))
    out, error = process.communicate(timeout=100)
    assert (process.returncode, out) == (3, "")
    assert "cannot be written (File exists)" in error
    assert "name another folder with --out" in error


def test_real_images_are_read_at_the_networks_size(tiny: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    from reid_stream.bundles import bundle
    from reid_stream.commands.compile import _shown
    from reid_stream.errors import ConfigError

    with pytest.raises(ConfigError, match="found none"):
        _shown(bundle.load(tiny), tmp_path / "crops")
    (tmp_path / "crops" / "deep").mkdir(parents=True)
    red = np.zeros((50, 20, 3), np.uint8)
    red[..., 2] = 200  # of BGR
    for number in range(3):
        cv2.imwrite(str(tmp_path / "crops" / "deep" / f"{number}.png"), red)
    (tmp_path / "crops" / "broken.jpg").write_bytes(b"no picture")
    (shown,) = _shown(bundle.load(tiny), tmp_path / "crops")
    assert shown.shape == (3, 24, 16, 3)
    assert shown[0, 0, 0].tolist() == [200, 0, 0]
