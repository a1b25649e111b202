"""Keep a redis-server running: start it again, with backoff, when it ends or hangs."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from reid_stream.config import stopping
from reid_stream.config.backoff import RetryPolicy
from reid_stream.config.settings import Redis
from reid_stream.publish.redis_client import cause, connect
from reid_stream.publish.redis_server import RedisProcess

HUNG_S = 30.0
"""Time without an answer after which a running server is restarted: it is frozen, or its socket is gone."""
_HUNG_STOP_S = 1.0
_FIRST_S, _MAX_S = 0.5, 10.0
"""Waits before a new start."""
_LOOK_S = 0.1
_PROBE_S = 2.0
_PROBE_TIMEOUT_S = 5.0
_log = structlog.get_logger(__name__)


class RedisSupervisor:
    """A redis-server and the thread that starts and watches it.

    The server is a child of that thread: the kernel ends it with the thread, and so with the process.
    """

    def __init__(
        self, start: Callable[[Callable[[], bool]], RedisProcess], url: str, *, hung_s: float = HUNG_S
    ) -> None:
        """Start the server and wait until it serves.

        Args:
            start: starts a server at `url`, given a function that returns whether it is no longer wanted.
            url: where it serves.
            hung_s: seconds without an answer after which a running server is replaced.

        Raises:
            Exception: whatever the first call of `start` raised.
        """
        self._start, self._url, self._hung_s = start, url, hung_s
        self._retry = RetryPolicy(_FIRST_S, _MAX_S, random.Random().random)
        self._closing = threading.Event()
        self._first: Future[RedisProcess] = Future()
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="embedded redis", daemon=True)
        self._thread.start()
        self._process = self._first.result()

    @property
    def pid(self) -> int:
        """The server's process, the last one where none runs."""
        return self._process.pid

    @property
    def fault(self) -> str | None:
        """Why the server does not serve now; None while it does."""
        return self._fault

    def stop(self) -> None:
        """End the server in order and start no other; a second call does nothing."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            process: RedisProcess | None = self._start(self._closing.is_set)
        except BaseException as error:  # noqa: BLE001 (raised to the caller of the constructor)
            self._first.set_exception(error)
            return
        assert process is not None
        self._first.set_result(process)
        while process is not None:
            started_at = time.monotonic()
            self._watch(process)
            if self._closing.is_set():
                process.stop()
                return
            if stopping.is_requested(stopping.GRACE_S):
                # Ended by the signal that ends us; what it did not get waits on disk for the next start.
                return
            process = self._start_again(time.monotonic() - started_at)

    def _watch(self, process: RedisProcess) -> None:
        """Return when the server has ended or hangs, with the reason in `fault`, or when it is to be stopped."""
        answered_at = probed_at = time.monotonic()
        while not self._closing.wait(_LOOK_S):
            if (ended := process.ended()) is not None:
                self._fault = ended
                return
            if time.monotonic() - probed_at < min(_PROBE_S, self._hung_s / 4):
                continue
            silence = self._probe()
            probed_at = time.monotonic()
            if silence is None:
                answered_at = probed_at
            elif process.ended() is None:
                self._fault = f"does not answer: {silence}"
            if probed_at - answered_at > self._hung_s:
                process.stop(_HUNG_STOP_S)
                return
            if silence is None:
                self._fault = None

    def _probe(self) -> str | None:
        """Return why the server does not answer on a new connection; None if it does, be it with an error."""
        import redis

        try:
            with connect(Redis(), url=self._url, timeout_s=min(_PROBE_TIMEOUT_S, self._hung_s)) as client:
                client.ping()
        except redis.exceptions.ResponseError:
            return None
        except (redis.exceptions.RedisError, OSError) as error:
            return None if isinstance(error, redis.exceptions.BusyLoadingError) else cause(error)
        return None

    def _start_again(self, worked_s: float) -> RedisProcess | None:
        """Try until a server serves; None if it is not wanted any more."""
        wait_s = self._retry.next_wait_s(worked_s)
        _log.error("embedded_redis_ended", reason=self._fault, worked_s=round(worked_s, 1), wait_s=round(wait_s, 1))
        while not self._closing.wait(wait_s):
            try:
                process = self._start(self._closing.is_set)
            except Exception as error:  # noqa: BLE001 (whatever it is, the next attempt may succeed)
                if self._closing.is_set():
                    break
                self._fault = f"does not start: {error}"
                wait_s = self._retry.next_wait_s(0.0)
                _log.error("embedded_redis_start_failed", reason=str(error), wait_s=round(wait_s, 1))
            else:
                self._process, self._fault = process, None
                return process
        return None
