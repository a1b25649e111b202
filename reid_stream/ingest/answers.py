"""Filter the answers of cameras over RTSP and HTTP before FFmpeg sees them (pure).

Sources: RFC 2326 (RTSP; 7 answers, 10.12 interleaved data, 12.39 Transport), RFC 9112 (HTTP), RFC 7616 (digest).
"""

import re
from abc import ABC, abstractmethod

MOST_HEADER = 64 << 10
"""Most bytes of an answer's header."""
_MOST_BODY = 1 << 20
"""Most bytes of an RTSP answer's body, a description of the streams."""
END = b"\r\n\r\n"
_STATUS = re.compile(rb"(?:(?:RTSP|HTTP)(?:/\d(?:\.\d)?)?|ICY)[ \t]+(\d{3})[^\r\n]*", re.IGNORECASE)
"""Status line; "ICY" is that of SHOUTcast, which some cameras have taken over."""
_HEADER = re.compile(rb"^([A-Za-z][A-Za-z0-9-]*)[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE)
_FOLD = re.compile(rb"\r?\n[ \t]+")
"""Continuation of a header field on the next line (RFC 9112, 5.2)."""
_CHALLENGE = re.compile(r",\s*(?=(?:digest|basic|bearer|negotiate|ntlm)\b)", re.IGNORECASE)
"""Separator of two challenges in one header field."""
_MD5 = re.compile(r"(algorithm=\s*\"?)md5(?=\"|-sess|\s|,|$)", re.IGNORECASE)
"""FFmpeg knows the name in capitals only."""


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
        self.wants_other = ""
        """How the camera takes a password, if in no way that FFmpeg knows, such as `SHA-256 digest` or `NTLM`."""

    @property
    def has_answered(self) -> bool:
        """Whether an answer arrived that messages can use."""
        return self.status is not None or self.refusal is not None

    @property
    def is_refused(self) -> bool:
        """Whether nothing more is passed on."""
        return self.redirect is not None or self.refusal is not None

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
        for name, value in _HEADER.findall(_FOLD.sub(b" ", header)):
            fields.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1").strip())
        self.content_type = fields.get("content-type", [""])[0].partition(";")[0].strip().lower()
        self.length = _length(fields) if "content-length" in fields else None
        if 300 <= self.status < 400 and self.status != 304:
            self.redirect = fields.get("location", [""])[0]
        challenges = [
            one for field in fields.get("www-authenticate", []) for one in _CHALLENGE.split(field) if one.strip(", ")
        ]
        self.wants_other = _only_others(challenges) if self.status == 401 else ""
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
        self._held = with_crlf(self._held + data)
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
        end = self._held.find(END)
        if end < 0:
            if len(self._held) > MOST_HEADER or not b"RTSP/".startswith(self._held[:5]):
                self.refusal = (
                    f"answers with a header of more than {MOST_HEADER >> 10} KiB"
                    if self._held.startswith(b"RTSP/")
                    else "answers, but not with a video stream"
                )
            return None
        fields = self._read_header(self._held[: end + 2])
        length = _length(fields)
        if length > _MOST_BODY:
            self.refusal = f"announces a description of {length / 1e6:.0f} MB, at most {_MOST_BODY >> 20} MB are read"
        whole = end + len(END) + length
        if self.is_refused or len(self._held) < whole:
            return None
        answer = without_sha(self._cut(whole)) if self.status == 401 else self._cut(whole)
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


def with_crlf(held: bytes) -> bytes:
    """Return an answer whose header has line ends of CR LF where it has bare LF (RFC 9112, 2.2)."""
    end, bare = held.find(END), held.find(b"\n\n")
    if bare < 0 or 0 <= end < bare or not held[:4].upper().startswith((b"HTTP", b"RTSP", b"ICY")):
        return held
    lines = held[:bare].replace(b"\r\n", b"\n")
    return lines.replace(b"\n", b"\r\n") + END + held[bare + 2 :]


def _length(fields: dict[str, list[str]]) -> int:
    value = fields.get("content-length", ["0"])[0]
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


def _only_others(challenges: list[str]) -> str:
    """Return the ways to send a password that are asked for if FFmpeg knows none of them, else nothing."""
    others = [other for challenge in challenges if (other := _other(challenge))]
    return ", ".join(dict.fromkeys(others)) if len(others) == len(challenges) else ""


def _other(challenge: str) -> str:
    """Return the way to send a password that FFmpeg does not know and a challenge asks for; nothing for others."""
    scheme = challenge.split(maxsplit=1)[0].strip(",")
    if scheme.lower() == "digest":
        algorithm = re.search(r"algorithm=\s*\"?([\w-]+)", challenge, re.IGNORECASE)
        is_known = algorithm is None or algorithm[1].lower().removesuffix("-sess") == "md5"
        return "" if is_known or algorithm is None else f"{algorithm[1]} digest"
    return "" if scheme.lower() == "basic" else scheme


def without_sha(answer: bytes) -> bytes:
    """Leave out challenges that FFmpeg cannot answer where there are others: it tries the last of its favourite kind.

    Several may stand in one field (RFC 9110, 11.6.1).
    """
    head, end, body = answer.partition(END)
    lines: list[bytes] = []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.strip().lower() != b"www-authenticate":
            lines.append(line)
            continue
        challenges = _CHALLENGE.split(value.strip().decode("latin-1"))
        kept = [_MD5.sub(r"\1MD5", one.rstrip(", ")) for one in challenges if one.strip(", ") and not _other(one)]
        lines += [name + colon + b" " + one.encode("latin-1") for one in kept]
    kept_any = any(line.lower().startswith(b"www-authenticate") for line in lines)
    return b"\r\n".join(lines) + end + body if kept_any else answer
