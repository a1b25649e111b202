"""One camera's entry is changed in cams.yaml: the rest stays as it was written, a faulty file is never put there."""

import stat
from pathlib import Path

import pytest

from reid_stream.config import cams_yaml
from reid_stream.config.cams_edit import (
    CameraExistsError,
    NoSuchCameraError,
    add_camera,
    change_camera,
    remove_camera,
)
from reid_stream.errors import ConfigError

TEXT = """\
# the shop in the high street
site: shop
redis: {url: 'redis://localhost'}   # beside us

cameras:
  # at the entrance
  - id: door
    url: rtsp://10.0.0.5/stream1
    password: ${DOOR_PASSWORD}   # from the environment
    username: viewer
  - id: till
    url: "rtsp://10.0.0.6/stream1"
    max_fps: 5
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOOR_PASSWORD", "secret99")
    found = tmp_path / "cams.yaml"
    found.write_text(TEXT)
    found.chmod(0o640)
    return found


def test_a_change_keeps_comments_variables_order_and_mode(path: Path) -> None:
    change_camera(path, "till", {"max_fps": 2, "priority": 3})
    assert path.read_text() == TEXT.replace("max_fps: 5", "max_fps: 2\n    priority: 3")
    change_camera(path, "till", {"priority": None, "max_fps": 5})
    assert path.read_text() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["cams.yaml"]


def test_a_camera_is_added_and_removed(path: Path) -> None:
    add_camera(path, {"id": "yard", "url": "rtsp://10.0.0.7/x", "region": [[0, 0], [1, 0], [1, 1]]})
    settings = cams_yaml.load(path)
    assert [camera.id for camera in settings.cameras] == ["door", "till", "yard"]
    assert list(settings.cameras[2].region or ()) == [(0, 0), (1, 0), (1, 1)]
    assert path.read_text().startswith(TEXT.rstrip("\n"))
    with pytest.raises(CameraExistsError, match="'yard' is taken"):
        add_camera(path, {"id": "yard", "url": "rtsp://10.0.0.8/x"})
    remove_camera(path, "yard")
    assert path.read_text() == TEXT
    with pytest.raises(NoSuchCameraError, match="no camera 'yard'"):
        remove_camera(path, "yard")


def test_zones_are_written_a_line_each_and_comments_of_those_that_stay_are_kept(path: Path) -> None:
    square = [[0, 0], [0.25, 0], [0.25, 0.5]]
    change_camera(path, "till", {"zones": {"queue": square, "shelf": square}, "lines": {"gate": square[:2]}})
    zones = "    zones:\n      queue: [[0, 0], [0.25, 0], [0.25, 0.5]]\n      shelf: [[0, 0], [0.25, 0], [0.25, 0.5]]\n"
    assert path.read_text() == f"{TEXT}{zones}    lines:\n      gate: [[0, 0], [0.25, 0]]\n"
    path.write_text(path.read_text().replace("0.5]]\n      shelf", "0.5]]   # to the till\n      shelf"))
    change_camera(path, "till", {"zones": {"queue": square, "exit": square}, "lines": None})
    assert path.read_text() == TEXT + zones.replace("shelf", "exit").replace("0.5]]\n", "0.5]]   # to the till\n", 1)
    with pytest.raises(ConfigError, match="zones: must be printable text"):
        change_camera(path, "till", {"zones": {"${PATH}": square}})
    with pytest.raises(ConfigError, match="a polygon needs at least 3 points"):
        change_camera(path, "till", {"zones": {"queue": square[:2]}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_fps": -1}, r"cams.yaml, line 13: cameras\[1\].max_fps: must be greater than 0, found -1"),
        ({"enabled": "maybe"}, r"cameras\[1\].enabled: must be true or false"),
        ({"url": "/etc/passwd"}, "must begin with one of rtsp://"),
        ({"url": "file:///etc/passwd"}, "must begin with one of rtsp://"),
        ({"url": "rtsp://h/${DOOR_PASSWORD}"}, r"must be printable text of one line without \$\{NAME\}"),
        ({"password": "${DOOR_PASSWORD}"}, "must be printable text"),
        ({"password_file": "/etc/shadow"}, "must be one of the keys that can be set here"),
        ({"ca_file": "/etc/shadow"}, "must be one of the keys that can be set here"),
    ],
)
def test_what_is_wrong_or_would_read_files_or_variables_is_refused(path: Path, values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        change_camera(path, "till", values)  # type: ignore[arg-type]
    assert "secret99" not in str(caught.value)
    assert path.read_text() == TEXT
    assert [one.name for one in path.parent.iterdir()] == ["cams.yaml"]


def test_the_last_camera_stays_and_a_link_is_not_replaced(path: Path) -> None:
    remove_camera(path, "door")
    with pytest.raises(ConfigError):
        remove_camera(path, "till")
    (path.parent / "link.yaml").symlink_to(path)
    with pytest.raises(ConfigError, match="found a link"):
        change_camera(path.parent / "link.yaml", "till", {"max_fps": 3})


def test_a_new_password_takes_the_place_of_a_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("old\n")
    path.write_text(TEXT.replace("password: ${DOOR_PASSWORD}   # from the environment", "password_file: pw"))
    change_camera(path, "door", {"password": "new", "username": "viewer"})
    password = cams_yaml.load(path).cameras[0].password
    assert password is not None
    assert password.get_secret_value() == "new"
