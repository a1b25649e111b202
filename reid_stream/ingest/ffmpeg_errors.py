"""Explain FFmpeg's errors in plain words, without the URL they contain (pure but for the names of the error types)."""

import errno
import os

from reid_stream.errors import StreamCause, StreamError
from reid_stream.ingest.answers import AnswerFilter
from reid_stream.ingest.url import Address

_UNCHANGED = 304


class UnchangedError(StreamError):
    """The camera answered that its image is still the one before."""


def explain(
    error: BaseException,
    where: Address,
    took_s: float,
    limit_s: float,
    *,
    opened: bool,
    answers: AnswerFilter | None = None,
) -> StreamError:
    """Return a message that explains an error.

    Args:
        error: FFmpeg's, or the system's; nothing of its text is used but the system's own words for its number.
        where: whose name the message starts with.
        took_s: how long the call ran.
        limit_s: how long it may run; FFmpeg reports a timeout under many names, so the time decides.
        opened: False while connecting.
        answers: what the camera has answered, if known.
    """
    import av

    name = where.name
    if answers is not None and answers.refusal is not None:
        return StreamError(f"{name} {answers.refusal}", "unreadable")
    if answers is not None and answers.wants_other:
        return StreamError(
            f'{name} takes passwords as {answers.wants_other} only, FFmpeg knows MD5: allow MD5 (or "digest/basic") in '
            "the camera's settings of authentication",
            "refused",
        )
    if answers is not None and not opened and answers.status == _UNCHANGED:
        return UnchangedError(f"{name} answers that its picture has not changed (304), though it has given none")
    if answers is not None and not opened and (by_status := _by_status(answers.status or 0, where)) is not None:
        return by_status
    if not where.is_local and took_s >= 0.98 * limit_s:
        if opened:
            return StreamError(f"{name} has sent nothing for {limit_s:g} s", "silent")
        return StreamError(f"{name} did not answer within {limit_s:g} s", "unreachable")
    if isinstance(error, av.EOFError):
        words = "has closed the connection" if opened else "is empty or was closed at once"
        return StreamError(f"{name} {words}", "ended")
    for kind, words, cause in _kinds():
        if isinstance(error, kind):
            return StreamError(f"{name} {words}", cause)
    words, cause = _by_number(getattr(error, "errno", None), where, opened=opened)
    return StreamError(f"{name} {words}", cause)


def _by_status(status: int, where: Address) -> StreamError | None:
    """Return the meaning of a camera's answer; None where it is no failure."""
    if status == 401 and not where.login:
        return StreamError(
            f"{where.name} asks for a user name and a password (401): set username and password", "refused"
        )
    if status < _LEAST_FAILURE:
        return None
    other: tuple[str, StreamCause] = (f"answers with status {status}, not with a video stream", "unreadable")
    words, cause = _STATUSES.get(status, other)
    return StreamError(f"{where.name} {words}", cause)


_STATUSES: dict[int, tuple[str, StreamCause]] = {
    400: ("rejects the request (400): look at the path and query of the URL", "unreadable"),
    401: ("refuses the user name or password (401)", "refused"),
    403: ("forbids access to this user (403)", "refused"),
    404: ("has no such stream (404): look at the path of the URL", "unreadable"),
    405: ("does not allow this (405): look at the path of the URL", "unreadable"),
    410: ("no longer has this stream (410): look at the path of the URL", "unreadable"),
    429: ("gets too many requests (429): lower max_fps, or end other connections to it", "unreadable"),
    453: (
        (
            "has no bandwidth left for another viewer (453): end other connections to it, raise its limit, or use its "
            "second stream"
        ),
        "unreadable",
    ),
    454: ("has lost the session (454)", "ended"),
    461: ("does not offer this transport (461): set transport to the other one of tcp and udp", "unreadable"),
    462: ("cannot reach this machine (462): set transport to tcp", "unreadable"),
    500: ("answers with a failure of its own (500)", "unreadable"),
    503: ("is too busy to serve this stream (503): it may have reached its limit of connections", "unreadable"),
}
"""Meaning of each RTSP or HTTP status."""
_LEAST_FAILURE = 400
"""Statuses from here on are failures (RFC 9110, 15; RFC 2326, 7.1.1)."""


def _kinds() -> tuple[tuple[type[Exception], str, StreamCause], ...]:
    """Meaning of each type of error; the first match counts."""
    import av

    return (
        (av.HTTPUnauthorizedError, "refuses the user name or password (401)", "refused"),
        (av.HTTPForbiddenError, "forbids access to this user (403)", "refused"),
        (av.HTTPNotFoundError, "has no such stream (404): look at the path of the URL", "unreadable"),
        (av.HTTPClientError, "answers that the request is wrong (4xx)", "unreadable"),
        (av.HTTPServerError, "answers with a failure of its own (5xx)", "unreadable"),
        (FileNotFoundError, "does not exist", "unreachable"),
        (IsADirectoryError, "must be a file, it is a folder", "unreadable"),
        (PermissionError, "may not be read by this user", "refused"),
        (av.ProtocolNotFoundError, "has a kind of address that FFmpeg does not know", "unreadable"),
        (av.DecoderNotFoundError, "holds video of a kind that FFmpeg cannot decode", "unreadable"),
        (av.DemuxerNotFoundError, "holds video of a kind that FFmpeg cannot read", "unreadable"),
    )


def _by_number(number: int | None, where: Address, *, opened: bool) -> tuple[str, StreamCause]:
    if where.is_local:
        return "must be a video, it is none or is damaged", "unreadable"
    if opened:
        return "broke off the connection", "ended"
    match number:
        case errno.ECONNREFUSED:
            return ("is not listening (connection refused): is the port right, is the camera on?", "unreachable")
        case errno.EIO:
            return "cannot be reached: is the host name right?", "unreachable"
        case errno.EHOSTUNREACH | errno.ENETUNREACH | errno.ETIMEDOUT | errno.ECONNRESET | errno.EPIPE:
            return f"cannot be reached ({os.strerror(number).lower()})", "unreachable"
    return "answers, but not with a video stream", "unreadable"
