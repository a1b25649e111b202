"""Split the login off a camera's URL, though passwords may hold any character (pure)."""

import base64
import binascii
import re
from urllib.parse import unquote

_SECRET_KEY = re.compile(
    r"pas|pwd|psw|psd|token|key|secret|auth|cred|session|signature|ticket|kennwort|mima|clave|senha|contras|bearer|jwt|"
    r"hmac|hash|access|login|code$|^(pw|p|pin|sid|sig|otp)$",
    re.IGNORECASE,
)
_HARMLESS_KEY = re.compile(
    r"(login)?(use|user|usr|username|u)|(cam|camera|ch|chn|chan|channel|stream|sub|media|video|audio|track)(id|type|no)?|"
    r"profile|codec|resolution|res|size|width|height|format|fps|rate|bitrate|quality|mode|inst|line|unicast|proto|app|"
    r"port|dev|id|index|type",
    re.IGNORECASE,
)
"""Parameters whose values are shown; any other one may be a password of some maker."""
_USERS = re.compile(r"admin\w*|root|user\w*|guest|viewer|operator|supervisor|service", re.IGNORECASE)
"""Names of users that are hardly those of hosts."""
_USER = re.compile(r"(admin|administrator|root|user|guest|viewer|operator)\d*", re.IGNORECASE)
"""A segment of a path after which a password may follow."""
_USER_JOINED = re.compile(r"(?P<before>(?:admin|administrator|root)[^A-Za-z0-9]).+", re.IGNORECASE)
"""A user in one segment with the password: admin,SECRET."""
_KEY_JOINED = re.compile(
    r"(?P<before>(?:.*[_.-])?(?:token|key|pass|password|passwd|pwd|secret|auth)[_-]).+", re.IGNORECASE
)
"""The name of a secret in one segment with it: token-SECRET."""
_TOKEN = re.compile(
    r"[0-9a-f-]{24,}|[0-9A-F-]{24,}|^eyJ[\w-]{8,}\.|"
    r"(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])(?=[A-Za-z]*\d)[A-Za-z0-9]{20,}"
)
"""Hexadecimal numbers, JSON web tokens (RFC 7519) and random letters, as tokens are."""

_LONGEST_KEY = 12
"""Letters of a segment that names a secret; longer ones are names of streams that hold such a word."""
_MOST_ESCAPES = 5


class AmbiguousLoginError(ValueError):
    """A URL with two readings; the text gives advice without showing the URL."""


def is_secret_key(key: str) -> bool:
    """Whether a parameter of this name may be a password."""
    return _SECRET_KEY.search(key) is not None


def secret_words(url: str) -> list[str]:
    """Return the values of all parameters in a URL's path and query whose names are those of secrets, as written."""
    found = re.finditer(r"([A-Za-z]+)\d*=([^/&;,|?#]+?)(?=_[A-Za-z]+=|[/&;,|?#]|$)", url)
    return [match[2] for match in found if is_secret_key(match[1])]


def masked_path(path: str) -> str:
    """Return a URL's path without its query, and without what makers of cameras put passwords into."""
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    _, at, after = path.rpartition("@")
    if at:
        path = f"/***@{after}"
    shown: list[str] = []
    before = ""
    for segment in path.split("/"):
        is_secret = bool(segment) and _is_named_secret(before)
        shown.append("***" if is_secret else _masked_segment(segment))
        before = segment
    return "/".join(shown)


def _is_named_secret(before: str) -> bool:
    """Whether what follows this segment of a path may be a password: /token/SECRET, /admin/SECRET/ch0."""
    name = unquote(before)
    return bool(_USER.fullmatch(name)) or _is_key(name)


def _is_key(name: str) -> bool:
    is_word = name.replace("_", "").replace("-", "").isalpha()
    return len(name) <= _LONGEST_KEY and is_word and is_secret_key(name)


def _masked_segment(segment: str) -> str:
    # /user=admin_password=SECRET_channel=1.sdp, and /0/USER:PASSWORD/main; also with the signs escaped, even twice
    plain = segment
    for _ in range(_MOST_ESCAPES):
        plain = unquote(plain)
    if "/" in plain or "?" in plain:
        return masked_path(plain)
    if _TOKEN.search(plain) or _is_encoded_login(plain):
        return "***"
    for match in re.finditer(r"([A-Za-z]*)\d*=", plain):
        if not _HARMLESS_KEY.fullmatch(match[1]):
            return f"{plain[: match.end()] if match[1] else ''}***"
    user, colon, _ = plain.partition(":")
    if colon:
        return f"{user}:***"
    joined = _USER_JOINED.fullmatch(plain) or (None if _is_key(plain) else _KEY_JOINED.fullmatch(plain))
    return segment if joined is None else f"{joined['before']}***"


