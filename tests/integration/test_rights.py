"""The whole daemon on an external Redis, as the user that docs/guide/redis.md describes."""

from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.rtsp.clips import draw_clip
from tests.integration.program import call, running, tiny_models, write_cams
from tests.publish.test_rights import PASSWORD, denied, rules

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
MORE = (
    "observe: {port: 0}\nspool: {directory: spool}\nmatch: {similarity: 0.5}\nstate: {snapshot_s: 0.5, lease_s: 2}\n"
    "publish: {heartbeat_s: 0.5}"
)


def test_the_daemon_needs_no_other_rights_over_a_restart_and_an_erasure(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    clip = draw_clip(tmp_path / "a.mp4", seconds=5)
    with UnguardedRedis(tmp_path / "server") as server:
        admin: Any = redis.Redis.from_url(server.url)
        admin.execute_command("ACL", "SETUSER", "daemon", *rules()["daemon"])
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.execute_command("ACL", "LOG", "RESET")
        login = PASSWORD.replace(" ", "%20")
        url = server.url.replace("redis://", f"redis://daemon:{login}@")
        cams = write_cams(tmp_path, {"a": f"{clip}, loop: true"}, redis=url, more=MORE)
        cams.write_text(cams.read_text().replace("site: lab", "site: shop"))
        for life in range(2):
            with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
                daemon.until(lambda: "entered a" in daemon.out)
                assert "redis_may_evict" in daemon.err
                if life == 1:
                    assert "identities_restored" in daemon.err
                    erased = call(
                        "identity", "erase", "shop-1", "--yes", "--cameras", cams, models=models, home=tmp_path
                    )
                    assert "is erased" in erased.out, erased.err
                daemon.until(lambda: "heartbeat" in str(admin.xrevrange("reid:shop:events", count=20)))
                assert daemon.terminate(timeout_s=60).code == 0
        assert not denied(admin)
        admin.close()
