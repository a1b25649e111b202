"""Wrap the stages of a pipeline, so that each call is timed and watched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from reid_stream.runtime.watchdog import Pulse

P = ParamSpec("P")
R = TypeVar("R")


class Timer(Protocol):
    """Measures the calls of a stage; `observe.metrics.Metrics`."""

    def timed(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage."""
        ...


@dataclass(frozen=True, slots=True)
class WatchedStages:
    """A `pipeline.StageWrapper` that times each call and names it to the watchdog while it runs."""

    pulse: Pulse
    timer: Timer

    def __call__(self, stage: str, call: Callable[P, R], /) -> Callable[P, R]:
        """Wrap a stage."""
        return self.pulse.watched(stage, self.timer.timed(stage, call))
