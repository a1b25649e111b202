"""Every part of a Redis URL is used or refused."""

import pytest

from reid_stream.config.redis_url import RedisUrlError, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", ("redis", (("h", 6379),), "", "", None, None, None)),
        ("REDIS://h:7000/3", ("redis", (("h", 7000),), "", "", 3, None, None)),
        ("redis://h/?db=2", ("redis", (("h", 6379),), "", "", 2, None, None)),
        ("redis://h/2?db=2", ("redis", (("h", 6379),), "", "", 2, None, None)),
        ("redis://h/%30", ("redis", (("h", 6379),), "", "", 0, None, None)),
        ("rediss://[::1]:7000/0", ("rediss", (("::1", 7000),), "", "", 0, None, None)),
        ("redis://:p@ss:w@h/0", ("redis", (("h", 6379),), "", "", 0, None, "p@ss:w")),
        ("redis://anna:p%40ss%2F@h", ("redis", (("h", 6379),), "", "", None, "anna", "p@ss/")),
        ("redis://anna@h", ("redis", (("h", 6379),), "", "", None, "anna", None)),
        ("unix:///run/redis%23.sock", ("unix", (), "/run/redis#.sock", "", None, None, None)),
        ("unix://u:p@/run/a@b.sock?db=1", ("unix", (), "/run/a@b.sock", "", 1, "u", "p")),
        ("redis+sentinel://a,b:1/site", ("redis+sentinel", (("a", 26379), ("b", 1)), "", "site", None, None, None)),
        ("rediss+sentinel://u:p@a/x/4", ("rediss+sentinel", (("a", 26379),), "", "x", 4, "u", "p")),
    ],
)
def test_a_url_is_read_into_its_parts(text: str, expected: tuple[object, ...]) -> None:
    url = parse(text)
    assert (url.scheme, url.hosts, url.path, url.name, url.database, url.username, url.password) == expected
    assert "p" not in repr(url)[len("<reid_stream.config.redis_url.RedisUrl") :]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redis://h/abc", "database by a number, found 'abc'"),
        ("redis://h/1/2", "database by a number, found '1/2'"),
        ("redis://h/-1", "database by a number"),
        ("redis://h/1.0", "database by a number"),
        ("redis://h/\u0663", "database by a number"),
        ("redis://h/99999999999", "database by a number"),
        ("redis://h?db=", "database by a number"),
        ("redis://h/1?db=2", "one database, found 1 and"),
        ("redis://h?db=1&db=2", "db= twice"),
        ("unix:///s?db=x", "database by a number"),
        ("redis+sentinel://h/n/x", "database by a number"),
        ("rediss://h/0?ssl_cert_reqs=none", "found \\?ssl_cert_reqs=; use `redis.ca_file`.*`redis.tls: unverified`"),
        ("rediss://h/0?ssl_check_hostname=false", "ssl_check_hostname=; use `redis.ca_file`"),
        ("rediss://h/0?ssl_ca_certs=/x", "use `redis.ca_file`"),
        ("redis://h?decode_responses=true", "found \\?decode_responses=; leave it out"),
        ("redis://h?protocol=3", "found \\?protocol=; leave it out"),
        ("redis://h?ssl=true", "found \\?ssl=; write rediss://"),
        ("redis://h?password=geheim", "use `redis.password`"),
        ("redis://h?db=1&retry_on_error=x", "retry_on_error"),
        ("redis://h?max_connections", "max_connections"),
        ("redis+sentinel://h/n?protocol=3", "protocol"),
        ("redis://:ge/heim@h", "in `redis.username` and `redis.password`"),
        ("redis://:ge#heim@h", "in `redis.username` and `redis.password`"),
        ("redis://:ge?heim@h", "in `redis.username` and `redis.password`"),
        ("redis://h/0#x", "found a #"),
        ("redis:///0", "must name a host"),
        ("redis://h:0/0", "port from 1 to 65535"),
        ("redis://h:70000", "port from 1 to 65535"),
        ("redis://h:port", "port from 1 to 65535"),
        ("redis://a,b/0", "one host"),
        ("redis://h\n/0", "spaces and control characters"),
        ("redis:// h/0", "spaces and control characters"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix:///", "absolute path"),
        ("redis+sentinel://h:1", "found no name"),
        ("redis+sentinel:///n", "must name a host"),
        ("redis+sentinel://a,,b/n", "must name a host"),
        ("http://h", "found http://; allowed: embedded, redis://"),
        ("h:6379", "found none of them"),
        ("", "found none of them"),
    ],
)
def test_what_cannot_be_used_is_refused_without_showing_a_password(text: str, why: str) -> None:
    with pytest.raises(RedisUrlError, match=why) as caught:
        parse(text)
    assert "heim" not in str(caught.value)
