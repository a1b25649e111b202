"""Start the erasures that operators' instructions cause."""

from collections.abc import Sequence

from reid_stream.match.matcher import Matcher
from reid_stream.operators.erasure import Eraser
from reid_stream.records import Decision, Erasing, GlobalId


class ErasureDispatcher:
    """Listens to the decisions of identification; called by its thread."""

    def __init__(self, matcher: Matcher, eraser: Eraser) -> None:
        self._matcher, self._eraser = matcher, eraser

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
