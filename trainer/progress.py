"""Progress of a long loop in plain lines, for terminals and log files alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")
EVERY_S = 10.0


def reported(
    items: Sequence[_T], what: str, log: Callable[[str], None] | None, every_s: float = EVERY_S
) -> Iterator[_T]:
    """Yield items; every `every_s` seconds log how many are done and how many seconds are left, by the rate so far."""
    started = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if log is not None and done and now - last >= every_s:
            last = now
            log(f"{what}: {done} of {len(items)}, {(now - started) / done * (len(items) - done):.0f} s left")
        yield item
