"""Detect stages that hang: each thread notes what it is doing, and a watching thread reads it.

A thread that hangs in a native call cannot be ended. It is abandoned instead: its `Pulse` is marked as abandoned and
another thread, with its own pulse, stages and state, takes its place. Should the hung call ever return, its thread sees
the mark, drops the result and ends. What the thread holds (one batch, its networks) is lost to the process, so a daemon
allows a few hangs and then exits, for its service manager to restart it.
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
    """A call that has not returned."""

    stage: str
    after_s: float
    """Seconds since the call."""
    cameras: tuple[str, ...]
    """Cameras of the frames lost with it, one entry per frame."""

    def message(self, limit_s: float) -> str:
        """Return the message of a `StuckError`."""
        return (
            f"{self.stage} must answer within {limit_s:g} s (watchdog.stage_s), "
            f"found it stuck for {self.after_s:.0f} s; the daemon exits, for its service manager to restart it"
        )


class _Busy(NamedTuple):
    stage: str
    cameras: tuple[str, ...]
    since: float
    slack: float


class Pulse:
    """Current activity of the threads of perception or identification; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: dict[int, _Busy] = {}
        """Calls in progress by thread ID."""
        self._is_abandoned = False
        self.at_stake: Callable[[], Sequence[str]] = tuple
        """Returns the cameras of further frames that are lost with these threads, one entry per frame."""

    @property
    def is_abandoned(self) -> bool:
        """Whether other threads have taken over, so that results of these are dropped."""
        return self._is_abandoned

    @contextmanager
    def busy(self, stage: str, cameras: Sequence[str] = (), slack: float = 1.0) -> Iterator[None]:
        """Note this thread as busy while the block runs, for at most `slack` times the limit."""
        self._enter(stage, tuple(cameras), slack)
        try:
            yield
        finally:
            self._leave(None)

    def watched(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage, so that a call that hangs is noticed and named."""

        def named(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = self._busy.get(threading.get_ident())
            self._enter(stage, outer.cameras if outer is not None else ())
            try:
                return call(*args, **kwargs)
            finally:
                self._leave(outer)

        return named

    def stuck(self, limit_s: float) -> HungStage | None:
        """Return the call that has taken longer than `limit_s`, if any."""
        with self._lock:
            return self._stuck(limit_s)

    def abandon(self, limit_s: float) -> HungStage | None:
        """Mark the threads as abandoned if one has hung; a call that returns before that continues normally."""
        with self._lock:
            found = self._stuck(limit_s)
            self._is_abandoned = found is not None
            return found

    def _stuck(self, limit_s: float) -> HungStage | None:
        now = self._clock()
        late = [busy for busy in self._busy.values() if now - busy.since > limit_s * busy.slack]
        if not late:
            return None
        worst = min(late, key=lambda busy: busy.since)
        # The work of the other threads is abandoned with it.
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
    """Limit of restarts: `most` within an hour."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Return whether one more is allowed at `now`, seconds of a steady clock."""
        while self._times and now - self._times[0] > _HOUR_S:
            self._times.popleft()
        if len(self._times) >= self._most:
            return False
        self._times.append(now)
        return True


class Worker:
    """A thread whose error is kept for the thread that watches it."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        """Start the thread."""
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._call = call
        # A daemon thread: one that hangs for ever must not keep the process.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 (raised by the watching thread)
            self.error = error
        self.ended.set()
