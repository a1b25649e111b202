"""`reid-stream check` tries everything that the daemon needs, and reports each fault with its exit code."""

import json
import os
import socket
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.ports import free_port
from benchmarks.rtsp.clips import draw_clip
from reid_stream.bundles import catalog
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.commands.readiness import (
    Finding,
    check_folders,
    check_metrics_port,
    check_redis,
    check_site,
    check_sizing,
)
from reid_stream.config.settings import Camera, Match, Models, Observe, Redis, Settings, SpoolSettings, Store
from reid_stream.errors import BrokerError, ConfigError, ReidStreamError
from reid_stream.journal.entry import StateKeys
from reid_stream.journal.snapshot import MatcherSettings, SnapshotHeader
from reid_stream.journal.snapshot_store import SnapshotStore
from reid_stream.match.factory import matcher_for
from reid_stream.publish.spool import Spool
from tests.integration.program import call, tiny_models, write_cams
from tests.publish.servers import serving

pytestmark = pytest.mark.timeout(240)
CAMERAS = (Camera(id="a", url=SecretStr("rtsp://h/s")),)


def checked(url: str) -> tuple[list[Finding], list[ReidStreamError]]:
    found = list(check_redis(Settings(redis=Redis(url=SecretStr(url)), cameras=CAMERAS)))
    return [finding for finding, _ in found], [error for _, error in found if error is not None]


def test_a_policy_that_deletes_events_is_a_warning(tmp_path: Path) -> None:
    with UnguardedRedis(tmp_path / "redis") as server:
        findings, errors = checked(server.url)
        assert [finding.result for finding in findings] == ["ok"]
        assert errors == []
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory-policy", "volatile-lru")
        findings, errors = checked(server.url)
        assert "maxmemory-policy volatile-lru may delete events" in findings[-1].text
        assert [finding.result for finding in findings] == ["ok", "warning"]
        assert errors == []
    findings, errors = checked(server.url)
    assert "no connection" in findings[0].text
    assert isinstance(errors[0], BrokerError)


def test_a_user_who_may_not_write_is_found_before_the_first_event(tmp_path: Path) -> None:
    with UnguardedRedis(tmp_path / "redis") as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+ping", "+info")
        settings = Redis(url=SecretStr(server.url), username="reader", password=SecretStr("secret"))
        ((finding, error),) = check_redis(Settings(redis=settings, cameras=CAMERAS))
        assert "its ACL forbids a command that is needed" in finding.text
        assert isinstance(error, BrokerError)
        with redis.Redis.from_url(server.url) as admin:
            assert admin.keys("*") == []  # nothing was written either time


def test_the_threshold_that_a_site_has_learned_is_shown(tmp_path: Path) -> None:
    embedder = tiny_models(tmp_path / "models") / "embedder"
    bundle = catalog.embedder(str(embedder))[1]
    with UnguardedRedis(tmp_path / "redis") as server:
        settings = Settings(
            redis=Redis(url=SecretStr(server.url)), cameras=CAMERAS, models=Models(embedder=str(embedder))
        )
        assert list(check_site(settings)) == []  # nothing has been learned
        with redis.Redis.from_url(server.url) as client:
            store = SnapshotStore(client, StateKeys.of(settings.site, bundle.hash))
            one = matcher_for(Match(), EmbedderInfo.of(bundle), settings.site)
            key = StateKeys.of(settings.site, bundle.hash).snapshots[1]
            used = MatcherSettings.of(settings.match, settings.publish, settings.topology)
            head = SnapshotHeader(
                place=0, position="1-0", run="r", sequence=1, number=0, made_at=0.0, settings=used, visits=[], taken={}
            )
            store.write(key, head, one.capture().parts())
            ((finding, error),) = check_site(settings)
            assert error is None
            assert (finding.check, finding.name, finding.result) == ("match", settings.site, "ok")
            assert finding.text.startswith("on this site, with 0 known people, a match needs")
            client.hset(key, "part:0", b"damaged")
        ((finding, error),) = check_site(settings)
        assert error is None
        assert (finding.result, "part 0 of 1 is damaged" in finding.text) == ("warning", True)


