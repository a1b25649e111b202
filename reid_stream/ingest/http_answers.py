"""Filter the answers of cameras over HTTP: repair the header, cut the images of a body apart (pure).

FFmpeg's reader of multipart streams believes the boundaries and lengths between images, and ends with the first wrong
one. It gets the images in parts of one form, with right lengths.

Sources: RFC 9112 (HTTP), RFC 2046, 5.1 (multipart).
"""

import re

from reid_stream.ingest.answers import END, MOST_HEADER, AnswerFilter, with_crlf, without_sha
from reid_stream.ingest.jpeg_splitter import Chunks, JpegSplitter

_OK = 200
_INTERIM = re.compile(rb"HTTP/\d\.\d[ \t]+1\d\d")
"""Status line of an answer before the answer."""
_PLAIN_STATUS = re.compile(rb"HTTP/1\.\d \d{3}")
_JPEG = b"\xff\xd8"
_PART = re.compile(rb"(--[^\r\n]*\r?\n)?(?:[\w-]+[ \t]*:[^\r\n]*\r?\n)*?content-type[ \t]*:[ \t]*image/", re.IGNORECASE)
"""The start of a part that holds an image, in a body that is not called multipart."""
_PART_STARTS = (b"--", b"content-")
_OTHER_IMAGE = re.compile(rb"II\*\0|MM\0\*|\x89PNG|GIF8|BM|RIFF....WEBP", re.DOTALL)
"""Start of a TIFF, PNG, GIF, BMP or WebP image, which FFmpeg reads best by its length, TIFF only so."""
_LEAST_START = 12
"""Bytes of a body that tell what it is."""
_STREAM_OF = 3
"""Images one after another that make a stream: a snapshot may hold a second one (multi-picture format)."""
_MOST_BYTES = 64 << 20
"""Most bytes of a snapshot without a length."""
_MOST_SILENCES = 4
"""Silences after which the data so far counts as a snapshot whose camera keeps the connection open."""
_SPLIT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=image\r\nConnection: close\r\n\r\n"
_SPLIT_PART = b"--image\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
_LENGTHS = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:[^\r\n]*", re.IGNORECASE)


