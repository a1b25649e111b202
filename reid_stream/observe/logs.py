"""What the daemon says about itself: one line per change of state on the standard error output, never a password.

Text is logfmt (`key=value`), JSON is one object a line. Whatever a line, a message or a traceback was made of, the
passwords of cams.yaml and everything between `://` and `@` are taken out of it last.
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

from reid_stream.config.settings import Observe, Settings
from reid_stream.console.printable import printable, printable_lines

_LOGIN = re.compile(r"://[^\s'\"<>]*@")
_IN_QUERY = re.compile(r"(\w*(pass|pwd|token|key|secret|auth)\w*|pw|p)=", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&;_/]\w*?(?:pass|pwd|token|secret)\w*=|[?&;](?:\w*(?:auth|key)\w*|pw|p)=)[^&;\s'\"<>]+", re.IGNORECASE
)
"""A password among the parameters of a URL, or in its path (`/user=admin_password=...`)."""
_IN_PATH = re.compile(r"[/_&;]\w*?(?:pass|pwd|token|secret)[a-z]*=([^/&;]+?)(?=_[a-z]+=|[/&;]|$)", re.IGNORECASE)
_LEAST_LETTERS = 4
"""A shorter password would take harmless words apart; URLs lose it all the same."""
_hidden: list[str] = []


def configure(settings: Observe) -> None:
    """Send log lines to the standard error output in the settings' form, from the settings' level on."""
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
    """Take the passwords of these settings out of all that is said from now on."""
    given = [settings.redis.password, settings.redis.sentinel_password, settings.web.token]
    given += [camera.password for camera in settings.cameras]
    found = {secret.get_secret_value() for secret in given if secret is not None}
    for url in (settings.redis.url, *(camera.url for camera in settings.cameras)):
        found.update(_passwords(url.get_secret_value()))
    if settings.redis.password_file is not None:
        # Whether it can be read is told where it is needed.
        with contextlib.suppress(OSError, ValueError, IndexError):
            found.add(settings.redis.password_file.read_text(encoding="utf-8").splitlines()[0].strip())
    forms = {form for word in found for form in (word, quote(word, safe=""), quote(word))}
    known = {*_hidden, *(form for form in forms if len(form) >= _LEAST_LETTERS)}
    # The longest first: one may be a part of another.
    _hidden[:] = sorted(known, key=len, reverse=True)


def scrub(text: str) -> str:
    """Take out what may be a password."""
    for secret in _hidden:
        text = text.replace(secret, "***")
    return _PARAMETER.sub(r"\1***", _LOGIN.sub("://***@", text))


def catch() -> None:
    """Let an error that nobody caught be told without passwords, on whichever thread it was."""

    def tell(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            lines = traceback.format_exception(kind, error, trace)
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(printable_lines(scrub("".join(lines))))

    sys.excepthook = tell
    threading.excepthook = lambda told: tell(told.exc_type, told.exc_value, told.exc_traceback)


def _json(_logger: Any, _name: str, line: structlog.typing.EventDict) -> str:
    """Write one object; whatever is no JSON becomes text."""
    return json.dumps(line, default=str, ensure_ascii=False)


def _text() -> Any:
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)


def _scrubbed(_logger: Any, _name: str, line: Any) -> str:
    return printable(scrub(str(line)))


def _passwords(url: str) -> Iterable[str]:
    """Give what is secret in a URL, as it stands there and as it is meant."""
    login = url.partition("://")[2].rpartition("@")[0]
    password = login.partition(":")[2]
    try:
        query = urlsplit(url).query
    except ValueError:
        query = ""
    # Cameras that want it in the query: ?user=admin&password=...
    values = [part.partition("=")[2] for part in query.split("&") if _IN_QUERY.match(part)]
    # ... or in the path: /user=admin_password=..._channel=1.sdp
    values += [match[1] for match in _IN_PATH.finditer(url.partition("?")[0])]
    return [word for value in (password, *values) for word in (value, unquote(value)) if word]


class _Stderr:
    """Looks for the stream at each line: the live table puts another one there."""

    def msg(self, message: str) -> None:
        # A reader that is gone (EPIPE), a full disk or a closed stream costs the line, never its writer.
        with contextlib.suppress(OSError, ValueError):
            print(message, file=sys.stderr, flush=True)  # noqa: T201 (this is where log lines end)

    debug = info = warning = error = critical = log = msg


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the daemon's log lines out of a drill's or a benchmark's table."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
