"""Short slices of the drills `freeze` and `own-clock`, over HTTP, in a few seconds each; the drills do more."""

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.faults.cameras_own_clock import STEPS_S, SettableClock
from benchmarks.faults.daemon_run import is_up, until, whole_daemon
from benchmarks.rtsp.web import HttpResponse, WebCamera, mjpeg
from reid_stream.config.settings import Camera, Ingest, Settings
from reid_stream.events import CameraDown, DaemonStopped
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.records import Frame
from tests.ingest.test_network_cameras import jpeg

pytestmark = pytest.mark.timeout(90)
FPS = 10


def test_all_cameras_silent_at_once_do_not_end_the_daemon() -> None:
    flows = threading.Event()
    flows.set()
    video = mjpeg(jpeg(), fps=FPS)

    def parts() -> Iterator[bytes]:
        for part in video.body():
            flows.wait()
            yield part

    with WebCamera({"/a": HttpResponse(200, video.headers, parts)}) as web:
        settings = Settings.model_validate(
            {
                "cameras": [{"id": name, "url": web.url("/a"), "max_fps": 5} for name in "ab"],
                "ingest": {"backoff_first_s": 0.25, "backoff_max_s": 1, "read_timeout_s": 7, "isolate": False},
                "observe": {"port": None},
            }
        )
        with whole_daemon(settings, has_networks=False) as (site, events):
            assert until(lambda: is_up(site, *"ab"))
            time.sleep(1.5)
            flows.clear()
            # Past the two windows of 2.5 s in which nothing is wanted, and past the cameras' time limit.
            assert until(
                lambda: {event.camera for _, event in events.told if isinstance(event, CameraDown)} == set("ab"), 12
            )
            flows.set()
            assert until(lambda: is_up(site, *"ab"))
            assert not site.daemon.has_failed
            assert site.metrics.monitoring.total == 0
            assert not any(isinstance(event, DaemonStopped) for _, event in events.told)


def test_a_clock_that_is_set_costs_less_than_a_second_of_frames() -> None:
    system, look_s = SettableClock(), 1.5
    frames: list[Frame] = []
    with WebCamera({"/a": mjpeg(jpeg(), fps=FPS)}) as web:
        one = Camera.model_validate({"id": "a", "url": web.url("/a"), "max_fps": None})
        live = CameraSet([one], Ingest(isolate=False), lambda _: None, SiteClock(system))
        live.start()
        while not frames:
            frames += live.take_frames(0.05) or []
        for step_s in STEPS_S:
            before, end = len(frames), time.monotonic() + look_s
            system.ahead_s += step_s
            while time.monotonic() < end:
                frames += live.take_frames(0.05) or []
            assert len(frames) - before > look_s * FPS - FPS, f"set by {step_s} s"
            # In the time base of the site, converted to the new time of the system.
            assert abs(live.site_clock.to_utc(frames[-1].captured_at) - system()) < 1.0
        live.stop()
        (stats,) = live.stats.values()
    assert stats.clock_steps == len(STEPS_S)
    assert stats.connects == 1
    steps = np.array([later.captured_at - one.captured_at for one, later in itertools.pairwise(frames)])
    assert steps.min() > 0
    assert steps.max() < 1.0
