"""Follow a site's events on a thread: their projection, the latest of them, and the state of its cameras.

While the console is not used, events are read every `IDLE_S` seconds; `refresh` makes up for it before it returns.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from reid_stream.errors import BrokerError
from reid_stream.events import (
    CameraChanged,
    CameraDown,
    CameraUp,
    DaemonHeartbeat,
    DaemonOverloaded,
    DaemonRecovered,
    DaemonStarted,
    DaemonStopped,
    IdentitySeen,
)
from reid_stream.publish.event_check import check_event
from reid_stream.publish.projection import SiteView
from reid_stream.publish.stream_ids import Position
from reid_stream.publish.subscribe import Received, Subscription
from reid_stream.records import CameraId
from reid_stream.web.counts import PlaceTally

IDLE_S = 30.0
_POLL_S = 0.25
"""Interval between reads while the console is used, seconds."""
_WATCHED_S = 60.0
"""Time after the last request for which the console counts as used, seconds."""
_KEPT = 5000
"""Events in memory; older ones are read from Redis again."""
_AT_ONCE = 2000
"""Events applied under one hold of the lock."""
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class CameraNews:
    """State of a camera according to events."""

    is_up: bool | None = None
    """Whether it delivers frames; None before the first event about it."""
    changed_at: float | None = None
    """UTC seconds."""
    frame_size: tuple[int, int] | None = None
    codec: str = ""
    clock: str = ""
    reason: str = ""
    """Why it was down last."""


@dataclass(slots=True)
class DaemonNews:
    """State of the daemon according to events."""

    run: str = ""
    version: str = ""
    model: str = ""
    started_at: float | None = None
    stopped_at: float | None = None
    stop_reason: str = ""
    heartbeat: DaemonHeartbeat | None = None
    overload: DaemonOverloaded | None = None
    """The present overload, if there is one."""
    cameras: dict[CameraId, CameraNews] = field(default_factory=dict)


class Feed:
    """The events of a site, followed while this is open."""

    def __init__(self, subscribe: Callable[[str], Subscription], labels: Callable[[], dict[str, str]]) -> None:
        """Start to read.

        Args:
            subscribe: opens a subscription behind a position that ends where nothing has come (`block_s=0`).
            labels: names given before the oldest event that is kept, by global ID.
        """
        self._subscribe, self._labels = subscribe, labels
        self.lock = threading.RLock()
        """Held while the projection is read or changed."""
        self.view = SiteView()
        self.daemon = DaemonNews()
        self.places = PlaceTally()
        self.version = 0
        """Rises with every event that is not a mere sighting."""
        self.is_complete = False
        """Whether all events kept on Redis have been read once."""
        self.fault: str | None = "not read yet"
        """Why events cannot be read now."""
        self.refused = 0
        """Events that are not shown, as they cannot be right."""
        self.restarts = 0
        """Times that the stream was deleted, or came back with lower IDs than it had."""
        self.restarted_behind = "0-0"
        """Position behind which it was read on at the last restart."""
        self._recent: deque[Received] = deque(maxlen=_KEPT)
        self._position = "0"
        self._looked_at = time.monotonic()
        self._read_at = float("-inf")
        self._wanted, self._closing = threading.Event(), threading.Event()
        self._arrived = threading.Condition()
        self._listeners: set[Callable[[], None]] = set()
        self._thread = threading.Thread(target=self._follow, name="feed", daemon=True)
        self._thread.start()

    def refresh(self, wait_s: float = 2.0) -> None:
        """Note a request, and wait briefly until the state is up to date."""
        self._looked_at = time.monotonic()
        self._wanted.set()
        asked = self._looked_at
        with self._arrived:
            self._arrived.wait_for(lambda: self._read_at >= asked or self._closing.is_set(), wait_s)

    def recent(self, count: int) -> list[Received]:
        """Return the latest events, the newest first."""
        with self.lock:
            return [self._recent[-number] for number in range(1, min(count, len(self._recent)) + 1)]

    def behind(self, position: str, limit: int) -> list[Received] | None:
        """Return events behind a position, oldest first; None where memory does not reach back so far.

        A position that was an event's before the stream started again with lower IDs has none behind it: see
        `restarts`.
        """
        after = Position.parse(position)
        with self.lock:
            if position == self._position:
                return []
            if not self._recent or Position.parse(self._recent[0].position) > after:
                return None
            found: list[Received] = []
            for event in reversed(self._recent):
                if Position.parse(event.position) <= after:
                    break
                found.append(event)
        return found[::-1][:limit]

    @property
    def position(self) -> str:
        """Position of the latest event."""
        return self._position if self._position != "0" else "0-0"

    @contextlib.contextmanager
    def listening(self, call: Callable[[], None]) -> Iterator[None]:
        """Have `call` called, on the feed's thread, whenever events have come."""
        self._listeners.add(call)
        self._wanted.set()
        try:
            yield
        finally:
            self._listeners.discard(call)

    def close(self) -> None:
        """Stop reading."""
        self._closing.set()
        self._wanted.set()
        self._thread.join(5)

    def _follow(self) -> None:
        subscription: Subscription | None = None
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                if subscription is None:
                    if self._position == "0":
                        with self.lock:
                            self.view = SiteView(labels=self._labels())  # type: ignore[arg-type]
                            self.places = PlaceTally()
                    subscription = self._subscribe(self._position)
                self._read(subscription)
                self.fault = None
            except BrokerError as error:
                if self.fault is None:
                    _log.warning("feed_interrupted", reason=str(error))
                self.fault, subscription = str(error), None
            except Exception as error:  # noqa: BLE001 (a feed that ends would leave the console with old news for good)
                if self.fault is None:
                    _log.exception("feed_failed")
                self.fault, subscription = f"{type(error).__name__}: {error}", None
            with self._arrived:
                self._read_at = began
                self._arrived.notify_all()
            watched = bool(self._listeners) or time.monotonic() - self._looked_at < _WATCHED_S
            if self._wanted.wait(_POLL_S if watched and subscription is not None else 2.0 if watched else IDLE_S):
                self._wanted.clear()
                # Simultaneous requests share one read.
                self._closing.wait(0.02)
        if subscription is not None:
            subscription.close()

    def _read(self, subscription: Subscription) -> None:
        """Apply everything that has come."""
        page: list[Received] = []
        restarts, is_end = subscription.restarts, False
        while not is_end:
            event: Received | None = None
            try:
                event = next(subscription)
                check_event(event)
            except StopIteration:
                is_end = True
            except ValueError as error:  # also raised for an entry whose bytes are not text
                self._refuse(subscription.position, error)
                event = None
            if subscription.restarts != restarts:
                self._apply(page, subscription.position)
                page, restarts = [], subscription.restarts
                self._rewind(subscription.restarted_behind)
            if event is not None:
                page.append(event)
            if len(page) >= _AT_ONCE:
                self._apply(page, subscription.position)
                page = []
                if self._closing.is_set():
                    return
        self._apply(page, subscription.position)
        self.is_complete = True

    def _rewind(self, behind: Position) -> None:
        """Forget the positions of events that the stream no longer has, so that those in memory rise again."""
        with self.lock:
            kept = [event for event in self._recent if Position.parse(event.position) <= behind]
            self._recent = deque(kept, maxlen=_KEPT)
            self._position = str(behind)
            self.restarts, self.restarted_behind = self.restarts + 1, str(behind)
        for call in tuple(self._listeners):
            call()

    def _apply(self, page: list[Received], position: str) -> None:
        if not page:
            self._position = position if position != "0-0" else "0"
            return
        with self.lock:
            for event in page:
                try:
                    self.view.apply(event.data)
                    self._note(event)
                    self.places.note(event.data)
                except Exception as error:  # noqa: BLE001 (one faulty event must not stop all others)
                    self._refuse(event.position, error)
                    continue
                self.version += not isinstance(event.data, IdentitySeen | DaemonHeartbeat)
                self._recent.append(event)
            self._position = page[-1].position
        for call in tuple(self._listeners):
            call()

    def _refuse(self, position: str, error: Exception) -> None:
        """Count an event that is not shown; only the first is logged, since a forger may send a million."""
        self.refused += 1
        if self.refused == 1:
            _log.warning("event_refused", position=position, reason=f"{type(error).__name__}: {error}")

    def _note(self, event: Received) -> None:
        daemon, data = self.daemon, event.data
        match data:
            case DaemonStarted():
                daemon.run, daemon.version, daemon.model = data.run, data.version, data.model
                daemon.started_at, daemon.stopped_at, daemon.overload = data.at, None, None
                daemon.cameras = {camera: daemon.cameras.get(camera, CameraNews()) for camera in data.cameras}
                for news in daemon.cameras.values():
                    news.is_up = None
            case DaemonStopped():
                daemon.stopped_at, daemon.stop_reason, daemon.overload = data.at, data.reason, None
            case DaemonHeartbeat():
                daemon.heartbeat = data
            case DaemonOverloaded():
                daemon.overload = data
            case DaemonRecovered():
                daemon.overload = None
            case CameraUp() | CameraChanged():
                news = daemon.cameras.setdefault(data.camera, CameraNews())
                news.is_up, news.changed_at, news.frame_size = True, data.at, data.frame_size
                news.codec, news.clock = data.codec, data.clock
            case CameraDown():
                news = daemon.cameras.setdefault(data.camera, CameraNews())
                news.is_up, news.changed_at, news.reason = False, data.at, data.reason
            case _:
                pass
