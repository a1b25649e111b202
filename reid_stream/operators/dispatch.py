"""What people said, into the identify loop; what that asks of the shell, out of it."""

from collections.abc import Callable, Sequence

from reid_stream.instructions import Instruction
from reid_stream.match.matcher import Matcher
from reid_stream.operators.erasure import Eraser
from reid_stream.records import Decision, Erasing, GlobalId


class InstructionDispatcher:
    """Stands behind each step of the matcher; called by the identify loop's thread."""

    def __init__(self, matcher: Matcher, eraser: Eraser, take: Callable[[], Sequence[Instruction]] | None) -> None:
        """`take`: gives instructions, where nobody else hands them to the matcher."""
        self._matcher, self._eraser, self._take = matcher, eraser, take

    def unfinished(self) -> list[Erasing]:
        """Go on with what an earlier daemon began to erase; return it, for those who keep something, too."""
        begun = [
            Erasing(GlobalId(f"{self._matcher.site}-{underway.number}"), instruction, 0.0)
            for instruction, underway in self._matcher.override_log.erasing.items()
        ]
        for erasing in begun:
            self._eraser.begin(erasing)
        return begun

    def follow(self, decisions: list[Decision], now: float) -> list[Decision]:
        """Add to a step's decisions what people want; have erased whom they want erased."""
        if self._take is not None:
            for instruction in self._take():
                decisions = [*decisions, *self._matcher.instruct(instruction, now)]
        for decision in decisions:
            if isinstance(decision, Erasing):
                self._eraser.begin(decision)
        return decisions
