"""Is a stage of the pipeline stuck? What a thread is doing now, written by itself and read by whoever watches over it.

A thread that hangs in a native call cannot be ended. It is given up instead: its `Pulse` is marked, another thread with
a pulse, a stage and a state of its own goes on in its place, and should the hung call ever return, the mark tells its
thread to drop the answer and end. What it holds (one batch, its networks) is lost to the process, so a daemon does that
a few times only and then ends, for its service manager to start it anew.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class HungStage:
    """A call that has not come back."""

    stage: str
    after_s: float
    """How long it had taken when it was given up."""
    cameras: tuple[str, ...]
    """Whose frames are lost with it, one entry a frame."""

    def told(self, limit_s: float) -> str:
        """Say what must hold, what was found and what to do."""
        return (
            f"{self.stage} must answer within {limit_s:g} s (watchdog.stage_s), "
            f"found it stuck for {self.after_s:.0f} s; the daemon ends, to be started anew by its service manager"
        )


class _Busy(NamedTuple):
    stage: str
    cameras: tuple[str, ...]
    since: float
    slack: float


class Pulse:
    """What the threads of one half are doing; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: dict[int, _Busy] = {}
        """By thread."""
        self._is_given_up = False
        self.at_stake: Callable[[], Sequence[str]] = tuple
        """Asked for cameras of further frames that are lost with these threads, one entry a frame."""

    @property
    def is_given_up(self) -> bool:
        """Others have taken over: what these threads find out is not wanted any more."""
        return self._is_given_up

    @contextmanager
    def busy(self, stage: str, cameras: Sequence[str] = (), slack: float = 1.0) -> Iterator[None]:
        """Be at work while the block runs, for `slack` times the limit; outside it the thread may wait for ever."""
        self._enter(stage, tuple(cameras), slack)
        try:
            yield
        finally:
            self._leave(None)

    def watched(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage, so that its calls are timed each by itself and named when they hang."""

        def named(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = self._busy.get(threading.get_ident())
            self._enter(stage, outer.cameras if outer is not None else ())
            try:
                return call(*args, **kwargs)
            finally:
                self._leave(outer)

        return named

    def stuck(self, limit_s: float) -> HungStage | None:
        """Tell what has taken longer than `limit_s`, if anything has."""
        with self._lock:
            return self._stuck(limit_s)

    def give_up(self, limit_s: float) -> HungStage | None:
        """Mark the threads as given up if one is stuck; a call that comes back first goes on as if nothing had been."""
        with self._lock:
            found = self._stuck(limit_s)
            self._is_given_up = found is not None
            return found

    def _stuck(self, limit_s: float) -> HungStage | None:
        now = self._clock()
        late = [busy for busy in self._busy.values() if now - busy.since > limit_s * busy.slack]
        if not late:
            return None
        worst = min(late, key=lambda busy: busy.since)
        # What the other threads are at is given up with it.
        cameras = [camera for busy in self._busy.values() for camera in busy.cameras]
        return HungStage(worst.stage, now - worst.since, (*cameras, *self.at_stake()))

    def _enter(self, stage: str, cameras: tuple[str, ...], slack: float = 1.0) -> None:
        with self._lock:
            self._busy[threading.get_ident()] = _Busy(stage, cameras, self._clock(), slack)

    def _leave(self, outer: _Busy | None) -> None:
        with self._lock:
            if outer is None:
                self._busy.pop(threading.get_ident(), None)
            else:
                self._busy[threading.get_ident()] = outer._replace(since=self._clock(), slack=1.0)


class StageLimits:
    """How often something may be started anew: `most` times within an hour."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Ask for one more; `now` on any steady clock."""
        while self._times and now - self._times[0] > _HOUR_S:
            self._times.popleft()
        if len(self._times) >= self._most:
            return False
        self._times.append(now)
        return True


class Worker:
    """A thread whose error waits for whoever watches over it."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        """Start it."""
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._call = call
        # A daemon thread: one that hangs for ever must not keep the process.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 (kept for the watcher)
            self.error = error
        self.ended.set()
