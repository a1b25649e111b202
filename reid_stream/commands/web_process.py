"""Run the web console as a child process: restarted when it ends, ended with the daemon, never waited for."""

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from reid_stream.config import stopping
from reid_stream.config.backoff import RetryPolicy
from reid_stream.config.environment import child_environment, referenced

if TYPE_CHECKING:
    from reid_stream.config.settings import Web

PARENT = "REID_STREAM_WEB_PARENT"
"""Environment variable with the process whose end ends the console."""
_FIRST_S, _MOST_S = 1.0, 60.0
"""First and longest wait before the console is restarted, seconds."""
_END_S = 5.0
_USAGE = 2
"""Exit code of a console that cannot start with its configuration."""
_log = structlog.get_logger(__name__)


class WebProcess:
    """Runs `reid-stream web` while the block does."""

    def __init__(self, cameras: Path, settings: "Web") -> None:
        self._command = [sys.executable, "-m", "reid_stream", "web", "--cameras", str(cameras)]
        self._cameras, self._settings = cameras, settings
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="web", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(_END_S + 1)

    def _keep(self) -> None:
        retry = RetryPolicy(_FIRST_S, _MOST_S, random.Random().random)
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._process = subprocess.Popen(self._command, env=self._environment(), stdin=subprocess.DEVNULL)
            except OSError as error:  # the system has no process or no memory left for it
                wait_s = retry.next_wait_s(0.0)
                _log.warning("web_start_failed", reason=error.strerror or str(error), again_in_s=round(wait_s, 3))
                self._closing.wait(wait_s)
                continue
            code = self._wait(self._process)
            if self._closing.is_set() or stopping.is_requested(stopping.GRACE_S):
                return
            if code == _USAGE:
                _log.error("web_not_started", address=address(self._settings))
                return
            wait_s = retry.next_wait_s(time.monotonic() - began)
            _log.warning("web_ended", code=code, again_in_s=round(wait_s, 3))
            self._closing.wait(wait_s)

    def _environment(self) -> dict[str, str]:
        """Return the variables that libraries need and those named in cams.yaml, since the console reads all of it."""
        with suppress(OSError, UnicodeDecodeError):
            named = referenced(self._cameras.read_text(encoding="utf-8"))
            return {**child_environment(os.environ, named), PARENT: str(os.getpid())}
        return {**child_environment(os.environ), PARENT: str(os.getpid())}

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(0.2)
            except subprocess.TimeoutExpired:
                if self._closing.is_set():
                    process.terminate()
                    try:
                        return process.wait(_END_S)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        return process.wait()


def address(settings: "Web") -> str:
    """Return the URL of the console for a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http{'s' if settings.cert_file is not None else ''}://{host}:{settings.port}/"
