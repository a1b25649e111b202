"""Check what must hold in cams.yaml beyond the type of each value: URLs, polygons, mutually exclusive keys (pure).

Works on the plain values, valid or not, so that these faults are reported together with those of type.
"""

import re
from contextlib import suppress
from itertools import pairwise
from urllib.parse import urlsplit

from reid_stream.config.camera_url import AmbiguousLoginError, split_login
from reid_stream.config.redis_url import SENTINEL_SCHEMES, RedisUrlError
from reid_stream.config.redis_url import parse as parse_redis_url
from reid_stream.config.yaml_lines import Keys, Value, YamlTree, redacted

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
_CAMERA_TLS_KEYS = ("tls", "ca_file", "fingerprint")
_TLS_KEYS = ("ca_file", "cert_file", "key_file")
_SENTINEL_KEYS = ("sentinel_username", "sentinel_password")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):(?=//)|^(file):")
# Less than a millionth of the image: a line, not an area.
_LEAST_AREA = 1e-6
_MOST_CORNERS = 200


def is_workers(value: object) -> bool:
    """Whether this is a value of `workers`."""
    return value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 64)


def check(tree: YamlTree) -> None:
    """Add every fault of this kind to the tree."""
    top = tree.value
    if not isinstance(top, dict):
        return
    redis, ingest = top.get("redis"), top.get("ingest")
    if isinstance(redis, dict):
        _redis(tree, redis)
    if isinstance(ingest, dict):
        _backoff(tree, ingest)
        _gpu_frames(tree, ingest)
    if not is_workers(top.get("workers", "auto")):
        found = redacted(str(top["workers"]))
        tree.add(("workers",), f"must be auto or a whole number from 1 to 64, found {found!r}")
    cameras = top.get("cameras")
    if isinstance(cameras, list):
        _cameras(tree, cameras)
        names = {str(camera.get("id")) for camera in cameras if isinstance(camera, dict)}
        topology = top.get("topology")
        if isinstance(topology, dict):
            _topology(tree, topology, names)


def _topology(tree: YamlTree, topology: dict[str, Value], cameras: set[str]) -> None:
    """Check that names are cameras, pairs are two cameras, and times rise."""
    named: list[tuple[Keys, str]] = []
    for key in ("overlaps", "never"):
        pairs = topology.get(key)
        for index, pair in enumerate(pairs if isinstance(pairs, list) else ()):
            named += [(("topology", key, index), str(name)) for name in (pair if isinstance(pair, list) else ())]
            match pair:
                case [first, second] if first == second:
                    tree.add(
                        ("topology", key, index), f"a pair must be two cameras, found {redacted(str(first))!r} twice"
                    )
    passages = topology.get("transit_s")
    for passage in passages if isinstance(passages, dict) else ():
        named += [(("topology", "transit_s", passage), name) for name in str(passage).split("->")]
        match passages[passage] if isinstance(passages, dict) else None:
            case [int() | float() as least, int() | float() as typical, int() | float() as most]:
                if not least <= typical <= most or least == most:
                    tree.add(
                        ("topology", "transit_s", passage),
                        f"must be [minimum, typical, maximum], rising, found [{least}, {typical}, {most}]",
                    )
    for keys, name in named:
        if name not in cameras:
            tree.add(keys, f"must name cameras, found {redacted(name)!r}; allowed: {', '.join(sorted(cameras))}")


def scheme_of(url: str) -> str | None:
    """Return the scheme in lower case; None for a path."""
    found = _SCHEME.match(url)
    return (found[1] or found[2]).lower() if found else None


def _cameras(tree: YamlTree, cameras: list[Value]) -> None:
    first: dict[str, int] = {}
    for index, camera in enumerate(cameras):
        if not isinstance(camera, dict):
            continue
        keys: Keys = ("cameras", index)
        name = camera.get("id")
        if isinstance(name, str) and name in first:
            line = tree.line(("cameras", first[name], "id"))
            tree.add((*keys, "id"), f"every camera needs its own id, found {redacted(name)!r} on line {line} already")
        elif isinstance(name, str):
            first[name] = index
        _credentials(tree, camera, keys)
        if isinstance(camera.get("url"), str):
            _camera_url(tree, camera, keys)
        if "region" in camera:
            _polygon(tree, camera["region"], (*keys, "region"))
        ignore = camera.get("ignore")
        match ignore:
            case [[int() | float(), *_], *_]:
                tree.add((*keys, "ignore"), "must be a list of polygons, found one polygon; put [ ] around it")
                continue
        for number, polygon in enumerate(ignore if isinstance(ignore, list) else ()):
            _polygon(tree, polygon, (*keys, "ignore", number))
    if cameras and all(isinstance(camera, dict) and camera.get("enabled") is False for camera in cameras):
        tree.add(("cameras",), "at least one camera must be enabled, found none; set `enabled: true`")


