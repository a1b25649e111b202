"""The people of a batch are looked for while those of the batch before are followed and embedded.

    caller's thread   take k+1 ─▶ finish k ────────▶ take k+2 ─▶ finish k+1 ...
    detect's threads           └▶ detect k+1 ──────▶           └▶ detect k+2 ...

The detector keeps all cores busy but for its first and last moments, and what follows it keeps one: side by side they
leave less idle. Where the engine runs pictures in lanes, the next batch is taken a picture's time before the last one
is through, so that no lane idles. A batch is never held back for the next one: where no frames wait, it is finished at
once. Batches come out whole, in order, the same as by `step`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import NamedTuple

from reid_stream.records import Detections, Frame, Perceived
from reid_stream.runtime.interfaces import PerceptionStages
from reid_stream.runtime.watchdog import Pulse

_LOOK_S = 0.2
"""The caller's thread looks so often whether it was given up while detection hangs."""
_MOST = 2
"""Batches with the detector."""
_EASE = 0.2
"""Weight of the newest batch in the time that a picture takes."""


class Prefetched(NamedTuple):
    """What one call did."""

    frames: Sequence[Frame]
    """Of the batch that was finished; none where none was."""
    records: list[Perceived]
    is_over: bool
    """The source has ended, and so has the last batch."""


@dataclass(slots=True)
class _Job:
    """A batch whose people are looked for."""

    frames: list[Frame]
    begun_at: float
    ended: threading.Event = field(default_factory=threading.Event)
    answer: list[Detections] | BaseException | None = None
    ended_at: float = 0.0


class DetectionPrefetch:
    """Threads for one first half; called from one thread, until `close`."""

    def __init__(
        self, half: PerceptionStages, pulse: Pulse, *, lanes: Callable[[], int] = lambda: 1, is_eager: bool = False
    ) -> None:
        """Start detection's threads.

        Args:
            half: the first half.
            pulse: tells of all its threads.
            lanes: asked how many pictures the detector runs side by side; with more than one, it may have two batches.
            is_eager: always two, whenever there are frames; for files, whose frames do not grow old.
        """
        self._half, self._pulse, self._lanes, self._is_eager = half, pulse, lanes, is_eager
        self._asked: SimpleQueue[_Job | None] = SimpleQueue()
        self._under_way: deque[_Job] = deque()
        self._in_hand: tuple[list[Frame], list[Detections]] | None = None
        self._is_over = False
        self._picture_s = 0.0
        self._last_end = 0.0
        pulse.at_stake = self._with_the_detector
        for _ in range(_MOST):
            # Daemon threads: a detector that hangs for ever must not keep the process.
            threading.Thread(target=self._detect, name="detect", daemon=True).start()

    @property
    def in_hand(self) -> int:
        """Batches that were taken and are not finished."""
        return int(self._in_hand is not None) + len(self._under_way)

    def advance(self, take: Callable[[float], list[Frame] | None], wait_s: float) -> Prefetched:
        """Take a batch, and finish the one before; waits for frames only where nothing is to be finished.

        Raises:
            Exception: whatever the first half raised.
        """
        if self._waits_for_a_lane() and not self._pulse.is_given_up:
            self._take(take, 0.0)
        self._await()
        if self._pulse.is_given_up:  # the frames are for who has taken over
            return Prefetched((), [], is_over=False)
        for _ in range((_MOST if self._is_eager and self._lanes() > 1 else 1) - len(self._under_way)):
            self._take(take, 0.0 if self.in_hand else wait_s)
        done = self._finish()
        return done._replace(is_over=self._is_over and not self._under_way)

    def finish(self) -> Prefetched:
        """Finish the oldest batch that was taken, if any is left."""
        self._await()
        return self._finish()

    def close(self) -> None:
        """End detection's threads."""
        for _ in range(_MOST):
            self._asked.put(None)

    def _waits_for_a_lane(self) -> bool:
        """Wait until the batch under way is about to leave a lane idle; false where another comes too early or late."""
        lanes = self._lanes()
        if lanes == 1 or self._is_eager or len(self._under_way) != 1:
            return False
        job = self._under_way[0]
        if len(job.frames) == 1:  # a single picture has all cores
            return False
        begun_at = max(job.begun_at, self._last_end)
        lead_at = begun_at + (len(job.frames) - lanes) * self._picture_s
        while (left_s := lead_at - time.monotonic()) > 0 and not self._pulse.is_given_up:
            if job.ended.wait(min(left_s, _LOOK_S)):
                return False
        return not job.ended.is_set()

    def _take(self, take: Callable[[float], list[Frame] | None], wait_s: float) -> None:
        frames = None if self._is_over else take(wait_s)
        self._is_over = frames is None
        if frames:
            job = _Job(frames, time.monotonic())
            self._under_way.append(job)
            self._asked.put(job)

    def _await(self) -> None:
        """Take detection's answer; none comes once this first half is given up."""
        while self._under_way and not self._pulse.is_given_up:
            job = self._under_way[0]
            if not job.ended.wait(_LOOK_S):
                continue
            self._under_way.popleft()
            if isinstance(job.answer, BaseException):
                raise job.answer
            took_s = (job.ended_at - max(job.begun_at, self._last_end)) / len(job.frames)
            self._picture_s += (took_s - self._picture_s) * (_EASE if self._picture_s else 1.0)
            self._last_end = job.ended_at
            self._in_hand = job.frames, job.answer or []
            return

    def _finish(self) -> Prefetched:
        if self._in_hand is None:
            return Prefetched((), [], is_over=False)
        frames, found = self._in_hand
        self._in_hand = None
        with self._pulse.busy("perceive", [frame.camera for frame in frames]):
            return Prefetched(frames, self._half.finish(frames, found), is_over=False)

    def _with_the_detector(self) -> list[str]:
        """Cameras of the frames that are lost if the detector hangs; those behind the one that hangs, too."""
        return [frame.camera for job in tuple(self._under_way) for frame in job.frames]

    def _detect(self) -> None:
        while (job := self._asked.get()) is not None:
            try:
                with self._pulse.busy("perceive"):
                    job.answer = self._half.detect(job.frames)
            except BaseException as error:  # noqa: BLE001 (raised on the caller's thread)
                job.answer = error
            job.ended_at = time.monotonic()
            job.ended.set()
