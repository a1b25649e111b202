"""The shell around the pipeline: start, loop, stop.

Threads, all of them: one per camera (decodes, puts frames into the inbox), one for perceive (this one, `Daemon.run`),
one for identify (takes records from the link, hands events to the sink), one in the sink (talks to Redis), one for
/metrics.
Frames wait only in the inbox, where the newest wins; past it every step is finished and handed on in order. A slow step
therefore costs frame rate, never memory or latency.

Stopping is in the order of the data: cameras, the step under way, the records on the link, the events in the sink.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reid_stream.events import CameraDown, CameraUp, DaemonHeartbeat, DaemonStarted, DaemonStopped, Event
from reid_stream.metrics import Metrics
from reid_stream.pipeline import Identify, Perceive
from reid_stream.records import CameraId, Frame, Perceived

if TYPE_CHECKING:
    from reid_stream.ingest.stats import CameraStats

TAKE_S = 0.2
"""Longest wait for a frame before the loop looks at its stop flag again."""


class Source(Protocol):
    """Where frames come from: live cameras behind an inbox, or files in step with the pipeline."""

    def start(self) -> None:
        """Open the cameras."""
        ...

    def take(self, timeout_s: float) -> list[Frame] | None:
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


class Link(Protocol):
    """Carries records from perceive to identify, in order, a batch at a time."""

    def send(self, batch: Sequence[Perceived]) -> None:
        """Hand over a batch; waits while the other side is behind."""
        ...

    def receive(self, timeout_s: float) -> list[Perceived]:
        """Take what has come; empty after `timeout_s`."""
        ...


class Sink(Protocol):
    """Takes events; never blocks for long, never loses one."""

    def publish(self, events: Sequence[Event]) -> None:
        """Take events to send, in order."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Send what is left; False if some had to stay on disk."""
        ...


@dataclass(slots=True)
class Progress:
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


