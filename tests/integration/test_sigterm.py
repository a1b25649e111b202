"""SIGTERM ends the daemon in order whatever its cameras are doing."""

import json
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis

from benchmarks.faults.cameras_sick import listening
from benchmarks.rtsp.clips import draw_clip
from tests.integration.program import running, write_cams

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_a_stop_while_cameras_are_being_opened_takes_a_moment(isolate: str, models: Path, tmp_path: Path) -> None:
    with listening(b"") as mute:
        cams = write_cams(
            tmp_path,
            {"mute": f"rtsp://127.0.0.1:{mute}/x", "nameless": "rtsp://host.invalid/x", "dead": "rtsp://127.0.0.1:1/x"},
            more=f"ingest: {{open_timeout_s: 60, isolate: {isolate}}}\nobserve: {{port: null}}",
        )
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            daemon.until(
                lambda: "dead" in daemon.out + daemon.err and "refused" in daemon.out + daemon.err, timeout_s=200
            )
            began = time.monotonic()
            ended = daemon.terminate(timeout_s=40)
    assert ended.code == 0
    assert ended.is_plain
    # Far from the camera's time-out of 60 s, on a busy machine, too.
    assert time.monotonic() - began < 20


def test_a_stop_of_the_whole_group_raises_no_alarm(models: Path, tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=2)
    more = "observe: {port: 0}\nweb: {enabled: true, port: 0}"
    cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"}, more=more)
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera_up" in daemon.err, timeout_s=200)
        address = re.search(r"metrics on (http://\S+)", daemon.err)
        assert address is not None
        scraping = threading.Thread(target=_scrape, args=(address[1], daemon.process))
        scraping.start()
        # As a service manager does: the daemon and all its processes at once.
        for pid in [*_descendants(daemon.process.pid), daemon.process.pid]:
            _signal(pid)
        began = time.monotonic()
        ended = daemon.wait(timeout_s=40)
        scraping.join()
    assert ended.code == 0
    assert ended.is_plain
    assert time.monotonic() - began < 20
    for alarm in (
        "level=error",
        "camera_down reason=.*process",
        "embedded_redis_(ended|start_failed)",
        "web_ended",
        "monitoring_failed",
    ):
        assert not re.search(alarm, ended.err), ended.err
    # What Redis did not get any more is in the spool.
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera_up" in daemon.err, timeout_s=200)
        url = (tmp_path / "redis" / "redis.url").read_text().strip()
        client: Any = redis.Redis.from_url(url)
        events = [json.loads(fields[b"event"]) for _, fields in client.xrange("reid:lab:events")]
        client.close()
        daemon.terminate(timeout_s=40)
    first = [event for event in events if event["runid"] == events[0]["runid"]]
    assert "daemon.stopped" in first[-1]["type"]
    assert [int(event["sequence"]) for event in first] == list(range(len(first)))


def _scrape(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with suppress(OSError), urlopen(url, timeout=5) as answer:
            answer.read()


def _descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sorted(family - {pid})


def _signal(pid: int) -> None:
    import os

    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
