"""`reid-stream topology`, and the section `topology` of cams.yaml."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from reid_stream.assembly.resources import topology_publisher
from reid_stream.cli import app
from reid_stream.config.cams_yaml import load
from reid_stream.config.settings import TopologySettings as Settings
from reid_stream.errors import ConfigError
from reid_stream.match.topology import Topology
from reid_stream.match.tracklets import Stay
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.latest_value import topology_key
from reid_stream.records import CameraId, TrackId

CAMERAS = "cameras:\n  - {id: a, url: a.mp4}\n  - {id: b, url: b.mp4}\n"


def stay(camera: str, first_at: float, last_at: float) -> Stay:
    return Stay(1, "run", CameraId(camera), TrackId(1), first_at, last_at)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Redis with what a daemon has learned: five went from door to till in 20 s, the yard overlaps the door."""
    known = Topology(Settings())
    for number in range(5):
        known.learn(stay("door", 0, 10), stay("till", 30, 40), [stay("yard", 5, 9)], float(number))
        known.learn(stay("door", 0, 10), stay("yard", 2, 8), [], float(number))
    with EmbeddedRedis(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        client.set(topology_key("shop"), msgspec.json.encode(known.state()))
        yield server.url


def test_a_running_sites_passages_are_listed_and_drawn(url: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `eval`")
    picture = tmp_path / "site.png"
    found = CliRunner().invoke(app, ["topology", "--url", url, "--site", "shop", "--json", "--plot", str(picture)])
    assert found.exit_code == 0, found.output
    first, second = msgspec.json.decode(found.stdout)
    assert (first["a"], first["b"], first["matches"], first["share"]) == ("door", "till", 5, 0.5)
    assert 15 <= first["times_s"][1] <= 30
    assert (second["b"], second["at_once"]) == ("yard", 1.0)
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = CliRunner().invoke(app, ["topology", "--url", url, "--site", "shop"]).stdout
    assert "3 cameras, 10 matches" in table


def test_the_daemon_keeps_what_it_learns_where_the_command_finds_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        (tmp_path / "cams.yaml").write_text(f"site: shop\nredis: {{url: '{server.url}'}}\n{CAMERAS}")
        known = Topology(Settings())
        with topology_publisher(load(tmp_path / "cams.yaml", {}), known, server.url) as publisher:
            publisher.decided((), 1.0)  # nothing is known yet
            known.learn(stay("a", 0, 10), stay("b", 30, 40), [], 2.0)
            publisher.decided((), 2.0)
            known.learn(stay("a", 0, 10), stay("b", 30, 40), [], 3.0)  # published when the daemon ends
        found = CliRunner().invoke(app, ["topology", "--url", server.url, "--site", "shop", "--json"])
        assert [(p["a"], p["b"], p["matches"]) for p in msgspec.json.decode(found.stdout)] == [("a", "b", 2)]


def test_a_site_without_a_topology_reports_what_is_missing(url: str) -> None:
    found = CliRunner().invoke(app, ["topology", "--url", url, "--site", "other"])
    assert isinstance(found.exception, ConfigError)
    assert "reid:other:state:topology must exist, found nothing" in str(found.exception)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("overlaps: [[a, z]]", "line 5: topology.overlaps[0]: must name cameras, found 'z'; allowed: a, b"),
        ("never: [[q, a]]", "line 5: topology.never[0]: must name cameras, found 'q'; allowed: a, b"),
        ("never: [[a, a]]", "line 5: topology.never[0]: a pair must be two cameras, found 'a' twice"),
        ("transit_s: {a->z: [1, 2, 3]}", "line 5: topology.transit_s.a->z: must name cameras, found 'z'"),
        ("transit_s: {a->b: [3, 2, 1]}", "must be [minimum, typical, maximum], rising, found [3, 2, 1]"),
        ("transit_s: {a-b: [1, 2, 3]}", "must name cameras, found 'a-b'"),
    ],
)
def test_a_statement_that_cannot_be_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "cams.yaml").write_text(f"{CAMERAS}topology:\n  {text}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "cams.yaml", {})
    assert fault in str(caught.value)


def test_statements_are_read(tmp_path: Path) -> None:
    text = "topology:\n  overlaps: [[a, b]]\n  transit_s: {a->b: [-1, 0, 2.5]}\n"
    (tmp_path / "cams.yaml").write_text(CAMERAS + text)
    found = load(tmp_path / "cams.yaml", {}).topology
    assert found.overlaps == (("a", "b"),)
    assert found.transits() == {("a", "b"): (-1, 0, 2.5)}
