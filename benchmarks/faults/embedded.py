"""Kill the embedded Redis (-9) under the whole daemon; check its restart, and that every event is on it once.

Measured from outside: /readyz and /healthz are polled throughout, and the stream is read after the daemon has ended.
"""

import json
import os
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from benchmarks.faults.daemon_process import daemon_process, write_site
from benchmarks.faults.daemon_run import until
from benchmarks.faults.report import DrillResult, figure, within
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError
from reid_stream.publish.embedded_redis import EmbeddedRedis, running_url
from reid_stream.publish.redis_client import connect

NAME = "embedded"
BACK_S = 5.0
"""Bound from the kill to a server that answers and a daemon that is ready; the first retry is after half a second."""
NOTICED_S = 3.0
_BEGINS_S = 120.0
_BETWEEN_S = 2.0
_RESET_S = 11.0
"""A server that ran longer than 10 s is restarted after the shortest delay."""


def run(*, is_short: bool, environment: Mapping[str, str] = os.environ) -> list[DrillResult]:
    """Kill the embedded Redis of a running daemon again and again, then read what is on it.

    Args:
        is_short: 2 kills instead of 5.
        environment: of the daemon's process.
    """
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as name:
        folder = Path(name)
        cams = write_site(folder, "publish: {heartbeat_s: 0.5, seen_interval_s: 0.2}\n")
        back, noticed = [], []
        with daemon_process(cams, folder / "err.txt", environment) as daemon:
            with _Polls(daemon.port, "/healthz") as health, _Polls(daemon.port, "/readyz") as ready:
                until(lambda: ready.last == 200, _BEGINS_S)
                for _ in range(2 if is_short else 5):
                    time.sleep(_BETWEEN_S if is_short else _RESET_S)
                    back_s, noticed_s = _kill_and_watch(folder / "redis", ready)
                    back.append(back_s)
                    noticed.append(noticed_s)
                alive = health.count(200) / max(1, len(health.seen))
            # Once more, and the daemon stops meanwhile: the spool keeps what Redis did not get.
            _kill(folder / "redis")
            time.sleep(0.2)
            daemon.process.send_signal(signal.SIGTERM)
            code = daemon.process.wait(60)
            err = daemon.log.read_text(encoding="utf-8")
        with daemon_process(cams, folder / "err-2.txt", environment) as daemon:
            time.sleep(_BETWEEN_S)
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.wait(60)
            err += daemon.log.read_text(encoding="utf-8")
        numbers = _numbers(folder / "redis")
    return [
        figure(NAME, "kills while the daemon runs", len(back)),
        within(NAME, "a killed server answers and the daemon is ready after", max(back), BACK_S, "s"),
        within(NAME, "/readyz reports it after", max(noticed), NOTICED_S, "s"),
        DrillResult(NAME, "/healthz meanwhile", f"{alive:.0%} ok", "100% ok", alive == 1.0),
        DrillResult(NAME, "exit code of a daemon stopped while its Redis is away", f"{code}", "0", code == 0),
        figure(NAME, "events on the stream", sum(map(len, numbers.values()))),
        within(NAME, "events lost", sum(max(run) + 1 - len(set(run)) for run in numbers.values()), 0, digits=0),
        within(NAME, "events twice", sum(len(run) - len(set(run)) for run in numbers.values()), 0, digits=0),
        within(NAME, "tracebacks", err.count("Traceback"), 0, digits=0),
    ]


def _kill(folder: Path) -> int:
    """Kill the server, if there is one; return its process ID, 0 for none."""
    pid = _server(folder)
    if pid:  # 0 would be all processes of our group
        os.kill(pid, signal.SIGKILL)
    return pid


def _kill_and_watch(folder: Path, ready: "_Polls") -> tuple[float, float]:
    """Kill the server; return the seconds until /readyz is well again, and until it first was not."""
    killed_at = time.monotonic()
    old = _kill(folder)
    is_noticed = until(lambda: ready.since(killed_at, 503) is not None, BACK_S)
    noticed_s = (ready.since(killed_at, 503) or 0.0) - killed_at if is_noticed else float("inf")
    is_back = until(lambda: _server(folder) not in (0, old) and ready.last == 200, 2 * BACK_S)
    return (time.monotonic() - killed_at if is_back else float("inf")), noticed_s


def _server(folder: Path) -> int:
    """Return the process ID of the server that answers; 0 for none."""
    try:
        with connect(Redis(), url=running_url(folder), timeout_s=1.0) as client:
            found: Any = client.info("server")
            return int(found["process_id"])
    except (BrokerError, OSError, ValueError, _redis_errors()):
        return 0


def _redis_errors() -> type[Exception]:
    import redis

    return redis.exceptions.RedisError


def _numbers(folder: Path) -> dict[str, list[int]]:
    """Return the numbers of the events on the stream, by run."""
    numbers: dict[str, list[int]] = {}
    with EmbeddedRedis(folder) as server, connect(Redis(), url=server.url) as client:
        entries: Any = client.xrange("reid:drill:events")
        for _, fields in entries:
            event = json.loads(fields[b"event"])
            numbers.setdefault(event["runid"], []).append(int(event["sequence"]))
    return numbers


class _Polls:
    """Poll a path of the daemon's HTTP server ten times a second while the block runs."""

    def __init__(self, port: int, path: str) -> None:
        self._url = f"http://127.0.0.1:{port}{path}"
        self.seen: list[tuple[float, int]] = []
        """(monotonic seconds, status); status 0 for no answer."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    @property
    def last(self) -> int:
        return self.seen[-1][1] if self.seen else 0

    def count(self, status: int) -> int:
        return sum(found == status for _, found in self.seen)

    def since(self, begin: float, status: int) -> float | None:
        return next((at for at, found in self.seen if at >= begin and found == status), None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(0.1):
            self.seen.append((time.monotonic(), _status(self._url)))


def _status(url: str) -> int:
    answer: Callable[..., Any] = urllib.request.urlopen
    try:
        with answer(url, timeout=5) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
