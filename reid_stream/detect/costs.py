"""Detector cost of an image by its size, to choose between whole frames and packed regions (pure)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Size = tuple[int, int]
"""(width, height)."""

_EASE = 0.05
"""Weight of the newest call in a mean."""
_CALLS = 3
"""Calls of a size before its mean is used; the first may compile."""
_BASE_PX = 6000.0
"""Fixed cost of an image in addition to its pixels, in pixels; measured for YOLO11n with OpenVINO on two cores."""


class Costs:
    """Mean cost of an image by size: seconds where they are measured, else areas; any thread."""

    def __init__(self, clock: Callable[[], float] | None) -> None:
        """`clock`: seconds; None to go by areas alone."""
        self._clock = clock
        self._means: dict[Size, tuple[int, float]] = {}

    @contextmanager
    def measured(self, size: Size, images: int) -> Iterator[None]:
        """Measure the block, which runs `images` images of a size."""
        if self._clock is None:
            yield
            return
        began = self._clock()
        yield
        took_s = (self._clock() - began) / images
        calls, mean = self._means.get(size, (0, took_s))
        # A call that compiles or waits for another process takes many times as long as others.
        bounded = took_s if calls < _CALLS else min(took_s, 4 * mean)
        self._means[size] = calls + 1, bounded if calls < _CALLS else mean + _EASE * (bounded - mean)

    def of(self, size: Size) -> float:
        """Return the cost of one image; comparable with those of other sizes."""
        calls, mean = self._means.get(size, (0, 0.0))
        return mean if calls > _CALLS else self._by_area(size)

    def _by_area(self, size: Size) -> float:
        """Return the cost by area, in the unit of what was measured of the other sizes."""
        known = [mean / _weight(other) for other, (calls, mean) in self._means.items() if calls > _CALLS]
        return _weight(size) * (sum(known) / len(known) if known else 1.0)


def _weight(size: Size) -> float:
    return size[0] * size[1] + _BASE_PX
