"""Structured log on the standard error output: one line per change of state, without passwords.

Text is logfmt (`key=value`), JSON is one object per line. The last step of every line, message and traceback masks the
passwords of cams.yaml and everything between `://` and `@`, and escapes control characters.
"""

import contextlib
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import structlog

from reid_stream.config.settings import Camera, Observe, Settings
from reid_stream.console.printable import printable, printable_lines

_LOGIN = re.compile(r"://[^\s'\"<>]*@")
_IN_QUERY = re.compile(r"(\w*(pass|pwd|token|key|secret|auth)\w*|pw|p)=", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&;_/]\w*?(?:pass|pwd|token|secret)\w*=|[?&;](?:\w*(?:auth|key)\w*|pw|p)=)[^&;\s'\"<>]+", re.IGNORECASE
)
"""A password among the parameters of a URL, or in its path (`/user=admin_password=...`)."""
_IN_PATH = re.compile(r"[/_&;]\w*?(?:pass|pwd|token|secret)[a-z]*=([^/&;]+?)(?=_[a-z]+=|[/&;]|$)", re.IGNORECASE)
_LEAST_LETTERS = 4
"""Shorter passwords are masked in URLs only: elsewhere they would mask parts of harmless words."""
_hidden: list[str] = []


def configure(settings: Observe) -> None:
    """Write log lines to the standard error output in the format and from the level of the settings."""
    last: Any = _json if settings.log == "json" else _text()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
            _scrubbed,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=lambda *_: _Stderr(),
    )


def hide(settings: Settings) -> None:
    """Mask the passwords of these settings in all output from now on."""
    for camera in settings.cameras:
        hide_camera(camera)
    given = [settings.redis.password, settings.redis.sentinel_password, settings.web.token]
    found = {secret.get_secret_value() for secret in given if secret is not None}
    found.update(_passwords(settings.redis.url.get_secret_value()))
    if settings.redis.password_file is not None:
        # Where it is needed, an unreadable file is an error.
        with contextlib.suppress(OSError, ValueError, IndexError):
            found.add(settings.redis.password_file.read_text(encoding="utf-8").splitlines()[0].strip())
    _hide(found)


def hide_camera(camera: Camera) -> None:
    """Mask the passwords of one camera in all output from now on."""
    found = set(_passwords(camera.url.get_secret_value()))
    if camera.password is not None:
        found.add(camera.password.get_secret_value())
    _hide(found)


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
    password = login.partition(":")[2]
    try:
        query = urlsplit(url).query
    except ValueError:
        query = ""
    # Some cameras take it in the query: ?user=admin&password=...
    values = [part.partition("=")[2] for part in query.split("&") if _IN_QUERY.match(part)]
    # Others in the path: /user=admin_password=..._channel=1.sdp
    values += [match[1] for match in _IN_PATH.finditer(url.partition("?")[0])]
    return [word for value in (password, *values) for word in (value, unquote(value)) if word]


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
