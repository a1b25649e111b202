"""Log lines of the daemon: one per change of state, as text or JSON."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
import structlog

from reid_stream.config.settings import Observe
from reid_stream.events import CameraDown, CameraUp, Event
from reid_stream.observe import logs
from reid_stream.records import CameraId
from tests.builders import ListSink, ListSource
from tests.runtime.test_daemon import build

UP = CameraUp(camera=CameraId("door"), changed_at=1.0, frame_size=(64, 48), codec="h264", clock="rtcp")
DOWN = CameraDown(camera=CameraId("door"), changed_at=2.0, reason="rtsp://viewer:open-sesame@10.0.0.5/s is silent")


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    output = capsys.readouterr()
    assert not output.out
    return output.err.splitlines()


def live_through(changes: list[CameraUp | CameraDown]) -> list[Event]:
    """Run a daemon whose camera changes."""
    sink = ListSink()
    daemon = build(ListSource([]), sink, is_live=True)
    for change in changes:
        daemon.report_camera(change)
    daemon.run(threading.Event())
    return sink.events


def test_every_change_of_state_is_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Observe(log="json"))
    live_through([UP, DOWN])
    output = [json.loads(line) for line in lines(capsys)]
    assert [line["event"] for line in output] == ["camera_up", "camera_down", "daemon_started", "daemon_stopped"]
    assert (output[0]["level"], output[0]["camera"], output[0]["size"], output[0]["clock"]) == (
        "info",
        "door",
        "64x48",
        "rtcp",
    )
    assert output[1]["level"] == "warning"
    assert all(line["timestamp"].endswith("Z") for line in output)


def test_lines_of_one_event_that_come_too_fast_are_counted_instead(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Observe(log="json"))
    log = structlog.get_logger()
    for number in range(3000):
        log.warning("instruction_invalid", place=f"{number}-0")
    log.warning("redis_away", reason="x")
    time.sleep(1.1)
    log.warning("instruction_invalid", place="3000-0")
    logged = [json.loads(line) for line in lines(capsys)]
    assert 100 <= len(logged) < 110
    assert "redis_away" in {line["event"] for line in logged}
    assert len(logged) - 1 + sum(line.get("suppressed", 0) for line in logged) == 3001


def test_what_libraries_log_is_bounded_and_without_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Observe(log="json"))
    logs.configure(Observe(log="json"))  # twice, and still one line each
    for _ in range(300):
        logging.getLogger("uvicorn.error").warning("Invalid request to rtsp://me:open-sesame@10.0.0.5/s")
    logging.getLogger("uvicorn.access").info("GET /")
    found = [json.loads(line) for line in lines(capsys)]
    assert 100 <= len(found) <= 110
    assert {(line["event"], line["level"], line["library"]) for line in found} == {
        ("library_message", "warning", "uvicorn.error")
    }
    assert "open-sesame" not in str(found)


def test_a_limit_on_lines_forgets_with_time() -> None:
    now = [0.0]
    limit = logs.RepeatLimit(lambda: now[0])

    def kept() -> int:
        count = 0
        for _ in range(500):
            with contextlib.suppress(structlog.DropEvent):
                limit(None, "", {"event": "camera_up"})
                count += 1
        return count

    assert kept() == 100
    now[0] = 10.0
    assert kept() == 10
    now[0] = 10_000.0
    assert kept() == 100


def test_text_is_one_line_of_key_and_value_whatever_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Observe(log="text"))
    structlog.get_logger().warning("camera_down", camera="door", reason="two\nlines and a = sign", frames=3)
    (line,) = lines(capsys)
    assert "level=warning event=camera_down camera=door" in line
    assert line.endswith("frames=3")


def test_lines_below_the_level_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Observe(log_level="warning"))
    live_through([UP, DOWN])
    assert ["camera_down" in line for line in lines(capsys)] == [True]


def test_a_reason_with_a_password_reaches_neither_log_nor_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Observe())
    published = live_through([DOWN])
    assert any(
        isinstance(event, CameraDown) and event.reason == "rtsp://***@10.0.0.5/s is silent" for event in published
    )
    assert "open-sesame" not in "".join(lines(capsys))
