"""Send a perceive host's events and state to the site's identification, which publishes them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from reid_stream import __version__
from reid_stream.events import CameraChanged, CameraDown, CameraRemoved, CameraUp, Event
from reid_stream.events.packed import PackedEvent
from reid_stream.link.redis_sender import RedisSender
from reid_stream.records import CameraId
from reid_stream.runtime.hosts import messages
from reid_stream.runtime.hosts.messages import REPORT_S, HostReport
from reid_stream.runtime.interfaces import PerceptionRunner

_MOST_EVENTS = 10_000
"""Events that wait while nothing can be sent; the oldest are dropped and logged."""
_LOOK_S = 0.1
_log = structlog.get_logger(__name__)


class HostSink:
    """Sink of a perceive host; its thread starts with the first events. `publish` may be called from any thread."""

    def __init__(
        self,
        sender: RedisSender,
        observations: RedisSender,
        perception: PerceptionRunner,
        run: str,
        *,
        frames: Callable[[], Mapping[CameraId, int]],
        crops_lost: Callable[[], int] = int,
    ) -> None:
        """Send nothing yet.

        Args:
            sender: for the reports alone.
            observations: the one that records go through, whose waits are reported.
            perception: whose state is reported.
            run: of this process.
            frames: returns the frames that perception has finished, by camera.
            crops_lost: returns the number of crops that were lost on the way to the store.
        """
        self._sender, self._observations, self._perception, self._run = sender, observations, perception, run
        self._frames, self._crops_lost = frames, crops_lost
        self._events: deque[Event] = deque()
        self._up: dict[CameraId, Event] = {}
        self._number = 0
        self._unanswered: bytes | None = None
        """The latest report, until it is known to have arrived."""
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._report_all, name="reports", daemon=True)

    def publish(self, events: Sequence[Event]) -> None:
        """Take events to send, in order."""
        with self._changed:
            for event in events:
                if isinstance(event, CameraUp | CameraChanged):
                    self._up[event.camera] = event
                elif isinstance(event, CameraDown | CameraRemoved):
                    self._up.pop(event.camera, None)
                if event.is_of_host:
                    self._events.append(event)
            if (excess := len(self._events) - _MOST_EVENTS) > 0:
                for _ in range(excess):
                    self._events.popleft()
                _log.warning("host_events_dropped", events=excess)
            self._changed.notify()
            if not self._thread.is_alive() and not self._is_closing:
                self._thread.start()

    def ready(self) -> tuple[bool, str]:
        """Return whether observations can be sent, and a text."""
        fault = self._observations.fault or self._sender.fault
        return fault is None, "observations go to identify" if fault is None else f"Redis is away: {fault}"

    def close(self, timeout_s: float) -> bool:
        """Send the last report; False if it could not be sent in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        until = time.monotonic() + timeout_s
        is_sent = self._flush(until)
        if is_sent:
            self._report(is_last=True)
            is_sent = self._flush(until)
        self._sender.close()
        return is_sent

    def _flush(self, until: float) -> bool:
        """Send the report that had no answer, until a steady time; False if it still has none."""
        while self._unanswered is not None:
            if self._sender.try_message(self._unanswered):
                self._unanswered = None
            elif time.monotonic() > until:
                return False
            else:
                time.sleep(_LOOK_S)
        return True

    def _report_all(self) -> None:
        due_at = 0.0
        while not self._is_closing:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._events or self._is_closing, max(due_at - time.monotonic(), _LOOK_S)
                )
            if time.monotonic() < due_at and not self._events:
                continue
            is_sent = self._report(is_last=False)
            due_at = time.monotonic() + (REPORT_S if is_sent else _LOOK_S)
            if not is_sent:
                time.sleep(_LOOK_S)

    def _report(self, *, is_last: bool) -> bool:
        """Send a report; after a failed attempt the same one first, as it may have arrived."""
        if not self._flush(until=0.0):
            return False
        with self._changed:
            events, up = list(self._events), list(self._up.values())
            self._events.clear()
        report = HostReport(
            run=self._run,
            number=self._number,
            at=time.time(),
            version=__version__,
            model=self._perception.model,
            stats=tuple(replace(stats) for stats in self._perception.stats.values()),
            up=tuple(map(PackedEvent.of, up)),
            frames=dict(self._frames()),
            replaced=dict(self._perception.replaced),
            counts=replace(self._perception.counts),
            waited_s=self._observations.waited_s,
            crops_lost=self._crops_lost(),
            events=tuple(map(PackedEvent.of, events)),
            is_last=is_last,
            sent=self._observations.accepted,
        )
        self._number += 1
        body = messages.encode(report)
        if not self._sender.try_message(body):
            self._unanswered = body
            return False
        return True
