"""FFmpeg's errors in plain words, without the URL that they carry (pure but for the names of the error types)."""

import errno
import os

from reid_stream.errors import StreamCause, StreamError
from reid_stream.ingest.address import Address


def explain(error: BaseException, where: Address, took_s: float, limit_s: float, *, opened: bool) -> StreamError:
    """Say what went wrong.

    Args:
        error: FFmpeg's, or the system's; nothing of its text is used but the system's own words for its number.
        took_s: how long the call ran; with `limit_s` it tells a timeout, which FFmpeg reports under many names.
        opened: False while connecting.
    """
    import av

    name = where.name
    if not where.is_local and took_s >= 0.98 * limit_s:
        if opened:
            return StreamError(f"{name} has sent nothing for {limit_s:g} s", "silent")
        return StreamError(f"{name} did not answer within {limit_s:g} s", "unreachable")
    words: tuple[str, StreamCause] | None = None
    match error:
        case av.HTTPUnauthorizedError():
            words = "refuses the user name or password (401)", "refused"
        case av.HTTPForbiddenError():
            words = "forbids access to this user (403)", "refused"
        case av.HTTPNotFoundError():
            words = ("has no such stream (404): look at the path of the URL", "unreadable")
        case av.HTTPClientError() | av.HTTPServerError():
            words = "answers with an error of its own", "unreadable"
        case av.EOFError():
            words = ("has closed the connection", "ended") if opened else ("is empty or was closed at once", "ended")
        case FileNotFoundError():
            words = "does not exist", "unreachable"
        case IsADirectoryError():
            words = "must be a file, it is a folder", "unreadable"
        case PermissionError():
            words = "may not be read by this user", "refused"
        case av.ProtocolNotFoundError():
            words = "has a kind of address that FFmpeg does not know", "unreadable"
        case av.DecoderNotFoundError() | av.DemuxerNotFoundError():
            words = "holds video of a kind that FFmpeg cannot decode", "unreadable"
    if words is None:
        words = _by_number(getattr(error, "errno", None), where, opened)
    return StreamError(f"{name} {words[0]}", words[1])


def _by_number(number: int | None, where: Address, opened: bool) -> tuple[str, StreamCause]:
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
