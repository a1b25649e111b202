"""Run the whole daemon inside a drill, with a list as its sink and real or stand-in networks."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from reid_stream.assembly.site import Site, assemble
from reid_stream.bundles import catalog
from reid_stream.config.settings import Settings
from reid_stream.events import Event
from reid_stream.images import Picture
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.observe.logs import quiet
from reid_stream.pipeline import Perception
from reid_stream.records import Detections, Floats, Frame

_GIVE_UP_S = 30.0
_BOX = (0.3, 0.15, 0.5, 0.95)
"""Box of the stub's person, as fractions of width and height."""


class Events:
    """Sink that keeps events with the time they came, UTC seconds."""

    def __init__(self) -> None:
        self.received: list[tuple[float, Event]] = []

    def publish(self, events: Sequence[Event]) -> None:
        """Keep events."""
        now = time.time()
        self.received += [(now, event) for event in events]

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 (the protocol's)
        """Return True: nothing is left to send."""
        return True


@contextmanager
def whole_daemon(
    settings: Settings, *, has_networks: bool, frame_s: float = 0.0, clock: SiteClock | None = None
) -> Iterator[tuple[Site, Events]]:
    """Run the daemon on a thread while the block does.

    Without networks a stand-in finds one person in every image, in `frame_s` seconds.
    """
    sink = Events()
    if not has_networks:
        settings = settings.model_copy(update={"workers": 1})  # the stand-ins are in this process
    wrap = (
        None if has_networks else partial(_without_networks, frame_s, catalog.embedder(settings.models.embedder)[1].dim)
    )
    with quiet(), assemble(settings, run="drill", sink=sink, clock=clock, wrap=wrap) as site:
        stop = threading.Event()
        daemon = threading.Thread(target=site.daemon.run, args=(stop,), name="drill daemon")
        daemon.start()
        try:
            yield site, sink
        finally:
            stop.set()
            daemon.join()


def is_up(site: Site, *cameras: str) -> bool:
    """Whether all of these cameras deliver."""
    states = {str(camera): stats.state for camera, stats in site.source.stats.items()}
    return all(states.get(camera) == "up" for camera in cameras)


def until(holds: Callable[[], bool], most_s: float = _GIVE_UP_S) -> bool:
    """Wait until `holds` is true; False if it was not in time."""
    end = time.monotonic() + most_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _without_networks(frame_s: float, dim: int, perception: Perception) -> Perception:
    return replace(perception, detect=_one_person(frame_s), embed=_one_vector(dim))


def _one_person(frame_s: float) -> Callable[[Sequence[Frame]], list[Detections]]:
    score = np.array([0.9], np.float32)

    def detect(frames: Sequence[Frame]) -> list[Detections]:
        time.sleep(frame_s * len(frames))
        return [
            Detections(np.array([_BOX], np.float32) * np.array([*frame.size * 2], np.float32), score)
            for frame in frames
        ]

    return detect


def _one_vector(dim: int) -> Callable[[Sequence[Picture]], Floats]:
    vector = np.eye(1, dim, dtype=np.float32)
    return lambda crops: np.repeat(vector, len(crops), axis=0)
