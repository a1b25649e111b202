"""The first half at work in this process: a thread of its own, and what is done when it hangs.

A step that hangs is given up and its thread with it; a fresh first half, whose track numbers are of a run of their own,
goes on in its place. `workers.pool` is the same for first halves in processes of their own.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from reid_stream.config.settings import Watchdog
from reid_stream.errors import StuckError
from reid_stream.pipeline import PerceiveCounts
from reid_stream.runtime.interfaces import CameraSource, ObservationSender, PerceptionStages, Shell
from reid_stream.runtime.prefetch import DetectionPrefetch, Prefetched
from reid_stream.runtime.watchdog import HungStage, Pulse, StageLimits, Worker

TAKE_S = 0.2
"""Longest wait for a frame before the loop looks at its stop flag again."""
STOP_S = 10.0
"""Longest wait for the step under way when the daemon is told to stop."""
LOAD_SLACK = 10.0
"""Loading networks may take so many times as long as a stage may."""
_log = structlog.get_logger(__name__)


class PerceptionThread:
    """A source, a first half and the way to the second one; a `parts.FirstHalf`."""

    def __init__(
        self,
        source: CameraSource,
        perceive: PerceptionStages,
        link: ObservationSender,
        *,
        watchdog: Watchdog,
        pulse: Pulse | None = None,
        fresh: Callable[[int, Pulse], PerceptionStages] | None = None,
        lanes: Callable[[], int] = lambda: 1,
        is_eager: bool = False,
    ) -> None:
        """Nothing runs yet.

        Args:
            source: of frames.
            perceive: the first half.
            link: where its records go.
            watchdog: when a stage counts as stuck.
            pulse: that the stages of `perceive` are wrapped with.
            fresh: makes another first half after one that hung, given how many there were and its pulse; none where it
                cannot be replaced.
        """
        self.perceive = perceive
        self._sent = 0
        self._ahead: DetectionPrefetch | None = None
        self._source = source
        self._link = link
        self._watchdog = watchdog
        self._pulse = pulse or Pulse()
        self._fresh = fresh
        self._lanes, self._is_eager = lanes, is_eager
        self._number = 0
        """Of the first half now at work, counted from 0."""

    @property
    def model(self) -> str:
        """Hash of the embedder's bundle."""
        return self.perceive.model

    @property
    def counts(self) -> PerceiveCounts:
        """What it has done so far."""
        return self.perceive.counts

    @property
    def sent(self) -> int:
        """Batches of records sent, and the one that will be before what is taken next."""
        return self._sent + (self._ahead.in_hand if self._ahead is not None else 0)

    def start(self, shell: Shell) -> None:  # noqa: ARG002 (the protocol's)
        """Open the cameras."""
        self._source.start()

    def stuck(self, limit_s: float) -> HungStage | None:
        """What hangs now, if anything does."""
        return self._pulse.stuck(limit_s)

    def watch(self, shell: Shell, stop: threading.Event) -> None:
        """Run the first half on a thread of its own until it ends, and anew when it hangs.

        Raises:
            StuckError: it hangs and cannot be started anew, or hung once too often.
            Exception: whatever it raised.
        """
        patience = StageLimits(self._watchdog.restarts)
        limit_s = self._watchdog.stage_s
        for self._number in itertools.count():
            worker = Worker("perceive", partial(self._loop, self._pulse, shell, stop))
            stuck, is_ending = None, False
            while stuck is None and not worker.ended.wait(min(TAKE_S, limit_s / 4)):
                if stop.is_set() or shell.has_failed:
                    limit_s, is_ending = min(limit_s, STOP_S), True
                shell.look(limit_s)
                stuck = self._pulse.give_up(limit_s)
            if worker.error is not None:
                raise worker.error
            if stuck is None:
                return
            is_replaced = self._fresh is not None and not is_ending and patience.allows(time.monotonic())
            shell.tell_stuck(stuck, "restarted" if is_replaced else "ended")
            if is_ending:
                return
            if not is_replaced:
                raise StuckError(stuck.told(self._watchdog.stage_s))
            self._pulse = Pulse()

    def close(self) -> None:
        """Close the cameras."""
        self._source.stop()

    def _loop(self, pulse: Pulse, shell: Shell, stop: threading.Event) -> None:
        perceive = self.perceive
        if self._number and self._fresh is not None:
            with pulse.busy("load", slack=LOAD_SLACK):
                perceive = self._fresh(self._number, pulse)
            if pulse.is_given_up:
                return
            self.perceive = perceive
            _log.info("perception_restarted", restarts=self._number)
        self._ahead = ahead = DetectionPrefetch(perceive, pulse, lanes=self._lanes, is_eager=self._is_eager)
        try:
            while not stop.is_set() and not shell.has_failed:
                done = ahead.advance(self._source.take_frames, TAKE_S)
                if not self._hand_on(done, pulse, shell) or done.is_over:
                    return
            while ahead.in_hand and self._hand_on(ahead.finish(), pulse, shell):
                pass
        finally:
            ahead.close()

    def _hand_on(self, done: Prefetched, pulse: Pulse, shell: Shell) -> bool:
        """Send what a batch gave, unless this half was given up meanwhile."""
        if pulse.is_given_up:
            return False
        shell.saw(Counter(frame.camera for frame in done.frames))
        if done.records:
            self._link.send(done.records)
            self._sent += 1
        return True
