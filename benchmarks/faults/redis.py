"""Let Redis die, hang, fill up or refuse: subscribers must get the same events as if nothing had happened.

Every case has its own daemon and redis-server, fed with the same footage, and a subscriber process that is killed (-9)
and restarted. Two cases per core run side by side. The stream, the live keys and every line of the subscriber are
compared with those of an undisturbed case.
"""

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults import redis_faults as faults
from benchmarks.faults import redis_subscriber as subscriber
from benchmarks.faults.redis_compare import StoredEvents, but_for_liveness, differences, doubled, ids, reported_dropped
from benchmarks.faults.redis_feed import RUN, RecordedFeed, TimingSink, daemon, watch
from benchmarks.faults.report import DrillResult, at_least, figure, within
from reid_stream.assembly.identification import identification, unrecorded_state
from reid_stream.config.settings import Camera, Publish, Settings
from reid_stream.errors import ConfigError
from reid_stream.publish.redis_client import TIMEOUT_S, connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.runtime.watchdog import Worker

CASES: dict[str, tuple[str, faults.Fault]] = {
    "undisturbed": ("nothing happens", faults.nothing),
    "killed": ("kill -9", faults.killed),
    "frozen": ("SIGSTOP", faults.frozen),
    "paused": ("takes writes and does not answer (CLIENT PAUSE)", faults.paused),
    "full": ("maxmemory reached", faults.full),
    "read-only": ("a replica that refuses writes", faults.read_only),
    "locked": ("the user's password changed", faults.locked),
    "forbidden": ("the user may not XADD (ACL)", faults.forbidden),
    "spool-full": ("kill -9, and room for a tenth of the events on disk", faults.killed),
}
_BACK_S = TIMEOUT_S + 5.0
"""A send that hangs ends at its time-out and is retried within two seconds; the rest is for the work."""
_WAITS_S = 0.5
"""Bound: the daemon hands events over in far less, and never waits for Redis."""
_SLOW_S = 120.0
"""Longest wait for what takes a second on a machine that has nothing else to do."""
_FULL_BYTES = 65_536


@dataclass(frozen=True)
class Pace:
    """Durations of a drill, in seconds."""

    footage_s: float
    before_s: float
    away_s: float
    after_s: float
    timeout_s: float = TIMEOUT_S
    """Time-out of the daemon; less than `away_s`, or a Redis that hangs goes unnoticed."""

    @property
    def lasts_s(self) -> float:
        """Duration of a whole run."""
        return self.before_s + self.away_s + self.after_s


LONG = Pace(footage_s=40, before_s=10, away_s=30, after_s=20)
SLICE = ("undisturbed", "killed", "frozen", "full", "spool-full")
"""The cases of a short drill."""
SHORT = Pace(footage_s=12, before_s=1.5, away_s=3, after_s=3.5, timeout_s=1)


@dataclass(frozen=True)
class Run:
    """Outcome of one case."""

    left: StoredEvents
    received: list[str]
    back_s: float
    """Time from the end of the fault until everything that waited was on the stream."""
    waited: int
    """Largest number of events that waited."""
    longest_s: float
    """99th percentile of the daemon's wait for its sink."""
    faults: dict[str, int]
    dropped: Counter[str]


def default_settings(clip: Path) -> Settings:
    """Return the settings of two cameras with the same clip, one a second later."""
    seen = {"url": str(clip), "max_fps": 5}
    cameras = [{"id": "east", **seen}, {"id": "west", "start_after_s": 1, **seen}]
    # Frequent events, so that a loss shows.
    return Settings(
        site="drill",
        cameras=tuple(Camera.model_validate(camera) for camera in cameras),
        publish=Publish(seen_interval_s=0.2),
    )


def run(settings: Settings, names: tuple[str, ...], pace: Pace, progress: Callable[[str], None]) -> list[DrillResult]:
    """Run cases by their names, and the undisturbed one beside them.

    Raises:
        ConfigError: there is no such case.
        ModelError, StreamError: the footage cannot be perceived.
        BrokerError: there is no redis-server.
    """
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        raise ConfigError(f"a case must be one of {', '.join(CASES)}, got {', '.join(unknown)}")
    progress(f"drill redis: {pace.footage_s:g} s of footage through detector, tracker and embedder, once")
    feed = watch(settings, pace.footage_s)
    chosen = ["undisturbed", *(name for name in names if name != "undisturbed")]
    at_once = min(len(chosen), 2 * len(os.sched_getaffinity(0)))
    progress(f"drill redis: {len(chosen)} daemons and Redis servers, {at_once} at a time, {pace.lasts_s:g} s each")
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as folder, ThreadPoolExecutor(at_once) as pool:
        running = {name: pool.submit(_live, feed, settings, name, Path(folder) / name, pace) for name in chosen}
        done = {name: future.result() for name, future in running.items()}
    undisturbed = done["undisturbed"]
    return [finding for name in chosen for finding in judge(name, done[name], undisturbed)]


