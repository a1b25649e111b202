"""Filter the answers of cameras over RTSP and HTTP before FFmpeg sees them (pure).

Sources: RFC 2326 (RTSP; 7 answers, 10.12 interleaved data, 12.39 Transport), RFC 9112 (HTTP), RFC 7616 (digest).
"""

import re
from abc import ABC, abstractmethod

_MOST_HEADER = 64 << 10
"""Most bytes of an answer's header."""
_MOST_BODY = 1 << 20
"""Most bytes of an RTSP answer's body, a description of the streams."""
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"(?:RTSP|HTTP)/\d\.\d (\d{3})[^\r\n]*", re.IGNORECASE)
_HEADER = re.compile(rb"^([A-Za-z][A-Za-z0-9-]*)[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE)
_PART_HEAD = re.compile(rb"\r?\n\r?\n")
_PART_TYPE = re.compile(rb"^content-type[ \t]*:[ \t]*([^\s;]+)", re.IGNORECASE | re.MULTILINE)
_JPEG = b"\xff\xd8"
_CHALLENGE = re.compile(r",\s*(?=(?:digest|basic|bearer|negotiate|ntlm)\b)", re.IGNORECASE)
"""Separator of two challenges in one header field."""
_MD5 = re.compile(r"(algorithm=\s*\"?)md5(?=\"|-sess|\s|,|$)", re.IGNORECASE)
"""FFmpeg knows the name in capitals only."""
_NEXT_JPEG = re.compile(rb"\xff\xd9[\s0-9A-Fa-f;]{0,32}\xff\xd8\xff")
"""Separator of two images, with the chunk line of the transfer encoding."""
_STREAM_OF = 3
"""Images one after another that make a stream: a snapshot may hold a second one (multi-picture format)."""
_MOST_PICTURES = 64 << 20
"""Bytes to search for them."""
_MOST_SILENCES = 4
"""Silences after which the data so far counts as a snapshot whose camera keeps the connection open."""
_BOUNDARY = re.compile(r"boundary=\"?([^\";]+)\"?", re.IGNORECASE)


class AnswerFilter(ABC):
    """Filter of one connection: `asked` takes what FFmpeg sends, `answered` what the camera sends."""

    def __init__(self) -> None:
        self.status: int | None = None
        """Status of the newest answer."""
        self.redirect: str | None = None
        """Target of a redirect; the connection ends there."""
        self.refusal: str | None = None
        """Why an answer was not passed on, to follow the camera's name in a message."""
        self.content_type = ""
        """Content type of the newest answer, without parameters."""
        self.length: int | None = None
        """Bytes of the newest answer's body; none where it does not say."""
        self.has_odd_parts = False
        """Parts that FFmpeg's reader of multipart streams refuses, such as those not of type image/jpeg."""
        self.is_jpeg_stream = False
        """JPEG images one after another with nothing between them; the connection ends there, since FFmpeg takes them
        for one image unless the format is set."""
        self.wants_sha = False
        """The camera takes a password only as a digest by another hash than MD5, which FFmpeg does not know."""

    @property
    def has_answered(self) -> bool:
        """Whether an answer arrived that messages can use."""
        return self.status is not None or self.refusal is not None

    @property
    def is_refused(self) -> bool:
        """Whether nothing more is passed on."""
        return self.redirect is not None or self.refusal is not None or self.is_jpeg_stream

    @abstractmethod
    def asked(self, data: bytes) -> bool:
        """Take what FFmpeg sends; return False to end the connection."""

    @abstractmethod
    def answered(self, data: bytes) -> bytes:
        """Take what the camera sends; return the part to pass on to FFmpeg."""

    def ended(self) -> bytes:
        """Return what was held back when the camera closes the connection."""
        return b""

    def fell_silent(self) -> bytes:
        """Return what to pass on of what was held back when nothing arrives for a moment."""
        return b""

    def _read_header(self, header: bytes) -> dict[str, list[str]]:
        """Read the header of an answer; return its fields by lower-case name."""
        match = _STATUS.match(header)
        if match is None:
            self.refusal = "answers, but not with a video stream"
            return {}
        self.status = int(match[1])
        fields: dict[str, list[str]] = {}
        for name, value in _HEADER.findall(header):
            fields.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1").strip())
        self.content_type = fields.get("content-type", [""])[0].partition(";")[0].strip().lower()
        self.length = _length(fields) if "content-length" in fields else None
        if 300 <= self.status < 400 and self.status != 304:
            self.redirect = fields.get("location", [""])[0]
        self.wants_sha = self.status == 401 and _wants_sha(
            [one for field in fields.get("www-authenticate", []) for one in _CHALLENGE.split(field)]
        )
        return fields


class RtspAnswers(AnswerFilter):
    """Filter of RTSP up to the answer to PLAY; everything after it is passed on."""

    def __init__(self, host: str) -> None:
        """`host`: IP address of the camera, which answers of UDP must come with: FFmpeg knows the relay's alone."""
        super().__init__()
        self._host = host
        self._held = b""
        self._is_playing = self._has_asked_to_play = False

    def asked(self, data: bytes) -> bool:
        """Note whether FFmpeg sends PLAY."""
        self._has_asked_to_play = self._has_asked_to_play or data.startswith(b"PLAY ")
        return True

    def answered(self, data: bytes) -> bytes:
        """Pass on whole answers."""
        if self._is_playing:
            return data
        self._held = _with_crlf(self._held + data)
        passed = b""
        while self._held and not self.is_refused and (part := self._next()) is not None:
            passed += part
        if self._may_play():
            passed, self._held = passed + self._held, b""
        return passed

    def _may_play(self) -> bool:
        return self._is_playing

    def _next(self) -> bytes | None:
        if self._is_playing:
            return None
        if self._held[:1] == b"$":  # interleaved data that overtook the answer
            length = 4 + int.from_bytes(self._held[2:4], "big")
            return self._cut(length) if len(self._held) >= max(4, length) else None
        end = self._held.find(_END)
        if end < 0:
            if len(self._held) > _MOST_HEADER or not b"RTSP/".startswith(self._held[:5]):
                self.refusal = (
                    f"answers with a header of more than {_MOST_HEADER >> 10} KiB"
                    if self._held.startswith(b"RTSP/")
                    else "answers, but not with a video stream"
                )
            return None
        fields = self._read_header(self._held[: end + 2])
        length = _length(fields)
        if length > _MOST_BODY:
            self.refusal = f"announces a description of {length / 1e6:.0f} MB, at most {_MOST_BODY >> 20} MB are read"
        whole = end + len(_END) + length
        if self.is_refused or len(self._held) < whole:
            return None
        answer = _without_sha(self._cut(whole)) if self.status == 401 else self._cut(whole)
        self._is_playing = self._has_asked_to_play and self.status != 401
        return self._with_source(answer, fields)

    def _cut(self, length: int) -> bytes:
        part, self._held = self._held[:length], self._held[length:]
        return part

    def _with_source(self, answer: bytes, fields: dict[str, list[str]]) -> bytes:
        transport = fields.get("transport", [""])[0]
        if "server_port=" not in transport or "source=" in transport:
            return answer
        written = transport.encode("latin-1")
        return answer.replace(written, written + b";source=" + self._host.encode("ascii"), 1)


class HttpAnswers(AnswerFilter):
    """Filter of the header of one HTTP answer; everything after it is passed on."""

    def __init__(self, *, takes_jpeg_stream: bool = False) -> None:
        """`takes_jpeg_stream`: pass a stream of JPEG images on."""
        super().__init__()
        self._held = b""
        self._is_open = self._takes_jpeg_stream = takes_jpeg_stream
        self._pictures = _PictureCount()
        self._silences = 0

    @property
    def is_refused(self) -> bool:
        """See `AnswerFilter`; parts that FFmpeg's reader of them refuses are read as images one after another."""
        return super().is_refused or (self.has_odd_parts and not self._takes_jpeg_stream)

    def asked(self, data: bytes) -> bool:  # noqa: ARG002 (the protocol's)
        """Allow a single request: a second answer would not be filtered."""
        return not self._is_open or self.status is None

    def answered(self, data: bytes) -> bytes:
        """Hold the header back until it is whole, and of what may be a stream of images the first ones."""
        if self._is_open and self.status is not None:
            return data
        self._held = _with_crlf(self._held + data)
        self._silences = 0
        end = self._held.find(_END)
        if end < 0 or (end + len(_END) == len(self._held) and self._held.startswith(b"HTTP/1.1 100")):
            if len(self._held) > _MOST_HEADER:
                self.refusal = f"answers with a header of more than {_MOST_HEADER >> 10} KiB"
            return b""
        fields = self._read_header(self._held[: end + 2])
        if self.is_refused:
            return b""
        if self._is_open:
            return self._held
        head, body = self._held[: end + len(_END)], self._held[end + len(_END) :]
        is_chunked = "chunked" in fields.get("transfer-encoding", [""])[0].lower()
        part = (_unchunked(body) if is_chunked else body).lstrip(b"\r\n")
        if self.status == 200 and self.content_type.startswith("multipart/"):
            # Whether a boundary comes first, and what a part is, is seen in the body.
            first = _first_part(part)
            if len(body) < _MOST_HEADER and not _PART_HEAD.search(first) and not first.startswith(_JPEG):
                return b""
            self.has_odd_parts = _is_odd(first)
            body = _as_multipart(body, part, fields, is_chunked=is_chunked)
        elif self.status == 200 and self.length is None and self._may_be_stream(body, part, is_chunked=is_chunked):
            return b""
        else:
            head = _closing(head, fields)
        self._is_open = True
        return b"" if self.has_odd_parts else (_without_sha(head) if self.status == 401 else head) + body

    def _may_be_stream(self, body: bytes, part: bytes, *, is_chunked: bool) -> bool:
        """Whether more data is needed to distinguish one image from a stream of them."""
        if not (part.startswith(_JPEG) or _JPEG.startswith(part[:2])):
            return False
        self.is_jpeg_stream = self._pictures.of(body) >= _STREAM_OF
        return self.is_jpeg_stream or (
            len(body) < _MOST_PICTURES and not (is_chunked and body.endswith(b"\r\n0\r\n\r\n"))
        )

    def fell_silent(self) -> bytes:
        """Pass on what was held back as a possible stream of images."""
        self._silences += 1
        return self.ended() if self._pictures.count and self._silences >= _MOST_SILENCES else b""

    def ended(self) -> bytes:
        """Pass on what was held back; of several images the first, with its length."""
        held, self._held = self._held, b""
        if self._is_open or self.is_refused:
            return b""
        self._is_open = True
        head, _, body = held.partition(_END)
        if not self._pictures.count or not body.startswith(_JPEG):
            return held
        another = _NEXT_JPEG.search(body)
        body = body if another is None else body[: another.start() + 2]
        self.length = len(body)
        return head + b"\r\nContent-Length: %d" % len(body) + _END + body


def _as_multipart(body: bytes, part: bytes, fields: dict[str, list[str]], *, is_chunked: bool) -> bytes:
    """Put the boundary before the first part where the camera leaves it out, as some do: FFmpeg insists on it."""
    if part.startswith(b"--"):
        return body
    is_headed = part[:8].lower() == b"content-"
    boundary = _BOUNDARY.search(fields.get("content-type", [""])[0])
    name = boundary[1].strip() if boundary is not None else "frame"
    line = b"--" + name.removeprefix("--").encode("latin-1") + b"\r\n"
    if part.startswith(_JPEG):
        line += b"Content-Type: image/jpeg\r\n\r\n"
    elif not is_headed and line.strip() in part and not is_chunked:
        return part[part.index(line.strip()) :]  # a preamble, which FFmpeg does not skip
    return b"%x\r\n%s\r\n%s" % (len(line), line, body) if is_chunked else line + body.lstrip(b"\r\n")


def _closing(head: bytes, fields: dict[str, list[str]]) -> bytes:
    """State in a header that the body ends with the connection, where it does: FFmpeg takes that for a failure else.

    Source: RFC 9112, 6.3.
    """
    if "content-length" in fields or "transfer-encoding" in fields:
        return head
    if "close" in fields.get("connection", [""])[0].lower():
        return head
    return head[: -len(_END)] + b"\r\nConnection: close" + _END


def _first_part(part: bytes) -> bytes:
    """Return a multipart body from its first part on, without a preamble; empty before that has begun."""
    if part.startswith((b"--", _JPEG)) or part[:8].lower() == b"content-":
        return part
    start = part.find(b"\n--")
    return part[start + 1 :] if start >= 0 else b""


def _unchunked(body: bytes) -> bytes:
    """Return what the chunks of a body hold so far (RFC 9112, 7.1)."""
    found = b""
    while body:
        line, end, body = body.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            break
        if not end or not size:
            break
        found, body = found + body[:size], body[size + 2 :]
    return found


def _with_crlf(held: bytes) -> bytes:
    """Return an answer whose header has line ends of CR LF where it has bare LF (RFC 9112, 2.2)."""
    end, bare = held.find(_END), held.find(b"\n\n")
    if bare < 0 or 0 <= end < bare or not held[:5].upper().startswith((b"HTTP/", b"RTSP/")):
        return held
    lines = held[:bare].replace(b"\r\n", b"\n")
    return lines.replace(b"\n", b"\r\n") + _END + held[bare + 2 :]


def _is_odd(part: bytes) -> bool:
    """Whether FFmpeg's reader of multipart streams refuses a part: no JPEG by its type, or no length and bare LF."""
    end = _PART_HEAD.search(part)
    head = part if end is None else part[: end.start()]
    if part.startswith(_JPEG):  # without a header, which it gets
        return False
    kind = _PART_TYPE.search(head)
    has_length = b"content-length" in head.lower()
    return kind is None or kind[1].lower() != b"image/jpeg" or (not has_length and b"\r\n" not in head)


def _length(fields: dict[str, list[str]]) -> int:
    value = fields.get("content-length", ["0"])[0]
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


def _wants_sha(challenges: list[str]) -> bool:
    """Whether no challenge is one that FFmpeg can answer."""
    return bool(challenges) and all(_is_sha(challenge) for challenge in challenges)


def _is_sha(challenge: str) -> bool:
    """Whether a challenge asks for a digest by another hash than MD5."""
    algorithm = re.search(r"algorithm=\s*\"?([\w-]+)", challenge, re.IGNORECASE)
    return (
        challenge.lower().startswith("digest")
        and algorithm is not None
        and algorithm[1].lower().removesuffix("-sess") != "md5"
    )


def _without_sha(answer: bytes) -> bytes:
    """Leave out challenges that FFmpeg cannot answer where there are others: it tries the last of its favourite kind.

    Several may stand in one field (RFC 9110, 11.6.1).
    """
    head, end, body = answer.partition(_END)
    lines: list[bytes] = []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.strip().lower() != b"www-authenticate":
            lines.append(line)
            continue
        challenges = _CHALLENGE.split(value.strip().decode("latin-1"))
        kept = [_MD5.sub(r"\1MD5", one.rstrip(", ")) for one in challenges if one.strip(", ") and not _is_sha(one)]
        lines += [name + colon + b" " + one.encode("latin-1") for one in kept]
    kept_any = any(line.lower().startswith(b"www-authenticate") for line in lines)
    return b"\r\n".join(lines) + end + body if kept_any else answer


class _PictureCount:
    """Count of the JPEG images in a body that grows."""

    def __init__(self) -> None:
        self.count = 0
        self._end = 0

    def of(self, body: bytes) -> int:
        """Return how many images have begun; the first byte is that of an image or of a chunk's line."""
        self.count = max(self.count, 1)
        for match in _NEXT_JPEG.finditer(body, self._end):
            self.count, self._end = self.count + 1, match.end()
        self._end = max(self._end, len(body) - 64)
        return self.count
