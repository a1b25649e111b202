"""Prometheus metrics of a daemon and the HTTP server of /metrics, /healthz and /readyz.

Each daemon has one `Metrics` with its own registry, so that two daemons in one process (tests) never mix. Thread-safe.
Counters owned by other components are read by `collector`, not counted twice. `Monitoring` keeps faults in any of this
from ending the daemon.
"""

import socket
import sys
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

P = ParamSpec("P")
R = TypeVar("R")

_LATENCY_S = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_ALONE_S, _HEAD_BYTES = 0.2, 8192
"""Longest wait for a request, and its size, where no thread can be started for it."""
MOST_CONNECTIONS = 64
"""Most connections open at once."""
READ_S = 5.0
"""Time limit for one read from or write to a client, seconds."""
CONNECTION_S = 10.0
"""Time limit for a whole connection, seconds."""
_log = structlog.get_logger(__name__)


class Monitoring:
    """Contain faults of monitoring code, so that they never end what is monitored; thread-safe.

    Each fault is counted by part and logged once per part, type of error and line of code.
    """

    def __init__(self, count: Callable[[str], None] | None = None) -> None:
        """`count`: called with the part of each fault; without it, `take` returns the counts."""
        self._count = count
        self._lock = Lock()
        self._known: set[tuple[str, type[Exception], int]] = set()
        self._faults: Counts[str] = Counts()
        self.total = 0
        """Faults so far."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Run a block of monitoring code; a fault ends only the block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (no fault may spread)
            self.note(name, error)

    def guarded(self, name: str, call: Callable[P, None]) -> Callable[P, None]:
        """Return `call` as a part of monitoring: its faults do not reach who calls it."""

        def guarded(*args: P.args, **named: P.kwargs) -> None:
            with self.part(name):
                call(*args, **named)

        return guarded

    def note(self, part: str, error: Exception) -> None:
        """Count a fault, and log the first of its kind with its traceback; never raises."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        kind = (part, type(error), trace.tb_lineno if trace is not None else 0)
        with self._lock:
            is_news = kind not in self._known
            self._known.add(kind)
            self.total += 1
            if self._count is None:
                self._faults[part] += 1
        with suppress(Exception):
            if self._count is not None:
                self._count(part)
        with suppress(Exception):
            if is_news:
                _log.error("monitoring_failed", part=part, exc_info=error)

    def take(self) -> dict[str, int]:
        """Return the faults by part since the last call, where no `count` was given."""
        with self._lock:
            faults, self._faults = self._faults, Counts()
        return dict(faults)


class Metrics:
    """Counters, gauges and histograms of one daemon."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.monitoring_faults = self._counter("monitoring_faults", "Faults of monitoring code, by part.", "part")
        self.monitoring = Monitoring(lambda part: self.monitoring_faults.labels(part).inc())
        self.frames_used = self._counter("frames_used", "Frames that went through the detector.", "camera")
        self.frames_stuck = self._counter("frames_stuck", "Frames lost in a stage that hung.", "camera")
        self.stage_stuck = self._counter(
            "stage_stuck", "Stages that hung, by action: restarted, or the daemon ended.", "stage", "action"
        )
        self.overloaded = Gauge(
            "reid_stream_overloaded", "1 while fewer frames are used than are due.", registry=self.registry
        )
        self.worker_up = self._gauge("worker_up", "1 while a perception process runs.", "worker")
        self.worker_load = self._gauge("worker_load", "Share of its time that a worker is busy.", "worker")
        self.workers_lost = self._counter("workers_lost", "Workers lost and restarted, by cause.", "worker", "cause")
        self.worker_records_lost = self._counter(
            "worker_records_lost",
            "Records of perception processes that did not arrive: observations of one that was killed, crops also for "
            "lack of room.",
            "what",
        )
        self.cameras_moved = Counter(
            "reid_stream_cameras_moved", "Cameras moved to another worker.", registry=self.registry
        )
        self.camera_up = self._gauge("camera_up", "1 while a camera delivers frames.", "camera")
        self.settings_read = self._counter(
            "settings_read", "Times that a changed cams.yaml was read again: applied or refused.", "outcome"
        )
        self.settings_valid = Gauge(
            "reid_stream_settings_valid", "0 while a changed cams.yaml is refused.", registry=self.registry
        )
        self.settings_valid.set(1)
        self.settings_pending = Gauge(
            "reid_stream_settings_pending", "Settings that apply from the next start on.", registry=self.registry
        )
        self.standby = Gauge(
            "reid_stream_standby", "1 while another daemon runs the site and this one waits.", registry=self.registry
        )
        self.observations = self._counter("observations", "Observations handed to the matcher.")
        self.events = self._counter("events", "Events published, by type.", "type")
        self.identities = self._gauge("gallery_identities", "Identities that can be matched.")
        self.identities_max = self._gauge("gallery_identities_max", "Most identities: match.max_identities.")
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

    def forget_camera(self, camera: str) -> None:
        """Drop the series of a camera that was removed; counters of other components go with it."""
        for metric in (self.frames_used, self.frames_stuck, self.camera_up):
            with suppress(KeyError):
                metric.remove(camera)

    def count_reread(self, outcome: str, needs_restart: int) -> None:
        """Count that cams.yaml was read again; `needs_restart`: keys that await a restart."""
        self.settings_read.labels(outcome).inc()
        self.settings_valid.set(outcome == "applied")
        self.settings_pending.set(needs_restart)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"reid_stream_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"reid_stream_{name}", text, labels, registry=self.registry)

    def timed(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage so that the duration of each call is recorded."""
        observe = self.stage.labels(stage).observe

        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                passed_s = time.perf_counter() - begin
                with self.monitoring.part("stage times"):
                    observe(passed_s)

        return measured