def _credentials(tree: YamlTree, camera: dict[str, Value], keys: Keys) -> None:
    given = [key for key in ("password", "password_file") if camera.get(key) is not None]
    if len(given) > 1:
        tree.add((*keys, given[1]), "give password or password_file, found both")
    if given and camera.get("username") is None:
        tree.add((*keys, given[0]), f"{given[0]} needs a username, found none; add `username`")
    url = camera.get("url")
    if not isinstance(url, str) or scheme_of(url) not in STREAM_SCHEMES:
        return
    _login(tree, camera, (*keys, "url"), url)


def _login(tree: YamlTree, camera: dict[str, Value], where: Keys, url: str) -> None:
    try:
        login, _, _ = split_login(url.partition("//")[2])
    except AmbiguousLoginError as error:
        tree.add(where, str(error))
        return
    if camera.get("username") is not None and login:
        tree.add(where, "credentials must be in the url or in `username`, found both; leave them out of the url")


def _camera_url(tree: YamlTree, camera: dict[str, Value], keys: Keys) -> None:
    url = str(camera["url"])
    scheme = scheme_of(url)
    where = (*keys, "url")
    allowed = "rtsp://, rtsps://, http://, https://, file:, a path, or a device such as /dev/video0"
    if not url.strip() or not url.isprintable():
        tree.add(where, f"must be one line of visible text, found {'nothing' if not url.strip() else 'others'}")
        return
    if scheme not in (None, "file", *STREAM_SCHEMES):
        tree.add(where, f"must be a kind of source that can be read, found {scheme}://; allowed: {allowed}")
        return
    if scheme in STREAM_SCHEMES:
        with suppress(AmbiguousLoginError):  # reported with the login
            _host(tree, f"{scheme}://{split_login(url.partition('//')[2])[1]}", where)
    schemes = {scheme, *_detect_url(tree, camera, scheme, keys)}
    for key in _CAMERA_TLS_KEYS:
        if camera.get(key) not in (None, "verified") and not schemes & {"rtsps", "https"}:
            tree.add((*keys, key), f"{key} is for rtsps:// and https:// only, found {scheme or 'a path'}; leave it out")
    if camera.get("fingerprint") is not None and (
        camera.get("ca_file") is not None or camera.get("tls") == "unverified"
    ):
        tree.add((*keys, "fingerprint"), "fingerprint replaces all other checks; leave out ca_file and tls")
    is_file = scheme in (None, "file") and not url.startswith("/dev/")
    for key in ("loop", "start_after_s"):
        if not is_file and camera.get(key):
            tree.add((*keys, key), f"{key} is for files only, found a {scheme or 'device'} camera; leave it out")


def _detect_url(tree: YamlTree, camera: dict[str, Value], main: str | None, keys: Keys) -> set[str | None]:
    """Check the second address of a camera; return its scheme, if it has one."""
    url = camera.get("detect_url")
    if not isinstance(url, str):
        return set()
    where = (*keys, "detect_url")
    scheme = scheme_of(url)
    if not url.strip() or not url.isprintable():
        tree.add(where, f"must be one line of visible text, found {'nothing' if not url.strip() else 'others'}")
    elif scheme not in STREAM_SCHEMES:
        tree.add(
            where, f"must be rtsp://, rtsps://, http:// or https://, found {f'{scheme}://' if scheme else 'a path'}"
        )
    elif main not in STREAM_SCHEMES:
        tree.add(where, "detect_url is for cameras on the network only, found a url that is none; leave it out")
    elif url == camera.get("url"):
        tree.add(where, "must be another stream than url, found the same; leave it out")
    else:
        _login(tree, camera, where, url)
        with suppress(AmbiguousLoginError):  # reported with the login
            _host(tree, f"{scheme}://{split_login(url.partition('//')[2])[1]}", where)
    return {scheme}


def _redis(tree: YamlTree, redis: dict[str, Value]) -> None:
    if redis.get("password") is not None and redis.get("password_file") is not None:
        tree.add(("redis", "password_file"), "give password or password_file, found both")
    url = redis.get("url", "embedded")
    if not isinstance(url, str):
        return
    if url == "embedded":
        for key in ("username", "password", "password_file", "tls", *_TLS_KEYS, *_SENTINEL_KEYS):
            if redis.get(key) not in (None, "verified"):
                tree.add(("redis", key), "the embedded Redis takes no credentials and no TLS, found some; leave it out")
        return
    try:
        scheme = parse_redis_url(url).scheme
    except RedisUrlError as error:
        tree.add(("redis", "url"), str(error))
        return
    _needless(tree, redis, scheme)


