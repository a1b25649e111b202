"""Let clients hold connections to /metrics, break them or stall, against a daemon process.

A load balancer that opens connections in advance, a scraper that dies, a port scan: health checks are answered at once
throughout, the log has no traceback, and SIGTERM ends the daemon in time.
"""

import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from benchmarks.faults.daemon_process import daemon_process, write_site
from benchmarks.faults.report import DrillResult, at_least, figure, within

NAME = "metrics"
IDLE = 50
HEALTH_MS = 100.0
FLOODED_MS = 500.0
"""Time after which most of the idle connections are closed."""
STOP_S = 5.0


def run(*, is_short: bool, environment: Mapping[str, str] = os.environ) -> list[DrillResult]:
    """Ask /healthz beside idle, broken and slow clients, then end the daemon beside idle ones.

    Args:
        is_short: about 3 s of measurement in each state instead of 15 s.
        environment: of the daemon's process.
    """
    look_s = 3.0 if is_short else 15.0
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as name, ExitStack() as opened:
        folder = Path(name)
        daemon = opened.enter_context(daemon_process(write_site(folder), folder / "err.txt", environment))
        process, port, log = daemon.process, daemon.port, daemon.log
        alone_ms = _health_ms(port, look_s)
        idle = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(IDLE)]
        beside_ms = _health_ms(port, look_s)
        broken_ms = _health_ms(port, look_s, lambda: _break(port))
        flood = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(4 * IDLE)]
        flooded_ms = _health_ms(port, look_s)
        threads = _threads(process.pid)
        scraped = len(_get(port, "/metrics"))
        idle += [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(IDLE)]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        stop_s, code = time.monotonic() - began, process.poll()
        err = log.read_text(encoding="utf-8")
    return [
        figure(NAME, "/healthz alone, p95", f"{alone_ms:.1f} ms"),
        within(NAME, f"... beside {IDLE} idle connections", beside_ms, HEALTH_MS, "ms"),
        within(NAME, "... and clients that reset, stall or send garbage", broken_ms, HEALTH_MS, "ms"),
        within(NAME, f"... and {len(flood)} idle ones more", flooded_ms, FLOODED_MS, "ms"),
        figure(NAME, "threads of the daemon meanwhile", threads),
        at_least(NAME, "/metrics meanwhile", scraped, 1000, "bytes", 0),
        within(NAME, "SIGTERM beside idle ones to the end", stop_s, STOP_S, "s"),
        DrillResult(NAME, "exit code", f"{code}", "0", code == 0),
        within(NAME, "tracebacks", err.count("Traceback"), 0, digits=0),
    ]


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return bytes(answer.read())


def _health_ms(port: int, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Request /healthz ten times a second; return the 95th percentile of the waits, infinity if one failed."""
    waits, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        meanwhile()
        began = time.monotonic()
        try:
            _get(port, "/healthz")
        except OSError:
            return float("inf")
        waits.append(time.monotonic() - began)
        time.sleep(0.1)
    return float(np.percentile(waits, 95)) * 1e3


def _break(port: int) -> None:
    """Send half a request, garbage, a request line without end, and scrapes that are not read or reset."""
    for payload in (
        b"GET /metrics HT",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET //[::1 HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 70_000,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 1000\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
    ):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            # Closing resets the connection, while the answer is on its way.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(payload)


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
