"""Operator overrides: the command line, a real Redis, and the daemon as a process that is also killed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from benchmarks.rtsp.clips import color_clip
from reid_stream.cli import app
from reid_stream.errors import ReidStreamError
from reid_stream.publish.embedded_redis import EmbeddedRedis
from tests.integration.program import Running, running, write_cams

pytestmark = pytest.mark.timeout(180)
STATE = "state: {snapshot_s: 1, lease_s: 2}\nobserve: {port: null}"


class Site:
    """One site with two cameras and one person on each; the daemon may come and go."""

    def __init__(self, folder: Path, models: Path, url: str) -> None:
        self.home, self.models, self.url = folder, models, url
        # One after the other, so that it is known who is lab-1.
        cameras: dict[str, str | Path] = {
            name: f"{color_clip(folder / f'{name}.mp4', rgb, seconds=10)}, loop: true, start_after_s: {after}"
            for name, rgb, after in (("east", (255, 0, 0), 0), ("west", (0, 0, 255), 3))
        }
        self.cams = write_cams(folder, cameras, redis=url, more=STATE)
        self.client: Any = redis.Redis.from_url(url)

    def run(self, *words: str) -> str:
        """Ask by the command line; errors come as they are."""
        done = CliRunner().invoke(app, ["identity", *words[:1], "--url", self.url, "--site", "lab", *words[1:]])
        if isinstance(done.exception, ReidStreamError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout + done.stderr

    def people(self) -> dict[str, dict[str, Any]]:
        return {row["person"]: row for row in json.loads(self.run("list", "--json").splitlines()[-1])}

    def here(self) -> dict[str, list[str]]:
        """Who is on which camera now."""
        return {person: row["here"] for person, row in self.people().items() if row["here"]}

    def waiting(self) -> list[str]:
        """What is handed in and not answered."""
        return [
            entry["instruction"]["do"] for entry in json.loads(self.run("log", "--json")) if entry["answer"] is None
        ]

    def last_event(self, kind: str) -> dict[str, Any]:
        found = [
            f[b"event"] for _, f in self.client.xrevrange("reid:lab:events") if f[b"type"].decode() == f"{kind}.v1"
        ]
        data: dict[str, Any] = json.loads(found[0])["data"]
        return data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with EmbeddedRedis(folder / "redis") as server:
        yield Site(folder, models, server.url)


@pytest.fixture(scope="module")
def daemon(site: Site) -> Iterator[Running]:
    with running("--cameras", site.cams, "--plain", models=site.models, home=site.home) as started:
        started.until(lambda: len(site.here()) == 2)
        yield started


def test_people_are_merged_named_and_taken_apart_again(site: Site, daemon: Running) -> None:
    done = site.run("merge", "lab-2", "lab-1", "--who", "anna", "--why", "same coat")
    assert "lab-2 is lab-1" in done
    assert site.last_event("identity.merged")["by"] == "anna"
    daemon.until(lambda: site.here() == {"lab-1": ["east", "west"]})
    site.run("name", "lab-1", "Bea", "--who", "anna")
    assert site.people()["lab-1"]["label"] == "Bea"
    assert "Bea" in site.run("list")
    assert "lab-2 was lab-1" in site.run("show", "lab-1")
    merge = next(entry for entry in json.loads(site.run("log", "--json")) if entry["instruction"]["do"] == "merge")
    site.run("undo", merge["instruction"]["id"])
    daemon.until(lambda: site.here() == {"lab-1": ["east"], "lab-2": ["west"]})
    assert "same coat" in site.run("log")


def test_what_cannot_be_done_is_an_error_with_its_reason(site: Site, daemon: Running) -> None:
    with pytest.raises(ReidStreamError, match="lab-99 must be a global ID issued at lab"):
        site.run("merge", "lab-99", "lab-1")
    with pytest.raises(ReidStreamError, match="lab-99 must be known now"):
        site.run("show", "lab-99")
    with pytest.raises(ReidStreamError, match="a split must name what leaves"):
        site.run("split", "lab-1")
    with pytest.raises(ReidStreamError, match="two people must be merged"):
        site.run("merge", "lab-1", "lab-1")


def test_what_people_decided_outlives_a_kill_and_what_was_handed_in_meanwhile_is_done(
    site: Site, daemon: Running
) -> None:
    site.run("name", "lab-2", "Dora")
    daemon.process.kill()
    daemon.process.wait()
    assert "not answered yet" in site.run("name", "lab-1", "Cleo", "--wait", "0")
    assert site.waiting() == ["name"]
    with running("--cameras", site.cams, "--plain", models=site.models, home=site.home) as second:
        second.until(lambda: site.waiting() == [])
        second.until(lambda: len(json.loads(site.run("show", "lab-1", "--json"))["tracks"]) == 2)
        assert {person: row["label"] for person, row in site.people().items()} == {"lab-1": "Cleo", "lab-2": "Dora"}
        latest = json.loads(site.run("show", "lab-1", "--json"))["tracks"][-1]
        site.run("split", "lab-1", "--track", f"{latest['camera']}/{latest['run']}/{latest['track']}")
        second.until(lambda: site.here() == {"lab-3": ["east"], "lab-2": ["west"]})
        began = site.last_event("daemon.started")
        assert began["in_view"] == [["east", "lab-1"], ["west", "lab-2"]]  # of the one that was killed
        assert "lab-2 is erased" in site.run("erase", "lab-2", "--yes")
        assert "lab-2" not in site.people()
        assert site.last_event("identity.erased")["person"] == "lab-2"
        second.until(lambda: site.here() == {"lab-3": ["east"], "lab-4": ["west"]})  # still there, and a new person
