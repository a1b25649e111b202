"""Interfaces between a daemon and its parts: cameras, perception, the link, identification, the sink."""

from collections.abc import Collection, Mapping, Sequence
from threading import Event as Flag
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from reid_stream.config.differences import SettingsChange
from reid_stream.config.settings import Camera
from reid_stream.events import Event
from reid_stream.journal.direct import EventSink
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId, Detections, Frame, GlobalId, Perceived
from reid_stream.runtime.watchdog import HungStage

if TYPE_CHECKING:
    from reid_stream.ingest.changes import CameraChange
    from reid_stream.ingest.stats import CameraStats


class PerceptionStages(Protocol):
    """Frames to records, in two stages; `pipeline.Perception`."""

    @property
    def model(self) -> str:
        """Hash of the embedder's bundle."""
        ...

    @property
    def counts(self) -> PerceiveCounts:
        """Work so far."""
        ...

    def choose(self, frames: Sequence[Frame], /) -> list[Frame | None]:
        """Return what to detect people in of each frame of a batch; called before `detect`, batch by batch."""
        ...

    def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
        """Detect people in the chosen frames of one batch; may run while `finish` works on the batch before."""
        ...

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections | None]) -> list[Perceived]:
        """Track and embed one batch."""
        ...


@runtime_checkable
class LiveStages(PerceptionStages, Protocol):
    """Stages whose cameras can change; `pipeline.Perception`."""

    def change_cameras(self, added: Collection[CameraId], removed: Collection[CameraId]) -> list[Perceived]:
        """Follow people on further cameras, and on some no longer; between two batches, none of which is in progress.

        Returns:
            The ends of the removed cameras' open tracks.
        """
        ...


class CameraSource(Protocol):
    """Frames: of live cameras behind an inbox, or of files that are read as fast as the pipeline takes them."""

    def start(self) -> None:
        """Open the cameras."""
        ...

    def take_frames(self, timeout_s: float) -> list[Frame] | None:
        """Return the newest frame of each camera that has one; empty after `timeout_s`; None when all have ended."""
        ...

    def stop(self) -> None:
        """Close the cameras; returns when their threads have ended."""
        ...

    @property
    def stats(self) -> "Mapping[CameraId, CameraStats]":
        """State of each camera."""
        ...

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames that a newer one replaced before the pipeline took them, by camera."""
        ...


@runtime_checkable
class LiveSource(CameraSource, Protocol):
    """A source whose cameras can change while it is read; `ingest.camera_set.CameraSet`."""

    def put(self, camera: Camera) -> None:
        """Open a camera, or close it and open it again with other settings."""
        ...

    def configure(self, camera: Camera) -> None:
        """Use other settings for a camera without opening it again."""
        ...

    def remove(self, camera: CameraId) -> object:
        """Close a camera; may take seconds."""
        ...

    def forget(self, camera: CameraId) -> None:
        """Drop what is kept of a camera that was removed."""
        ...


class Supervisor(Protocol):
    """Services of the daemon to its perception and identification; any thread may call it."""

    @property
    def has_failed(self) -> bool:
        """Whether identification has failed, so that perception may end as well."""
        ...

    def check(self, limit_s: float) -> None:
        """Check everything but perception; called by its `watch` several times per second.

        Raises:
            StuckError: identification hung for longer than `limit_s`.
        """
        ...

    def count_frames(self, frames: Mapping[CameraId, int]) -> None:
        """Count frames that perception has finished."""
        ...

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events."""
        ...

    def report_camera(self, change: "CameraChange", after: int = 0) -> None:
        """Publish a camera's change of state; a replay does so once identification has finished batch `after`."""
        ...

    def change_known_cameras(self, added: Sequence[CameraId], removed: Sequence[CameraId]) -> None:
        """Publish that cameras were added and removed elsewhere."""
        ...

    def report_hang(self, stuck: HungStage, action: Literal["restarted", "ended"], *, is_ours: bool = True) -> None:
        """Report a stage that hung; `is_ours`: in this process, where its thread cannot be ended."""
        ...

    def report_due_cameras(self, after: int) -> None:
        """Publish the changes of a replay's cameras that were reported up to batch `after`."""
        ...

    def commit(self, events: Sequence[Event], records: Sequence[Perceived], now: float) -> None:
        """Commit the events of the identification step of `records` at `now`, UTC seconds."""
        ...


class ObservationSender(Protocol):
    """Perception's end of the link."""

    def send(self, batch: Sequence[Perceived]) -> None:
        """Send a batch; waits while the link is full."""
        ...


class ObservationReceiver(Protocol):
    """Identification's end of the link: records in each camera's order."""

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Return the records that have come; empty after `timeout_s`."""
        ...

    def acknowledge(self) -> None:
        """Note what was received as processed, so that it does not come again after a crash."""
        ...


@runtime_checkable
class ObservationLink(ObservationSender, ObservationReceiver, Protocol):
    """Both ends, a batch at a time."""


class PerceptionRunner(Protocol):
    """Cameras to records on the link: a `PerceptionThread` in this process, or a `workers.pool.WorkerPool`."""

    @property
    def model(self) -> str:
        """Hash of the embedder's bundle."""
        ...

    @property
    def counts(self) -> PerceiveCounts:
        """Work so far."""
        ...

    @property
    def stats(self) -> "Mapping[CameraId, CameraStats]":
        """State of each camera."""
        ...

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames that a newer one replaced before they were processed, by camera."""
        ...

    @property
    def link(self) -> ObservationReceiver:
        """Link on which its records arrive."""
        ...

    def start(self, supervisor: Supervisor) -> None:
        """Open the cameras."""
        ...

    def watch(self, supervisor: Supervisor, stop: Flag) -> None:
        """Run until `stop` is set or all cameras have ended for good.

        Raises:
            ReidStreamError: perception failed, or hung too often.
        """
        ...

    def close(self) -> None:
        """Close the cameras; what was sent can still be received."""
        ...

    def stuck(self, limit_s: float) -> HungStage | None:
        """Return the stage that has hung for longer than `limit_s`, if any."""
        ...

    def change_cameras(self, change: SettingsChange) -> None:
        """Add, remove and change cameras of a live site while it runs; may take seconds, called by one thread."""
        ...


class SiteIdentification(Protocol):
    """Records to committed events; `journal.recorder.JournalRecorder` or `journal.direct.DirectIdentification`."""

    def step(self, records: Sequence[Perceived], now: float) -> list[Event]:
        """Advance to `now` (UTC seconds) by one batch of records, which may be empty; return events to `commit`."""
        ...

    def finish(self) -> list[Event]:
        """End all visits; return events to `commit`."""
        ...

    def commit(self, events: Sequence[Event]) -> None:
        """Publish the events of the last `step` or `finish`."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Save the state and close the sink; False if some events had to stay on disk."""
        ...

    @property
    def gallery_size(self) -> int:
        """Identities that can be matched."""
        ...

    @property
    def people_in_view(self) -> int:
        """Identities in view of any camera."""
        ...

    def in_view(self) -> Mapping[CameraId, Collection[GlobalId]]:
        """Identities in view, by camera."""
        ...


class Sink(EventSink, Protocol):
    """Destination of events; never blocks for long, never loses an event silently."""

    def ready(self) -> tuple[bool, str]:
        """Return whether events can be stored anywhere, and where."""
        ...


class EventFollower(Protocol):
    """Sees all published events; `publish.projection.SiteView`."""

    def follow(self, events: Sequence[Event], /) -> None:
        """Take events in the order they were published."""
        ...
