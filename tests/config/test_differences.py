"""What changes while the daemon runs, and what waits for its next start."""

from typing import Any

from reid_stream.config.differences import changes
from reid_stream.config.settings import Settings

ZONE = [[0, 0], [1, 0], [1, 1]]


def _settings(*cameras: dict[str, Any], **more: Any) -> Settings:
    return Settings.model_validate(
        {"cameras": [{"url": f"rtsp://10.0.0.1/{one['id']}", **one} for one in cameras], **more}
    )


def test_new_zones_and_lines_leave_the_stream_open() -> None:
    wanted = _settings({"id": "door", "zones": {"till": ZONE}, "lines": {"gate": ZONE[:2]}}, detect={"score": 0.2})
    change = changes(_settings({"id": "door"}), wanted)
    assert [(one.camera.id, one.keys, one.reopens) for one in change.changed] == [("door", ("zones", "lines"), False)]
    assert change.needs_restart == ("detect.score",)


def test_a_camera_is_added_with_its_lines() -> None:
    change = changes(_settings({"id": "door"}), _settings({"id": "door"}, {"id": "till", "lines": {"gate": ZONE[:2]}}))
    assert [(camera.id, list(camera.lines)) for camera in change.added] == [("till", ["gate"])]
    assert change.needs_restart == ()


def test_a_changed_substream_opens_the_camera_again() -> None:
    before, after = ({"id": "door", "detect_url": f"rtsp://10.0.0.1/{name}"} for name in ("small", "smaller"))
    for old, new in (({"id": "door"}, before), (before, after), (after, {"id": "door"})):
        (one,) = changes(_settings(old), _settings(new)).changed
        assert (one.keys, one.reopens) == (("detect_url",), True)