class _Server(ThreadingTCPServer):
    """An HTTP server with a thread per connection, at most `MOST_CONNECTIONS`: an idle client delays no other."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], page: Callable[[str], tuple[int, str, bytes]], monitoring: Monitoring
    ) -> None:
        """`page`: from a path to (HTTP status, content type, body)."""
        self.page, self._monitoring = page, monitoring
        self._open: dict[socket.socket, float] = {}
        """Monotonic time at which each connection was accepted, seconds, the oldest first."""
        self._changing = Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            # The oldest is closed: a new client is served however many idle ones there are.
            for old in list(self._open)[: max(0, len(self._open) + 1 - MOST_CONNECTIONS)]:
                self._cut(old)
            self._open[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system or its limits have no thread left
            self._answer_here(request, client_address)

    def _answer_here(self, request: Any, client_address: Any) -> None:
        """Answer a request on this thread if it is there already; a client that is slower is sent away."""
        try:
            request.settimeout(_ALONE_S)
            is_whole = b"\r\n\r\n" in request.recv(_HEAD_BYTES, socket.MSG_PEEK)
        except OSError:
            is_whole = False
        if is_whole:
            self.process_request_thread(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._changing:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections over the time limit; called twice a second."""
        latest = time.monotonic() - CONNECTION_S
        with self._changing:
            for old in [one for one, began in self._open.items() if began < latest]:
                self._cut(old)

    def server_close(self) -> None:
        super().server_close()
        with self._changing:
            for old in list(self._open):
                self._cut(old)

    def _cut(self, connection: socket.socket) -> None:
        """Shut a connection down; its thread then closes it."""
        self._open.pop(connection, None)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base class's)
        """Note errors other than those of clients that hang up or stall."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._monitoring.note("http", error)


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_S
    server: _Server

    def do_GET(self) -> None:
        """Send the page of the path."""
        status, kind, body = self.server.page(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (the base class's scheme)

    def version_string(self) -> str:
        """Hide the versions of Python and the library."""
        return "reid-stream"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Log nothing: scrapes come every few seconds."""


@contextmanager
def serve(
    metrics: Metrics,
    host: str,
    port: int,
    healthy: Callable[[], tuple[bool, str]],
    ready: Callable[[], tuple[bool, str]] | None = None,
) -> Iterator[int]:
    """Serve /metrics, /healthz and /readyz on threads while the block runs; yields the port.

    Args:
        metrics: of the daemon.
        host: address to listen on.
        port: TCP port; 0 for a free one.
        healthy: (is healthy, text) for /healthz, 200 or 503.
        ready: the same for /readyz; none for `healthy`.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    checks = {"/healthz": healthy, "/readyz": ready or healthy}
    collecting = Lock()
    plain = "text/plain; charset=utf-8"

    def page(path: str) -> tuple[int, str, bytes]:
        status, kind, body = 500, plain, b"internal error, see the log\n"
        with metrics.monitoring.part("http"):
            if path in checks:
                fine, text = checks[path]()
                status, body = 200 if fine else 503, f"{text}\n".encode()
            elif path != "/metrics":
                status, body = 404, b"not found: /metrics, /healthz and /readyz are served here\n"
            # One at a time: parallel scrapes would take CPU time from the pipeline.
            elif collecting.acquire(timeout=READ_S):
                try:
                    status, kind, body = 200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)
                finally:
                    collecting.release()
            else:
                status, body = 503, b"another scrape is in progress\n"
        return status, kind, body

    with _Server((host, port), page, metrics.monitoring) as server:
        thread = Thread(target=server.serve_forever, name="observe", daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