class Daemon:
    """A running site, once `run` is called."""

    def __init__(
        self,
        *,
        run: str,
        version: str,
        source: Source,
        perceive: Perceive,
        identify: Identify,
        finish: Callable[[], Iterable[Event]],
        link: Link,
        sink: Sink,
        metrics: Metrics,
        cameras: Sequence[CameraId],
        heartbeat_s: float,
        is_live: bool,
        on_events: Callable[[Sequence[Event]], None],
        gallery_size: Callable[[], int],
        people_in_view: Callable[[], int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run = run
        self._version = version
        self._source = source
        self.perceive = perceive
        self._identify = identify
        self._finish = finish
        self._link = link
        self._sink = sink
        self._metrics = metrics
        self._cameras = tuple(cameras)
        self._heartbeat_s = heartbeat_s
        self.is_live = is_live
        self._on_events = on_events
        self._gallery_size = gallery_size
        self._people_in_view = people_in_view
        self._clock = clock
        self._drained = threading.Event()
        self._publishing = threading.Lock()
        self._up: set[CameraId] = set()
        self._sent = 0
        """Batches of records sent to identify."""
        self._changes: deque[tuple[int, CameraUp | CameraDown]] = deque()
        """Of a replay's cameras: batches sent before each, and what it is."""
        self.progress = Progress(started_at=clock())

    def run(self, stop: threading.Event) -> None:
        """Follow people until `stop` is set or all cameras have ended for good.

        Raises:
            ReidStreamError: a stage found its input unusable; everything said until then has been published.
        """
        reason = "all cameras ended"
        identifier = threading.Thread(target=self._identify_loop, name="identify")
        self._publish(
            [
                DaemonStarted(
                    run=self._run,
                    told_at=self._clock(),
                    version=self._version,
                    cameras=self._cameras,
                    model=self.perceive.model,
                )
            ]
        )
        identifier.start()
        try:
            self._source.start()
            self._perceive_loop(stop)
            if stop.is_set():
                reason = "stopped"
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._source.stop()
            self._drained.set()
            identifier.join()
            self._tell_changes(self._sent)
            self._publish(self._finish())
            self._publish([DaemonStopped(run=self._run, told_at=self._clock(), reason=reason)])
            self._sink.close(timeout_s=10.0)
        if self.progress.error is not None:
            raise self.progress.error

    def camera_changed(self, change: CameraUp | CameraDown) -> None:
        """Tell subscribers that a camera came or went; called by the camera's own thread.

        A replay tells it between the same records in every run: once what was sent before it has been worked off.
        """
        if self.is_live:
            self._tell_change(change)
        else:
            self._changes.append((self._sent, change))

    def _tell_changes(self, worked_off: int) -> None:
        while self._changes and self._changes[0][0] <= worked_off:
            self._tell_change(self._changes.popleft()[1])

    def _tell_change(self, change: CameraUp | CameraDown) -> None:
        (self._up.add if isinstance(change, CameraUp) else self._up.discard)(change.camera)
        self._metrics.camera_up.labels(change.camera).set(isinstance(change, CameraUp))
        self._publish([change])

    def healthy(self) -> tuple[bool, str]:
        """Answer /healthz: fine while at least one camera delivers and the stages live."""
        if self.progress.error is not None:
            return False, f"identify has ended: {self.progress.error}"
        if self.is_live and not self._up:
            return False, f"no camera delivers frames (0 of {len(self._cameras)})"
        return True, f"ok, {len(self._up)} of {len(self._cameras)} cameras"

    def _perceive_loop(self, stop: threading.Event) -> None:
        while not stop.is_set() and self.progress.error is None:
            frames = self._source.take(TAKE_S)
            if frames is None:
                return
            if not frames:
                continue
            records = self.perceive.step(frames)
            for frame in frames:
                self.progress.frames[frame.camera] = self.progress.frames.get(frame.camera, 0) + 1
                self._metrics.frames_used.labels(frame.camera).inc()
            if records:
                self._link.send(records)
                self._sent += 1

    def _identify_loop(self) -> None:
        try:
            self._work_off_records()
        except BaseException as error:  # noqa: BLE001 (kept for `run`, which raises it on the main thread)
            self.progress.error = error
            # Perceive may wait for room on the link; it looks at the error only then.
            while not self._drained.is_set():
                self._link.receive(TAKE_S)

    def _work_off_records(self) -> None:
        worked_off = 0
        beat_at: float | None = None
        while True:
            records = self._link.receive(TAKE_S)
            if not records and self._drained.is_set():
                return
            if not records and not self.is_live:
                continue
            # Replayed files have a time of their own; it moves with their records alone, so that runs repeat.
            now = self._clock() if self.is_live and not records else max(record.seen_at for record in records)
            self._tell_changes(worked_off)
            self._tell(self._identify.step(records, now), records)
            worked_off += bool(records)
            told_at = self._clock() if self.is_live else now
            if beat_at is None:
                beat_at = told_at
            elif told_at - beat_at >= self._heartbeat_s:
                beat_at = told_at
                self._publish([self._heartbeat(told_at)])

    def _tell(self, events: Sequence[Event], records: Sequence[Perceived]) -> None:
        self._metrics.observations.inc(len(records))
        self._metrics.identities.set(self._gallery_size())
        self._metrics.people.set(self._people_in_view())
        if events and self.progress.first_event_s is None:
            self.progress.first_event_s = self._clock() - self.progress.started_at
        self._publish(events)
        if events and records and self.is_live:
            latency = self._clock() - max(record.seen_at for record in records)
            self._metrics.latency.observe(latency)
            self.progress.latencies_s.append(latency)
            del self.progress.latencies_s[:-1000]

    def _publish(self, events: Iterable[Event]) -> None:
        told = list(events)
        if not told:
            return
        with self._publishing:
            self._sink.publish(told)
            self._on_events(told)
            self.progress.events += len(told)
            happened = [event.at for event in told if not isinstance(event, DaemonStarted | DaemonStopped)]
            self.progress.told_at = max(self.progress.told_at, *happened, 0.0)
        for event in told:
            self._metrics.events.labels(event.type).inc()

    def _heartbeat(self, now: float) -> DaemonHeartbeat:
        return DaemonHeartbeat(
            run=self._run,
            told_at=now,
            people=self._people_in_view(),
            gallery=self._gallery_size(),
            cameras_up=len(self._up),
        )
