"""A site on many hosts for the drill: perceive hosts and identifications, each a process in its own namespace."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from msgspec import json as msgspec_json

from benchmarks.faults.bad_link import HERE, Namespace
from benchmarks.faults.replicated_redis import ReplicatedRedis, replicated_redis
from benchmarks.rtsp.clips import color_clip
from benchmarks.tiny_networks import tiny_models
from reid_stream.config.settings import Redis
from reid_stream.journal.lease import Owner
from reid_stream.publish.redis_client import connect
from reid_stream.runtime.hosts.camera_claims import read_shared

SITE = "drill"
COLORS = {"door": (200, 30, 30), "till": (30, 200, 30), "yard": (30, 30, 200)}
LEASE_S = 3
"""Lease of identification, seconds."""
CAMERAS_S = 5
"""Lease of a perceive host on its cameras, seconds."""
_PORT = 9464
_LOST = re.compile(r"^reid_stream_link_lost_total (\S+)$", re.MULTILINE)


@dataclass
class HostProcess:
    """One process of the site and its namespace; None for the one of the drill, whose link nothing can be done to."""

    name: str
    words: Sequence[str]
    home: Path
    environment: Mapping[str, str]
    namespace: Namespace | None
    process: "subprocess.Popen[bytes] | None" = None
    lost: int = 0
    """Observations that its processes have counted as lost."""
    _lost_now: int = 0
    _log_from: int = 0
    """Size of the log at the latest start."""

    def start(self) -> None:
        """Start it; its log is continued."""
        self.home.mkdir(exist_ok=True)
        enter = self.namespace.enter if self.namespace is not None else []
        with (self.home / "log").open("ab") as log:
            self._log_from = log.tell()
            self.process = subprocess.Popen(
                [*enter, sys.executable, "-m", "reid_stream", *self.words, "--plain"],
                stdout=log,
                stderr=log,
                env={**self.environment, "XDG_DATA_HOME": str(self.home)},
            )

    def has_logged(self, text: str) -> bool:
        """Whether it has logged this since its start."""
        with (self.home / "log").open("rb") as log:
            log.seek(self._log_from)
            return text.encode() in log.read()

    def signal(self, number: int) -> None:
        """Send a signal; after SIGKILL it is gone."""
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()
            self._lost_now = 0

    def look(self) -> None:
        """Start it again if it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            self._lost_now = 0
            self.start()

    def count_lost(self) -> None:
        """Read what its process has counted as lost; not without a namespace of its own."""
        if self.namespace is None:
            return
        with suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://{self.namespace.address}:{_PORT}/metrics", timeout=5) as answer:
                found = _LOST.search(answer.read().decode())
            now = int(float(found[1])) if found else 0
            self.lost, self._lost_now = self.lost + now - self._lost_now, now


