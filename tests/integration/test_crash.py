"""The program killed and started again as a service manager does, on live cameras and a real Redis: the ID stays."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.rtsp.clips import draw_clip
from reid_stream.bundles.wrap import wrap
from reid_stream.events import DaemonStarted, Event, IdentityEntered, IdentityLeft, IdentitySeen
from reid_stream.publish.cloudevents import UnknownEvent, decode
from reid_stream.publish.embedded_redis import EmbeddedRedis
from tests.engines.networks import channel_means
from tests.integration.program import Running, call, running, tiny_models, write_cams

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
MORE = (
    "observe: {{port: null}}\nspool: {{directory: {spool}}}\nmatch: {{similarity: 0.5}}\n"
    "state: {{snapshot_s: 0.5, lease_s: 3}}\npublish: {{seen_interval_s: 0.2}}"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def events_of(url: str) -> list[Event]:
    client: Any = redis.Redis.from_url(url)
    found = [decode(fields[b"event"]).data for _, fields in client.xrange("reid:lab:events")]
    client.close()
    return [event for event in found if not isinstance(event, UnknownEvent)]


def people(events: list[Event]) -> set[str]:
    return {event.person for event in events if isinstance(event, IdentityEntered | IdentitySeen | IdentityLeft)}


def lives(url: str) -> list[list[Event]]:
    """Events by daemon."""
    found: list[list[Event]] = [[]]
    for event in events_of(url):
        if isinstance(event, DaemonStarted):
            found.append([])
        found[-1].append(event)
    return found[1:]


def looks(daemon: Running, url: str, life: int) -> None:
    """Wait until a daemon has published a person, twice."""

    def has_seen() -> bool:
        found = lives(url)
        return len(found) > life and sum(isinstance(event, IdentitySeen) for event in found[life]) >= 2

    daemon.until(has_seen, timeout_s=200)


def site(folder: Path, server: EmbeddedRedis, spool: str = "spool") -> Path:
    clip = draw_clip(folder / "a.mp4", seconds=5)
    return write_cams(folder, {"a": f"{clip}, loop: true"}, redis=server.url, more=MORE.format(spool=folder / spool))


def test_a_person_in_view_of_a_daemon_that_is_killed_keeps_the_id(server: EmbeddedRedis, tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    cams = site(tmp_path, server)
    for life in range(2):
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            looks(daemon, server.url, life)
            os.kill(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        looks(daemon, server.url, 2)
        assert "identities_restored" in daemon.err
        ended = daemon.terminate(timeout_s=60)
    assert ended.code == 0
    assert people(events_of(server.url)) == {"lab-1"}
    visits = [event for event in events_of(server.url) if isinstance(event, IdentityEntered | IdentityLeft)]
    assert [type(event) for event in visits] == [IdentityEntered, IdentityLeft] * (len(visits) // 2)


def test_after_an_end_in_order_elsewhere_with_another_spool_the_id_is_the_same(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    models = tiny_models(tmp_path / "models")
    for life, spool in enumerate(("here", "there")):
        with running("--cameras", site(tmp_path, server, spool), "--plain", models=models, home=tmp_path) as daemon:
            looks(daemon, server.url, life)
            daemon.terminate(timeout_s=60)
    assert people(events_of(server.url)) == {"lab-1"}


def test_a_second_daemon_is_refused_while_the_first_one_lives(server: EmbeddedRedis, tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    with running("--cameras", site(tmp_path, server), "--plain", models=models, home=tmp_path) as daemon:
        looks(daemon, server.url, 0)
        began = time.monotonic()
        other = call("--cameras", site(tmp_path, server, "other"), models=models, home=tmp_path, timeout_s=200)
        assert other.code == 6
        assert f"process {daemon.process.pid}" in other.err
        assert time.monotonic() - began < 100
        assert daemon.process.poll() is None


def test_another_model_starts_with_no_identities_reports_it_and_gives_no_number_again(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    cams = site(tmp_path, server)
    with running("--cameras", cams, "--plain", models=tiny_models(tmp_path / "models"), home=tmp_path) as daemon:
        looks(daemon, server.url, 0)
        daemon.terminate(timeout_s=60)
    other = tiny_models(tmp_path / "other")
    shutil.rmtree(other / "embedder")
    network = channel_means(other / "f.onnx", height=64, width=32, dim=6)
    wrap(network, other / "embedder", kind="embedder", licence="MIT")
    with running("--cameras", cams, "--plain", models=other, home=tmp_path) as daemon:
        looks(daemon, server.url, 1)
        assert "identities_reset_other_model" in daemon.err
        daemon.terminate(timeout_s=60)
    first, second = (people(events) for events in lives(server.url))
    assert first == {"lab-1"}
    assert second == {"lab-2"}