class HttpAnswers(AnswerFilter):
    """Filter of one answer."""

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        """The header, until it is passed on; before it is whole, all that has arrived."""
        self._raw, self._body = bytearray(), bytearray()
        """The body as it arrived, and without chunks, until it is known what it is."""
        self._chunks: Chunks | None = None
        self._splitter: JpegSplitter | None = None
        self._images: list[bytes] = []
        """The first ones of a body that may be a snapshot or a stream."""
        self._is_open = False
        self._silences = 0

    def asked(self, data: bytes) -> bool:  # noqa: ARG002 (the protocol's)
        """Allow a single request: a second answer would not be filtered."""
        return not self._is_open

    def answered(self, data: bytes) -> bytes:
        """Hold the header back until it is whole, and of a body the start until it is known what it is."""
        self._silences = 0
        if self._is_open:
            return data if self._splitter is None else self._split(self._unchunked(data))
        if self.status is not None:
            return self._recognise(data)
        end = self._find_header(data)
        return b"" if end < 0 else self._start(end)

    def _start(self, end: int) -> bytes:
        """Read the header, which ends there, and begin with the body."""
        fields = self._read_header(self._held[: end + 2])
        body, self._held = self._held[end + len(END) :], _repaired(self._held[: end + len(END)], fields)
        if self.is_refused:
            return b""
        if "chunked" in fields.get("transfer-encoding", [""])[0].lower():
            self._chunks, self.length = Chunks(), None
        if self.status == _OK and self.content_type.startswith("multipart/"):
            return self._open_split([]) + self._split(self._unchunked(body))
        if self.status == _OK:
            return self._recognise(body)
        self._is_open = True
        return (without_sha(self._held) if self.status == 401 else self._held) + body

    def _find_header(self, data: bytes) -> int:
        """Return where the header ends, of the answer and not of an interim one; -1 before that has arrived."""
        self._held = with_crlf((self._held + data).lstrip(b"\r\n"))
        if self._held.startswith(_JPEG) or _PART.match(self._held):  # no header at all
            self._held = b"HTTP/1.0 200 OK" + END + self._held
        end = self._held.find(END)
        while end >= 0 and _INTERIM.match(self._held):
            self._held = self._held[end + len(END) :]
            end = self._held.find(END)
        if end < 0 and len(self._held) > MOST_HEADER:
            self.refusal = f"answers with a header of more than {MOST_HEADER >> 10} KiB"
        return end

    def _unchunked(self, data: bytes) -> bytes:
        return data if self._chunks is None else self._chunks.feed(data)

    def _recognise(self, data: bytes) -> bytes:
        """Find out what a body is that does not call itself multipart."""
        added = self._unchunked(data)
        self._raw += data
        self._body += added
        start = bytes(self._body[:MOST_HEADER]).lstrip(b"\r\n")
        is_whole = self._chunks is not None and self._chunks.has_ended
        is_over = is_whole or self.length == 0 or len(self._raw) > _MOST_BYTES
        if start[:8].lower().startswith(_PART_STARTS):
            if _PART.match(start):
                return self._open_split([]) + self._split(bytes(self._body))
            if not is_over and len(self._body) < MOST_HEADER and END not in start and b"\n\n" not in start:
                return b""
        elif start.startswith(_JPEG):
            if self._splitter is None:
                self._splitter, added = JpegSplitter(), bytes(self._body)
            self._images += self._splitter.feed(added)
            if self.length is None and len(self._images) >= _STREAM_OF:
                return self._open_split(self._images)
            # Of a snapshot with a wrong length, the image itself says where it ends.
            is_snapshot = self.length is not None and (self._images or len(self._body) >= self.length)
            return self.ended() if is_over or is_snapshot else b""
        elif self.length is None and _OTHER_IMAGE.match(start):
            return self.ended() if is_over else b""
        elif self.length is None and len(start) < _LEAST_START and not is_over:
            return b""
        return self._open()

    def _open(self) -> bytes:
        self._is_open, self._splitter = True, None
        return self._held + bytes(self._raw)

    def _open_split(self, images: list[bytes]) -> bytes:
        self._is_open, self._splitter = True, self._splitter or JpegSplitter()
        return _SPLIT_HEAD + _parts(images)

    def _split(self, data: bytes) -> bytes:
        assert self._splitter is not None
        images = self._splitter.feed(data)
        if self._splitter.is_too_long:
            self.refusal = "sends parts, but no JPEG images"
        return _parts(images)

    def fell_silent(self) -> bytes:
        """Pass on what was held back as a possible stream of images."""
        self._silences += 1
        return self.ended() if self._body and self._silences >= _MOST_SILENCES else b""

    def ended(self) -> bytes:
        """Pass on what was held back; of several images the first, with its length."""
        if self._is_open or self.is_refused:
            return b""
        image = self._images[0] if self._images else bytes(self._body).lstrip(b"\r\n")
        if not image.startswith(_JPEG) and (self.length is not None or not _OTHER_IMAGE.match(image)):
            return self._open()
        self._is_open, self._splitter, self.length = True, None, len(image)
        head = _LENGTHS.sub(b"", self._held).removesuffix(END)
        return head + b"\r\nContent-Length: %d" % len(image) + END + image


def _parts(images: list[bytes]) -> bytes:
    return b"".join(_SPLIT_PART % (len(image), image) for image in images)


def _repaired(head: bytes, fields: dict[str, list[str]]) -> bytes:
    """Return a header with a status line that FFmpeg reads, and the statement that the body ends with the connection.

    FFmpeg takes such an end for a failure if it is not stated (RFC 9112, 6.3).
    """
    if not _PLAIN_STATUS.match(head):
        line, _, rest = head.partition(b"\r\n")
        number = re.search(rb"[ \t](\d{3})", line)
        head = b"HTTP/1.0 " + (b"" if number is None else number[1]) + b"\r\n" + rest
    if "content-length" in fields or "transfer-encoding" in fields:
        return head
    if "close" in fields.get("connection", [""])[0].lower():
        return head
    return head[: -len(END)] + b"\r\nConnection: close" + END
