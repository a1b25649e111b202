"""Check that a site loses and repeats nothing: IDs far ahead of the clock, takeovers, an empty or old Redis.

Every case runs identification and publication on a real Redis with a real spool, fed with simulated people whose truth
is known. Two cases have a second daemon with its own spool.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from benchmarks.faults.crash_feed import SITE, feed, made_up, settings
from benchmarks.faults.redis_feed import RecordedFeed
from benchmarks.faults.report import DrillResult, at_least, figure, within
from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.assembly.identification import identification, open_state
from reid_stream.assembly.site_state import SiteState
from reid_stream.config.settings import Redis, Settings, StateSettings
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.evaluation.recording import save
from reid_stream.publish.live_keys import numbers_key, stream_key

CASES = {
    "far-id": "another writer adds entries with IDs far ahead of the clock, finally the highest possible one",
    "takeover": "a daemon cut off from Redis comes back after another one has taken over and ended",
    "fenced-twice": "the daemon that took over is cut off as well; both come back, then each is started again",
    "emptied": "Redis loses everything while the daemon runs, which is killed (-9) seconds later",
    "restored": "the same, but Redis comes back with an old copy",
    "numbers": "the same without state: are IDs given again?",
}
_STREAM = stream_key(SITE)
_WAIT_S = 60.0
"""Longest wait for what takes a second on an idle machine."""
_CUT_OFF = "cut-off"
_KEEP_S = 1.0


class StateSite:
    """A Redis, and daemons each with its own spool."""

    def __init__(self, folder: Path, fed: RecordedFeed, *, state: bool = True) -> None:
        self.folder, self.fed, self._state = folder, fed, state
        self.server = UnguardedRedis(folder / "redis")
        self.raw = self._client()

    def close(self) -> None:
        """End Redis."""
        self.raw.close()
        self.server.stop()

    def settings(self, spool: str, user: str | None = None) -> Settings:
        """Return the settings of a daemon with a spool of this name."""
        given = settings(self.fed, self.server.url, self.folder / spool, snapshot_s=3600)
        redis = Redis(
            url=SecretStr(self.server.url), username=user, password=None if user is None else SecretStr("secret")
        )
        state = StateSettings(enabled=self._state, snapshot_s=3600, lease_s=1)
        # Delivered events are soon deleted, so that some are lost for good when Redis loses them.
        kept = given.spool.model_copy(update={"keep_s": _KEEP_S})
        return given.model_copy(update={"redis": redis, "state": state, "spool": kept})

    @contextmanager
    def daemon(
        self, spool: str, run: str, *, is_killed: bool = False, user: str | None = None
    ) -> "Iterator[StateLife]":
        """Assemble identification and publication of a live site; once killed it sends and writes nothing more."""
        given = self.settings(spool, user)
        wired = open_state(given, self.fed.embedder, run=run)
        life = StateLife(self, given, wired.__enter__(), run)
        try:
            yield life
        finally:
            life.end(is_killed=is_killed)
            if is_killed:
                # The lease of a killed process expires by itself; this process lives.
                self.raw.delete(*self.raw.keys("reid:*:lease") or ["none"])
            with suppress(BrokerError):
                wired.__exit__(None, None, None)

    def restart_redis(self, copy: Path | None = None) -> None:
        """Kill Redis, and start it with the dump of `save`, or empty."""
        port = self.server.port
        self.raw.close()
        self.server.stop()
        for file in sorted((self.folder / "redis").rglob("*"), reverse=True):
            if file.name not in ("lock", "redis.log"):
                file.rmdir() if file.is_dir() else file.unlink()
        if copy is not None:
            (self.folder / "redis" / "dump.rdb").write_bytes(copy.read_bytes())
        self.server = UnguardedRedis(self.folder / "redis", port, is_durable=copy is None)
        self.raw = self._client()

    def save(self) -> Path:
        """Return a dump of what Redis has now."""
        self.raw.save()
        copy = self.folder / "copy.rdb"
        copy.write_bytes((self.folder / "redis" / "dump.rdb").read_bytes())
        return copy

    def events(self) -> list[dict[str, Any]]:
        """Return the events on the stream."""
        return [json.loads(fields[b"event"]) for _, fields in self.raw.xrange(_STREAM) if b"event" in fields]

    def live(self) -> dict[str, Any]:
        """Return the live keys."""
        found = {key.decode(): self.raw.hgetall(key) for key in self.raw.keys(f"reid:{SITE}:identity:*")}
        found |= {key.decode(): self.raw.smembers(key) for key in self.raw.keys(f"reid:{SITE}:present:*")}
        return found | {"numbers": self.raw.get(numbers_key(SITE))}

    def snapshots(self) -> int:
        """Count the snapshots that are whole."""
        return sum(bool(self.raw.hexists(key, "head")) for key in self.raw.keys("reid:*:snapshot:*"))

    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.server.url)


class StateLife:
    """Identification and publication of one daemon."""

    def __init__(self, site: StateSite, given: Settings, state: SiteState, run: str) -> None:
        assert state.redis is not None, "events go to Redis"
        self.sending, self.people = state.redis, state.matcher
        self._steps = identification(given, state, run)
        self._sink, self._site, self._run = state.sink, site, run

    def see(self, begin: float, end: float) -> None:
        """Process a part of the footage, given as shares of it."""
        batches = [records for records in self._site.fed.batches if records]
        for records in batches[int(begin * len(batches)) : int(end * len(batches))]:
            ours = [msgspec.structs.replace(record, run=self._run) for record in records]
            self._steps.commit(self._steps.step(ours, max(record.seen_at for record in ours)))

    def idle(self) -> bool:
        """Run identification without records, as in a quiet scene; return True."""
        self._steps.commit(self._steps.step([], 0.0))
        return True

    def flush(self) -> bool:
        """Wait until all is on Redis."""
        return bool(self.sending.flush(_WAIT_S))

    def end(self, *, is_killed: bool) -> None:
        """Stop; a killed one leaves no last snapshot, and does not send what is queued."""
        if is_killed:
            self.sending.close(0.0)
            # The kernel would do this.
            _until(lambda: not self.sending.is_sending)
            self.sending.spool.close()
        else:
            self._steps.close(2)


def run(names: tuple[str, ...], *, people: int, progress: Callable[[str], None]) -> list[DrillResult]:
    """Run cases by their names, with this number of simulated people.

    Raises:
        ConfigError: there is no such case.
        BrokerError: there is no redis-server.
    """
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        raise ConfigError(f"a case must be one of {', '.join(CASES)}, got {', '.join(unknown)}")
    found = []
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as given:
        folder = Path(given)
        save(made_up(people), folder / "feed.rec")
        fed = feed(folder / "feed.rec")
        for name in names:
            began = time.monotonic()
            found += run_case(name, fed, folder / name)
            progress(f"drill state: {name}, {time.monotonic() - began:.0f} s")
    return found


def run_case(name: str, fed: RecordedFeed, folder: Path) -> list[DrillResult]:
    """Run one case in an empty folder."""
    site = StateSite(folder, fed, state=name != "numbers")
    try:
        return _RUNS[name](name, site)
    finally:
        site.close()


def _far_id(name: str, site: StateSite) -> list[DrillResult]:
    journal = ""
    with site.daemon("a", "one") as life:
        life.see(0.0, 0.3)
        life.flush()
        journal = site.raw.keys("reid:*:journal")[0].decode()
        for key, far in ((_STREAM, "9999999999999-0"), (journal, f"{int(time.time() * 1e6)}-0")):
            site.raw.execute_command("XADD", key, far, "foreign", "1")
        life.see(0.3, 0.6)
        sent = life.flush()
    with site.daemon("a", "two") as life:
        life.see(0.6, 0.7)
        sent &= life.flush()
        site.raw.execute_command("XADD", _STREAM, f"{2**64 - 1}-{2**64 - 1}", "foreign", "1")
        life.see(0.7, 0.8)
        _until(lambda: life.sending.away is not None)
        why = life.sending.away or ""
        site.raw.rename(_STREAM, f"{_STREAM}:old")
        life.see(0.8, 1.0)
        mended = life.flush()
    return [
        figure(name, CASES[name], f"{len(site.events())} events"),
        _yes(name, "events continue after a far ID, after a restart, too", sent),
        _yes(name, "the highest possible ID is reported with the way to repair it", "redis-cli RENAME" in why),
        _yes(name, "repaired, events continue", mended),
        within(name, "event numbers missing or doubled", _gaps(site, "two"), 0, digits=0),
    ]


def _takeover(name: str, site: StateSite) -> list[DrillResult]:
    site.raw.execute_command("ACL", "SETUSER", _CUT_OFF, "on", ">secret", "~*", "&*", "+@all")
    with site.daemon("a", "one", user=_CUT_OFF) as first:
        first.see(0.0, 0.4)
        first.flush()
        site.raw.execute_command("ACL", "SETUSER", _CUT_OFF, "off")
        site.raw.execute_command("CLIENT", "KILL", "USER", _CUT_OFF)
        first.see(0.4, 0.7)
        waited = first.sending.backlog
        with site.daemon("b", "other") as second:
            second.see(0.4, 0.7)
            second.flush()
        before = site.events()
        site.raw.execute_command("ACL", "SETUSER", _CUT_OFF, "on")
        # The lease is free now; the first daemon must not take it back.
        time.sleep(1.5)
        is_refused = _raises(first.idle)
        sent_late = len(site.events()) - len(before)
    with site.daemon("a", "three") as third:
        third.see(0.7, 1.0)
        third.flush()
        dropped = third.sending.counters.lost["stale"]
    events = site.events()
    entered = [event["data"]["person"] for event in events if event["type"].endswith("identity.entered.v1")]
    stale = [event for event in events[len(before) :] if event["runid"] == "one"]
    news = [event["data"] for event in events if event["type"].endswith("daemon.dropped.v1")]
    reported = sum(entry["identity"] + entry["liveness"] + entry["operation"] + entry["journal"] for entry in news)
    return [
        figure(name, CASES[name], f"{len(entered)} visits, {waited} rows waited at the daemon that was cut off"),
        at_least(name, "rows that waited", waited, 1, digits=0),
        _yes(name, "the daemon that was cut off finds that another one has the site", is_refused),
        within(name, "its events sent after the takeover", sent_late + len(stale), 0, digits=0),
        within(name, "rows dropped as stale and not counted", abs(waited - dropped), 0, digits=0),
        within(name, "rows dropped as stale and not in daemon.dropped", abs(waited - reported), 0, digits=0),
    ]


def _fenced_twice(name: str, site: StateSite) -> list[DrillResult]:
    waited: list[int] = []
    lives: list[StateLife] = []
    with ExitStack() as stack:
        for spool, begin in (("a", 0.0), ("b", 0.2)):
            site.raw.execute_command("ACL", "SETUSER", spool, "on", ">secret", "~*", "&*", "+@all")
            life = stack.enter_context(site.daemon(spool, f"cut-{spool}", user=spool))
            life.see(begin, begin + 0.2)
            life.flush()
            site.raw.execute_command("ACL", "SETUSER", spool, "off")
            site.raw.execute_command("CLIENT", "KILL", "USER", spool)
            life.see(begin + 0.2, begin + 0.3)
            waited.append(life.sending.backlog)
            lives.append(life)
        before, dropped, is_refused = len(site.events()), 0, True
        for life, spool, begin, end in ((lives[0], "a", 0.4, 0.6), (lives[1], "b", 0.6, 1.0)):
            site.raw.execute_command("ACL", "SETUSER", spool, "on")
            time.sleep(1.5)
            is_refused &= _raises(life.idle)
            life.end(is_killed=True)
            with site.daemon(spool, f"again-{spool}") as again:
                again.see(begin, end)
                again.flush()
                dropped += again.sending.counters.lost["stale"]
    late = [event for event in site.events()[before:] if event["runid"].startswith("cut-")]
    return [
        figure(name, CASES[name], f"{waited[0]} and {waited[1]} rows waited"),
        at_least(name, "rows that waited", min(waited), 1, digits=0),
        _yes(name, "both find that another daemon has had the site", is_refused),
        within(name, "events sent after a takeover", len(late), 0, digits=0),
        within(name, "rows dropped as stale and not counted", abs(sum(waited) - dropped), 0, digits=0),
    ]


def _emptied(name: str, site: StateSite) -> list[DrillResult]:
    copy = None
    with site.daemon("a", "one", is_killed=True) as life:
        life.see(0.0, 0.3)
        life.flush()
        if name == "restored":
            copy = site.save()
        time.sleep(2 * _KEEP_S)
        life.see(0.3, 0.6)
        life.flush()
        before, live = site.events(), site.live()
        if copy is not None:
            site.restart_redis(copy)
        else:
            site.raw.flushall()
        began = time.monotonic()
        people = len(life.people)
        _until(lambda: life.sending.counters.lost["redis"] + life.sending.counters.resent > 0)
        _until(lambda: life.idle() and site.snapshots() > 0 and site.live() == live)
        took_s = time.monotonic() - began
        life.flush()
        after, again = site.events(), site.live()
    unlike = sum(again.get(key) != live.get(key) for key in {*again, *live})
    missing = {event["id"] for event in before} - {event["id"] for event in after}
    news = [event["data"] for event in after if event["type"].endswith("daemon.dropped.v1")]
    reported = sum(entry["identity"] + entry["liveness"] + entry["operation"] for entry in news)
    with site.daemon("a", "two") as life:
        kept = len(life.people)
        life.see(0.6, 1.0)
        life.flush()
        later = site.events()
    given = [event["data"]["person"] for event in later if event["type"].endswith("identity.entered.v1")]
    known = {event["data"]["person"] for event in before if "identity" in event["type"]}
    returned = sum(person in known for person in given[len(given) // 4 :])
    return [
        figure(name, CASES[name], f"{len(before)} events before, {len(missing)} gone"),
        within(name, "until live keys and a snapshot are there again", took_s, 30, "s"),
        within(name, "live keys that differ from before", unlike, 0, digits=0),
        within(name, "events gone and not in daemon.dropped", abs(len(missing) - reported), 0, digits=0),
        within(name, "people forgotten after kill -9", people - kept, 0, digits=0),
        at_least(name, "visits of known people after it", returned, 1, digits=0),
        within(name, "global IDs assigned twice", _given_twice(known, given, people), 0, digits=0),
    ]


def _numbers(name: str, site: StateSite) -> list[DrillResult]:
    with site.daemon("a", "one", is_killed=True) as life:
        life.see(0.0, 0.5)
        life.flush()
        known = {event["data"]["person"] for event in site.events() if "identity" in event["type"]}
    site.raw.flushall()
    with site.daemon("a", "two") as life:
        life.see(0.5, 1.0)
        life.flush()
    given = {
        event["data"]["person"]
        for event in site.events()
        if "identity" in event["type"] and event["data"].get("run") == "two"
    }
    return [
        figure(name, CASES[name], f"{len(known)} IDs before, {len(given)} after"),
        at_least(name, "IDs after it", len(given), 1, digits=0),
        within(name, "IDs assigned twice", len(known & given), 0, digits=0),
    ]


_RUNS: dict[str, Callable[[str, StateSite], list[DrillResult]]] = {
    "far-id": _far_id,
    "takeover": _takeover,
    "fenced-twice": _fenced_twice,
    "emptied": _emptied,
    "restored": _emptied,
    "numbers": _numbers,
}


def _given_twice(known: set[str], given: list[str], people: int) -> int:
    """Count IDs used for two people: numbers given twice, or more people than IDs."""
    numbers = [int(person.rpartition("-")[2]) for person in {*known, *given}]
    return len(numbers) - len(set(numbers)) + (people > len(known))


def _gaps(site: StateSite, run: str) -> int:
    """Count numbers of a run's events that are missing, doubled, or out of order."""
    old = [json.loads(fields[b"event"]) for _, fields in site.raw.xrange(f"{_STREAM}:old") if b"event" in fields]
    numbers: dict[str, int] = {}
    for event in [*old, *site.events()]:
        if event["runid"] == run:
            numbers.setdefault(event["id"], int(event["sequence"]))
    return sum(a != b for a, b in zip(numbers.values(), range(len(numbers)), strict=True))


def _yes(name: str, what: str, holds: bool) -> DrillResult:
    return DrillResult(name, what, "yes" if holds else "no", "yes", holds)


def _raises(work: Callable[[], object]) -> bool:
    try:
        work()
    except BrokerError:
        return True
    return False


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
