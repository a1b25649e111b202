"""Connections to cameras: TCP, and TLS whose certificate is verified before anything is sent.

A wait ends when the camera is stopped (`ffmpeg_interrupt.is_stopped`), so that closing a camera never takes a time-out.
"""

import hashlib
import select
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reid_stream.errors import StreamError
from reid_stream.ingest.ffmpeg_interrupt import is_stopped

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Tls:
    """Verification of a camera's certificate."""

    mode: Literal["verified", "unverified"] = "verified"
    ca_file: Path | None = None
    """Certificates (PEM) that the camera's must come from; none for those of the system."""
    fingerprint: str | None = None
    """SHA-256 of the camera's own certificate (DER), 64 hexadecimal digits; replaces all other checks."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host, port and TLS of a connection."""

    host: str
    port: int
    tls: Tls | None
    """TLS settings; None for plain TCP."""


def connect(where: Endpoint, name: str, limit_s: float) -> socket.socket:
    """Connect, and verify who answers where TLS is asked for.

    Args:
        where: host, port and TLS.
        name: of the camera, for messages.
        limit_s: for all of it, seconds.

    Raises:
        StreamError: the camera cannot be reached, or its certificate is not the right one.
    """
    until = time.monotonic() + limit_s
    plain = _connect_tcp(where, name, until, limit_s)
    if where.tls is None:
        return plain
    failure: StreamError
    try:
        return _wrap(plain, where, where.tls, name, until, limit_s)
    except StreamError as error:
        failure = error
    except ssl.SSLCertVerificationError as error:
        shown = _shown(where, until)
        pin = f"; to trust it as it is: fingerprint: {shown}" if shown else ""
        failure = StreamError(
            f"{name} must show a certificate that can be verified, found: {error.verify_message.rstrip('.').lower()}; "
            f"give ca_file where it comes from an authority of your own{pin}",
            "untrusted",
        )
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        failure = StreamError(f"{name} must speak TLS on port {where.port}: {str(reason).lower()}", "unreadable")
    plain.close()
    raise failure


def _connect_tcp(where: Endpoint, name: str, until: float, limit_s: float) -> socket.socket:
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise StreamError(f"{name} cannot be reached: is the host name right?", "unreachable")
    failure = OSError()
    for family, kind, protocol, _, address in found:
        end = socket.socket(family, kind, protocol)
        end.setblocking(False)
        with suppress(BlockingIOError):
            try:
                end.connect(address)
            except BlockingIOError:
                if not _is_ready(end, until, is_write=True):
                    end.close()
                    raise StreamError(f"{name} did not answer within {limit_s:g} s", "unreachable") from None
            except OSError as error:
                end.close()
                failure = error
                continue
        number = end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(max(0.1, until - time.monotonic()))
            return end
        end.close()
        failure = OSError(number, "")
    raise StreamError(f"{name} {_words(failure)}", "unreachable")


def _words(error: OSError) -> str:
    import errno
    import os

    if error.errno == errno.ECONNREFUSED:
        return "is not listening (connection refused): is the port right, is the camera on?"
    return f"cannot be reached ({os.strerror(error.errno or 0).lower()})"


def _wrap(plain: socket.socket, where: Endpoint, tls: Tls, name: str, until: float, limit_s: float) -> ssl.SSLSocket:
    if tls.mode == "unverified" or tls.fingerprint is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        try:
            context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "holds no certificate"
            raise StreamError(f"ca_file {tls.ca_file} must hold certificates (PEM): {reason.lower()}") from None
    wrapped = context.wrap_socket(plain, server_hostname=where.host, do_handshake_on_connect=False)
    wrapped.setblocking(False)
    try:
        _shake_hands(wrapped, name, until, limit_s)
        found = _fingerprint(wrapped)
        if tls.fingerprint is not None and found != tls.fingerprint.replace(":", "").lower():
            raise StreamError(
                f"{name} must show the certificate whose fingerprint is given, found another one: {found}", "untrusted"
            )
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def _shake_hands(wrapped: ssl.SSLSocket, name: str, until: float, limit_s: float) -> None:
    while True:
        try:
            wrapped.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            if not _is_ready(wrapped, until, is_write=isinstance(error, ssl.SSLWantWriteError)):
                raise StreamError(f"{name} did not answer within {limit_s:g} s", "unreachable") from None
        else:
            return


def _shown(where: Endpoint, until: float) -> str:
    """Return the fingerprint of the certificate that the camera shows; empty where that fails. Sends nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    left_s = max(0.1, min(2.0, until - time.monotonic()))
    with (
        suppress(OSError),
        socket.create_connection((where.host, where.port), left_s) as plain,
        context.wrap_socket(plain, server_hostname=where.host) as wrapped,
    ):
        return _fingerprint(wrapped)
    return ""


def _fingerprint(wrapped: ssl.SSLSocket) -> str:
    return hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest()


def _is_ready(end: socket.socket, until: float, *, is_write: bool) -> bool:
    """Wait for a socket; False if time is up or the camera was stopped."""
    while not is_stopped():
        left_s = until - time.monotonic()
        if left_s <= 0:
            return False
        ready = select.select([] if is_write else [end], [end] if is_write else [], [], min(_POLL_S, left_s))
        if ready[0] or ready[1]:
            return True
    return False
