"""Run perception on a thread of this process, and replace it when it hangs.

A step that hangs is abandoned together with its thread. New perception continues in its place, with new networks and
trackers, whose track numbers belong to a run of their own. `workers.pool` does the same for perception in processes.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog

from reid_stream.config.differences import SettingsChange
from reid_stream.config.settings import Camera, Settings, Watchdog
from reid_stream.errors import StuckError
from reid_stream.pipeline import PerceiveCounts
from reid_stream.records import CameraId, Frame
from reid_stream.runtime.interfaces import (
    CameraSource,
    LiveSource,
    LiveStages,
    ObservationLink,
    PerceptionStages,
    Supervisor,
)
from reid_stream.runtime.prefetch import DetectionPrefetch, Prefetched
from reid_stream.runtime.watchdog import HungStage, Pulse, StageLimits, Worker

if TYPE_CHECKING:
    from reid_stream.ingest.changes import CameraChange
    from reid_stream.ingest.stats import CameraStats

TAKE_S = 0.2
"""Longest wait for a frame or a record before a loop checks whether to stop."""
STOP_S = 10.0
"""Longest wait for the step in progress when the daemon stops."""
LOAD_SLACK = 10.0
"""Loading networks may take this many times as long as a stage may."""
_log = structlog.get_logger(__name__)

OpenSource = Callable[["Callable[[CameraChange], None]"], CameraSource]
"""Makes a source that reports its cameras' changes to the given function."""
MakeStages = Callable[[int, Pulse], PerceptionStages]
"""Makes perception number n, counted from 0, whose stages are wrapped with the given pulse."""


@dataclass(frozen=True, slots=True)
class _CameraOrder:
    """Cameras to follow, and not to follow any more, between two batches."""

    added: Collection[CameraId] = ()
    removed: Collection[CameraId] = ()
    done: threading.Event = field(default_factory=threading.Event)