def test_a_cluster_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "redis", port, "--port", str(port), "--cluster-enabled", "yes"):
        findings, errors = checked(f"redis://127.0.0.1:{port}")
    assert "must not be a cluster" in findings[0].text
    assert errors


def test_folders_that_cannot_be_written_are_faults_and_used_ones_warnings(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    spool, store = SpoolSettings(directory=tmp_path / "spool"), Store(folder=file / "store")
    settings = Settings(cameras=CAMERAS, spool=spool, store=store)
    (good, none), (bad, error) = check_folders(settings)
    assert (good.check, good.result, none) == ("spool", "ok", None)
    assert not (tmp_path / "spool").exists()  # a check leaves nothing behind
    assert (bad.check, bad.result) == ("store", "failed")
    assert isinstance(error, ConfigError)
    held = Spool(tmp_path / "spool")
    (used, none), _ = check_folders(settings)
    held.close()
    assert (used.result, none) == ("warning", None)
    assert f"process {os.getpid()}" in used.text
    huge = Settings(cameras=CAMERAS, spool=SpoolSettings(directory=tmp_path / "spool", max_mb=1e12))
    ((small, _),) = check_folders(huge)
    assert small.result == "warning"
    assert "GB are free" in small.text


def test_the_size_of_a_site_is_reckoned_and_a_store_too_small_is_a_warning(tmp_path: Path) -> None:
    cameras = tuple(Camera(id=f"c{number}", url=SecretStr("rtsp://127.0.0.1/x")) for number in range(4))
    ((redis, none),) = check_sizing(Settings(cameras=cameras))
    assert (redis.check, redis.result, none) == ("sizing", "ok", None)
    assert "up to 1.18 GB: 1,000,000 events, 26 hours of 4 busy cameras, and 10,000 identities" in redis.text
    _, (store, none) = check_sizing(Settings(cameras=cameras, store=Store(folder=tmp_path)))
    assert (store.result, none) == ("warning", None)
    assert "store.max_gb 10 holds 1.4 days of 4 busy cameras, not the 30 of store.retention_s" in store.text
    assert "need 210 GB" in store.text
    fits = Settings(cameras=cameras, store=Store(folder=tmp_path, max_gb=250))
    assert [finding.name for finding, _ in check_sizing(fits)] == ["redis"]


def test_a_redis_with_less_memory_than_the_site_may_need_is_a_warning(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "redis", port, "--port", str(port), "--maxmemory", "100mb"):
        findings, errors = checked(f"redis://127.0.0.1:{port}")
    assert not errors
    assert [finding.text for finding in findings if "maxmemory is 0.10 GB" in finding.text]


def test_a_metrics_port_that_is_taken_is_a_fault(tmp_path: Path) -> None:
    spool = SpoolSettings(directory=tmp_path / "spool")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ((finding, error),) = check_metrics_port(Settings(cameras=CAMERAS, observe=Observe(port=port), spool=spool))
    assert finding.result == "failed"
    assert isinstance(error, ConfigError)
    assert f"observe.port must be free, 127.0.0.1:{port}" in str(error)


@pytest.mark.slow
def test_json_holds_every_check_and_its_exit_code_that_of_the_first_failure(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    clip = draw_clip(tmp_path / "a.mp4", seconds=1)
    cams = write_cams(tmp_path, {"a": clip, "b": "rtsp://me:hunter2@127.0.0.1:1/x"})
    ended = call("check", "--json", "--cameras", cams, models=models, home=tmp_path, timeout_s=200)
    report = json.loads(ended.out)
    assert ended.code == 1
    assert ended.err == ""
    assert report["ok"] is False
    results = {(one["check"], one["name"]): one["result"] for one in report["findings"]}
    assert results["camera", "a"] == "ok"
    assert results["camera", "b"] == "failed"
    assert {check for check, _ in results} >= {"cams.yaml", "model", "match", "spool", "redis", "camera"}
    facts = next(one["facts"] for one in report["findings"] if one["name"] == "a")
    assert facts["codec"] == "h264"
    assert "hunter2" not in ended.out
