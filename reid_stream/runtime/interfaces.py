"""What a daemon is made of, as it sees them: a source of frames, two halves, the link between them, a sink; and what it
has done so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from reid_stream.events import Event
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId, Detections, Frame, Perceived
from reid_stream.runtime.watchdog import HungStage

if TYPE_CHECKING:
    from reid_stream.ingest.stats import CameraStats


class PerceptionStages(Protocol):
    """Frames to records; `pipeline.Perceive`."""

    @property
    def model(self) -> str:
        """Hash of the embedder's bundle."""
        ...

    @property
    def counts(self) -> PerceiveCounts:
        """What it has done so far."""
        ...

    def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
        """Find the people of one batch; may run beside `finish` of the batch before."""
        ...

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections]) -> list[Perceived]:
        """Do what comes after detection, batch by batch."""
        ...


class CameraSource(Protocol):
    """Where frames come from: live cameras behind an inbox, or files in step with the pipeline."""

    def start(self) -> None:
        """Open the cameras."""
        ...

    def take_frames(self, timeout_s: float) -> list[Frame] | None:
        """Give the newest frame of each camera that has one; empty after `timeout_s`; None when all have ended."""
        ...

    def stop(self) -> None:
        """Close the cameras; returns when their threads have ended."""
        ...

    @property
    def stats(self) -> "Mapping[CameraId, CameraStats]":
        """What is known of each camera now."""
        ...

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames that a newer one replaced before the pipeline took them, per camera."""
        ...


class Shell(Protocol):
    """What a first half needs of the daemon that it belongs to."""

    @property
    def has_failed(self) -> bool:
        """The second half has ended with an error, so the first may end as well."""
        ...

    def look(self, limit_s: float) -> None:
        """Watch over all else; called a few times a second.

        Raises:
            StuckError: the second half hangs.
        """
        ...

    def saw(self, frames: Mapping[CameraId, int]) -> None:
        """Count frames that went through the first half."""
        ...

    def tell(self, events: Sequence[Event]) -> None:
        """Publish."""
        ...

    def tell_stuck(self, stuck: HungStage, action: Literal["restarted", "ended"], *, is_ours: bool = True) -> None:
        """Say that a stage hung; `is_ours`: in this process, where it cannot be ended."""
        ...


class PerceptionRunner(Protocol):
    """From cameras to records on the link: `perceiving.Perceiving` in this process, `workers.pool.Pool` in others."""

    @property
    def model(self) -> str:
        """Hash of the embedder's bundle."""
        ...

    @property
    def counts(self) -> PerceiveCounts:
        """What it has done so far."""
        ...

    @property
    def sent(self) -> int:
        """Batches of records sent."""
        ...

    def start(self, shell: Shell) -> None:
        """Open the cameras."""
        ...

    def watch(self, shell: Shell, stop: Flag) -> None:
        """Be at work until `stop` is set or all cameras have ended for good.

        Raises:
            ReidStreamError: it cannot go on.
        """
        ...

    def close(self) -> None:
        """Close the cameras; what was sent can be received after this."""
        ...

    def stuck(self, limit_s: float) -> HungStage | None:
        """What hangs now, if anything does."""
        ...


class ObservationSender(Protocol):
    """Perceive's end of the link."""

    def send(self, batch: Sequence[Perceived]) -> None:
        """Hand over a batch; waits while the other side is behind."""
        ...


class ObservationReceiver(Protocol):
    """Identify's end of the link: records in each camera's order."""

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Take what has come; empty after `timeout_s`."""
        ...


@runtime_checkable
class ObservationLink(ObservationSender, ObservationReceiver, Protocol):
    """Both ends, a batch at a time."""


class Sink(Protocol):
    """Takes events; never blocks for long, never loses one."""

    def publish(self, events: Sequence[Event]) -> None:
        """Take events to send, in order."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Send what is left; False if some had to stay on disk."""
        ...


@dataclass(slots=True)
class PerceptionProgress:
    """What the daemon has done so far; read by the live table while it runs."""

    started_at: float
    frames: dict[CameraId, int] = field(default_factory=dict)
    events: int = 0
    told_at: float = 0.0
    """When the newest event about people or cameras happened, UTC seconds."""
    first_event_s: float | None = None
    """Seconds from the start to the first event about a person."""
    latencies_s: list[float] = field(default_factory=list)
    """Capture to event, the newest thousand; live cameras only."""
    error: BaseException | None = None