class PerceptionThread:
    """Cameras, perception and the link to identification; a `PerceptionRunner`."""

    def __init__(
        self,
        open_source: OpenSource,
        make: MakeStages,
        link: ObservationLink,
        *,
        watchdog: Watchdog,
        lanes: Callable[[], int] = lambda: 1,
        is_eager: bool = False,
        configure: Callable[[Sequence[Camera]], None] = lambda _: None,
    ) -> None:
        """Make the source and perception number 0; nothing runs yet.

        Args:
            open_source: makes the source of frames.
            make: makes perception, and another each time one has hung.
            link: where records go.
            watchdog: when a stage hangs, and how often perception is replaced.
            lanes: see `DetectionPrefetch`.
            is_eager: see `DetectionPrefetch`.
            configure: makes the networks, and perception made from now on, use these cameras' settings.
        """
        self.link = link
        self._pulse = Pulse()
        self._make = make
        self._stages = make(0, self._pulse)
        self._source = open_source(self._camera_changed)
        self._sent = 0
        self._prefetch: DetectionPrefetch | None = None
        self._watchdog = watchdog
        self._lanes, self._is_eager, self._configure = lanes, is_eager, configure
        self._orders: SimpleQueue[_CameraOrder] = SimpleQueue()
        self._gone: frozenset[CameraId] = frozenset()
        """Cameras that were removed: a process that hangs may still deliver a frame."""
        self._number = 0
        """Number of the perception at work, counted from 0."""
        self._supervisor: Supervisor | None = None

    @property
    def model(self) -> str:
        """Hash of the embedder's bundle."""
        return self._stages.model

    @property
    def counts(self) -> PerceiveCounts:
        """Work so far."""
        return self._stages.counts

    @property
    def source(self) -> CameraSource:
        """Source of the frames."""
        return self._source

    @property
    def stats(self) -> "Mapping[CameraId, CameraStats]":
        """State of each camera."""
        return self._source.stats

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Frames that a newer one replaced before they were processed, by camera."""
        return self._source.replaced

    def start(self, supervisor: Supervisor) -> None:
        """Open the cameras."""
        self._supervisor = supervisor
        self._source.start()

    def stuck(self, limit_s: float) -> HungStage | None:
        """Return the stage that has hung for longer than `limit_s`, if any."""
        return self._pulse.stuck(limit_s)

    def watch(self, supervisor: Supervisor, stop: threading.Event) -> None:
        """Run perception on its own thread until it ends, and replace it when it hangs.

        Raises:
            StuckError: it hung more often than `watchdog.restarts` allows.
            Exception: any error of perception.
        """
        restarts = StageLimits(self._watchdog.restarts)
        limit_s = self._watchdog.stage_s
        for self._number in itertools.count():
            worker = Worker("perceive", partial(self._loop, self._pulse, supervisor, stop))
            stuck, is_ending = None, False
            while stuck is None and not worker.ended.wait(min(TAKE_S, limit_s / 4)):
                if stop.is_set() or supervisor.has_failed:
                    limit_s, is_ending = min(limit_s, STOP_S), True
                supervisor.check(limit_s)
                stuck = self._pulse.abandon(limit_s)
            if worker.error is not None:
                raise worker.error
            if stuck is None:
                return
            is_replaced = not is_ending and restarts.allows(time.monotonic())
            supervisor.report_hang(stuck, "restarted" if is_replaced else "ended")
            if is_ending:
                return
            if not is_replaced:
                raise StuckError(stuck.message(self._watchdog.stage_s))
            self._pulse = Pulse()

    def change_cameras(self, change: SettingsChange) -> None:
        """Add, remove and change cameras; the others continue meanwhile.

        Trackers are added before their camera is opened, and dropped when all frames of their camera are finished.
        """
        source = self._source
        assert isinstance(source, LiveSource), "cameras of a replay do not change"
        removed = [CameraId(name) for name in change.removed]
        self._configure(change.cameras)
        for name in removed:
            source.remove(name)
        self._gone = (self._gone | set(removed)) - {CameraId(camera.id) for camera in change.cameras}
        self._order(_CameraOrder(removed=removed))
        for name in removed:
            source.forget(name)
        self._order(_CameraOrder(added=[CameraId(camera.id) for camera in change.added]))
        for one in change.changed:
            (source.put if one.reopens else source.configure)(one.camera)
        for camera in change.added:
            source.put(camera)

    def _order(self, order: _CameraOrder) -> None:
        """Have perception execute an order, and wait for it unless perception hangs."""
        self._orders.put(order)
        order.done.wait(self._watchdog.stage_s)

    def close(self) -> None:
        """Close the cameras."""
        self._source.stop()

    def _loop(self, pulse: Pulse, supervisor: Supervisor, stop: threading.Event) -> None:
        if self._number:
            with pulse.busy("load", slack=LOAD_SLACK):
                stages = self._make(self._number, pulse)
            if pulse.is_abandoned:
                return
            self._stages = stages
            _log.info("perception_restarted", restarts=self._number)
        self._prefetch = prefetch = DetectionPrefetch(self._stages, pulse, lanes=self._lanes, is_eager=self._is_eager)
        try:
            while not stop.is_set() and not supervisor.has_failed:
                if not self._orders.empty():
                    while prefetch.in_hand:
                        if not self._send(prefetch.finish(), pulse, supervisor):
                            return
                    self._carry_out_orders()
                done = prefetch.advance(self._take_frames, TAKE_S)
                if not self._send(done, pulse, supervisor) or done.is_over:
                    return
            while prefetch.in_hand and self._send(prefetch.finish(), pulse, supervisor):
                pass
        finally:
            prefetch.close()

    def _take_frames(self, timeout_s: float) -> list[Frame] | None:
        frames = self._source.take_frames(timeout_s)
        return frames and [frame for frame in frames if frame.camera not in self._gone]

    def _carry_out_orders(self) -> None:
        with suppress(Empty):
            while True:
                order = self._orders.get_nowait()
                assert isinstance(self._stages, LiveStages), "cameras of a replay do not change"
                if records := self._stages.change_cameras(order.added, order.removed):
                    self.link.send(records)
                    self._sent += 1
                order.done.set()

    def _send(self, done: Prefetched, pulse: Pulse, supervisor: Supervisor) -> bool:
        """Send the records of a batch; False if this perception was abandoned meanwhile."""
        if pulse.is_abandoned:
            return False
        supervisor.count_frames(Counter(frame.camera for frame in done.frames))
        if done.records:
            self.link.send(done.records)
            self._sent += 1
        return True

    def _camera_changed(self, change: "CameraChange") -> None:
        """Report a change, due after all batches that were sent or will be sent before the frames taken next."""
        assert self._supervisor is not None, "cameras are opened by `start`"
        in_hand = self._prefetch.in_hand if self._prefetch is not None else 0
        self._supervisor.report_camera(change, after=self._sent + in_hand)


class AttendedCameras:
    """Cameras of which every image is wanted, whether or not something moves in it.

    Written by the perception thread, read by the one that takes frames.
    """

    def __init__(self, is_watched: Callable[[CameraId], bool] = lambda _: False) -> None:
        """`is_watched`: whether a camera's live images are open in the console."""
        self._is_watched = is_watched
        self._followed: frozenset[CameraId] = frozenset()

    def follow(self, camera: CameraId, is_wanted: bool) -> None:
        """Note whether people of a camera are followed."""
        if is_wanted != (camera in self._followed):
            self._followed = self._followed | {camera} if is_wanted else self._followed - {camera}

    def wants(self, camera: CameraId) -> bool:
        """Return whether every image of a camera is wanted."""
        return camera in self._followed or self._is_watched(camera)


def full_every_s(settings: Settings) -> float | None:
    """Return at what interval each camera's image is wanted at least, in seconds; None for every image."""
    return settings.detect.full_every_s if settings.detect.gate == "auto" else None
