"""Feed operator instructions to the matcher and dispatch the erasures they cause."""

from collections.abc import Callable, Sequence

from reid_stream.instructions import Instruction
from reid_stream.match.matcher import Matcher
from reid_stream.operators.erasure import Eraser
from reid_stream.records import Decision, Erasing, GlobalId


class InstructionDispatcher:
    """Runs after each step of the matcher, on the identification thread."""

    def __init__(self, matcher: Matcher, eraser: Eraser, take: Callable[[], Sequence[Instruction]] | None) -> None:
        """`take` returns new instructions; None where the journal recorder passes them to the matcher."""
        self._matcher, self._eraser, self._take = matcher, eraser, take

    def unfinished(self) -> list[Erasing]:
        """Start the erasures that an earlier daemon left unfinished and return them."""
        erasures = [
            Erasing(GlobalId(f"{self._matcher.site}-{pending.number}"), instruction, 0.0)
            for instruction, pending in self._matcher.override_log.erasing.items()
        ]
        for erasing in erasures:
            self._eraser.start(erasing)
        return erasures

    def dispatch(self, decisions: list[Decision], now: float) -> list[Decision]:
        """Apply new instructions and start the erasures among all decisions.

        Args:
            decisions: of the matcher's step.
            now: site time, seconds.

        Returns:
            The step's decisions, followed by those that the instructions caused.
        """
        if self._take is not None:
            for instruction in self._take():
                decisions = [*decisions, *self._matcher.instruct(instruction, now)]
        for decision in decisions:
            if isinstance(decision, Erasing):
                self._eraser.start(decision)
        return decisions
