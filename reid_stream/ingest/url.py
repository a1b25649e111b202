"""Where a camera is, with its password put in, and the same without it for people to read.

Only `Address.secret` holds the password; it is handed to FFmpeg and shown to nobody.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from reid_stream.config.settings import Camera
from reid_stream.errors import StreamError

Kind = Literal["rtsp", "http", "network", "device", "file"]

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?:(?P<auth>[^/?#]*)@)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_KINDS: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http", "file": "file"}


@dataclass(frozen=True, slots=True)
class Address:
    """One camera's address."""

    kind: Kind
    name: str
    """For messages: no user, no password, no query (cameras take passwords there, too)."""
    secret: str = field(repr=False)
    """For FFmpeg."""

    @property
    def is_local(self) -> bool:
        """A file: it has a beginning, an end and a pace of its own."""
        return self.kind == "file"


def address(camera: Camera) -> Address:
    """Put a camera's user and password into its URL.

    Raises:
        StreamError: the password file cannot be read.
    """
    url = camera.url.get_secret_value()
    match = _URL.fullmatch(url)
    if match is None:
        kind: Kind = "device" if url.startswith("/dev/video") else "file"
        return Address(kind, url, url)
    scheme, rest = match["scheme"].lower(), match["rest"]
    kind = _KINDS.get(scheme, "network")
    if kind == "file":
        return Address(kind, rest, rest)
    auth = match["auth"]
    if camera.username is not None:
        auth = f"{quote(camera.username, safe='')}:{quote(_password(camera), safe='')}"
    # FFmpeg knows RTSP over TLS as rtsps; the name leaves out whatever may be a secret.
    name = f"{scheme}://{re.split(r'[?#]', rest, maxsplit=1)[0]}"
    return Address(kind, name, f"{scheme}://{auth}@{rest}" if auth else f"{scheme}://{rest}")


def _password(camera: Camera) -> str:
    if camera.password_file is None:
        return "" if camera.password is None else camera.password.get_secret_value()
    try:
        lines = camera.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "cannot be read") if isinstance(error, OSError) else "is not text"
        raise StreamError(f"password_file {camera.password_file} must be a readable text file: {reason}") from None
    if not lines:
        raise StreamError(f"password_file {camera.password_file} must hold the password in its first line, it is empty")
    return lines[0]
