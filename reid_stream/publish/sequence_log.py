"""Track which events a subscriber has seen and how many it missed, by sequence number (pure).

The numbers of a run grow by one per event, so a gap is a loss. Any writer of the stream can write any number, so none
is trusted alone: an event is a repetition only if the same bytes came before under the same number, and a jump of more
than a million counts only if the next event of the run continues behind it.
"""

from dataclasses import dataclass, field

_RECENT = 50_000
"""Events that are remembered; more than an outage of Redis makes the daemon send again."""
_RUNS = 1000
_GAPS = 1000
"""Gaps of one run that may still be closed by events that come late."""
_JUMP = 1_000_000
"""Largest plausible step forward; the stream holds about as many events."""
_NEAR = 1000
"""An event at most so far behind an implausible one confirms it."""


@dataclass(slots=True)
class _Run:
    expected: int
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Numbers that are missing: from, to (exclusive)."""
    doubtful: tuple[int, int] | None = None
    """First number and next number of a sequence that nothing confirms yet."""


class SequenceLog:
    """Numbers of events by run."""

    def __init__(self) -> None:
        self.missed = 0
        """Events that never came."""
        self._recent: dict[tuple[str, int, int], None] = {}
        self._runs: dict[str, _Run] = {}

    def is_new(self, run: str, number: int, body: bytes) -> bool:
        """Note an event; False if it has come before."""
        key = (run, number, hash(body))
        if key in self._recent:
            return False
        self._recent[key] = None
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        known = self._runs.get(run)
        if known is None:
            if len(self._runs) >= _RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[run] = _Run(number + 1)
        else:
            self._note(known, number)
        return True

    def _note(self, run: _Run, number: int) -> None:
        step = number - run.expected
        if 0 <= step <= _JUMP:
            self._skip(run, number)
        elif run.doubtful is not None and 0 <= number - run.doubtful[1] <= _NEAR:
            # Confirmed: a long absence, or numbers that start again.
            first, after = run.doubtful
            if step > 0:
                self._skip(run, first)
            else:
                run.gaps = []
            run.expected = after
            self._skip(run, number)
        elif step > 0 or not self._close(run, number):
            run.doubtful = (number, number + 1)

    def _skip(self, run: _Run, number: int) -> None:
        """Expect what comes behind `number`; what comes before it is missing."""
        if number > run.expected:
            self.missed += number - run.expected
            run.gaps = [*run.gaps, (run.expected, number)][-_GAPS:]
        run.expected, run.doubtful = number + 1, None

    def _close(self, run: _Run, number: int) -> bool:
        """Take a number out of the gap that it is in; False if it is in none."""
        place = next((place for place, (begin, end) in enumerate(run.gaps) if begin <= number < end), None)
        if place is None:
            return False
        begin, end = run.gaps[place]
        if place == len(run.gaps) - 1 and number == begin and run.expected == end + 1:
            # The run continues from before the jump: the one event behind the jump did not belong.
            self.missed -= end - begin
            run.gaps.pop()
            run.expected = number + 1
        else:
            self.missed -= 1
            run.gaps[place : place + 1] = [part for part in ((begin, number), (number + 1, end)) if part[0] < part[1]]
        return True
