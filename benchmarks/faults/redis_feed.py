"""Feed one recording to daemons, any number of times and at any pace, always with the same events.

Perception (decoding, detector, tracker, embedder) sees the footage once; its records then go to one daemon after
another: real ones with link, matcher, presence and sink, whose source and perception are the recorded batches.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reid_stream import __version__
from reid_stream.assembly.perception import REPLAY_ORIGIN
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Publish, Settings, Watchdog
from reid_stream.events import CameraDown, CameraUp, Event
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.replay import FastReplay
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stats import CameraStats
from reid_stream.link.inproc import InprocLink
from reid_stream.observe.metrics import Metrics
from reid_stream.pipeline import NO_ONE, PerceiveCounts
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, Detections, Frame, Perceived
from reid_stream.runtime.daemon import Daemon, DaemonSettings, Monitors
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.interfaces import Sink, SiteIdentification
from reid_stream.runtime.networks import load_networks, make_perception
from reid_stream.runtime.perception_thread import PerceptionThread
from reid_stream.runtime.watchdog import Pulse

RUN = "drill"
"""The run's fixed name, so that the same event has the same id in every run."""


@dataclass(frozen=True)
class RecordedFeed:
    """Records of perception for a piece of footage."""

    cameras: tuple[CameraId, ...]
    embedder: EmbedderInfo
    batches: list[list[Perceived]]


def watch(settings: Settings, seconds: float) -> RecordedFeed:
    """Run perception over the first seconds of file cameras.

    Raises:
        ModelError: a bundle is missing or broken.
        StreamError: a camera is no readable file.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    networks = load_networks(settings)
    perception = make_perception(settings, networks, RUN)
    batches = []
    with FastReplay(cameras, settings.ingest, origin=REPLAY_ORIGIN) as frames:
        for batch in frames:
            if batch[0].captured_at - REPLAY_ORIGIN > seconds:
                break
            records = perception.step(batch)
            if records:
                batches.append(records)
    return RecordedFeed(tuple(CameraId(camera.id) for camera in cameras), EmbedderInfo.of(networks.embedder), batches)


def daemon(feed: RecordedFeed, steps: SiteIdentification, sink: Sink, lasts_s: float, begin: int = 0) -> Daemon:
    """Return a daemon that processes the feed within `lasts_s`, whatever its length; up to batch `begin` at once."""
    memory, watchdog = _Memory(feed, lasts_s, begin), Watchdog()
    return Daemon(
        PerceptionThread(memory.open, memory.make, InprocLink(), watchdog=watchdog),
        IdentificationThread(steps, is_live=False),
        sink,
        SiteClock(),
        settings=DaemonSettings(
            run=RUN,
            version=__version__,
            cameras=feed.cameras,
            is_live=False,
            heartbeat_s=Publish().heartbeat_s,
            watchdog=watchdog,
        ),
        monitors=Monitors(Metrics(), SiteView()),
    )


class TimingSink:
    """Sink in front of another one that records how long the daemon waited for it."""

    def __init__(self, sink: Sink) -> None:
        self._waits_s: list[float] = []
        self._sink = sink

    @property
    def longest_s(self) -> float:
        """The 99th percentile: a busy machine may preempt a thread at any time."""
        return float(np.percentile(self._waits_s, 99)) if self._waits_s else 0.0

    def ready(self) -> tuple[bool, str]:
        """Pass on."""
        return self._sink.ready()

    def publish(self, events: Sequence[Event]) -> None:
        """Pass on, and measure the time."""
        begin = time.perf_counter()
        self._sink.publish(events)
        self._waits_s.append(time.perf_counter() - begin)

    def close(self, timeout_s: float) -> bool:
        """Pass on."""
        return self._sink.close(timeout_s)


class _Memory:
    """Source and perception in one: batches of empty frames, and the records of the recording."""

    def __init__(self, feed: RecordedFeed, lasts_s: float, begin: int) -> None:
        self._feed = feed
        self._step_s = lasts_s / max(1, len(feed.batches))
        self._next = 0
        self._begin = begin
        self._begun_at = 0.0
        self._stop = threading.Event()
        self.model = feed.embedder.model
        self.counts = PerceiveCounts()

    def open(self, on_change: Callable[[CameraChange], None]) -> "_Memory":
        """Report cameras to `on_change`."""
        self._on_change = on_change
        return self

    def make(self, _number: int, _pulse: Pulse) -> "_Memory":
        """Return itself as the perception."""
        return self

    def start(self) -> None:
        """Start the clock; the cameras are up."""
        self._begun_at = time.monotonic()
        for camera in self._feed.cameras:
            up = CameraUp(camera=camera, changed_at=REPLAY_ORIGIN, frame_size=(1, 1), codec="memory", clock="file")
            self._on_change(up)

    def take_frames(self, timeout_s: float) -> list[Frame] | None:  # noqa: ARG002 (the protocol's)
        """Return the next batch when it is due."""
        if self._next == len(self._feed.batches):
            end = max(record.seen_at for record in self._feed.batches[-1])
            for camera in self._feed.cameras:
                self._on_change(CameraDown(camera=camera, changed_at=end, reason="the footage has ended"))
            return None
        self._stop.wait(max(0.0, self._begun_at + (self._next - self._begin) * self._step_s - time.monotonic()))
        times = {record.camera: record.seen_at for record in self._feed.batches[self._next]}
        self._next += 1
        empty = np.zeros((1, 1, 3), np.uint8)
        return [Frame(camera, self._next, seen_at, "file", empty) for camera, seen_at in times.items()]

    def choose(self, frames: Sequence[Frame], /) -> list[Frame | None]:
        """Choose no frame for detection: records come from the recording."""
        return [None for _ in frames]

    def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
        """Return no people for each frame; `finish` returns the recorded ones."""
        return [NO_ONE for _ in frames]

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections | None]) -> list[Perceived]:  # noqa: ARG002
        """Return the records of these frames, which are numbered by their batch, from 1."""
        self.counts.frames += len(frames)
        return self._feed.batches[frames[0].sequence - 1]

    def stop(self) -> None:
        """Stop waiting."""
        self._stop.set()

    @property
    def stats(self) -> Mapping[CameraId, CameraStats]:
        """Return no statistics."""
        return {}

    @property
    def replaced(self) -> Mapping[CameraId, int]:
        """Return nothing."""
        return {}
