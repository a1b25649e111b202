"""A camera's address: host, login, and a name without secrets for messages.

Only `Address.secret` and `Address.through` hold the password; they are passed to FFmpeg and never shown.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

from reid_stream.config.camera_url import AmbiguousLoginError, masked_file, masked_path, split_login
from reid_stream.config.settings import Camera
from reid_stream.errors import StreamError
from reid_stream.ingest.transport import Endpoint, Tls

Kind = Literal["rtsp", "http", "network", "device", "file"]

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_NO_URL = re.compile(r"[^!-~]+")
"""What a request cannot hold (RFC 3986): spaces, letters outside of ASCII."""
_KINDS: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http", "file": "file"}
_TOKEN_PORTS = (7441, 7447)
"""Ports of UniFi Protect, where the path is the credential."""
_KEYED = ("rtmp", "rtmps", "rtmpe", "rtmpt")
"""Schemes whose last part of the path is the key of the stream."""
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """One camera's address."""

    kind: Kind
    name: str
    """Address for messages, without user, password, query and parts of the path that may be secrets."""
    secret: str = field(repr=False)
    """The URL with the login."""
    endpoint: Endpoint | None = None
    """Endpoint to connect to; none for files, devices, and protocols that FFmpeg alone knows."""
    login: str = field(default="", repr=False)
    """`user:password`, escaped; empty for none."""
    path: str = field(default="", repr=False)
    """Path from the first slash on, or the query if there is no path."""

    @property
    def is_local(self) -> bool:
        """Whether it is a file, with an end and its own pace."""
        return self.kind == "file"

    def through(self, port: int) -> str:
        """Return the URL for FFmpeg to reach the camera through a relay on this port."""
        path = _NO_URL.sub(lambda match: quote(match[0]), self.path)
        return f"{self.kind}://{self.login}{'@' if self.login else ''}127.0.0.1:{port}{path}"

    @property
    def host(self) -> str:
        """Host and port as in the URL."""
        return urlsplit(self.name).netloc

    @property
    def host_header(self) -> str:
        """Host and port for the header `Host`: without the zone of an IPv6 address (RFC 6874, 4), in ASCII."""
        host = re.sub(r"%[^\]]*(?=\])", "", self.host)
        try:
            return host.encode("idna").decode("ascii")
        except UnicodeError:
            return host


def address(camera: Camera) -> Address:
    """Return a camera's address, with user and password in the URL.

    Raises:
        StreamError: the password file cannot be read, or the URL holds a password that needs escaping.
    """
    url = camera.url.get_secret_value()
    match = _URL.fullmatch(url)
    if match is None:
        kind: Kind = "device" if url.startswith("/dev/video") else "file"
        return Address(kind, masked_file(url), url)
    scheme, rest = match["scheme"].lower(), match["rest"]
    kind = _KINDS.get(scheme, "network")
    if kind == "file":
        return Address(kind, masked_file(rest), rest)
    try:
        login, host, path = split_login(rest)
    except AmbiguousLoginError as error:
        raise StreamError(f"the url of camera {camera.id} {error}", "unreadable") from None
    if camera.username is not None:
        login = f"{quote(camera.username, safe='')}:{quote(_password(camera), safe='')}"
    elif login:
        login = ":".join(quote(unquote(part), safe="") for part in login.split(":", 1))
    secret = f"{scheme}://{login}@{host}{path}" if login else f"{scheme}://{host}{path}"
    endpoint = _endpoint(camera, scheme, host)
    is_credential = endpoint is not None and endpoint.port in _TOKEN_PORTS and bool(path.strip("/"))
    shown = "/***" if is_credential else masked_path(path)
    if scheme in _KEYED and shown.count("/") > 1:
        shown = f"{shown.rpartition('/')[0]}/***"
    return Address(kind, f"{scheme}://{host}{shown}", secret, endpoint, login, path)


def redirected(camera: Camera, to: str) -> Camera | None:
    """Return the camera at the target of a redirect; None if that is another host, or no longer encrypted.

    A password is never sent to a host that the settings do not name.
    """
    before = address(camera)
    # Relative to the request (RFC 9110, 10.2.2), which Python's library knows for some schemes only.
    whole = to.strip() if _URL.fullmatch(to.strip()) else urljoin(f"http://{before.host}{before.path}", to.strip())
    match = _URL.fullmatch(whole)
    if match is None or not to.strip():
        return None
    scheme = match["scheme"].lower() if whole == to.strip() else urlsplit(before.name).scheme
    try:
        _, host, path = split_login(match["rest"])
    except AmbiguousLoginError:
        return None
    there = _endpoint(camera, scheme, host)
    if before.endpoint is None or there is None or there.host.lower() != before.endpoint.host.lower():
        return None
    if _KINDS.get(scheme) != before.kind or (before.endpoint.tls is not None and there.tls is None):
        return None
    login = f"{before.login}@" if before.login else ""
    url = type(camera.url)(f"{scheme}://{login}{host}{path}")
    return camera.model_copy(update={"url": url, "username": None, "password": None, "password_file": None})


def _endpoint(camera: Camera, scheme: str, host: str) -> Endpoint | None:
    if scheme not in _PORTS:
        return None
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or _PORTS[scheme]
    except ValueError:
        return None
    if not parts.hostname:
        return None
    tls = Tls(camera.tls, camera.ca_file, camera.fingerprint) if scheme in ("rtsps", "https") else None
    # The zone of an IPv6 address is written with its % escaped (RFC 6874); one that is not is accepted.
    return Endpoint(parts.hostname.replace("%25", "%", 1), port, tls)


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
