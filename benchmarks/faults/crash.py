"""Kill the daemon and Redis (-9) at any instant, damage snapshots, change machines: identities must persist.

Every case feeds the same footage to daemons that die and are restarted, each resuming where the last one ended; the
resulting stream is compared with that of an undisturbed daemon. People must keep their IDs, no one gets another's, and
every event must be there once: all events about people equal and in one order, event numbers without a gap.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from benchmarks.faults.crash_feed import RUN, SITE
from benchmarks.faults.crash_life import DaemonEnd, DaemonLife
from benchmarks.faults.report import DrillResult, figure, within
from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.errors import ReidStreamError
from reid_stream.publish.live_keys import stream_key

CASES = {
    "points": "killed at a random point: after any one message to or from Redis, or write to the spool",
    "kills": "killed (-9) again and again in the middle of the footage",
    "redis": "the same, and Redis with it",
    "moved": "killed, Redis' data copied to another folder, the spool lost",
    "corrupt": "killed, and the newest snapshot corrupted",
    "ended": "ended in order (SIGTERM), again and again",
}
_SNAPSHOT_S = 0.2
_PROGRESS = 100
_END_S = 120.0
"""Longest wait for a process that takes a second on a machine that has nothing else to do."""


class PublishedEvents(msgspec.Struct, frozen=True):
    """The stream and the live keys at the end."""

    people: list[Any]
    """All events about people: type, time, data."""
    numbers: list[int]
    """Sequence numbers of all events, in the stream's order."""
    live: dict[str, Any]
    """The live keys."""