def judge(name: str, ours: Run, undisturbed: Run) -> list[DrillResult]:
    """Compare an outcome with its bounds."""
    words, _ = CASES[name]
    wrong = sum(a != b for a, b in zip(ours.received, ids(ours.left), strict=False))
    wrong += abs(len(ours.received) - len(ours.left.bodies))
    found = [figure(name, words, f"{len(ours.left.bodies)} events, up to {ours.waited} waited {_reasons(ours)}")]
    if name == "spool-full":
        unlike = differences(but_for_liveness(ours.left), but_for_liveness(undisturbed.left))
        silent = reported_dropped(ours.left)
        found += [
            _none(name, "differences, `seen` and heartbeats aside", len(unlike), unlike),
            at_least(name, "`seen` and heartbeats dropped", ours.dropped["liveness"], 1, digits=0),
            _none(name, "dropped and not in daemon.dropped", sum((ours.dropped - silent).values())),
        ]
    else:
        unlike = differences(ours.left, undisturbed.left)
        found.append(_none(name, "differences in events and live keys", len(unlike), unlike))
    return [
        *found,
        _none(name, "doubled events on the stream", doubled(ours.left)),
        _none(name, "differences of the subscriber's lines, killed and started again", wrong),
        within(name, "all events there after Redis was back", ours.back_s, _BACK_S, "s", is_speed=True),
        within(name, "the daemon waits for its sink, p99", ours.longest_s, _WAITS_S, "s", digits=3, is_speed=True),
    ]


def _none(name: str, what: str, count: int, examples: Sequence[str] = ()) -> DrillResult:
    return DrillResult(name, what, f"{count}{''.join(f'; {text}' for text in examples[:3])}", "0", count == 0)


def _reasons(ours: Run) -> str:
    return f"({', '.join(sorted(ours.faults))})" if ours.faults else ""


def _live(feed: RecordedFeed, settings: Settings, name: str, folder: Path, pace: Pace) -> Run:
    """Run one case, from an empty Redis to the end of the footage."""
    server = faults.Server(folder / "redis", settings.site)
    received = folder / "received.txt"
    listening = subscriber.start(received, settings.site, server.url, server.login)
    try:
        client = connect(server.login, url=server.url, timeout_s=pace.timeout_s)
        room = {"max_bytes": _FULL_BYTES} if name == "spool-full" else {}
        spool = Spool(folder / "spool", **room)
        sink = RedisSink(client, where=server.url, site=settings.site, run=RUN, spool=spool)
        timed = TimingSink(sink)
        # A process takes a while to start on a busy machine; the file is there once it listens.
        _until(received.exists, _SLOW_S)
        steps = identification(settings, unrecorded_state(settings, feed.embedder, timed), RUN)
        worker = Worker(name, partial(daemon(feed, steps, timed, pace.lasts_s).run, threading.Event()))
        time.sleep(pace.before_s)
        with CASES[name][1](server):
            listening.kill()
            listening.wait()
            time.sleep(pace.away_s)
            waited = sink.backlog
        back_at = time.monotonic()
        listening = subscriber.start(received, settings.site, server.url, server.login)
        # The daemon keeps publishing meanwhile: what counts is the moment when nothing waits.
        _until(lambda: sink.backlog == 0 and sink.away is None, pace.after_s + _BACK_S)
        back_s = time.monotonic() - back_at
        worker.ended.wait(pace.lasts_s + _SLOW_S)
        if worker.error is not None:
            raise worker.error
        _until(lambda: listening.poll() is not None, _SLOW_S)
        return Run(
            left=_left(server),
            received=subscriber.received(received),
            back_s=back_s,
            waited=waited,
            longest_s=timed.longest_s,
            faults=dict(sink.counters.faults),
            dropped=sink.counters.dropped,
        )
    finally:
        listening.kill()
        listening.wait()
        server.close()


def _left(server: faults.Server) -> StoredEvents:
    """Read everything that is on Redis."""
    live: dict[str, object] = {}
    bodies: list[bytes] = []
    for key in sorted(server.admin.keys("reid:*")):
        if b":state:sent" in key:
            continue  # positions depend on when events were sent
        kind = server.admin.type(key)
        if kind == b"stream":
            bodies = [fields[b"event"] for _, fields in server.admin.xrange(key)]
        else:
            read = {b"hash": server.admin.hgetall, b"set": server.admin.smembers, b"string": server.admin.get}[kind]
            live[key.decode()] = read(key)
    return StoredEvents(bodies, live)


def _until(holds: Callable[[], bool], timeout_s: float) -> None:
    """Wait until `holds` is true, or long enough to see that it will not be."""
    end = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
