"""The console shows the cameras of cams.yaml as it is now, and those of before while it is faulty."""

from pathlib import Path

import pytest

from reid_stream.config import cams_yaml
from reid_stream.web import camera_list
from reid_stream.web.camera_list import CameraList


def write(path: Path, *cameras: str) -> None:
    new = path.with_suffix(".new")
    new.write_text("cameras:\n" + "".join(f"  - {camera}\n" for camera in cameras))
    new.replace(path)


def test_it_follows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_list, "_LOOK_S", 0.0)
    path = tmp_path / "cams.yaml"
    write(path, "{id: a, url: rtsp://h/a}")
    cameras = CameraList(cams_yaml.load(path), path)
    assert [camera.id for camera in cameras.all()] == ["a"]
    write(path, "{id: a, url: rtsp://h/a, enabled: false}", "{id: b, url: rtsp://h/b}")
    assert [camera.id for camera in cameras.all()] == ["a", "b"]
    assert [camera.id for camera in cameras.enabled()] == ["b"]
    write(path, "{id: c, url: rtsp://h/c, max_fps: -1}")
    assert [camera.id for camera in cameras.all()] == ["a", "b"]
    path.unlink()
    assert [camera.id for camera in cameras.all()] == ["a", "b"]
    write(path, "{id: c, url: rtsp://h/c}")
    assert [camera.id for camera in cameras.all()] == ["c"]
