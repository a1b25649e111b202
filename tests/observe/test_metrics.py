"""The page for Prometheus and the health checks."""

import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from reid_stream.ingest.stats import CameraStats
from reid_stream.observe.collector import SiteCollector
from reid_stream.observe.metrics import Metrics, serve
from reid_stream.pipeline import PerceiveCounts
from reid_stream.publish.sink_status import SinkCounters
from reid_stream.publish.spool import Spool
from reid_stream.records import CameraId


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_metrics_and_health_are_served_on_a_free_port() -> None:
    metrics = Metrics()
    metrics.frames_used.labels("door").inc(3)
    with serve(metrics, "127.0.0.1", 0, lambda: (True, "ok")) as port:
        assert 'reid_stream_frames_used_total{camera="door"} 3.0' in _get(f"http://127.0.0.1:{port}/metrics")
        assert _get(f"http://127.0.0.1:{port}/healthz") == "ok\n"


def test_a_sick_daemon_answers_503_with_the_reason() -> None:
    with serve(Metrics(), "127.0.0.1", 0, lambda: (False, "no camera")) as port:
        with pytest.raises(urllib.error.HTTPError) as caught:
            _get(f"http://127.0.0.1:{port}/healthz")
        assert caught.value.code == 503
        assert caught.value.read() == b"no camera\n"


