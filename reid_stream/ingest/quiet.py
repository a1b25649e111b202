"""Convert decoded images, except those of a camera where nothing moves and no one is tracked.

The detector would not look at them (`detect.gate`), so neither conversion nor the copy to the daemon is paid for. They
are passed on without pixels: times, counts and tracks continue as usual.
"""

from reid_stream.images import Picture, Unread
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.motion import Floats, PictureMotion

HOLD_S = 1.5
"""Seconds that a camera's images are converted after the last motion: longer than the detector's gate stays open."""


class QuietFilter:
    """Finds motion in one camera's images and converts those that may be looked at; one thread at a time."""

    def __init__(self, convert: Converter, full_every_s: float | None) -> None:
        """`full_every_s`: convert at least at this interval; None to convert all and not to look for motion."""
        self._convert, self._full_every_s = convert, full_every_s
        self._motion = PictureMotion()
        self._moved_at = self._full_at = float("-inf")

    @property
    def fell_back(self) -> bool:
        """See `Converter`."""
        return self._convert.fell_back

    def __call__(self, image: DecodedImage, at: float, *, is_attended: bool) -> tuple[Picture, Floats | None]:
        """Return an image, without pixels if it is not wanted, and what moves in it.

        Args:
            image: decoded.
            at: its time, UTC seconds; it may be put back.
            is_attended: whether it is wanted although nothing moves.
        """
        if self._full_every_s is None:
            return self._convert(image), None
        size = self._convert.size_of(image)
        moving = self._motion(image, size)
        if moving is None or len(moving):
            self._moved_at = at
        is_full = moving is None or not 0 <= at - self._full_at < self._full_every_s
        if is_full:
            self._full_at = at
        if is_full or is_attended or 0 <= at - self._moved_at <= HOLD_S:
            return self._convert(image), moving
        return Unread(*size), moving
