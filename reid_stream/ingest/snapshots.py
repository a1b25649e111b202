"""Poll a URL that answers each request with one image."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reid_stream.errors import StreamError
from reid_stream.ingest.ffmpeg_errors import UnchangedError
from reid_stream.ingest.ffmpeg_interrupt import is_stopped
from reid_stream.ingest.stream import MOST_REJECTED, DecodedPacket, VideoSource, Wanted

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

DEFAULT_FPS = 5.0
"""Requests a second for a camera without `max_fps`."""
_POLL_S = 0.1
_LASTING = ("refused", "untrusted")
"""Causes of failure that another request will not mend."""


class SnapshotSource(VideoSource):
    """Source that requests images at a steady rate, one connection each."""

    is_polled = True

    def __init__(self, first: VideoSource, reopen: Callable[[], VideoSource], fps: float) -> None:
        """Continue from the first answer.

        Args:
            first: the first answer, open.
            reopen: asks again; raises StreamError.
            fps: requests a second.
        """
        super().__init__(first.where, first.container, first.stream, first.settings, first.relay)
        self._reopen, self._interval_s = reopen, 1.0 / fps
        self._next: VideoSource | None = first
        self._last: DecodedPacket | None = None
        self._rejected_answers = 0
        """Answers with damaged images before the first whole one."""
        self.has_key = True

    @property
    def rate(self) -> float | None:
        """Requests a second."""
        return 1.0 / self._interval_s

    def seconds(self, picture: "VideoFrame") -> float | None:  # noqa: ARG002 (the base's)
        """Return None: timestamps of single images mean nothing."""
        return None

    def read(self, wanted: Wanted) -> Iterator[DecodedPacket]:
        """Yield one image per request, without timestamps.

        Raises:
            StreamError: for `read_timeout_s`, requests failed or their answers were no images; the login or the
                certificate was refused.
        """
        due = usable_at = time.monotonic()
        while not is_stopped():
            try:
                for packet in self._answer(wanted):
                    yield packet
                    usable_at, self._last = time.monotonic(), packet
            except UnchangedError:
                if self._last is None:
                    raise
                usable_at = time.monotonic()
                yield self._last
            except StreamError as error:
                # Small cameras fail now and then, as while they focus or serve someone else.
                is_over = time.monotonic() - usable_at > self.settings.read_timeout_s
                if error.cause in _LASTING or is_over:
                    raise
                self._corrupt += 1
            # Each answer arrives in time, so its own limit is never reached.
            self._check_usable(time.monotonic() - usable_at, 0.0)
            due = max(due + self._interval_s, time.monotonic())
            while not is_stopped() and (left_s := due - time.monotonic()) > 0:
                time.sleep(min(left_s, _POLL_S))

    def _answer(self, wanted: Wanted) -> Iterator[DecodedPacket]:
        """Ask for an image and yield it; nothing if the answer holds none that can be decoded."""
        answer, self._next = self._next or self._reopen(), None
        with answer:
            if self._rejected_answers >= MOST_REJECTED:
                answer.accept_damaged()
            try:
                for packet in answer.read(lambda _, is_key: wanted(None, is_key)):
                    if packet.frames:
                        yield DecodedPacket(None, None, packet.frames[:1])
                        return
            finally:
                corrupt = answer.take_corrupt()
                self._corrupt += corrupt
                self._rejected_answers += corrupt if self._last is None else 0

    def close(self) -> None:
        """Disconnect."""
        if self._next is not None:
            self._next.close()
