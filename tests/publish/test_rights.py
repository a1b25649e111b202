"""The users of docs/guide/redis.md on a real Redis: each has the rights for its work, and no others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from typer.testing import CliRunner

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream import subscribe
from reid_stream.cli import app
from reid_stream.config.settings import Redis
from reid_stream.events import IdentityNamed
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_server import newest_binary
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.shop import visit

PASSWORD = "open sesame"
JOURNAL, SNAPSHOT = "reid:shop:state:v1:abc:journal", "reid:shop:state:v1:abc:snapshot:a"
LEASE, TOPOLOGY = "reid:shop:state:v1:lease", "reid:shop:state:topology"
IDENTITY, PRESENT, NUMBERS = "reid:shop:identity:shop-1", "reid:shop:present:door", "reid:shop:state:numbers"
OBSERVATIONS, CROPS, OTHER_OBSERVATIONS = "reid:{shop}:observations", "reid:{shop}:crops", "reid:{bank}:observations"
EPOCHS = "reid:{shop}:cameras:epochs"
EVENTS, INSTRUCTIONS, OTHER = "reid:shop:events", "reid:shop:instructions", "reid:bank:events"

ADMINISTRATION = (
    "CONFIG GET maxmemory", "CONFIG SET dir /tmp", "FLUSHALL", "FLUSHDB", "KEYS *", "EVAL return(1) 0",
    "SHUTDOWN NOSAVE", "MODULE LIST", "ACL LIST", "ACL WHOAMI", "REPLICAOF 127.0.0.1 1", "SWAPDB 0 1",
    "MONITOR", "CLIENT LIST", "CLIENT KILL ID 1", "SCRIPT EXISTS x", "SAVE", "RANDOMKEY", "MIGRATE 127.0.0.1 1 x 0 1",
    "CLIENT PAUSE 1000", "CLIENT NO-EVICT on", "CLIENT TRACKING on", "FCALL f 0",
    "FUNCTION LIST", "EVALSHA x 0", "SELECT 1",
    "OBJECT HELP", "OBJECT FREQ reid:shop:events", "MEMORY USAGE reid:shop:events", "COMMAND",
    "CLUSTER INFO", "LATENCY LATEST", "SLOWLOG GET", "PSUBSCRIBE *", "SUBSCRIBE reid:bank:events",
)  # fmt: skip
ELSEWHERE = (
    f"XRANGE {OTHER} - +", f"XADD {OTHER} * a b", f"XREAD STREAMS {OTHER} 0", f"GET {OTHER}", f"DEL {OTHER}",
    f"XINFO STREAM {OTHER}", f"HGETALL {OTHER}", f"PUBLISH {OTHER} x",
)  # fmt: skip
PRIVATE = (
    f"XRANGE {JOURNAL} - +", f"XREAD STREAMS {JOURNAL} 0", f"XREVRANGE {JOURNAL} + -", f"XINFO STREAM {JOURNAL}",
    f"XREAD STREAMS {EVENTS} {JOURNAL} 0 0", f"HGETALL {SNAPSHOT}", f"HGET {SNAPSHOT} head", f"GET {LEASE}",
    f"GET {NUMBERS}", f"DUMP {JOURNAL}", f"DUMP {SNAPSHOT}", f"COPY {JOURNAL} {EVENTS}",
    f"SORT {PRESENT} BY nosort GET {LEASE}",
)  # fmt: skip
WRITES = (
    f"XADD {EVENTS} * event x", f"XDEL {EVENTS} 1-1", f"XTRIM {EVENTS} MAXLEN 0", f"DEL {EVENTS}", f"UNLINK {EVENTS}",
    f"XSETID {EVENTS} 9-9", f"RENAME {EVENTS} {INSTRUCTIONS}", f"EXPIRE {EVENTS} 1", f"PUBLISH {EVENTS} x",
    f"XADD {JOURNAL} * entry x", f"DEL {JOURNAL}", f"XTRIM {JOURNAL} MAXLEN 0",
    f"HSET {SNAPSHOT} head x", f"DEL {SNAPSHOT}", f"SET {LEASE} me", f"DEL {LEASE}", f"SET {NUMBERS} 1",
    f"HSET {IDENTITY} label x", f"DEL {IDENTITY}", f"SADD {PRESENT} x", f"SREM {PRESENT} shop-1", f"SET {TOPOLOGY} x",
    f"XDEL {INSTRUCTIONS} 1-1", f"XTRIM {INSTRUCTIONS} MAXLEN 0", f"DEL {INSTRUCTIONS}", f"XSETID {INSTRUCTIONS} 9-9",
    f"XGROUP CREATE {EVENTS} g 0", f"RESTORE {EVENTS} 0 x", f"SET {EVENTS} x",
)  # fmt: skip
DENIED = {
    "daemon": (*ADMINISTRATION, *ELSEWHERE),
    "reader": (
        *ADMINISTRATION, *ELSEWHERE, *PRIVATE, *WRITES, "SCAN 0", f"XADD {INSTRUCTIONS} * do x",
        f"XRANGE {INSTRUCTIONS} - +", f"XREAD STREAMS {INSTRUCTIONS} 0", f"GET {TOPOLOGY}", "INFO", "SUBSCRIBE other",
    ),
    "desk": (*ADMINISTRATION, *ELSEWHERE, *PRIVATE, *WRITES, f"SUBSCRIBE {EVENTS}", "INFO"),
    "perceive": (
        *ADMINISTRATION, *ELSEWHERE, *PRIVATE, *WRITES, f"XRANGE {EVENTS} - +", f"SMEMBERS {PRESENT}",
        f"HGETALL {IDENTITY}", f"XADD {INSTRUCTIONS} * do x", f"SUBSCRIBE {EVENTS}", f"XRANGE {OBSERVATIONS} - +",
        f"XREAD STREAMS {OBSERVATIONS} 0", f"XDEL {OBSERVATIONS} 1-1", f"XTRIM {OBSERVATIONS} MAXLEN 0",
        f"DEL {OBSERVATIONS}", f"XLEN {OTHER_OBSERVATIONS}", f"XADD {OTHER_OBSERVATIONS} * records x",
        f"XGROUP CREATE {OBSERVATIONS} g 0", f"DEL {CROPS}", f"XRANGE {CROPS} - +",
        f"XADD {EPOCHS} * a b", f"HINCRBY {OBSERVATIONS} door 1", f"HINCRBY {CROPS} door 1", f"EXISTS {EPOCHS}",
        f"HSET {EPOCHS} door 1", f"DEL {EPOCHS}", f"EXPIRE {OBSERVATIONS} 1", f"RENAME {OBSERVATIONS} {CROPS}",
    ),
    "identify": (*ADMINISTRATION, *ELSEWHERE, f"XADD {OTHER_OBSERVATIONS} * records x"),
}  # fmt: skip
LIVE_READS = (f"XLEN {EVENTS}", f"SMEMBERS {PRESENT}", f"HGETALL {IDENTITY}", f"XRANGE {EVENTS} - +")


def rules() -> dict[str, list[str]]:
    """Return the users of the page with their rules."""
    page = (Path(__file__).parents[2] / "docs/guide/redis.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in page.splitlines() if line.startswith("ACL SETUSER ")]
    return {words[2]: [word.replace("PASSWORD", PASSWORD) for word in words[3:]] for words in lines}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UnguardedRedis]:
    if newest_binary().version < (7,):
        pytest.skip("rights to read or to write a key need redis-server 7.0 (apt-get install redis-server)")
    with UnguardedRedis(tmp_path / "redis") as running:
        admin: Any = redis.Redis.from_url(running.url)
        for user, words in rules().items():
            # Whoever had more rights before loses them.
            admin.execute_command("ACL", "SETUSER", user, "on", "~reid:*", "&reid:*", "+@all", "nopass")
            admin.execute_command("ACL", "SETUSER", user, *words)
        for key in (EVENTS, JOURNAL, OTHER, OBSERVATIONS, CROPS):
            admin.xadd(key, {"event": "x", "entry": "a vector"})
        admin.hset(SNAPSHOT, "head", "vectors")
        admin.hset(IDENTITY, "state", "confirmed")
        admin.sadd(PRESENT, "shop-1")
        for key in (LEASE, TOPOLOGY, NUMBERS):
            admin.set(key, "1")
        admin.close()
        yield running


@pytest.mark.parametrize("user", ["daemon", "reader", "desk", "perceive", "identify"])
def test_a_user_may_do_nothing_beyond_its_work(server: UnguardedRedis, user: str) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    before = {key: admin.dump(key) for key in admin.keys("*")}
    granted = []
    for line in DENIED[user]:
        with redis.Redis.from_url(server.url, username=user, password=PASSWORD) as client:
            try:
                client.execute_command(*line.split())
            except redis.exceptions.NoPermissionError:
                continue
            except redis.exceptions.ResponseError as error:
                granted.append(f"{line}: {error}")
            else:
                granted.append(line)
    assert not granted
    assert {key: admin.dump(key) for key in admin.keys("*")} == before
    admin.close()


def test_no_connection_without_the_password(server: UnguardedRedis) -> None:
    assert set(rules()) == {"daemon", "reader", "desk", "perceive", "identify"}
    for user in rules():
        for password in ("", "PASSWORD", "wrong"):
            client = redis.Redis.from_url(server.url, username=user, password=password or "x")
            with client, pytest.raises(redis.exceptions.AuthenticationError):
                client.ping()


def test_the_reader_follows_events_and_reads_the_live_keys(server: UnguardedRedis, tmp_path: Path) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    admin.delete(EVENTS)
    admin.execute_command("ACL", "LOG", "RESET")
    login = Redis(username="daemon", password=SecretStr(PASSWORD))
    sink = RedisSink(
        connect(login, url=server.url), where=server.url, site="shop", run="run", spool=Spool(tmp_path / "spool")
    )
    sink.publish(visit(4))
    assert sink.flush(5)
    assert sink.highest_number() == 4
    assert sink.close(5)
    assert not sink.counters.faults
    reader = Redis(username="reader", password=SecretStr(PASSWORD))
    with subscribe(server.url, site="shop", start="0", block_s=0, settings=reader) as events:
        assert len(list(events)) == 3
    url = server.url.replace("redis://", f"redis://reader:{PASSWORD.replace(' ', '%20')}@")
    found = CliRunner().invoke(app, ["events", "--url", url, "--site", "shop", "--json"])
    assert found.exit_code == 0, found.output
    assert len(found.output.splitlines()) == 3
    with redis.Redis.from_url(url) as client:
        for line in LIVE_READS:
            client.execute_command(*line.split())
        with client.pubsub() as channel:
            channel.subscribe(EVENTS)
            assert channel.get_message(timeout=5)["type"] == "subscribe"
    assert not denied(admin)
    admin.close()


def test_the_desk_looks_and_decides(server: UnguardedRedis, tmp_path: Path) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    admin.delete(EVENTS, IDENTITY, PRESENT, TOPOLOGY)
    sink = RedisSink(connect(Redis(), url=server.url), where=server.url, site="shop", run="r", spool=Spool(tmp_path))
    person = visit(0)[0].person  # type: ignore[union-attr]
    sink.publish([visit(0)[0], IdentityNamed(person=person, revision=1, label="Bea", by="anna", named_at=6.0)])
    sink.close(5)
    admin.execute_command("ACL", "LOG", "RESET")
    url = server.url.replace("redis://", f"redis://desk:{PASSWORD.replace(' ', '%20')}@")
    for words in (
        ["identity", "list"],
        ["identity", "show", person],
        ["identity", "name", person, "Cleo", "--wait", "0.1"],
        ["identity", "erase", person, "--yes", "--wait", "0"],
        ["identity", "log"],
        ["events"],
    ):
        done = CliRunner().invoke(app, [*words, "--url", url, "--site", "shop"])
        assert done.exit_code == 0, (words, done.output)
    # Nothing is learned yet: this is the message for that.
    learned = CliRunner().invoke(app, ["topology", "--url", url, "--site", "shop"])
    assert "recognised" in str(learned.exception)
    assert "Cleo" in str(admin.xrange(INSTRUCTIONS))
    assert not denied(admin)
    admin.close()


def denied(admin: Any) -> list[Any]:
    return [entry["object"] for entry in admin.acl_log()]
