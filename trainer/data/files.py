"""Image files, in folders and in tar archives; distractors, truncated JPEGs.

Sources: JPEG markers: ITU-T T.81, annex B; names of Market-1501's distractors: Zheng et al., ICCV 2015, section 3.
"""

import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Self

from reid_stream.images import MOST_BYTES, is_clutter, read_file
from trainer.errors import DataError

UNREADABLE_TAR = (OSError, tarfile.TarError, EOFError, ValueError, zlib.error)
"""What a damaged or hostile tar file raises."""
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MOST_HEADER = 1 << 20
_MARKET_DISTRACTOR = re.compile(r"^0000_c\d+s\d+_")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_RESTARTS = range(0xD0, 0xD8)


def read_image_file(path: Path) -> bytes:
    """Return the content of an image file or its labels.

    Raises:
        DataError: it cannot be read, is a pipe or a device, or is far too large.
    """
    try:
        return read_file(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"an image must be a file that can be read, {path}: {reason}; remove it") from error


class _Member(tarfile.TarInfo):
    """A member whose extended header (a long name, say) is small: it is read into memory before its size is known."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > _MOST_HEADER:
            raise tarfile.ReadError(f"an extended header has {member.size:,} bytes, at most {_MOST_HEADER:,} are read")
        return member


def tar_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the wanted regular files of a tar archive, in stored order; nothing is written.

    A compressed file cannot be read backwards, and a small one may unpack to any size: a file of the archive has at
    most `MOST_BYTES`, all together half of the machine's memory.

    Raises:
        DataError: a file, or all together, are larger.
        Exception: one of `UNREADABLE_TAR`.
    """
    left = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with tarfile.open(path, tarinfo=_Member) as archive:
        for member in archive:
            if not member.isfile() or is_clutter(member.name) or not wanted(member.name):
                continue
            left -= member.size
            if member.size > MOST_BYTES or left < 0:
                what = "the file" if member.size > MOST_BYTES else "all up to"
                raise DataError(
                    f"a tar file must have room in memory, {path}: {what} {member.name} has too many bytes; unpack it "
                    "and give the folder"
                )
            content = archive.extractfile(member)
            yield member.name, content.read() if content is not None else b""


def is_distractor(name: str) -> bool:
    """Whether a file name is that of a distractor of Market-1501: the number 0000 is shared by many people.

    >>> is_distractor("0000_c1s1_000151_01.jpg"), is_distractor("0000_c1_01.jpg")
    (True, False)
    """
    return _MARKET_DISTRACTOR.match(PurePath(name).name) is not None


def is_whole_jpeg(data: bytes) -> bool:
    """Whether a JPEG reaches its end-of-image marker; bytes after it do not matter.

    Motion photos append a video, and copying tools zeros. Markers are followed, not searched for: an embedded thumbnail
    has its own end marker.
    """
    place = 2 if data[:2] == bytes((0xFF, _SOI)) else len(data)
    while True:
        place = data.find(0xFF, place)
        if place < 0 or place + 1 >= len(data):
            return False
        marker = data[place + 1]
        if marker == _EOI:
            return True
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in (0, _TEM) or marker in _RESTARTS:  # a stuffed byte, or a marker without a segment
            place += 2
        else:  # a segment; the coded data after a start of scan is searched for the next marker
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