class HostsSite:
    """Two perceive hosts, two identifications, and a replicated Redis."""

    def __init__(self, opened: ExitStack, folder: Path, *, has_links: bool) -> None:
        """Start everything, and wait until every camera's person is seen.

        `has_links`: whether namespaces can be made.
        """
        address = HERE if has_links else "127.0.0.1"
        spaces = [opened.enter_context(Namespace(number)) if has_links else None for number in range(1, 5)]
        self.redis: ReplicatedRedis = opened.enter_context(replicated_redis(folder / "redis", address))
        self.redis.wait_for_replica()
        self.client: Any = connect(Redis(), url=self.redis.url)
        opened.callback(self.client.close)
        models = tiny_models(folder / "models")
        clips = {name: color_clip(folder / f"{name}.mp4", rgb, seconds=20) for name, rgb in COLORS.items()}
        cameras = "".join(f"  - {{id: {name}, url: {clip}, loop: true, max_fps: 5}}\n" for name, clip in clips.items())
        observe = f"observe: {{host: 0.0.0.0, port: {_PORT if has_links else 'null'}}}\n"
        common = f"site: {SITE}\nredis: {{url: '{self.redis.url}'}}\n{observe}"
        (folder / "site.yaml").write_text(
            f"{common}state: {{lease_s: {LEASE_S}, snapshot_s: 5}}\nhosts: {{share_cameras: true}}\ncameras:\n{cameras}"
        )
        (folder / "part.yaml").write_text(f"{common}hosts: {{lease_s: {CAMERAS_S}}}\ncameras: shared\n")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("REID_STREAM", "XDG_"))}
        environment = {
            **kept, "REID_STREAM_MODELS": str(models), "XDG_CACHE_HOME": str(folder / "cache"), "NO_COLOR": "1",
            "COLUMNS": "200", "OMP_NUM_THREADS": "1",
        }  # fmt: skip

        def process(name: str, space: Namespace | None, *words: str) -> HostProcess:
            return HostProcess(name, words, folder / name, environment, space)

        self.identify = [
            process(f"identify-{n}", spaces[n - 1], "identify", "--cameras", str(folder / "site.yaml"), "--standby")
            for n in (1, 2)
        ]
        self.perceive = [
            process(
                f"host-{n}", spaces[n + 1], "perceive", "--cameras", str(folder / "part.yaml"), "--host", f"host-{n}"
            )
            for n in (1, 2)
        ]
        self.all = [*self.identify, *self.perceive]
        for one in self.all:
            one.start()
            opened.callback(_end, one)
        self._read_to = "-"
        self.events: list[dict[str, Any]] = []
        """All events on the stream, as they were read while it ran."""

    def read(self) -> None:
        """Read the events since the last look; nothing while Redis is away."""
        with suppress(redis.exceptions.RedisError, OSError):
            while page := self.client.xrange(f"reid:{SITE}:events", min=self._read_to, count=1000):
                self._read_to = f"({page[-1][0].decode()}"
                self.events += [json.loads(fields[b"event"]) for _, fields in page if b"event" in fields]

    def all_on_stream(self) -> list[dict[str, Any]]:
        """Return the events that the stream has in the end."""
        return [json.loads(fields[b"event"]) for _, fields in self.client.xrange(f"reid:{SITE}:events")]

    def active(self) -> HostProcess:
        """Return the identification that has the site.

        Raises:
            LookupError: none has it now.
        """
        with suppress(redis.exceptions.RedisError, OSError):
            for key in self.client.scan_iter(match=f"reid:{SITE}:state:*lease"):
                body = self.client.get(key)
                pid = 0 if body is None else msgspec_json.decode(body, type=Owner).pid
                for one in self.identify:
                    if one.process is not None and one.process.pid == pid:
                        return one
        raise LookupError("no identification has the site")

    def wait_until_whole(self, limit_s: float) -> bool:
        """Wait until both hosts have cameras and one identification waits; False beyond the limit."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            for one in self.all:
                one.look()
            with suppress(redis.exceptions.RedisError, OSError, LookupError):
                active = self.active()
                (other,) = (one for one in self.identify if one is not active)
                if len(set(read_shared(self.client, SITE)[1].values())) == 2 and other.has_logged("standby_waits"):
                    return True
            time.sleep(0.2)
        return False

    def has_seen_all_since(self, at: float) -> bool:
        """Whether a person was seen on every camera since a time, UTC seconds."""
        self.read()
        seen = {
            event["data"]["camera"]
            for event in self.events[-2000:]
            if event["type"].endswith("identity.seen.v1") and event["data"]["seen_at"] >= at
        }
        return seen >= COLORS.keys()

    def wait_for_all(self, at: float, limit_s: float) -> float | None:
        """Wait until a person was seen on every camera since a time; return the seconds, None beyond the limit.

        Processes that end are started again, as a service manager would.
        """
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if self.has_seen_all_since(at):
                after_s = time.time() - at
                for one in self.identify:
                    one.count_lost()
                return after_s
            for one in self.all:
                one.look()
            time.sleep(0.1)
        return None


def doubled(events: Sequence[dict[str, Any]]) -> int:
    """Return how many events have an ID that another one had before."""
    return len(events) - len({event["id"] for event in events})


def missing(events: Sequence[dict[str, Any]]) -> int:
    """Return how many events are missing between others of the same run."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for event in events:
        numbers[event["runid"]].add(int(event["sequence"]))
    return sum(max(found) + 1 - len(found) for found in numbers.values())


def changed_ids(events: Sequence[dict[str, Any]]) -> int:
    """Return how many IDs more than one each camera's only person has had."""
    people: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if event["type"].endswith("identity.seen.v1"):
            people[event["data"]["camera"]][event["data"]["person"]] += 1
    return sum(len(found) - 1 for found in people.values())


@contextmanager
def hosts_site(folder: Path, *, has_links: bool) -> Iterator[HostsSite]:
    """Run a site while the block does."""
    with ExitStack() as opened:
        yield HostsSite(opened, folder, has_links=has_links)


def _end(one: HostProcess) -> None:
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()