def _needless(tree: YamlTree, redis: dict[str, Value], scheme: str) -> None:
    """Check for keys that have no effect with this kind of URL, or lack the one they belong to."""
    for key in ("port", "directory"):
        if redis.get(key):
            tree.add(("redis", key), f"{key} is for the embedded Redis only, found a url, too; leave one out")
    for keys, is_meant, words in (
        (_TLS_KEYS, scheme.startswith("rediss"), "TLS only; write rediss://"),
        (_SENTINEL_KEYS, scheme in SENTINEL_SCHEMES, "sentinels only; write redis+sentinel://"),
    ):
        for key in keys:
            if redis.get(key) is not None and not is_meant:
                tree.add(("redis", key), f"{key} is for {words}, or leave it out, found {scheme}://")
    if redis.get("tls") == "unverified":
        if not scheme.startswith("rediss"):
            tree.add(("redis", "tls"), f"tls is for TLS only; write rediss://, or leave it out, found {scheme}://")
        if redis.get("ca_file") is not None:
            tree.add(("redis", "tls"), "tls: unverified checks nothing; leave it or ca_file out, found both")
    if (redis.get("cert_file") is None) != (redis.get("key_file") is None):
        given = "cert_file" if redis.get("cert_file") is not None else "key_file"
        tree.add(("redis", given), "cert_file and key_file belong together, found one of them")


def _host(tree: YamlTree, url: str, where: Keys) -> None:
    # Only the part after the last @ is checked: before it is a password, which may hold anything.
    rest = url.partition("//")[2].rpartition("@")[2]
    try:
        parts = urlsplit(f"//{rest}")
        if not parts.hostname:
            tree.add(where, "must name a host, found none; allowed: for example rtsp://10.0.0.5:554/stream1")
        elif parts.port == 0:
            tree.add(where, "must have a port from 1 to 65535, found 0")
    except ValueError:
        tree.add(where, "must have a host and a port from 1 to 65535, found something else there")


def _backoff(tree: YamlTree, ingest: dict[str, Value]) -> None:
    first, most = ingest.get("backoff_first_s", 0.5), ingest.get("backoff_max_s", 30)
    if isinstance(first, int | float) and isinstance(most, int | float) and first > most > 0:
        tree.add(("ingest", "backoff_first_s"), f"must be at most backoff_max_s ({most}), found {first}")


def _gpu_frames(tree: YamlTree, ingest: dict[str, Value]) -> None:
    if ingest.get("gpu_frames") is not True:
        return
    for key, wanted, default in (("hardware_decode", True, False), ("isolate", False, True)):
        if ingest.get(key, default) is not wanted:
            tree.add(("ingest", "gpu_frames"), f"must come with {key}: {str(wanted).lower()}")


def _polygon(tree: YamlTree, value: Value, keys: Keys) -> None:
    if not isinstance(value, list):
        return
    corners: list[tuple[float, float]] = []
    for index, corner in enumerate(value):
        match corner:
            case [int() | float() as x, int() | float() as y]:
                corners.append((x, y))
            case _:
                return  # reported as a fault of type
        if not (0 <= x <= 1 and 0 <= y <= 1):
            tree.add((*keys, index), f"corners must be fractions in 0..1, found [{x}, {y}]; divide pixels by the size")
            return
    if len(corners) < 3:
        return
    if len(corners) > _MOST_CORNERS:
        tree.add(keys, f"must have at most {_MOST_CORNERS} corners, found {len(corners)}")
    elif abs(_area(corners)) < _LEAST_AREA:
        tree.add(keys, "must enclose an area, found corners on one line")
    elif _crosses_itself(corners):
        tree.add(keys, "must not cross itself, found two crossing sides; list the corners in order around it")


def _area(corners: list[tuple[float, float]]) -> float:
    closed = [*corners, corners[0]]
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(closed)) / 2


def _crosses_itself(corners: list[tuple[float, float]]) -> bool:
    sides = list(pairwise([*corners, corners[0]]))
    return any(
        _cross(*sides[i], *sides[j])
        for i in range(len(sides))
        for j in range(i + 2, len(sides))
        if not (i == 0 and j == len(sides) - 1)
    )


def _cross(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]) -> bool:
    def side(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
