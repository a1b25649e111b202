"""Files as cameras, as fast as the pipeline: it pulls, and every run of the same files gives the same batches.

All files lie on one timeline. Each is decoded ahead on a thread of its own into a short queue; which frames come, and
in which batches, depends on their timestamps alone, never on which thread was faster.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from reid_stream.config import settings as config
from reid_stream.errors import ModelError, StreamError
from reid_stream.events import CameraDown
from reid_stream.ingest.changes import CameraChange, FrameFormat, delivery_change
from reid_stream.ingest.clock import FileClock
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.convert import Converter, DecodedImage, GpuConverter
from reid_stream.ingest.motion import PictureMotion
from reid_stream.ingest.rate_limit import KeyframePolicy, RateCap
from reid_stream.ingest.stats import CameraStats
from reid_stream.ingest.stats_log import StatsLog
from reid_stream.ingest.stream import DEFAULT_FPS, VideoSource
from reid_stream.ingest.url import address
from reid_stream.records import CameraId, Frame

AHEAD = 4
"""Frames decoded ahead per camera; bounds memory."""
WINDOW_S = 0.05
"""Frames of several cameras within this time form a batch, where no camera has a rate cap."""


class FastReplay:
    """An iterator over batches: at most one frame per camera, captured close together, in order of capture time."""

    def __init__(
        self,
        cameras: Sequence[config.Camera],
        settings: config.Ingest,
        *,
        origin: float,
        on_change: Callable[[CameraChange], None] = lambda _: None,
        take_over: GpuConverter | None = None,
    ) -> None:
        """`origin`: UTC seconds of the timeline's beginning; give the same to get the same times again.

        `take_over` leaves what a GPU decodes in its memory.

        Raises:
            StreamError: a camera is no file, since only files can be read faster than they happen.
        """
        self._files = [
            _File(camera, settings, origin, on_change, take_over)
            for camera in sorted(cameras, key=_by_id)
            if camera.enabled
        ]
        rates = [camera.max_fps for camera in cameras if camera.max_fps is not None]
        self._window_s = min((1.0 / rate for rate in rates), default=WINDOW_S)
        self._is_over = False

    def start(self) -> None:
        """Open the files.

        Raises:
            StreamError: one of them cannot be read; the message names all that cannot.
        """
        faults: list[StreamError] = []
        for file in self._files:
            try:
                file.open()
            except StreamError as error:
                faults.append(error)
        if faults:
            self.stop()
            raise StreamError("\n".join(str(fault) for fault in faults), faults[0].cause)
        StatsLog().log_changes(self.stats)
        for file in self._files:
            file.start()

    def take_frames(self, timeout_s: float = 0.0) -> list[Frame] | None:  # noqa: ARG002 (the daemon's sources agree)
        """The next batch; None when all files have ended. `timeout_s` is for other sources: files are never late."""
        batch: list[Frame] = []
        while not self._is_over:
            heads = [(frame.captured_at, n) for n, file in enumerate(self._files) if (frame := file.peek()) is not None]
            if not heads:
                break
            at, n = min(heads)
            taken = {frame.camera for frame in batch}
            if batch and (self._files[n].id in taken or at >= batch[0].captured_at + self._window_s):
                break
            batch.append(self._files[n].pop())
        return batch or None

    def stop(self) -> None:
        """Close the files and end the threads."""
        self._is_over = True
        for file in self._files:
            file.stop()

    @property
    def stats(self) -> dict[CameraId, CameraStats]:
        """Current state of each camera."""
        return {file.id: file.stats for file in self._files}

    @property
    def replaced(self) -> dict[CameraId, int]:
        """Empty: the pipeline pulls, so no frame is replaced by a newer one."""
        return {}

    def __iter__(self) -> Iterator[list[Frame]]:
        while (batch := self.take_frames()) is not None:
            yield batch

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _by_id(camera: config.Camera) -> str:
    return camera.id


class _File:
    """One file, decoded ahead."""

    def __init__(
        self,
        camera: config.Camera,
        settings: config.Ingest,
        origin: float,
        on_change: Callable[[CameraChange], None],
        take_over: GpuConverter | None,
    ) -> None:
        where = address(camera)
        if not where.is_local:
            raise StreamError(f"camera {camera.id}: only files can be replayed fast, got {where.name}")
        self.id = CameraId(camera.id)
        self.stats = CameraStats(self.id, where.name)
        self._camera = camera
        self._settings = settings
        self._origin = origin
        self._take_over = take_over
        self._on_change = on_change
        self._source: VideoSource | None = None
        self._frames: queue.Queue[Frame | StreamError | None] = queue.Queue(AHEAD)
        self._head: Frame | None = None
        self._format: FrameFormat | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._decode, name=f"replay {camera.id}", daemon=True)

    def open(self) -> None:
        self._source = open_source(self._camera, self._settings, self._take_over)
        self.stats.codec = self._source.codec
        self.stats.hardware = self._source.on_hardware
        self.stats.assumed_fps = self._source.assumed_fps
        self.stats.hardware_fallbacks += self._settings.hardware_decode and not self._source.on_hardware

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            while self._thread.is_alive():  # it may be waiting for room in the queue
                self._drain()
                self._thread.join(0.01)
        elif self._source is not None:
            self._source.close()

    def peek(self) -> Frame | None:
        """The next frame; None at the end. Waits for the decoder."""
        if self._head is None and self.stats.state not in ("ended", "stopped"):
            head = self._next()
            if isinstance(head, Frame):
                self._head = head
                self._arrived(head)
            else:
                self._ended(head)
        return self._head

    def pop(self) -> Frame:
        frame, self._head = self._head, None
        assert frame is not None
        self.stats.used += 1
        return frame

    def _next(self) -> Frame | StreamError | None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                return self._frames.get(timeout=0.1)
        return None

    def _arrived(self, frame: Frame) -> None:
        now = FrameFormat(frame.size, self.stats.codec, "file")
        change = delivery_change(self.id, frame.captured_at, self._format, now)
        if change is not None:
            self.stats.state, self.stats.size, self.stats.clock, self.stats.connects = "up", now.size, now.clock, 1
            self._format = now
            self._on_change(change)
        self.stats.since = frame.captured_at

    def _ended(self, failure: StreamError | None) -> None:
        self.stats.state = "ended"
        self.stats.reason = "the file has ended" if failure is None else str(failure)
        self.stats.cause = None if failure is None else failure.cause
        self._on_change(CameraDown(camera=self.id, changed_at=self.stats.since, reason=self.stats.reason))

    def _drain(self) -> None:
        try:
            while True:
                self._frames.get_nowait()
        except queue.Empty:
            pass

    def _decode(self) -> None:
        end: StreamError | None = None
        try:
            assert self._source is not None
            with self._source as source:
                self._play(source)
            if not self.stats.read and not self._stop.is_set():
                end = StreamError(f"{source.name} must be a video, no picture of it can be decoded")
        except StreamError as error:
            end = error
        except ModelError as error:  # of an image that cannot be taken over
            end = StreamError(f"{self.stats.name}: {error}", "unreadable")
        except Exception as error:  # noqa: BLE001 (a fault of one camera must not stop the others)
            end = StreamError(f"{self.stats.name} failed unexpectedly: {type(error).__name__}")
        if not self._stop.is_set():
            self._frames.put(end)

    def _play(self, source: VideoSource) -> None:
        clock = FileClock(self._origin + self._camera.start_after_s, 1.0 / (source.rate or DEFAULT_FPS))
        cap, keys = RateCap(self._camera.max_fps), KeyframePolicy(self._camera.max_fps)
        convert = Converter(self._camera.resize, self._take_over)
        motion = PictureMotion()
        sequence = 0
        while not self._stop.is_set():
            for packet in source.read(keys.wants):
                for picture in packet.frames:
                    if self._stop.is_set():
                        return
                    at = clock.stamp(source.seconds(picture))
                    self.stats.read += 1
                    if cap.wants(at):
                        image = DecodedImage.read(picture)
                        moving = motion(image, convert.size_of(image))
                        self._frames.put(Frame(self.id, sequence, at, "file", convert(image), moving))
                        if convert.fell_back:
                            self.stats.fall_back()
                    else:
                        self.stats.dropped["rate"] += 1
                    sequence += 1
                self.stats.dropped["corrupt"] += source.take_corrupt()
            if not self._camera.loop or not self.stats.read:
                return
            source.rewind()
            clock.again()