def _is_encoded_login(segment: str) -> bool:
    """Whether a segment is `user:password` in base64, as in HTTP's basic authentication (RFC 7617)."""
    try:
        text = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.isascii() and text.decode("ascii").isprintable() and b":" in text[1:]


def masked_file(path: str) -> str:
    """Return a path, masked if it is a mistyped URL with a login, such as `rtsp:/user:SECRET@HOST/s`."""
    login, at, behind = path.rpartition("@")
    return f"***@{behind}" if at and ":" in login else path


def may_be_host(path: str) -> bool:
    """Whether a url without a scheme looks like a host with a path, such as `10.0.0.5/live` or `door-cam:554/s`."""
    if path.startswith(("/", "./", "../", "~")):
        return False
    first, slash, rest = path.partition("/")
    if "@" in first or _HOST_AND_PORT.fullmatch(first) or _IP.fullmatch(first) or first.lower() == "localhost":
        return True
    last = rest.rpartition("/")[2].partition("?")[0]
    return bool(slash) and ("." in first or "?" in rest or "." not in last or last.lower().endswith(_SERVED))


_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}", re.ASCII)
_IP = re.compile(r"\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\](:\d+)?", re.ASCII)
_SERVED = (".sdp", ".cgi", ".php", ".asp", ".m3u8", ".amp", ".smp")
"""Endings that servers use and video files do not."""


def split_login(rest: str) -> tuple[str, str, str]:
    """Split what follows `scheme://` into (login, host, path); login and path may be empty.

    Raises:
        AmbiguousLoginError: a password with `/`, `?` or `#` could also be a host and its path.
    """
    end = re.search(r"[/?#]", rest)
    authority, behind = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    login, at, host = authority.rpartition("@")
    # rtsp://user:a@b#c@host/x: the host may be b, or host.
    is_cut = behind[:1] in ("?", "#") and "@" in behind.partition("/")[0]
    if at and is_cut:
        raise AmbiguousLoginError(_ADVICE)
    if not at and is_cut and behind.partition("/")[0].count("@") == 1 and _port(authority) and not _has_port(authority):
        rest_of_login, _, host = behind.partition("/")[0].partition("@")
        path = behind.partition("/")
        return authority + rest_of_login, host, path[1] + path[2]
    if _may_be_login(host, behind):
        raise AmbiguousLoginError(_ADVICE)
    return login, host, behind


def _may_be_login(host: str, behind: str) -> bool:
    """Whether what seems to be the host and its path may be a login, and the host what follows its `@`."""
    before, at, after = behind.rpartition("@")
    # http://go2rtc:1984/api?src=rtsp://user:SECRET@host/x, and /x.cgi?mail=a@b.de: a parameter of its own.
    if not at or "://" in before or re.match(r"/[^?]*\?[^?]*=", before):
        return False
    port = _port(host)
    if port and (not _has_port(host) or not (int(port) >= _LEAST_PORT or int(port) in _LOW_PORTS)):
        return True  # rtsp://user:a/b@host/x, and rtsp://user:1/2@host/x
    name = host.partition(":")[0]
    is_bare = not host.startswith("[") and "." not in name and name.lower() != "localhost"
    other = re.split(r"[/?#]", after, maxsplit=1)[0].lower()
    if is_bare and re.search(r"\.|:\d|\]$", other) and not other.endswith(_SERVED):
        return True  # rtsp://us/er:SECRET@10.0.0.5/x
    # rtsp://admin:8554/2@host/x: 8554 may be a port, but `admin` is no host.
    return bool(port) and _USERS.fullmatch(name) is not None


def _port(authority: str) -> str:
    return authority.partition("]")[2].lstrip(":") if authority.startswith("[") else authority.partition(":")[2]


def _has_port(authority: str) -> bool:
    port = _port(authority)
    return port.isascii() and port.isdecimal() and len(port) <= _LONGEST_PORT


_LONGEST_PORT = 5
_LEAST_PORT = 1024
_LOW_PORTS = frozenset({*range(80, 90), 322, 443, 554, 555})
"""Ports below 1024 of services that cameras have."""
_ADVICE = (
    "holds a password with / ? # or @ in it: put it into `username` and `password`, where it needs no escaping; write "
    "an @ of the path as %40"
)
