"""Split the login off a camera's URL, though passwords may hold any character (pure)."""

import re

_SECRET_KEY = re.compile(r"pass|pwd|passwd|token|key|secret|auth|^pw$|^p$", re.IGNORECASE)


class AmbiguousLoginError(ValueError):
    """A URL with two readings; the text gives advice without showing the URL."""


def is_secret_key(key: str) -> bool:
    """Whether a parameter of this name may be a password."""
    return _SECRET_KEY.search(key) is not None


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
    # rtsp://user:a/b@host/x: `a` is no port.
    if "@" in behind and port and not port.isdecimal():
        if behind[0] in "?#" and behind.partition("/")[0].count("@") == 1:
            rest_of_login, _, host = behind.partition("/")[0].partition("@")
            path = behind.partition("/")
            return authority + rest_of_login, host, path[1] + path[2]
        raise AmbiguousLoginError(_ADVICE)
    return "", authority, behind


_ADVICE = "holds a password with / ? # or @ in it: put it into `username` and `password`, where it needs no escaping"
