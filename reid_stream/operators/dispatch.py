"""Pass operators' instructions to identification, and start the erasures that they cause."""

from collections.abc import Callable, Sequence

from reid_stream.instructions import Instruction
from reid_stream.match.matcher import Matcher
from reid_stream.operators.erasure import Eraser
from reid_stream.operators.reader import InstructionReader
from reid_stream.publish.site_time import in_site_time
from reid_stream.records import Decision, Erasing, GlobalId


class OperatorInstructions:
    """Gives instructions to identification, and listens to its decisions; called by its thread."""

    def __init__(
        self, reader: InstructionReader, matcher: Matcher, eraser: Eraser, shift_s: Callable[[], float]
    ) -> None:
        """`shift_s`: returns UTC less site time now, seconds."""
        self.reader = reader
        self._matcher, self._eraser, self._shift_s = matcher, eraser, shift_s

    def take(self) -> list[Instruction]:
        """Return the instructions since the last call, in site time."""
        return [in_site_time(instruction, self._shift_s()) for instruction in self.reader.take()]

    def resume(self) -> list[Erasing]:
        """Start the erasures that an earlier daemon did not finish; return them."""
        unfinished = [
            Erasing(GlobalId(f"{self._matcher.site}-{underway.number}"), instruction, 0.0)
            for instruction, underway in self._matcher.override_log.erasing.items()
        ]
        for erasing in unfinished:
            self._eraser.start(erasing)
        return unfinished

    def decided(self, decisions: Sequence[Decision], _now: float) -> None:
        """Start the erasures among a step's decisions."""
        for decision in decisions:
            if isinstance(decision, Erasing):
                self._eraser.start(decision)