def test_ready_and_alive_are_two_questions() -> None:
    with serve(Metrics(), "127.0.0.1", 0, lambda: (True, "ok"), lambda: (False, "no camera")) as port:
        assert _get(f"http://127.0.0.1:{port}/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError) as caught:
            _get(f"http://127.0.0.1:{port}/readyz")
        assert (caught.value.code, caught.value.read()) == (503, b"no camera\n")


def test_two_daemons_in_one_process_do_not_mix_their_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.observations.inc()
    assert two.registry.get_sample_value("reid_stream_observations_total") == 0.0


def test_a_timed_stage_answers_as_before_and_is_recorded() -> None:
    metrics = Metrics()
    assert metrics.timed("double", lambda value: value * 2)(4) == 8
    assert metrics.registry.get_sample_value("reid_stream_stage_seconds_count", {"stage": "double"}) == 1.0


class _Cameras:
    def __init__(self) -> None:
        self.stats = {CameraId("door"): CameraStats(CameraId("door"), "file")}
        self.replaced = {CameraId("door"): 0}


class _Sending:
    def __init__(self, folder: Path) -> None:
        self.backlog = self.in_memory_only = 0
        self.away: str | None = None
        self.counters = SinkCounters()
        self.spool = Spool(folder, max_bytes=1_000_000)


def test_every_loss_is_shown_by_its_cause_as_it_is_when_asked(tmp_path: Path) -> None:
    cameras, counts, sending, rejected = _Cameras(), PerceiveCounts(), _Sending(tmp_path), {"vector not finite": 0}
    metrics = Metrics()
    metrics.registry.register(SiteCollector(cameras=cameras, counts=counts, rejected=lambda: rejected, sending=sending))
    (stats,) = cameras.stats.values()
    stats.read, stats.connects, stats.skew_s = 7, 3, 0.25
    stats.dropped["late"] = 2
    cameras.replaced[CameraId("door")] = 4
    counts.detections, counts.unassigned, counts.crops = 9, 1, 5
    rejected["vector not finite"] = 6
    sending.backlog = 8
    sending.in_memory_only, sending.away = 12, "no connection"
    sending.counters.faults["it is out of memory"] += 1
    sending.counters.resent, sending.counters.moved, sending.counters.found = 13, 14, 15
    sending.counters.dropped["liveness"] += 11
    for name, labels, value in (
        ("frames_read_total", {"camera": "door"}, 7),
        ("frames_dropped_total", {"camera": "door", "cause": "late"}, 2),
        ("frames_dropped_total", {"camera": "door", "cause": "replaced"}, 4),
        ("camera_reconnects_total", {"camera": "door"}, 2),
        ("camera_skew_seconds", {"camera": "door"}, 0.25),
        ("detections_total", {}, 9),
        ("unassigned_boxes_total", {}, 1),
        ("crops_embedded_total", {}, 5),
        ("observations_rejected_total", {"cause": "vector not finite"}, 6),
        ("events_spooled", {}, 8),
        ("redis_faults_total", {"cause": "it is out of memory"}, 1),
        ("events_dropped_total", {"cause": "liveness"}, 11),
        ("events_in_memory_only", {}, 12),
        ("events_repeated_total", {"cause": "lost"}, 13),
        ("events_repeated_total", {"cause": "moved"}, 14),
        ("events_repeated_total", {"cause": "found"}, 15),
        ("redis_up", {}, 0),
        ("spool_bytes", {}, sending.spool.size_bytes),
        ("spool_bytes_max", {}, 1_000_000),
    ):
        assert metrics.registry.get_sample_value(f"reid_stream_{name}", labels) == value, name
    sending.spool.close()


def test_a_figure_that_cannot_be_read_costs_its_group_alone_and_is_logged_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> dict[str, int]:
        raise RuntimeError("the disk hangs")

    metrics = Metrics()
    metrics.registry.register(
        SiteCollector(
            cameras=_Cameras(), counts=PerceiveCounts(), rejected=fails, sending=None, monitoring=metrics.monitoring
        )
    )
    with serve(metrics, "127.0.0.1", 0, lambda: (True, "ok")) as port:
        for _ in range(3):
            assert "reid_stream_frames_read_total" in _get(f"http://127.0.0.1:{port}/metrics")
    labels = {"part": "metrics of perceive"}
    assert (metrics.registry.get_sample_value("reid_stream_monitoring_faults_total", labels) or 0) >= 3
    output = capsys.readouterr()
    assert (output.out + output.err).count("monitoring_failed") == 1


def test_a_health_check_that_fails_itself_is_answered_500_without_a_traceback_to_the_client() -> None:
    with serve(Metrics(), "127.0.0.1", 0, lambda: 1 / 0) as port:  # type: ignore[arg-type,return-value]
        with pytest.raises(urllib.error.HTTPError) as caught:
            _get(f"http://127.0.0.1:{port}/healthz")
        assert caught.value.code == 500
        assert b"Traceback" not in caught.value.read()


@pytest.mark.parametrize("request_bytes", [b"", b"GET /metrics HT"])
def test_fifty_connections_that_say_nothing_hold_up_neither_health_checks_nor_the_end(
    request_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as idle:
        with serve(Metrics(), "127.0.0.1", 0, lambda: (True, "ok")) as port:
            for _ in range(50):
                client = idle.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.sendall(request_bytes)
            waits = []
            for _ in range(20):
                began = time.monotonic()
                assert _get(f"http://127.0.0.1:{port}/healthz") == "ok\n"
                waits.append(time.monotonic() - began)
            assert sorted(waits)[10] < 0.1
            ending_at = time.monotonic()
        assert time.monotonic() - ending_at < 5
    assert capfd.readouterr().err == ""


def test_health_checks_are_answered_where_the_system_has_no_thread_left() -> None:
    with serve(Metrics(), "127.0.0.1", 0, lambda: (True, "ok")) as port:
        before = threading.stack_size(1 << 46)  # more than any machine has
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as idle:
                assert idle.recv(1) == b""  # it sends nothing, so it is sent away
            assert _get(f"http://127.0.0.1:{port}/healthz") == "ok\n"
        finally:
            threading.stack_size(before)


def test_no_more_than_64_connections_are_held_and_the_oldest_gives_way() -> None:
    with ExitStack() as idle, serve(Metrics(), "127.0.0.1", 0, lambda: (True, "ok")) as port:
        clients = [idle.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(100)]
        assert _get(f"http://127.0.0.1:{port}/healthz") == "ok\n"
        for client in clients:
            client.settimeout(2)
        assert [client.recv(1) for client in clients[:36]] == [b""] * 36
        clients[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert clients[-1].recv(100).startswith(b"HTTP/1.0 200")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_client_that_sends_in_drips_is_cut() -> None:
    with (
        serve(Metrics(), "127.0.0.1", 0, lambda: (True, "ok")) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 30:
                client.sendall(b"x")
                time.sleep(0.5)
        assert 8 < time.monotonic() - began < 15
