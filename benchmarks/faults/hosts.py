"""Drill of a site on many hosts: every process killed in turn, every link cut, delayed and out of order.

Two perceive hosts share three cameras, each with one person who never moves; one identification has the site and one
waits; Redis has a replica and a sentinel. What must hold: no event missing or twice, no person with another ID. Found:
the time until the person of every camera is seen again.
"""

import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.faults import hosts_site
from benchmarks.faults.bad_link import open_here
from benchmarks.faults.hosts_site import HostProcess, HostsSite
from benchmarks.faults.report import DrillResult, figure, within
from reid_stream.errors import ConfigError

CASES = ("perceive", "identify", "redis", "sentinel", "cut", "delay")
_START_S = 300.0
_RECOVERED_S = 120.0
"""Time after which a site counts as not recovered."""
_WHOLE_S = 300.0
"""Time after which what was killed must have started again: a busy machine takes minutes to load networks."""
_PAUSE_S = (0.5, 3.0)
"""Random wait between a recovery and the next fault, seconds."""
_DELAY_S, _JITTER_S = 0.1, 0.3

Progress = Callable[[str], None]


def run(
    cases: Sequence[str], *, kills: int, cuts: int, cut_s: float, delay_s: float, progress: Progress
) -> list[DrillResult]:
    """Run the drill.

    Args:
        cases: some of `CASES`.
        kills: times that a process of each kind is killed.
        cuts: times that a link is cut.
        cut_s: duration of a cut, seconds.
        delay_s: duration of delays on all links, seconds.
        progress: shows what is done.

    Raises:
        ConfigError: there is no such case.
        RuntimeError: the site did not start.
    """
    if unknown := sorted(set(cases) - set(CASES)):
        raise ConfigError(f"a case must be one of {', '.join(CASES)}, got {', '.join(unknown)}")
    has_links = open_here()
    with (
        tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as folder,
        hosts_site.hosts_site(Path(folder), has_links=has_links) as site,
    ):
        progress("two perceive hosts, identification and its standby, Redis with a replica and a sentinel")
        if site.wait_for_all(time.time(), _START_S) is None:
            raise RuntimeError(f"the site must see everyone within {_START_S:.0f} s of its start")
        drill = _Drill(site, progress)
        found = []
        for case in cases:
            if case in ("cut", "delay") and not has_links:
                found.append(figure(case, "left out: no network namespaces can be made here", "-"))
            elif case == "cut":
                found += drill.cut(cuts, cut_s)
            elif case == "delay":
                found += drill.delay(delay_s)
            else:
                found += drill.kill(case, kills)
        return found + drill.totals()


class _Drill:
    def __init__(self, site: HostsSite, progress: Progress) -> None:
        self._site, self._progress = site, progress
        self._random = random.Random(1)
        self._failed = 0

    def kill(self, case: str, count: int) -> list[DrillResult]:
        """Kill (-9) a process of a kind so many times."""
        waits = []
        for number in range(count):
            self._pause()
            at = time.time()
            if case == "redis":
                self._site.redis.kill_primary()
            elif case == "sentinel":
                self._site.redis.kill_sentinel()
            else:
                self._target(case, number).signal(signal.SIGKILL)
            waits.append(self._recover(f"{case}: kill {number + 1} of {count}", at))
            if case == "redis":
                self._site.redis.wait_for_replica()
        return self._times(case, f"kill -9, {count} times", waits)

    def cut(self, count: int, cut_s: float) -> list[DrillResult]:
        """Cut the link of a perceive host and of the active identification in turn."""
        waits = []
        for number in range(count):
            self._pause()
            target = self._target("identify" if number % 2 else "perceive", number // 2)
            assert target.namespace is not None
            target.namespace.link.is_cut = True
            time.sleep(cut_s)
            target.namespace.link.is_cut = False
            waits.append(self._recover(f"cut: {target.name} for {cut_s:.0f} s, {number + 1} of {count}", time.time()))
        return self._times("cut", f"link cut for {cut_s:.0f} s, {count} times, after it is back", waits)

    def delay(self, delay_s: float) -> list[DrillResult]:
        """Delay the packets of all links, each by another time, so that they overtake each other."""
        self._pause()
        links = [one.namespace.link for one in self._site.all if one.namespace is not None]
        overtaken = sum(link.overtaken for link in links)
        for link in links:
            link.delay_s, link.jitter_s = _DELAY_S, _JITTER_S
        until, waits = time.time() + delay_s, []
        while time.time() < until:
            waits.append(self._recover("delay: packets late by 0.1 to 0.4 s", time.time()))
            time.sleep(1)
        for link in links:
            link.delay_s = link.jitter_s = 0.0
        waits.append(self._recover("delay: links are well again", time.time()))
        overtaken = sum(link.overtaken for link in links) - overtaken
        return [
            figure("delay", "packets that overtook others", overtaken),
            *self._times("delay", "everyone seen again, while packets are late", waits),
        ]

    def totals(self) -> list[DrillResult]:
        """Return what must hold of all events, those that were read and those that are on the stream."""
        time.sleep(2)
        self._site.read()
        events, stream = self._site.events, self._site.all_on_stream()
        read, on_stream = {event["id"] for event in events}, {event["id"] for event in stream}
        lost = sum(one.lost for one in self._site.identify)
        return [
            within("hosts", "events missing in a run", hosts_site.missing(stream), 0, digits=0),
            within("hosts", "events read that are no longer on the stream", len(read - on_stream), 0, digits=0),
            within("hosts", "events twice", hosts_site.doubled(stream), 0, digits=0),
            within("hosts", "IDs changed", hosts_site.changed_ids(stream), 0, digits=0),
            within("hosts", f"not recovered within {_RECOVERED_S:.0f} s", self._failed, 0, digits=0),
            figure("hosts", "events", len(stream)),
            figure("hosts", "observations lost by fail-overs of Redis, as identification counts them", lost),
        ]

    def _target(self, case: str, number: int) -> HostProcess:
        if case == "perceive":
            return self._site.perceive[number % 2]
        until = time.monotonic() + _RECOVERED_S
        while True:
            try:
                return self._site.active()
            except LookupError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _recover(self, what: str, at: float) -> float | None:
        wait_s = self._site.wait_for_all(at, _RECOVERED_S)
        self._failed += wait_s is None
        self._progress(f"{what}: {'not recovered' if wait_s is None else f'{wait_s:.1f} s'}")
        return wait_s

    def _pause(self) -> None:
        """Wait until everything is back that was killed before, and a random time more."""
        is_whole = self._site.wait_until_whole(_WHOLE_S)
        if not is_whole or self._site.wait_for_all(time.time(), _RECOVERED_S) is None:
            self._failed += 1
            self._progress(f"not whole within {_WHOLE_S:.0f} s")
        time.sleep(self._random.uniform(*_PAUSE_S))

    def _times(self, case: str, what: str, waits: Sequence[float | None]) -> list[DrillResult]:
        known = [wait for wait in waits if wait is not None]
        if not known:
            return [figure(case, f"{what}: never recovered", "-")]
        found = f"{statistics.median(known):.1f} / {max(known):.1f} s"
        return [figure(case, f"{what}: recovery p50 / max", found)]
