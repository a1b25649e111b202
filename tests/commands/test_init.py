"""`reid-stream init` against real servers: hosts, passwords, files, and cameras that fail."""

import shlex
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.ports import free_port
from benchmarks.rtsp.clips import draw_clip, serve_clips, why_not
from benchmarks.rtsp.web import WebCamera, snapshot
from reid_stream.cli import app
from reid_stream.config import cams_yaml
from reid_stream.config.settings import Camera, Ingest
from reid_stream.ingest.camera_search import PATHS, search
from reid_stream.ingest.probe import CameraFailure
from tests.ingest.test_onvif import answer, ask_at, responder

needs_rtsp = pytest.mark.skipif(why_not() is not None, reason=f"GStreamer: {why_not()}")


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["init", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_what_works_is_written_with_a_picture_and_what_fails_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "anna's site" / "cams.yaml"
    out.parent.mkdir()
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    with WebCamera({"/snap.jpg": snapshot(jpeg)}) as web:
        shown = run(web.url("/snap.jpg"), f"rtsp://127.0.0.1:{free_port()}/live", "--out", str(out), "--site", "shop")
    assert "1 camera works of 2" in shown
    check, *_ = shown.rpartition("next: ")[2].split(" && ")
    assert shlex.split(check) == ["reid-stream", "check", "--cameras", str(out)]
    settings = cams_yaml.load(out)
    assert settings.site == "shop"
    assert (settings.cameras[0].enabled, settings.cameras[0].url.get_secret_value()) == (True, web.url("/snap.jpg"))
    assert not settings.cameras[1].enabled
    assert "enabled: false    # " in out.read_text()
    picture = cv2.imread(str(out.parent / f"{settings.cameras[0].id}.jpg"))
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_onvif_cameras_are_found_and_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "cams.yaml"
    with responder(lambda message: [answer(message, "http://127.0.0.9/onvif/device_service")]) as port:
        ask_at(monkeypatch, port)
        shown = run("--discover", "--out", str(out), code=1)
    assert "127.0.0.9  AXIS P3245 P3245-LV" in shown
    assert "1 ONVIF camera found" in shown
    assert 'url: "rtsp://127.0.0.9"' in out.read_text()
    assert "enabled: false    # " in out.read_text()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "cams.yaml"
    out.write_text("mine")
    result = CliRunner().invoke(app, ["init", "127.0.0.1:1", "--out", str(out)])
    assert "--force" in str(result.exception)
    assert out.read_text() == "mine"


def test_no_camera_at_all_is_an_exit_code(tmp_path: Path) -> None:
    shown = run(f"127.0.0.1:{free_port()}", "--out", str(tmp_path / "cams.yaml"), code=1)
    assert "0 cameras work of 1" in shown


@needs_rtsp
def test_of_a_host_the_path_of_its_maker_is_found_and_the_password_stays_out_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = draw_clip(tmp_path / "clip.mp4", seconds=2)
    monkeypatch.setenv("REID_STREAM_CAMERA_PASSWORD", "hunter22")
    with serve_clips({"stream1": clip}, user="viewer", password="hunter22") as server:
        shown = run(f"127.0.0.1:{server.port}", "--user", "viewer", "--out", str(tmp_path / "cams.yaml"))
        assert "TP-Link" in shown
        text = (tmp_path / "cams.yaml").read_text()
        assert f"rtsp://127.0.0.1:{server.port}/stream1" in text
        assert "hunter22" not in text + shown
        assert cams_yaml.load(tmp_path / "cams.yaml").cameras[0].username == "viewer"
        # A wrong password is refused once, since cameras lock users out; the paths behind that are not tried.
        tried: list[str] = []
        wrong = Camera.model_validate(
            {"id": "a", "url": f"rtsp://127.0.0.1:{server.port}", "username": "viewer", "password": "wrong"}
        )
        found = search(wrong, Ingest(isolate=False), on_try=tried.append)
        assert isinstance(found.report, CameraFailure)
        assert found.report.error.cause == "refused"
        paths = [path for _, path in PATHS]
        assert tried == paths[: paths.index("/stream1") + 1]
