"""The people of a batch are looked for while those of the batch before are followed and embedded.

    caller's thread   take k+1 ─▶ finish k ────────▶ take k+2 ─▶ finish k+1 ...
    detect's thread            └▶ detect k+1 ──────▶           └▶ detect k+2 ...

The detector keeps all cores busy but for its first and last moments, and what follows it keeps one: side by side they
leave less idle. A batch is never held back for the next one: where no frames wait, it is finished at once. Batches come
out whole, in order, the same as by `step`.
"""

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from reid_stream.parts import PerceiveHalf
from reid_stream.records import Detections, Frame, Perceived
from reid_stream.watchdog import Pulse

_LOOK_S = 0.2
"""The caller's thread looks so often whether it was given up while detection hangs."""


class Done(NamedTuple):
    """What one call did."""

    frames: Sequence[Frame]
    """Of the batch that was finished; none where none was."""
    records: list[Perceived]
    is_over: bool
    """The source has ended, and so has the last batch."""


class Ahead:
    """Two threads for one first half; called from one thread, until `close`."""

    def __init__(self, half: PerceiveHalf, pulse: Pulse) -> None:
        """Start detection's thread; `pulse` tells of both."""
        self._half, self._pulse = half, pulse
        self._asked: SimpleQueue[list[Frame] | None] = SimpleQueue()
        self._answers: SimpleQueue[list[Detections] | BaseException] = SimpleQueue()
        self._under_way: list[Frame] | None = None
        self._in_hand: tuple[list[Frame], list[Detections]] | None = None
        # A daemon thread: a detector that hangs for ever must not keep the process.
        threading.Thread(target=self._detect, name="detect", daemon=True).start()

    @property
    def in_hand(self) -> int:
        """Batches whose people are found and that are not finished."""
        return int(self._in_hand is not None)

    def advance(self, take: Callable[[float], list[Frame] | None], wait_s: float) -> Done:
        """Take a batch, and finish the one before; waits for frames only where nothing is to be finished.

        Raises:
            Exception: whatever the first half raised.
        """
        self._await()
        if self._pulse.is_given_up:  # the frames are for who has taken over
            return Done((), [], is_over=False)
        frames = take(0.0 if self._in_hand is not None else wait_s)
        if frames:
            self._under_way = frames
            self._asked.put(frames)
        return self._finish()._replace(is_over=frames is None)

    def finish(self) -> Done:
        """Finish what was taken."""
        self._await()
        return self._finish()

    def close(self) -> None:
        """End detection's thread."""
        self._asked.put(None)

    def _await(self) -> None:
        """Take detection's answer; none comes once this first half is given up."""
        frames, self._under_way = self._under_way, None
        while frames is not None and not self._pulse.is_given_up:
            try:
                answer = self._answers.get(timeout=_LOOK_S)
            except Empty:
                continue
            if isinstance(answer, BaseException):
                raise answer
            self._in_hand = frames, answer
            return

    def _finish(self) -> Done:
        if self._in_hand is None:
            return Done((), [], is_over=False)
        frames, found = self._in_hand
        self._in_hand = None
        with self._pulse.busy("perceive", [frame.camera for frame in frames]):
            return Done(frames, self._half.finish(frames, found), is_over=False)

    def _detect(self) -> None:
        while (frames := self._asked.get()) is not None:
            answer: list[Detections] | BaseException
            try:
                with self._pulse.busy("perceive", [frame.camera for frame in frames]):
                    answer = self._half.detect(frames)
            except BaseException as error:  # noqa: BLE001 (raised on the caller's thread)
                answer = error
            self._answers.put(answer)
