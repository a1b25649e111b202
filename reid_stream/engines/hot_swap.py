"""Serve with one engine at once and switch between batches to a better one when it is built and checked.

The first images start the preparation, on a thread: a command that only loads and probes a network (`check`) builds
nothing.
The images that the first engine is given meanwhile are what the second is compared on. If the second ever fails,
the first runs the batch and all later ones.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import structlog

from reid_stream.engines.protocol import DetectRequest, DeviceEngine, Floats, PixelEngine, Pixels, device_engine
from reid_stream.errors import ModelError
from reid_stream.images import OnDevice, Picture, UInt8

R = TypeVar("R")

MOST_SAMPLES = 64
"""Images kept to compare engines on, of all sizes; frames of 640 px take 1.2 MB each."""
_log = structlog.get_logger(__name__)


class Preparation(Protocol):
    """Builder of the better engine; runs on a separate thread."""

    @property
    def label(self) -> str:
        """Name of the engine being prepared: `tensorrt for sm_86`."""
        ...

    def __call__(self, swap: "SwapEngine", stop: threading.Event) -> PixelEngine | None:
        """Return the engine, or None if it cannot be made; the reason goes to `swap.report`.

        Raises:
            ModelError: it cannot be made.
        """
        ...


class SwapEngine:
    """Runs `fallback` until `prepare` has made something better."""

    def __init__(
        self,
        fallback: PixelEngine,
        prepare: Preparation,
        network: str,
        *,
        most_samples: int = MOST_SAMPLES,
    ) -> None:
        """Serve by `fallback`; `network` names it in logs."""
        self._fallback, self._prepare, self._network = fallback, prepare, network
        self._current, self._most = fallback, most_samples
        self._samples: list[UInt8] = []
        self._enough = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.note = f"{prepare.label} comes with the first pictures"
        """Description of the preparation in the background; empty if there is none."""
        self.share = 0.0
        """Share of the build that is done, [0, 1]."""

    @property
    def name(self) -> str:
        """Name of the engine that serves now."""
        return self._current.name

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Input shape of the network."""
        return self._fallback.input_shape

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Output shape of the network."""
        return self._fallback.output_shape

    @property
    def pixels(self) -> Pixels | None:
        """Preprocessing by `images`."""
        return self._fallback.pixels

    def __call__(self, batch: Floats) -> Floats:
        """See `protocol.Engine`."""
        return self._run(lambda engine: engine(batch))

    def images(self, batch: UInt8) -> Floats:
        """See `protocol.PixelEngine`."""
        if self._is_waiting():
            self._sample(lambda room: batch[:room].copy())
        return self._run(lambda engine: engine.images(batch))

    @property
    def runs_on_device(self) -> bool:
        """See `protocol.DeviceEngine`; only where both engines can, or one could not step in for the other."""
        return all(device_engine(engine, self.pixels) is not None for engine in (self._current, self._fallback))

    def people(self, pictures: Sequence[Picture], asked: DetectRequest) -> list[tuple[Floats, Floats]]:
        """See `protocol.DeviceEngine`."""
        if self._is_waiting():
            self._sample(lambda room: _near(self._fallback).letterboxed(pictures[:room], asked))
        return self._run(lambda engine: _near(engine).people(pictures, asked))

    def vectors(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> Floats:
        """See `protocol.DeviceEngine`."""
        if self._is_waiting():
            self._sample(lambda room: _near(self._fallback).stretched(crops[:room], size))
        return self._run(lambda engine: _near(engine).vectors(crops, size))

    def letterboxed(self, pictures: Sequence[Picture], asked: DetectRequest) -> UInt8:
        """See `protocol.DeviceEngine`."""
        return _near(self._fallback).letterboxed(pictures, asked)

    def stretched(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> UInt8:
        """See `protocol.DeviceEngine`."""
        return _near(self._fallback).stretched(crops, size)

    def samples(self, at_least: int, limit_s: float) -> list[UInt8]:
        """Return the images kept, RGB (n, h, w, 3) of one size per item; waits until there are some, or `limit_s`.

        None are kept any more after that.
        """
        until = time.monotonic() + limit_s
        while not self._stop.is_set() and time.monotonic() < until:
            with self._lock:
                if sum(map(len, self._samples)) >= min(at_least, self._most):
                    break
            self._enough.wait(0.1)
        with self._lock:
            kept, self._samples, self._most = self._samples, [], 0
        return kept

    def report(self, text: str, **more: object) -> None:
        """Log what happens, and keep it in `note`."""
        self.note = text
        _log.info("engine_chosen", network=self._network, serves=self.name, detail=text, **more)

    def close(self) -> None:
        """End the preparation and wait for its thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._make, name=f"engine-{self._network}", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        try:
            better = self._prepare(self, self._stop)
        except ModelError as error:
            better = None
            self.note = f"{self._prepare.label} cannot be had: {error}"
            _log.warning("engine_not_swapped", network=self._network, serves=self.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 (whatever a GPU's library raises, the first engine serves on)
            better = None
            self.note = f"{self._prepare.label} cannot be had: {type(error).__name__}: {error}"
            _log.exception("engine_not_swapped", network=self._network, serves=self.name)
        with self._lock:
            self._samples, self._most = [], 0
        if better is None or self._stop.is_set():
            self._stop.set()
            return
        before, self.share, self.note = self.name, 1.0, ""
        self._current = better  # taken by the next batch
        _log.info("engine_swapped", network=self._network, before=before, serves=self.name)

    def _is_waiting(self) -> bool:
        """Whether the first engine serves while the second is made, which starts with the first images."""
        if self._current is not self._fallback or self._stop.is_set():
            return False
        if self._thread is None:
            self._start()
        return True

    def _run(self, call: Callable[[PixelEngine], R]) -> R:
        engine = self._current
        try:
            return call(engine)
        except ModelError as error:
            if engine is self._fallback:
                raise
            self._stop.set()
            self._current = self._fallback
            self.note = f"{engine.name} failed and is no longer used: {error}"
            _log.error("engine_failed", network=self._network, failed=engine.name, serves=self.name, reason=str(error))
        return call(self._fallback)

    def _sample(self, take: Callable[[int], UInt8]) -> None:
        with self._lock:
            room = self._most - sum(map(len, self._samples))
            if room <= 0:
                return
            self._samples.append(take(room))


def _near(engine: PixelEngine) -> DeviceEngine:
    found = device_engine(engine, engine.pixels)
    if found is None:
        raise ModelError(f"{engine.name} cannot work on pictures where it runs")
    return found
