"""Read the key frames of a camera's main stream beside its substream, to cut people out of (`detect_url`).

    url         key frames, decoded alone while something moves     ── the newest ──┐
    detect_url  all frames ─────────────────────────────────────────────────────────┴─▶ Frame, sometimes with a Detail

Both streams come from one camera, so its wall clock (RTCP) relates them exactly; without it each is placed by its own
earliest arrivals, which differ by some milliseconds. A main stream that fails costs detail, and no frame.
"""

import random
import threading

from reid_stream.config import settings as config
from reid_stream.config.backoff import RetryPolicy
from reid_stream.errors import StreamError
from reid_stream.images import Detail
from reid_stream.ingest.clock import StreamClock
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.ffmpeg_interrupt import interrupted_by
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.url import address

MOST_AGE_S = 0.5
"""Most time between an image and the frame that it is handed on with, seconds."""
_APART_S = 0.4
"""Least time between two images that are decoded, seconds: all images of MJPEG are key frames."""
_AHEAD_S = 0.02
"""An image this much later than a frame still belongs to it; later ones wait for the next frame, seconds."""


class DetailReader:
    """Reads a camera's main stream on a thread of its own until the camera stops."""

    def __init__(
        self,
        camera: config.Camera,
        settings: config.Ingest,
        stop: threading.Event,
        site_clock: SiteClock,
        frames_clock: StreamClock,
    ) -> None:
        """`frames_clock`: that of the substream, whose frames the images are placed beside."""
        self._camera = camera.model_copy(update={"detect_url": None, "resize": None})
        self._settings, self._stop, self._site = settings, stop, site_clock
        self._frames_clock = frames_clock
        self._thread = threading.Thread(target=self._run, name=f"detail {camera.id}", daemon=True)
        self._changing = threading.Lock()
        self._newest: Detail | None = None
        self.is_wanted = True
        """Whether images are decoded, set by the consumer at any time."""
        self.fault = ""
        """Why there are no images; empty if there are, or before the first attempt has failed."""

    def start(self) -> None:
        """Start the thread and return."""
        self._thread.start()

    def take(self, at: float) -> Detail | None:
        """Return the newest image that belongs to the frame of this time (UTC seconds), once."""
        with self._changing:
            newest = self._newest
            if newest is None or newest.captured_at > at + _AHEAD_S:
                return None
            self._newest = None
        return newest if at - newest.captured_at <= MOST_AGE_S else None

    def _run(self) -> None:
        retry = RetryPolicy(
            self._settings.backoff_first_s, self._settings.backoff_max_s, random.Random().random, reset_s=0.0
        )
        with interrupted_by(self._stop):
            while not self._stop.is_set():
                began = self._site.now()
                try:
                    self._read()
                    fault = StreamError(f"{address(self._camera).name} has closed the connection", "ended")
                except StreamError as error:
                    fault = error
                except Exception as error:  # noqa: BLE001 (its text may hold the URL, so the type must do)
                    fault = StreamError(f"the main stream failed unexpectedly: {type(error).__name__}")
                if self._stop.is_set():
                    return
                worked_s = 0.0 if self.fault else self._site.now() - began
                self.fault = str(fault)
                self._stop.wait(retry.next_wait_s(worked_s, is_slow=fault.cause == "refused"))

    def _read(self) -> None:
        """Keep the newest key frame until the stream ends or fails."""
        clock, convert = StreamClock(), Converter(None)
        decoded_at = float("-inf")

        def wants(_stream_s: float | None, is_key: bool) -> bool:
            return is_key and self.is_wanted and self._site.now() - decoded_at >= _APART_S

        with open_source(self._camera, self._settings) as source:
            source.is_keys_alone = True
            base = source.steps, self._site.shift_s()
            for packet in source.read(wants):
                if self._stop.is_set():
                    return
                if base != (source.steps, self._site.shift_s()):
                    base = source.steps, self._site.shift_s()
                    clock.restart()
                arrived_at = self._site.now()
                # Once the system's clock was set, whether the camera was set as well is unknown here.
                clock.observe(packet.stream_s, arrived_at, None if self._site.shift_s() else packet.camera_at)
                for picture in packet.frames[-1:]:
                    decoded_at = arrived_at
                    at = clock.beside(self._frames_clock, source.seconds(picture), arrived_at)
                    self.fault = ""
                    if at is None:
                        continue
                    detail = Detail(at, convert(DecodedImage.read(picture)))
                    with self._changing:
                        self._newest = detail
