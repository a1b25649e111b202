"""Checks of image files: distractors, truncated JPEGs (pure).

Sources: JPEG markers: ITU-T T.81, annex B; names of Market-1501's distractors: Zheng et al., ICCV 2015, section 3.
"""

import re
from pathlib import PurePath

_MARKET_DISTRACTOR = re.compile(r"^0000_c\d+s\d+_")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_RESTARTS = range(0xD0, 0xD8)


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
