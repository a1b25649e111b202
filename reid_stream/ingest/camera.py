"""Read one camera on a thread: open, decode, stamp, cap the rate, scale, hand on; reconnect whenever it fails."""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reid_stream.config import settings as config
from reid_stream.config.backoff import RetryPolicy
from reid_stream.errors import ModelError, StreamError
from reid_stream.events import CameraDown
from reid_stream.images import Detail, Unread
from reid_stream.ingest.changes import CameraChange, FrameFormat, delivery_change
from reid_stream.ingest.clock import CaptureTime, StreamClock
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.convert import Converter, DecodedImage, GpuConverter
from reid_stream.ingest.detail import DetailReader
from reid_stream.ingest.ffmpeg_interrupt import interrupted_by
from reid_stream.ingest.playback import FilePlayback, LivePlayback
from reid_stream.ingest.quiet import QuietFilter
from reid_stream.ingest.rate_limit import TOLERANCE, FramePlan, KeyframePolicy, RateCap
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stats import CameraStats, RateMeter, State
from reid_stream.ingest.stream import DecodedPacket, VideoSource
from reid_stream.ingest.url import address
from reid_stream.records import CameraId, Frame


class CameraRunner(ABC):
    """A camera that is read on its own thread."""

    def __init__(self, name: str, stats: CameraStats) -> None:
        self._stop = threading.Event()
        # A daemon thread: should FFmpeg hang where it cannot be interrupted, the process can still end.
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self.stats = stats
        self.limit_fps: float | None = None
        """Limit in frames per second below `max_fps`, set by the consumer at any time; None for no limit."""
        self.is_attended = True
        """Whether pixels of quiet images are wanted as well, set by the consumer at any time."""

    def start(self) -> None:
        """Start the thread and return."""
        self._thread.start()

    def stop(self) -> None:
        """Request the end and return; a connection attempt is interrupted within a fraction of a second."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; return False on timeout."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def has_ended(self) -> bool:
        """Whether it yields no more frames: stopped, or a file at its end."""
        return self.stats.state in ("ended", "stopped")

    @abstractmethod
    def _run(self) -> None:
        """Run until `_stop` is set."""


class FrameSink(Protocol):
    """Consumer of a camera's frames: the inbox, or the connection to the daemon."""

    def put(self, frame: Frame) -> None:
        """Offer a frame; never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """State of an earlier process of the same camera, so that numbers and times continue to rise."""

    stats: CameraStats
    captured_at: float = float("-inf")


class CameraThread(CameraRunner):
    """A camera from `start` to `stop`; only `stop` and the end of a file end its thread."""

    def __init__(
        self,
        camera: config.Camera,
        settings: config.Ingest,
        inbox: FrameSink,
        on_change: Callable[[CameraChange], None],
        site_clock: SiteClock | None = None,
        resume: ResumePoint | None = None,
        take_over: GpuConverter | None = None,
        full_every_s: float | None = None,
    ) -> None:
        """`on_change` is called on the camera's thread when it comes up, changes (size, codec, clock), or goes down.

        Capture times are site time by `site_clock`, by default a new one. Without `resume` all counts are 0.
        `take_over` keeps images that a GPU decodes in its memory. `full_every_s`: see `QuietFilter`.
        """
        self._full_every_s = full_every_s
        self._camera = camera
        self._settings = settings
        self._inbox = inbox
        self._on_change = on_change
        self._site_clock = site_clock or SiteClock()
        self._take_over = take_over
        self._id = CameraId(camera.id)
        fresh = CameraStats(self._id, name=camera.id, since=time.time())
        super().__init__(camera.id, fresh if resume is None else resume.stats)
        self.captured_at = float("-inf") if resume is None else resume.captured_at
        self._clock = StreamClock(self.captured_at)
        self._sequence = self.stats.read
        self._detail: DetailReader | None = None
        """Of the main stream, beside `detect_url`."""
        self._format: FrameFormat | None = None
        """Format of the newest frame."""
        # Packets that were delayed together arrive in a burst; their timestamps are too close to measure a speed.
        self._least_step_s = TOLERANCE / (camera.max_fps or 50.0)
        self._read_rate, self._used_rate = RateMeter(), RateMeter()

    def _run(self) -> None:
        retry = RetryPolicy(
            self._settings.backoff_first_s, self._settings.backoff_max_s, random.Random().random, reset_s=0.0
        )
        if self._camera.detect_url is not None:
            self._detail = DetailReader(self._camera, self._settings, self._stop, self._site_clock, self._clock)
            self._detail.start()
            self._camera = self._camera.model_copy(update={"url": self._camera.detect_url, "detect_url": None})
        with interrupted_by(self._stop):
            while not self._stop.is_set():
                began, connects = time.monotonic(), self.stats.connects
                try:
                    if self._play():
                        self._change("ended", "the file has ended")
                        return
                    failure = StreamError(f"{self.stats.name} has closed the connection", "ended")
                except StreamError as error:
                    failure = error
                except ModelError as error:  # the GPU cannot convert this frame
                    failure = StreamError(f"{self.stats.name}: {error}", "unreadable")
                except Exception as error:  # noqa: BLE001 (a fault of one camera must not stop the others)
                    # Its text may hold the URL, so the type must do.
                    failure = StreamError(f"{self.stats.name} failed unexpectedly: {type(error).__name__}")
                if self._stop.is_set():
                    break
                self.stats.failures[failure.cause] = self.stats.failures.get(failure.cause, 0) + 1
                self._change("waiting", str(failure), failure)
                worked_s = time.monotonic() - began if self.stats.connects > connects else 0.0
                self._stop.wait(retry.next_wait_s(worked_s, is_slow=failure.cause == "refused"))
        self._change("stopped", "stopped")

    def _play(self) -> bool:
        """Deliver frames until the stream ends or `_stop` is set; return True at the end of a file."""
        # Also for the name in messages, before anything can fail.
        self.stats.name = address(self._camera).name
        self._state("connecting")
        self.stats.last_packet_at = time.monotonic()
        with open_source(self._camera, self._settings, self._take_over) as source:
            self.stats.codec = source.codec
            self.stats.hardware = source.on_hardware
            self.stats.assumed_fps = source.assumed_fps
            self.stats.hardware_fallbacks += self._settings.hardware_decode and not source.on_hardware
            player = (
                FilePlayback(source, self._camera, self._stop, self._site_clock)
                if source.is_recorded
                else LivePlayback(self._clock, self._site_clock)
            )
            pace = _Pace(self._camera.max_fps)
            look = QuietFilter(Converter(self._camera.resize, self._take_over), self._full_every_s)
            source.needs = pace.plan.needs

            def wants(stream_s: float | None, is_key: bool) -> bool:
                late_s = player.late_s(stream_s, source.decode_s, source.steps)
                is_wanted = pace.keys.wants(stream_s, is_key, late_s)
                self.stats.dropped["behind"] += pace.keys.is_behind
                return is_wanted

            while not self._stop.is_set():
                for packet in source.read(wants):
                    if self._stop.is_set():
                        return False
                    self.stats.keys_only = pace.keys.keys_only
                    if self.limit_fps != self.stats.limit_fps:
                        pace.limit(self.limit_fps)
                        self.stats.limit_fps = self.limit_fps
                    self._take(source, player, packet, pace, look)
                if not source.is_recorded or self._stop.is_set():
                    return False
                if not self.stats.read:
                    raise StreamError(f"{source.name} must be a video, no picture of it can be decoded")
                if not self._camera.loop:
                    return True
                source.rewind()
                pace.plan.forget()
                player.again()
        return False

    def _take(
        self,
        source: VideoSource,
        player: LivePlayback | FilePlayback,
        packet: DecodedPacket,
        pace: "_Pace",
        look: QuietFilter,
    ) -> None:
        self.stats.last_packet_at = time.monotonic()
        self.stats.waits_for = "" if source.has_key or self.stats.state == "up" else "key frame"
        self.stats.clock_steps += player.note_packet(packet, source.steps)
        arrived = pace.arrived(packet, [source.seconds(picture) for picture in packet.frames], source.steps)
        self._count_losses(source, player, packet, arrived.times)
        for _ in arrived.left_out:
            self._count_read()
            self.stats.dropped["rate" if pace.cap.has_limit else "slowed"] += 1
        for picture in packet.frames:
            self._count_read()
            stream_s = source.seconds(picture)
            stamp = player.stamp(stream_s)
            when = player.when(stream_s, stamp)
            pace.plan.runs_by(None if stream_s is None else when - stream_s)
            is_due = player.wait(stamp.at)
            if self._stop.is_set():
                return
            if not is_due:
                self.stats.dropped["late"] += 1
            elif stamp.at - self.captured_at < self._least_step_s or not pace.cap.wants(when, player.arrived_at):
                self.stats.dropped["rate"] += 1
            elif not pace.slow.wants(when, player.arrived_at):
                self.stats.dropped["slowed"] += 1
            else:
                image, moving = look(DecodedImage.read(picture), stamp.at, is_attended=self.is_attended)
                detail = self._detail_of(stamp.at, is_wanted=not isinstance(image, Unread))
                number = self._sequence - 1
                self._give(source, stamp, Frame(self._id, number, stamp.at, stamp.clock, image, moving, detail=detail))
                if look.fell_back:
                    self.stats.fall_back()
        self.stats.skew_s = player.skew_s

    def _detail_of(self, at: float, *, is_wanted: bool) -> Detail | None:
        """Return the image of the main stream that belongs to the frame of this time, if there is one."""
        if self._detail is None:
            return None
        self._detail.is_wanted = is_wanted
        self.stats.detail_fault = self._detail.fault
        detail = self._detail.take(at) if is_wanted else None
        self.stats.details += detail is not None
        return detail

    def _count_read(self) -> None:
        self.stats.read += 1
        self._sequence += 1
        self.stats.rate = self._read_rate.tick(time.monotonic())

    def _count_losses(
        self,
        source: VideoSource,
        player: LivePlayback | FilePlayback,
        packet: DecodedPacket,
        times: list[float | None],
    ) -> None:
        corrupt = source.take_corrupt()
        self.stats.dropped["corrupt"] += corrupt
        self.stats.repaired += source.take_repaired()
        if isinstance(player, LivePlayback):
            self.stats.dropped["lost"] += player.missing(times, corrupt, is_skipped=packet.is_skipped)

    def _give(self, source: VideoSource, stamp: CaptureTime, frame: Frame) -> None:
        now = FrameFormat(frame.size, source.codec, stamp.clock)
        change = delivery_change(self._id, time.time(), self._format if self.stats.state == "up" else None, now)
        if change is not None:
            self.stats.connects += self.stats.state != "up"
            self.stats.size, self.stats.codec, self.stats.clock = now.size, now.codec, now.clock
            self._format = now
            self._state("up")
            self._on_change(change)
        self._inbox.put(frame)
        self.captured_at = frame.captured_at
        self.stats.used += 1
        self.stats.used_rate = self._used_rate.tick(time.monotonic())

    def _change(self, state: State, reason: str, failure: StreamError | None = None) -> None:
        """Change to a state other than up; emit an event once per outage, and when the reason changes."""
        is_news = self.stats.state == "up" or (state == "waiting" and self.stats.reason != reason)
        self._state(state, reason)
        self.stats.cause = failure.cause if failure is not None else None
        if is_news:
            self._on_change(CameraDown(camera=self._id, changed_at=time.time(), reason=reason))

    def _state(self, state: State, reason: str | None = None) -> None:
        # While connecting, the reason of the last failure still applies.
        if reason is not None or state == "up":
            self.stats.reason = reason or ""
        if state != "up":
            self.stats.waits_for = ""
            self.stats.rate = self.stats.used_rate = 0.0
            self._read_rate, self._used_rate = RateMeter(), RateMeter()
        if state != self.stats.state:
            self.stats.state, self.stats.since = state, time.time()
            self.stats.last_packet_at = time.monotonic()


class _Arrived(NamedTuple):
    """Images that arrived, decoded or not, in the order they are shown."""

    times: list[float | None]
    """Stream seconds of each."""
    left_out: list[float]
    """Stream seconds of those that were not decoded."""


class _Pace:
    """Choose the frames of a connection to use and the packets to decode."""

    def __init__(self, max_fps: float | None) -> None:
        self._max_fps = max_fps
        self.cap = RateCap(max_fps)
        self.slow = RateCap(None, phase=random.Random().random())
        self.keys = KeyframePolicy(max_fps)
        self.plan = FramePlan(self.cap, self.slow)
        self._steps = 0

    def arrived(self, packet: DecodedPacket, stamps: list[float | None], steps: int) -> "_Arrived":
        """Return what came with a packet, of images with these stamps, after so many steps of the timestamps."""
        if packet.is_skipped or steps != self._steps:
            self._steps = steps
            self.plan.forget()
        arrived = _Arrived([], [])
        for stamp in stamps:
            left_out = [] if stamp is None else self.plan.came(stamp)
            arrived.left_out.extend(left_out)
            arrived.times.extend([*left_out, stamp])
        return arrived

    def limit(self, fps: float | None) -> None:
        """Use at most so many frames per second beside `max_fps`."""
        self.slow.change(fps)
        self.keys.change(fps if fps is not None else self._max_fps)
