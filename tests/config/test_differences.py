"""What changes while the daemon runs, and what waits for its next start."""

from typing import Any

from reid_stream.config.differences import changes, with_cameras
from reid_stream.config.settings import Settings

ZONE = [[0, 0], [1, 0], [1, 1]]


def _settings(*cameras: dict[str, Any]) -> Settings:
    return Settings.model_validate({"cameras": [{"url": f"rtsp://10.0.0.1/{one['id']}", **one} for one in cameras]})


def test_zones_and_lines_wait_for_the_next_start_and_are_said_to_until_then() -> None:
    started = _settings({"id": "door"})
    wanted = _settings({"id": "door", "zones": {"till": ZONE}, "max_fps": 5})
    change = changes(started, wanted)
    assert [(one.camera.id, one.keys) for one in change.changed] == [("door", ("max_fps",))]
    assert change.needs_restart == ("cameras[door].zones",)
    again = changes(with_cameras(started, change.cameras), wanted)
    assert (again.has_cameras, again.needs_restart) == (False, ("cameras[door].zones",))


def test_a_camera_is_added_at_once_and_its_lines_later() -> None:
    change = changes(_settings({"id": "door"}), _settings({"id": "door"}, {"id": "till", "lines": {"gate": ZONE[:2]}}))
    assert [camera.id for camera in change.added] == ["till"]
    assert change.added[0].lines == {}
    assert change.needs_restart == ("cameras[till].lines",)
