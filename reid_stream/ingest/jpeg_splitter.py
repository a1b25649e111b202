"""Cut a body of JPEG images into single ones by their own structure, whatever stands between them (pure).

Cameras separate the images of one answer by parts of MIME, or by nothing. What they write between images may be wrong:
no boundary before the first part or at all, another one than announced, lengths of the image before, other types. An
image itself says where it ends.

Sources: ITU-T T.81, annex B (markers and segments); RFC 9112, 7.1 (chunks).
"""

import re

_SOI = b"\xff\xd8\xff"
"""Start of an image, and the first byte of its next marker."""
_START, _END, _SCAN, _FILL = 0xD8, 0xD9, 0xDA, 0xFF
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a segment: TEM, RSTn."""
_LEAST_MARKER = 0xC0
_IN_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""A marker that ends the data of a scan; others are part of it."""
_BOUNDARY = re.compile(rb"\r?\n--[^\r\n]{1,80}\r?\n")
_MOST_BYTES = 64 << 20
"""Largest image, bytes."""
_MOST_BETWEEN = 4 << 20
"""Most bytes between two images, such as sound."""


class JpegSplitter:
    """Splitter of one body."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._has_begun = self._is_scan = False
        self._at = 0
        """Where the next marker is, or is searched for."""
        self._passed_over = 0
        """Bytes since the last image that belong to none."""

    @property
    def is_too_long(self) -> bool:
        """Whether an image has more than `_MOST_BYTES`, or more than `_MOST_BETWEEN` arrive that are none."""
        return len(self._held) > _MOST_BYTES or self._passed_over > _MOST_BETWEEN

    def feed(self, data: bytes) -> list[bytes]:
        """Return the images that are whole with these bytes; one that was cut off by the next ends with that."""
        self._held += data
        images: list[bytes] = []
        while self._find_start() and (end := self._find_end()) is not None:
            images.append(self._cut(end))
        return [image for image in images if image]

    def _find_start(self) -> bool:
        if self._has_begun:
            return True
        start = self._held.find(_SOI)
        # The last bytes may be the first ones of an image.
        skipped = start if start >= 0 else max(0, len(self._held) - len(_SOI) + 1)
        self._passed_over += skipped
        del self._held[:skipped]
        self._has_begun, self._is_scan, self._at = start >= 0, False, len(_SOI) - 1
        return self._has_begun

    def _find_end(self) -> int | None:
        """Return where the image ends: 0 if it is none after all; None if that is still to come."""
        held = self._held
        while self._skip_scan() and len(held) >= self._at + 2:
            marker = held[self._at + 1]
            if held[self._at] != _FILL or not (marker in _STANDALONE or marker >= _LEAST_MARKER):
                return 0
            if marker in (_START, _END):
                return self._at + (2 if marker == _END else 0)
            if marker == _FILL:
                self._at += 1
            elif marker in _STANDALONE:
                self._at += 2
            elif len(held) < self._at + 4:
                return None
            else:
                self._at += 2 + int.from_bytes(held[self._at + 2 : self._at + 4], "big")
                self._is_scan = marker == _SCAN
        return None

    def _skip_scan(self) -> bool:
        """Go to the marker behind the data of a scan; False if that is still to come."""
        if not self._is_scan:
            return True
        found = _IN_SCAN.search(self._held, self._at)
        self._at = max(self._at, len(self._held) - 1) if found is None else found.end() - 2
        self._is_scan = found is None
        return found is not None

    def _cut(self, end: int) -> bytes:
        image = bytes(self._held[:end])
        del self._held[: end or len(_SOI) - 1]
        self._has_begun = False
        self._passed_over = 0 if end else self._passed_over + len(_SOI) - 1
        boundary = None if image.endswith(b"\xff\xd9") else _BOUNDARY.search(image)
        return image if boundary is None else image[: boundary.start()]


class Chunks:
    """Decoder of a body in chunks."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self.has_ended = False
        """The last chunk has arrived, or what is none."""

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes add to the body."""
        self._held += data
        found: list[bytes] = []
        while self._held and not self.has_ended:
            if self._left:
                found.append(self._held[: self._left])
                self._left, self._held = self._left - len(found[-1]), self._held[len(found[-1]) :]
                continue
            line, end, rest = self._held.partition(b"\n")
            if not end:
                break
            self._held, line = rest, line.strip()
            if line:  # empty after each chunk
                self._begin(line.partition(b";")[0].strip())
        return b"".join(found)

    def _begin(self, size: bytes) -> None:
        is_size = re.fullmatch(rb"[0-9A-Fa-f]{1,16}", size) is not None
        self._left = int(size, 16) if is_size else 0
        self.has_ended = not self._left
