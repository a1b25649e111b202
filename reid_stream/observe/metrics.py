"""Numbers about the running daemon, in Prometheus' format; every loss is counted here, by cause.

One `Metrics` a daemon, with its own registry, so that two daemons in one process (tests) never mix. Thread-safe. What
other parts count anyway is read from them by `scrape`, not counted twice.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import ParamSpec, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

P = ParamSpec("P")
R = TypeVar("R")

_LATENCY_S = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """Counters, gauges and histograms of one daemon."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames_used = self._counter("frames_used", "Frames that went through the detector.", "camera")
        self.frames_stuck = self._counter("frames_stuck", "Frames lost with a stage that hung.", "camera")
        self.stage_stuck = self._counter(
            "stage_stuck", "Stages that hung: started anew, or the end of the daemon.", "stage", "action"
        )
        self.overloaded = Gauge(
            "reid_stream_overloaded", "1 while there is more to do than the machine can bear.", registry=self.registry
        )
        self.worker_up = self._gauge("worker_up", "1 while a perceive process runs.", "worker")
        self.worker_load = self._gauge("worker_load", "Share of its time that a worker is at work.", "worker")
        self.workers_lost = self._counter("workers_lost", "Workers lost and started again.", "worker", "cause")
        self.cameras_moved = Counter(
            "reid_stream_cameras_moved", "Cameras given to another worker.", registry=self.registry
        )
        self.camera_up = self._gauge("camera_up", "1 while a camera delivers frames.", "camera")
        self.observations = self._counter("observations", "Observations handed to the matcher.")
        self.events = self._counter("events", "Events published, by type.", "type")
        self.identities = self._gauge("gallery_identities", "Identities that can be matched.")
        self.people = self._gauge("people_in_view", "Identities in view now.")
        self.latency = Histogram(
            "reid_stream_capture_to_event_seconds",
            "From a frame's capture to its events being handed to Redis.",
            registry=self.registry,
            buckets=_LATENCY_S,
        )
        self.stage = Histogram(
            "reid_stream_stage_seconds",
            "Time spent per call of a stage.",
            ["stage"],
            registry=self.registry,
            buckets=_STAGE_S,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"reid_stream_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"reid_stream_{name}", text, labels, registry=self.registry)

    def timed(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage so that each call's duration is recorded; the stage itself stays free of clocks."""
        observe = self.stage.labels(stage).observe

        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                observe(time.perf_counter() - begin)

        return measured


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing: a scrape every few seconds is no news."""


@contextmanager
def serve(
    metrics: Metrics,
    host: str,
    port: int,
    healthy: Callable[[], tuple[bool, str]],
    ready: Callable[[], tuple[bool, str]] | None = None,
) -> Iterator[int]:
    """Serve /metrics, /healthz and /readyz on a thread while the block runs; gives the port.

    `healthy` answers /healthz, `ready` /readyz (none: the same): (fine, text), 200 or 503.

    Raises:
        OSError: the address is taken or not ours.
    """
    pages = {"/healthz": healthy, "/readyz": ready or healthy}

    def answer(environ: dict[str, object], start: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
        if environ.get("PATH_INFO") == "/metrics":
            start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest(metrics.registry)]
        ask = pages.get(str(environ.get("PATH_INFO")))
        if ask is not None:
            fine, text = ask()
            start("200 OK" if fine else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{text}\n".encode()]
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"/metrics, /healthz and /readyz are here\n"]

    server: WSGIServer = make_server(host, port, answer, handler_class=_Quiet)
    thread = Thread(target=server.serve_forever, name="observe", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