class Daemons:
    """The process that is forked for every life."""

    def __init__(self, recording: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.crash_life", str(recording)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, life: DaemonLife) -> int:
        """Start a life; return its process."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(msgspec.json.encode(life).decode() + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def end(self) -> DaemonEnd:
        """Wait for the end of the life that was started.

        Raises:
            ReidStreamError: it ended by itself, and not in order.
        """
        death = msgspec.json.decode(self._read(), type=DaemonEnd)
        if death.code:
            raise ReidStreamError(f"a daemon must end in order or be killed, ended with code {death.code}; see above")
        return death

    def live(self, life: DaemonLife) -> DaemonEnd:
        """Wait for the end of a life, however it ends."""
        self.begin(life)
        return self.end()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._process.stdin.close()
        self._process.wait(_END_S)
        self._process.stdout.close()

    def _read(self) -> str:
        assert self._process.stdout is not None, "it is a pipe"
        line = self._process.stdout.readline()
        if not line:
            raise ReidStreamError("the process of the daemons must live as long as the drill; see above")
        return line


class CrashSite:
    """A Redis and a spool with what earlier daemons left there."""

    def __init__(self, folder: Path, daemons: Daemons, lasts_s: float) -> None:
        self._folder, self._daemons, self._lasts_s = folder, daemons, lasts_s
        self._redis = UnguardedRedis(folder / "redis")
        self._spool = folder / "spool"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.stop()

    @property
    def life(self) -> DaemonLife:
        """Return the job of an undisturbed life here."""
        return DaemonLife(url=self._redis.url, spool=str(self._spool), lasts_s=self._lasts_s, snapshot_s=_SNAPSHOT_S)

    def live(self, cut_at: int = 0) -> DaemonEnd:
        """Run a life until the footage ends, or until the cut."""
        return self._daemons.live(msgspec.structs.replace(self.life, cut_at=cut_at))

    def kill(self, after_s: float, number: int = signal.SIGKILL) -> DaemonEnd:
        """Start a life, and send it a signal after a while."""
        pid = self._daemons.begin(self.life)
        time.sleep(after_s)
        with suppress(ProcessLookupError):  # the footage was over
            os.kill(pid, number)
        return self._daemons.end()

    def kill_redis(self) -> None:
        """Kill Redis as a power cut does, and restart it from its files."""
        port = self._redis.port
        os.kill(self._redis.pid, signal.SIGKILL)
        self._redis.stop()
        self._redis = UnguardedRedis(self._redis.directory, port)

    def move(self) -> None:
        """Return another site with a copy of Redis' data and nothing else."""
        self._redis.stop()
        there = self._folder / f"{self._redis.directory.name}+"
        shutil.copytree(self._redis.directory, there)
        self._redis = UnguardedRedis(there)
        self._spool = self._folder / f"{self._spool.name}+"

    def spoil(self) -> bool:
        """Change one byte of the newest snapshot; False where there is none."""
        with self._client() as redis:
            newest = b""
            for key in redis.keys("reid:*:snapshot:*"):
                body = redis.hget(key, "part:0")
                if redis.hexists(key, "head") and len(body or b"") >= len(newest):
                    newest, place = body, key
            if not newest:
                return False
            redis.hset(place, "part:0", newest[:-1] + bytes([newest[-1] ^ 1]))
            return True

    def clear(self) -> None:
        """Delete everything."""
        shutil.rmtree(self._spool, ignore_errors=True)
        with self._client() as redis:
            redis.flushall()

    def careless(self) -> None:
        """Let Redis not wait for its disk, which is not tested here."""
        with self._client() as redis:
            redis.config_set("appendfsync", "no")

    def published(self) -> PublishedEvents:
        """Return the stream and the live keys."""
        with self._client() as redis:
            events = [json.loads(fields[b"event"]) for _, fields in redis.xrange(stream_key(SITE))]
            live = {key.decode(): redis.hgetall(key) for key in redis.keys(f"reid:{SITE}:identity:*")}
            live |= {key.decode(): redis.smembers(key) for key in redis.keys(f"reid:{SITE}:present:*")}
        return PublishedEvents(
            [(event["type"], event["time"], event["data"]) for event in events if ".identity." in event["type"]],
            [int(event["sequence"]) for event in events if event["runid"] == RUN],
            live,
        )

    @contextmanager
    def _client(self) -> Iterator[Any]:
        import redis

        client: Any = redis.Redis.from_url(self._redis.url)
        try:
            yield client
        finally:
            client.close()


def run(
    recording: Path,
    folder: Path,
    names: tuple[str, ...],
    *,
    points: int,
    kills: int,
    lasts_s: float,
    seed: int,
    progress: Callable[[str], None],
) -> list[DrillResult]:
    """Run cases by their names.

    Args:
        recording: input of all daemons.
        folder: empty; for Redis' data and spools.
        names: of CASES.
        points: number of random points.
        kills: number of kills in each of the other cases.
        lasts_s: duration of the footage in the cases that kill by the clock.
        seed: of the random generator.

    Raises:
        ReidStreamError: a daemon ended by itself.
        BrokerError: there is no redis-server.
    """
    daemons = Daemons(recording)
    try:
        with CrashSite(folder / "undisturbed", daemons, 0) as site:
            site.careless()
            traces = site.live().traces
            wanted = site.published()
            progress(f"drill crash: {len(wanted.people)} events about people, {traces} traces outside the process")
        found = []
        for name in names:
            chance = random.Random(f"{seed}{name}")
            began = time.monotonic()
            with CrashSite(folder / name, daemons, 0 if name == "points" else lasts_s) as site:
                if name == "points":
                    found += _points(site, points, traces, chance, wanted, progress)
                else:
                    found += _again_and_again(name, site, kills, lasts_s, chance, wanted)
            progress(f"drill crash: {name}, {time.monotonic() - began:.0f} s")
        return found
    finally:
        daemons.close()


def _points(
    site: CrashSite,
    count: int,
    traces: int,
    chance: random.Random,
    wanted: PublishedEvents,
    progress: Callable[[str], None],
) -> list[DrillResult]:
    """Kill lives at random points: once, or a second time while the next one recovers."""
    site.careless()
    killed = unlike = numbers = 0
    for number in range(count):
        if number and number % _PROGRESS == 0:
            progress(f"drill crash: {number} points, {unlike + numbers} found wrong")
        site.clear()
        for _ in range(chance.choice((1, 1, 2))):
            killed += site.live(cut_at=chance.randint(1, traces)).signal == signal.SIGKILL
        site.live()
        given = site.published()
        unlike += not _is_alike(given, wanted)
        numbers += _wrong_numbers(given)
    name = "points"
    return [
        figure(name, CASES[name], f"{count} points, {killed} daemons killed"),
        within(name, "points after which an event about people or a live key differs", unlike, 0, digits=0),
        within(name, "events lost or doubled", numbers, 0, digits=0),
    ]


def _again_and_again(
    name: str, site: CrashSite, kills: int, lasts_s: float, chance: random.Random, wanted: PublishedEvents
) -> list[DrillResult]:
    """End daemons by the clock, throughout the footage."""
    killed = altered = 0
    for number in range(kills):
        # A quarter of the time goes to recovery before a daemon continues.
        after_s = chance.uniform(0.0, 2.5 * lasts_s / kills)
        death = site.kill(after_s, signal.SIGTERM if name == "ended" else signal.SIGKILL)
        killed += death.signal != 0 or name == "ended"
        if name == "redis":
            site.kill_redis()
        if name == "moved" and number % 5 == 0:
            site.move()
        if name == "corrupt":
            altered += site.spoil()
    site.live()
    given = site.published()
    if name == "ended":
        # Visits end with the daemon and start again with the next one; identities do not.
        given, wanted = _but_visits(given), _but_visits(wanted)
    words = CASES[name] + (f" ({altered} times)" if name == "corrupt" else "")
    return [
        figure(name, words, f"{killed} of {kills} daemons ended before the footage did"),
        within(name, "events about people and live keys that differ", _differences(given, wanted), 0, digits=0),
        within(name, "events lost or doubled", _wrong_numbers(given), 0, digits=0),
    ]


def _is_alike(given: PublishedEvents, wanted: PublishedEvents) -> bool:
    return given.people == wanted.people and given.live == wanted.live


def _differences(given: PublishedEvents, wanted: PublishedEvents) -> int:
    """Count them."""
    unlike = sum(bool(a != b) for a, b in zip(given.people, wanted.people, strict=False))
    keys = given.live.keys() | wanted.live.keys()
    unlike += sum(bool(given.live.get(key) != wanted.live.get(key)) for key in keys)
    return unlike + abs(len(given.people) - len(wanted.people))


def _but_visits(published: PublishedEvents) -> PublishedEvents:
    visits = ("entered", "seen", "left")
    people = [event for event in published.people if not any(f".{name}." in event[0] for name in visits)]
    return msgspec.structs.replace(published, people=people, live={})


def _wrong_numbers(given: PublishedEvents) -> int:
    """Count numbers that are missing, doubled, or out of order."""
    return sum(a != b for a, b in zip(given.numbers, range(len(given.numbers)), strict=True))
