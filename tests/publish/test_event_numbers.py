"""A number of a global ID is never assigned twice, over restarts and outages."""

from pathlib import Path

from reid_stream.config.settings import Redis
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.live_keys import LiveState, numbers_key
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.test_site_view import entered


def sink(url: str, folder: Path, *, keeps_numbers: bool = True) -> RedisSink:
    return RedisSink(
        connect(Redis(), url=url), where=url, site="s", run="r", spool=Spool(folder), keeps_numbers=keeps_numbers
    )


def test_the_next_daemon_counts_on_from_the_highest_number_published(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as redis:
        first = sink(redis.url, tmp_path / "spool")
        assert first.highest_number() == 0
        first.publish([entered("s-3", "door"), entered("s-12", "till"), entered("s-7", "door")])
        assert first.close(5)
        second = sink(redis.url, tmp_path / "spool")
        assert second.highest_number() == 12
        second.close(5)


def test_a_fast_replay_leaves_the_sites_numbers_alone(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as redis:
        replay = sink(redis.url, tmp_path / "spool", keeps_numbers=False)
        replay.publish([entered("s-3", "door")])
        assert replay.flush(5)
        assert replay.highest_number() == 0
        replay.close(5)


def test_the_noted_number_never_falls() -> None:
    live = LiveState("s")
    assert ("SET", numbers_key("s"), 9) in live.commands([entered("s-9", "door")])
    live.done()
    assert not [command for command in live.commands([entered("s-4", "door")]) if command[0] == "SET"]
