"""Errors that reid-stream raises on purpose.

    ReidStreamError
    ├── ConfigError    cams.yaml or an option is wrong: fix it and start again        exit 2
    ├── ModelError     a bundle or a network is missing, broken or of the wrong kind  exit 3
    ├── BrokerError    Redis cannot be reached or refuses to serve                    exit 4
    ├── StuckError     a stage hangs: start the daemon again                          exit 5
    ├── InUseError     another daemon has the site or a folder: try again later       exit 6
    ├── StoppedError   asked to stop before the start                                 exit 0
    └── StreamError    one camera failed; the daemon continues and tries again

A message states what must hold, what was found, and where or what to do. `ValueError` is for a broken record (a bug of
the caller), `assert` for what cannot happen.
"""

from typing import Literal

DECODE_ERRORS = (ValueError, RecursionError)
"""What decoders of JSON and msgpack raise for bytes from outside: no text, another shape, or nested too deep."""


class ReidStreamError(Exception):
    """Base of all errors that a user can do something about."""

    exit_code = 1


class ConfigError(ReidStreamError):
    """The configuration cannot be used; the message lists every fault found."""

    exit_code = 2


class ModelError(ReidStreamError):
    """A model bundle or its network cannot be used."""

    exit_code = 3


class BrokerError(ReidStreamError):
    """Redis cannot be reached, or refuses to serve."""

    exit_code = 4


class StuckError(ReidStreamError):
    """A stage hangs and cannot be replaced; the process must end."""

    exit_code = 5


class InUseError(ConfigError):
    """Another daemon holds the site or a folder; starting again succeeds once that one has ended."""

    exit_code = 6


class StoppedError(ReidStreamError):
    """The daemon was asked to stop before it had started."""

    exit_code = 0


StreamCause = Literal["refused", "untrusted", "unreachable", "unreadable", "silent", "ended", "crashed", "stuck"]
"""Why a stream failed: it wants a password, shows the wrong certificate, gives no answer, no video, or nothing more, or
was closed; its decoder's process crashed, or hung and was ended."""


class StreamError(ReidStreamError):
    """A camera's stream cannot be opened or read."""

    def __init__(self, message: str, cause: StreamCause = "unreadable") -> None:
        super().__init__(message)
        self.cause: StreamCause = cause
