"""`reid-stream check` reports what a Redis may cost, and a Redis that cannot be used."""

from io import StringIO
from pathlib import Path

import redis
from pydantic import SecretStr
from rich.console import Console

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.commands.check import _check_redis
from reid_stream.config.settings import Camera, Redis, Settings
from tests.publish.servers import free_port, serving


def checked(url: str) -> str:
    out = StringIO()
    settings = Settings(redis=Redis(url=SecretStr(url)), cameras=(Camera(id="a", url=SecretStr("rtsp://h/s")),))
    broken = _check_redis(Console(file=out, width=300, no_color=True), settings)
    assert (broken is not None) == ("--" in out.getvalue())
    return out.getvalue()


def test_check_warns_of_a_policy_that_deletes_events(tmp_path: Path) -> None:
    with UnguardedRedis(tmp_path / "redis") as server:
        assert "!!" not in checked(server.url)
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory-policy", "volatile-lru")
        assert "!! redis: maxmemory-policy volatile-lru may delete events" in checked(server.url)
    assert "no connection" in checked(server.url)


def test_check_refuses_a_cluster(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "redis", port, "--port", str(port), "--cluster-enabled", "yes"):
        assert "must not be a cluster" in checked(f"redis://127.0.0.1:{port}")
