"""Structured log on the standard error output: one line per change of state, without passwords.

Text is logfmt (`key=value`), JSON is one object per line. The last step of every line, message and traceback masks the
passwords of cams.yaml and everything between `://` and `@`, and escapes control characters. Lines of one event beyond
100 at once and 1 a second are left out and counted: other writers on Redis, requests and cameras may cause any number.
"""

import contextlib
import json
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

import structlog

from reid_stream.config.camera_url import secret_words
from reid_stream.config.settings import Camera, Observe, Settings
from reid_stream.console.printable import printable, printable_lines

_LOGIN = re.compile(r"://[^\s'\"<>]*@")
_PARAMETER = re.compile(
    r"([?&;_/]\w*?(?:pass|pwd|token|secret)\w*=|[?&;](?:\w*(?:auth|key)\w*|pw|p)=)[^&;\s'\"<>]+", re.IGNORECASE
)
"""A password among the parameters of a URL, or in its path (`/user=admin_password=...`)."""
_LEAST_LETTERS = 4
"""Shorter passwords are masked in URLs only: elsewhere they would mask parts of harmless words."""
_AT_ONCE, _PER_S = 100.0, 1.0
"""Lines of one event at once, and per second afterwards."""
_hidden: list[str] = []
_log = structlog.get_logger(__name__)


def configure(settings: Observe) -> None:
    """Write log lines to the standard error output in the format and from the level of the settings."""
    last: Any = _json if settings.log == "json" else _text()
    structlog.configure(
        processors=[
            RepeatLimit(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
            _scrubbed,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=lambda *_: _Stderr(),
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _FromLibraries) for handler in root.handlers):
        root.addHandler(_FromLibraries(logging.WARNING))


class _FromLibraries(logging.Handler):
    """Writes what libraries log as lines of ours, bounded and without passwords as all others."""

    def emit(self, record: logging.LogRecord) -> None:
        write = _log.error if record.levelno >= logging.ERROR else _log.warning
        write("library_message", library=record.name, reason=record.getMessage(), exc_info=record.exc_info)


class RepeatLimit:
    """A structlog processor that drops lines of an event that come too fast; the next line has their number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float, int]] = {}
        """By event: lines left, at which time, lines dropped since the last one. Bounded, as names of events are."""

    def __call__(self, _logger: Any, _name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Return the line, with `suppressed` where others before it were dropped.

        Raises:
            structlog.DropEvent: there were too many.
        """
        event, now = str(line.get("event")), self._clock()
        with self._lock:
            left, at, dropped = self._left.get(event, (_AT_ONCE, now, 0))
            left = min(_AT_ONCE, left + _PER_S * (now - at))
            is_kept = left >= 1
            self._left[event] = (left - 1, now, 0) if is_kept else (left, now, dropped + 1)
        if not is_kept:
            raise structlog.DropEvent
        return {**line, "suppressed": dropped} if dropped else line


def hide(settings: Settings) -> None:
    """Mask the passwords of these settings in all output from now on."""
    for camera in settings.cameras:
        hide_camera(camera)
    given = [settings.redis.password, settings.redis.sentinel_password, settings.web.token]
    found = {secret.get_secret_value() for secret in given if secret is not None}
    found.update(_passwords(settings.redis.url.get_secret_value()))
    found.update(_in_file(settings.redis.password_file))
    _hide(found)


def hide_camera(camera: Camera) -> None:
    """Mask the passwords of one camera in all output from now on."""
    urls = [url.get_secret_value() for url in (camera.url, camera.detect_url) if url is not None]
    found = {word for url in urls for word in _passwords(url)}
    if camera.password is not None:
        found.add(camera.password.get_secret_value())
    found.update(_in_file(camera.password_file))
    _hide(found)


def _in_file(password_file: Path | None) -> list[str]:
    """Return the password in a file; none where it cannot be read, which is an error where it is needed."""
    if password_file is not None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return [password_file.read_text(encoding="utf-8").splitlines()[0].strip()]
    return []


def _hide(found: Iterable[str]) -> None:
    forms = {form for word in found for form in (word, quote(word, safe=""), quote(word))}
    known = {*_hidden, *(form for form in forms if len(form) >= _LEAST_LETTERS)}
    # The longest first, since one may be part of another.
    _hidden[:] = sorted(known, key=len, reverse=True)


def scrub(text: str) -> str:
    """Mask what may be a password."""
    for secret in _hidden:
        text = text.replace(secret, "***")
    return _PARAMETER.sub(r"\1***", _LOGIN.sub("://***@", text))


def catch() -> None:
    """Print the traceback of an uncaught error on any thread without passwords."""

    def report(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            lines = traceback.format_exception(kind, error, trace)
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(printable_lines(scrub("".join(lines))))

    sys.excepthook = report
    threading.excepthook = lambda args: report(args.exc_type, args.exc_value, args.exc_traceback)


def _json(_logger: Any, _name: str, line: structlog.typing.EventDict) -> str:
    """Return one JSON object; other types become text."""
    return json.dumps(line, default=str, ensure_ascii=False)


def _text() -> Any:
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)


def _scrubbed(_logger: Any, _name: str, line: Any) -> str:
    return printable(scrub(str(line)))


def _passwords(url: str) -> Iterable[str]:
    """Yield the secrets of a URL, escaped as in the URL and unescaped."""
    login = url.partition("://")[2].rpartition("@")[0]
    words = [login.partition(":")[2], *secret_words(url)]
    return [word for value in words for word in (value, unquote(value)) if word]


class _Stderr:
    """A logger that looks up `sys.stderr` at each line, since the live table replaces it."""

    def msg(self, message: str) -> None:
        # A closed pipe (EPIPE), a full disk or a closed stream loses the line, and never ends its writer.
        with contextlib.suppress(OSError, ValueError):
            print(message, file=sys.stderr, flush=True)  # noqa: T201 (this is where log lines end)

    debug = info = warning = error = critical = log = msg


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress log lines while the block runs, for benchmarks and drills."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
