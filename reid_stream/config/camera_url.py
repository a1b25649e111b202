"""Split the login off a camera's URL, though passwords may hold any character (pure)."""

import re
from urllib.parse import unquote

_SECRET_KEY = re.compile(
    r"pas|pwd|psw|psd|token|key|secret|auth|credential|session|signature|ticket|kennwort|mima|clave|senha|contras|"
    r"^(pw|p|sid|sig)$",
    re.IGNORECASE,
)
_ADMIN = re.compile(r"admin|administrator|root", re.IGNORECASE)
_USERS = re.compile(r"admin\w*|root|user\w*|guest|viewer|operator|supervisor|service", re.IGNORECASE)
"""Names of users that are hardly those of hosts."""
_JOINED = re.compile(
    r"(?P<before>(?:admin|administrator|root)[,&;]|(?:.*[_.-])?(?:token|key|pass|password|passwd|pwd|secret|auth)[_-])."
    r"+",
    re.IGNORECASE,
)
"""A user or the name of a secret in one segment with it: admin,SECRET and token-SECRET."""
_TOKEN = re.compile(r"[0-9a-f-]{24,}|(?=.*[A-Z])(?=.*[a-z])(?=.*\d)[A-Za-z0-9]{20,}")
"""Hexadecimal numbers and random letters, as tokens are."""

_LONGEST_KEY = 12
"""Letters of a segment that names a secret; longer ones are names of streams that hold such a word."""


class AmbiguousLoginError(ValueError):
    """A URL with two readings; the text gives advice without showing the URL."""


def is_secret_key(key: str) -> bool:
    """Whether a parameter of this name may be a password."""
    return _SECRET_KEY.search(key) is not None


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
    is_word = name.replace("_", "").replace("-", "").isalpha()
    return bool(_ADMIN.fullmatch(name)) or (len(name) <= _LONGEST_KEY and is_word and is_secret_key(name))


def _masked_segment(segment: str) -> str:
    # /user=admin_password=SECRET_channel=1.sdp, and /0/USER:PASSWORD/main; also with the signs escaped
    plain = unquote(segment)
    for match in re.finditer(r"([A-Za-z]+)=", plain):
        if is_secret_key(match[1]):
            return f"{plain[: match.end()]}***"
    user, colon, _ = plain.partition(":")
    if colon:
        return f"{user}:***"
    if (joined := _JOINED.fullmatch(plain)) and not _is_named_secret(plain):
        return f"{joined['before']}***"
    return "***" if _TOKEN.fullmatch(segment) else segment


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
_SERVED = (".sdp", ".cgi", ".php", ".asp", ".m3u8")
"""Endings that servers use and video files do not."""


def split_login(rest: str) -> tuple[str, str, str]:
    """Split what follows `scheme://` into (login, host, path); login and path may be empty.

    Raises:
        AmbiguousLoginError: a password with `/`, `?` or `#` could also be a host and its path.
    """
    end = re.search(r"[/?#]", rest)
    authority, behind = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    login, at, host = authority.rpartition("@")
    if at:
        # rtsp://user:a@b#c@host/x: the host may be b, or host.
        if behind[:1] in ("?", "#") and "@" in behind.partition("/")[0]:
            raise AmbiguousLoginError(_ADVICE)
        return login, host, behind
    port = authority.partition("]")[2].lstrip(":") if authority.startswith("[") else authority.partition(":")[2]
    # rtsp://admin:1/2@host/x: `1` may be a port, but `admin` is no host.
    if "@" in behind and port.isdecimal() and _USERS.fullmatch(authority.partition(":")[0]):
        raise AmbiguousLoginError(_ADVICE)
    # rtsp://user:a/b@host/x: `a` is no port.
    if "@" in behind and port and not port.isdecimal():
        if behind[0] in "?#" and behind.partition("/")[0].count("@") == 1:
            rest_of_login, _, host = behind.partition("/")[0].partition("@")
            path = behind.partition("/")
            return authority + rest_of_login, host, path[1] + path[2]
        raise AmbiguousLoginError(_ADVICE)
    return "", authority, behind


_ADVICE = "holds a password with / ? # or @ in it: put it into `username` and `password`, where it needs no escaping"
