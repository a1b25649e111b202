"""Forward the records of a perceive host to the site's identification, in place of identification in this process."""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import structlog

from reid_stream.events import Event
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.link.protocol import LinkClosedError, Sender
from reid_stream.records import CameraId, GlobalId, Perceived
from reid_stream.runtime.identification_thread import IdentificationThread
from reid_stream.runtime.interfaces import ObservationReceiver, Supervisor
from reid_stream.runtime.perception_thread import TAKE_S
from reid_stream.runtime.watchdog import HungStage

_AT_ONCE = 1000
"""Records from which on no more are joined in one request."""
_log = structlog.get_logger(__name__)


class Closable(Protocol):
    """Part of the host that ends with it."""

    def close(self, timeout_s: float) -> bool:
        """Send the rest; False if some could not be sent."""
        ...


class RemoteIdentification:
    """Identification that runs elsewhere: no step causes an event here; a `SiteIdentification`."""

    gallery_size = 0
    people_in_view = 0

    def __init__(self, sink: Closable) -> None:
        """`sink`: closed with the host."""
        self._sink = sink

    def step(self, records: Sequence[Perceived], now: float) -> list[Event]:  # noqa: ARG002 (the protocol's)
        """Return no events."""
        return []

    def finish(self) -> list[Event]:
        """Return no events: visits go on elsewhere."""
        return []

    def commit(self, events: Sequence[Event]) -> None:
        """Do nothing."""

    def close(self, timeout_s: float) -> bool:
        """Send the last report."""
        return self._sink.close(timeout_s)

    def in_view(self) -> Mapping[CameraId, Collection[GlobalId]]:
        """Return no one: identification on the other host knows who is in view."""
        return {}


class ForwardingThread(IdentificationThread):
    """Passes records from perception to the link between hosts; waits while that is full or Redis is away.

    A wait is no hang: perception then waits as well, and newer frames replace older ones at the cameras, where they
    are counted.
    """

    def __init__(self, sender: Sender, sink: Closable) -> None:
        """Start nothing yet."""
        super().__init__(RemoteIdentification(sink), is_live=True)
        self._sender = sender
        self._unsent = 0

    def drain(self, limit_s: float) -> HungStage | None:
        """Wait until all records are sent, at most `limit_s`; the rest is lost and logged."""
        self._is_draining.set()
        thread = self._thread
        if thread is not None and threading.current_thread() is not thread:
            thread.join(limit_s)
            self._sender.close()
            thread.join(limit_s)
        if self._unsent:
            _log.warning("observations_unsent", records=self._unsent)
        return None

    def _loop(self, link: ObservationReceiver, clock: SiteClock, supervisor: Supervisor) -> None:  # noqa: ARG002 (as its base)
        is_closed = False
        while True:
            records = link.receive(TAKE_S)
            if not records and self._is_draining.is_set():
                return
            if is_closed:
                self._unsent += len(records)
                continue
            # What came while the last request was under way goes in one.
            while records and len(records) < _AT_ONCE and (more := link.receive(0.0)):
                records += more
            try:
                self._sender.send(records)
            except LinkClosedError:
                is_closed = True
                self._unsent += len(records)
