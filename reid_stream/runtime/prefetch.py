"""Overlap detection of batch k+1 with tracking and embedding of batch k.

    caller's thread    take k+1 ─▶ finish k ────────▶ take k+2 ─▶ finish k+1 ...
    detection threads           └▶ detect k+1 ──────▶           └▶ detect k+2 ...

The detector keeps all cores busy except at its start and end, and the later stages keep one busy, so running both at
once leaves less idle time. Where the engine runs images in parallel lanes, the next batch is taken one image's time
before the last one is done, so that no lane idles. A batch never waits for the next one: if no frames have come, it is
finished at once. Batches come out whole and in order, the same as from `Perception.step`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import NamedTuple

from reid_stream.pipeline import detect_chosen
from reid_stream.records import Detections, Frame, Perceived
from reid_stream.runtime.interfaces import PerceptionStages
from reid_stream.runtime.watchdog import Pulse

_LOOK_S = 0.2
"""Interval at which the caller's thread checks whether it was abandoned, while detection hangs."""
_MOST = 2
"""Most batches in detection."""
_EASE = 0.2
"""Weight of the newest batch in the mean time per image."""


class Prefetched(NamedTuple):
    """Result of one call."""

    frames: Sequence[Frame]
    """Frames of the finished batch; empty if none was finished."""
    records: list[Perceived]
    is_over: bool
    """Whether the source and the last batch have ended."""


@dataclass(slots=True)
class _Job:
    """A batch in detection."""

    frames: list[Frame]
    chosen: list[Frame | None]
    """The frames as chosen for the detector, perhaps limited to regions; None for those that are skipped."""
    begun_at: float
    ended: threading.Event = field(default_factory=threading.Event)
    answer: list[Detections | None] | BaseException | None = None
    ended_at: float = 0.0

    @property
    def looks(self) -> int:
        """Number of frames for the detector."""
        return sum(frame is not None for frame in self.chosen)


class DetectionPrefetch:
    """Detection threads of one perception; called from one thread, until `close`."""

    def __init__(
        self, stages: PerceptionStages, pulse: Pulse, *, lanes: Callable[[], int] = lambda: 1, is_eager: bool = False
    ) -> None:
        """Start the detection threads.

        Args:
            stages: of the perception.
            pulse: notes what all threads of the perception do.
            lanes: returns how many images the detector runs in parallel; with more than one it may have two batches.
            is_eager: always have two batches in detection while there are frames; for files, whose frames do not age.
        """
        self._stages, self._pulse, self._lanes, self._is_eager = stages, pulse, lanes, is_eager
        self._asked: SimpleQueue[_Job | None] = SimpleQueue()
        self._under_way: deque[_Job] = deque()
        self._in_hand: tuple[list[Frame], list[Detections | None]] | None = None
        self._is_over = False
        self._image_s = 0.0
        self._last_end = 0.0
        pulse.at_stake = self._in_detection
        for _ in range(_MOST):
            # Daemon threads: a detector that hangs for ever must not keep the process alive.
            threading.Thread(target=self._detect, name="detect", daemon=True).start()

    @property
    def in_hand(self) -> int:
        """Batches taken and not finished."""
        return int(self._in_hand is not None) + len(self._under_way)

    def advance(self, take: Callable[[float], list[Frame] | None], wait_s: float) -> Prefetched:
        """Take a batch and finish the one before; waits for frames only if no batch is to be finished.

        Raises:
            Exception: any error of the stages.
        """
        if self._waits_for_a_lane() and not self._pulse.is_abandoned:
            self._take(take, 0.0)
        self._await()
        if self._pulse.is_abandoned:  # the frames are for the perception that has taken over
            return Prefetched((), [], is_over=False)
        for _ in range((_MOST if self._is_eager and self._lanes() > 1 else 1) - len(self._under_way)):
            self._take(take, 0.0 if self.in_hand else wait_s)
        done = self._finish()
        return done._replace(is_over=self._is_over and not self._under_way)

    def finish(self) -> Prefetched:
        """Finish the oldest batch taken, if any."""
        self._await()
        return self._finish()

    def close(self) -> None:
        """End the detection threads."""
        for _ in range(_MOST):
            self._asked.put(None)

    def _waits_for_a_lane(self) -> bool:
        """Wait until the batch in detection is about to leave a lane idle; False if another batch would not help."""
        lanes = self._lanes()
        if lanes == 1 or self._is_eager or len(self._under_way) != 1:
            return False
        job = self._under_way[0]
        if job.looks <= 1:  # a single image uses all cores
            return False
        begun_at = max(job.begun_at, self._last_end)
        lead_at = begun_at + (job.looks - lanes) * self._image_s
        while (left_s := lead_at - time.monotonic()) > 0 and not self._pulse.is_abandoned:
            if job.ended.wait(min(left_s, _LOOK_S)):
                return False
        return not job.ended.is_set()

    def _take(self, take: Callable[[float], list[Frame] | None], wait_s: float) -> None:
        frames = None if self._is_over else take(wait_s)
        self._is_over = frames is None
        if frames:
            job = _Job(frames, self._stages.choose(frames), time.monotonic())
            self._under_way.append(job)
            self._asked.put(job)

    def _await(self) -> None:
        """Wait for the oldest batch in detection; returns without it once this perception is abandoned."""
        while self._under_way and not self._pulse.is_abandoned:
            job = self._under_way[0]
            if not job.ended.wait(_LOOK_S):
                continue
            self._under_way.popleft()
            if isinstance(job.answer, BaseException):
                raise job.answer
            if looks := job.looks:
                took_s = (job.ended_at - max(job.begun_at, self._last_end)) / looks
                self._image_s += (took_s - self._image_s) * (_EASE if self._image_s else 1.0)
            self._last_end = job.ended_at
            self._in_hand = job.frames, job.answer or []
            return

    def _finish(self) -> Prefetched:
        if self._in_hand is None:
            return Prefetched((), [], is_over=False)
        frames, found = self._in_hand
        self._in_hand = None
        with self._pulse.busy("perceive", [frame.camera for frame in frames]):
            return Prefetched(frames, self._stages.finish(frames, found), is_over=False)

    def _in_detection(self) -> list[str]:
        """Return the cameras of all frames in detection, which are lost if it hangs."""
        return [frame.camera for job in tuple(self._under_way) for frame in job.frames]

    def _detect(self) -> None:
        while (job := self._asked.get()) is not None:
            try:
                with self._pulse.busy("perceive"):
                    job.answer = detect_chosen(self._stages.detect, job.chosen)
            except BaseException as error:  # noqa: BLE001 (raised on the caller's thread)
                job.answer = error
            job.ended_at = time.monotonic()
            job.ended.set()
