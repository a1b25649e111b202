"""Connections to a protected Redis: TLS, users with few rights, sentinels."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.ports import free_port
from reid_stream import subscribe
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.publish.redis_client import check, connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.servers import Certificates, certificates, serving, watched, why_no_tls
from tests.publish.shop import visit

needs_tls = pytest.mark.skipif(why_no_tls() is not None, reason=why_no_tls() or "")
KEY = "reid:shop:events"


def a_sink(settings: Redis, folder: Path, timeout_s: float = 1.0, url: str | None = None) -> RedisSink:
    client = connect(settings, url=url, timeout_s=timeout_s)
    where = url or settings.url.get_secret_value()
    return RedisSink(client, where=where, site="shop", run="run", spool=Spool(folder / "spool"))


def sequences(client: Any) -> list[int]:
    return [int(fields[b"event"].partition(b'"sequence":"')[2][:12]) for _, fields in client.xrange(KEY)]


def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(tmp_path: Path, signed: Certificates) -> Iterator[str]:
    """Give the address of a Redis that speaks TLS only and wants no certificate from clients."""
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", "sesame")
    files = ("--tls-cert-file", signed.server, "--tls-key-file", signed.server_key, "--tls-ca-cert-file")
    with serving(tmp_path / "tls", port, "--port", "0", *tls, *map(str, files), str(signed.authority)):
        yield f"rediss://127.0.0.1:{port}/0"


@needs_tls
def test_events_go_by_tls_to_a_redis_of_our_own_authority(tmp_path: Path, secure: str, signed: Certificates) -> None:
    settings = Redis(url=SecretStr(secure), password=SecretStr("sesame"), ca_file=signed.authority)
    sink = a_sink(settings, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    with subscribe(secure, site="shop", start="0", block_s=0, settings=settings) as events:
        assert [event.sequence for event in events] == [0, 1, 2]
    assert sink.close(5)


@needs_tls
def test_a_redis_of_an_unknown_authority_is_refused(tmp_path: Path, secure: str) -> None:
    with pytest.raises(BrokerError, match="no secure connection") as caught:
        a_sink(Redis(url=SecretStr(secure), password=SecretStr("sesame")), tmp_path)
    assert "sesame" not in str(caught.value)


@needs_tls
def test_a_client_without_tls_gets_a_plain_error(tmp_path: Path, secure: str) -> None:
    plain = Redis(url=SecretStr(secure.replace("rediss", "redis")), password=SecretStr("sesame"))
    with pytest.raises(BrokerError, match="must answer"):
        a_sink(plain, tmp_path)


@needs_tls
def test_a_redis_that_asks_for_our_certificate_gets_it(tmp_path: Path, signed: Certificates) -> None:
    port = free_port()
    files = ("--tls-cert-file", signed.server, "--tls-key-file", signed.server_key, "--tls-ca-cert-file")
    strict = ("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "yes", *map(str, files))
    with serving(tmp_path / "tls", port, *strict, str(signed.authority)):
        url = SecretStr(f"rediss://127.0.0.1:{port}/0")
        with pytest.raises(BrokerError):
            check(connect(Redis(url=url, ca_file=signed.authority)), url.get_secret_value())
        ours = Redis(url=url, ca_file=signed.authority, cert_file=signed.server, key_file=signed.server_key)
        check(connect(ours), url.get_secret_value())


def test_a_missing_certificate_file_is_an_error_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="redis.ca_file must be a file"):
        connect(Redis(url=SecretStr("rediss://127.0.0.1:1/0"), ca_file=tmp_path / "none.pem"))


def test_a_user_who_loses_a_right_is_named_and_sends_all_when_it_is_given_back(
    server: UnguardedRedis, tmp_path: Path
) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    admin.execute_command("ACL", "SETUSER", "daemon", "on", ">secret", "~*", "&*", "+@all")
    sink = a_sink(Redis(username="daemon", password=SecretStr("secret")), tmp_path, url=server.url)
    sink.publish(visit(0))
    assert sink.flush(5)
    admin.execute_command("ACL", "SETUSER", "daemon", "-xadd")
    sink.publish(visit(1))
    until(lambda: sink.away is not None)
    assert "ACL forbids" in str(sink.away)
    assert "secret" not in str(sink.away)
    admin.execute_command("ACL", "SETUSER", "daemon", "+xadd")
    assert sink.flush(15)
    assert sequences(admin) == list(range(6))
    assert sink.close(5)
    admin.close()


def test_a_redis_that_asks_for_a_password_meanwhile_gets_all_events_once_it_has_changed(
    server: UnguardedRedis, tmp_path: Path
) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    admin.config_set("requirepass", "first")
    sink = a_sink(Redis(password_file=secret), tmp_path, url=server.url)
    sink.publish(visit(0))
    assert sink.flush(5)
    admin.config_set("requirepass", "second")
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    sink.publish(visit(1))
    until(lambda: sink.away == "it refuses the user or the password")
    secret.write_text("second\n")
    assert sink.flush(15)
    assert sequences(admin) == list(range(6))
    assert sink.close(5)
    admin.close()


@pytest.mark.slow
def test_a_fail_over_by_sentinel_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with watched(tmp_path) as site:
        settings = Redis(url=SecretStr(site.url))
        replica: Any = redis.Redis(port=site.replica_port)
        until(lambda: replica.info("replication")["master_link_status"] == "up")
        with subscribe(site.url, site="shop", start="0", block_s=20) as events:
            sink = a_sink(settings, tmp_path)
            for number in range(10):
                sink.publish(visit(number))
            assert sink.flush(10)
            site.master.kill()
            for number in range(10, 20):
                sink.publish(visit(number))
            got = [next(events).sequence for _ in range(60)]
            assert got == list(range(60))
        assert replica.role()[0] == b"master"
        assert sequences(replica) == list(range(60))
        assert sink.close(5)
        replica.close()


@needs_tls
def test_any_certificate_is_accepted_only_where_the_settings_say_so(tmp_path: Path, secure: str) -> None:
    for given in ("none", "optional"):
        with pytest.raises(ConfigError, match="tls: unverified"):
            connect(Redis(url=SecretStr(f"{secure}?ssl_cert_reqs={given}")))
    login = {"url": SecretStr(secure), "password": SecretStr("sesame")}
    with pytest.raises(BrokerError, match="no secure connection"):
        check(connect(Redis.model_validate(login)), secure)
    check(connect(Redis.model_validate({**login, "tls": "unverified"})), secure)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://h:26379", "redis+sentinel:///name", "redis+sentinel://h:x/name", "redis+sentinel://h/n/x"]
)
def test_a_malformed_sentinel_url_is_reported_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url must") as caught:
        connect(Redis(url=SecretStr(url.replace("//", "//u:secret@"))))
    assert "secret" not in str(caught.value)
