"""Preparation of the demo's files."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from reid_stream.commands import demo
from reid_stream.config.cams_yaml import load
from reid_stream.errors import ConfigError, ModelError

DATA = os.environ.get("REID_STREAM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="REID_STREAM_DATA is not set: no footage and no models to prepare")


@pytest.mark.slow
@needs_data
def test_the_demo_is_two_cameras_of_one_street_and_prepared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REID_STREAM_MODELS", raising=False)
    environ = {"REID_STREAM_DATA": DATA or ""}
    lines: list[str] = []
    cams = demo.prepare(tmp_path / "demo", environ, lines.append)
    settings = load(cams, {})
    assert settings.site == "demo"
    assert settings.redis.is_embedded
    street, plaza = settings.cameras
    assert plaza.start_after_s > 0
    with (
        av.open(street.url.get_secret_value()) as first,
        av.open(plaza.url.get_secret_value()) as second,
    ):
        assert second.streams.video[0].frames == first.streams.video[0].frames == 795
        assert (second.streams.video[0].width, second.streams.video[0].height) == (800, 656)
    made = (tmp_path / "demo/plaza.mp4").stat().st_mtime_ns
    lines.clear()
    assert demo.prepare(tmp_path / "demo", environ, lines.append) == cams
    assert (tmp_path / "demo/plaza.mp4").stat().st_mtime_ns == made
    assert len(lines) == 1


def test_another_file_of_the_same_name_is_not_taken_for_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / demo.NAME).write_bytes(b"another film")
    # Nothing to download from, and no apt-get to be found.
    monkeypatch.setattr(demo, "URL", "http://127.0.0.1:9/vtest.avi")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="set REID_STREAM_SAMPLES to it") as caught:
        demo.footage({"REID_STREAM_SAMPLES": str(tmp_path)}, lambda text: None)
    assert "another file than OpenCV's sample" in str(caught.value)
    assert "no apt-get" in str(caught.value)


def test_without_models_the_error_has_the_command_that_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REID_STREAM_MODELS", str(tmp_path))
    monkeypatch.setattr("reid_stream.bundles.catalog.SHIPPED", tmp_path / "none")
    with pytest.raises(ModelError, match="reid-stream models wrap"):
        demo.prepare(tmp_path / "demo", {}, lambda text: None)


def test_help_makes_no_folder(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "reid_stream.commands.demo", "--help"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "usage:" in done.stdout
    assert not list(tmp_path.iterdir())
