"""Identification without a journal: its state ends with the process."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from reid_stream.config.presence_settings import PresenceSettings
from reid_stream.events import Event
from reid_stream.instructions import Instruction
from reid_stream.pipeline import Identification
from reid_stream.records import CameraId, GlobalId, Perceived


class EventSink(Protocol):
    """Destination of events."""

    def publish(self, events: Sequence[Event], /) -> None:
        """Take events to send, in order."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Send the rest; False if some had to stay on disk."""
        ...


class DirectIdentification:
    """Identification whose events go straight to the sink."""

    def __init__(
        self,
        identification: Identification,
        sink: EventSink,
        *,
        instructions: Callable[[], Sequence[Instruction]] = tuple,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Publish nothing yet.

        Args:
            identification: the steps.
            sink: takes the events.
            instructions: returns the operator instructions since its last call; called once per step.
            check: raises where another daemon has taken over the site; called once per step.
        """
        self._identification, self._sink = identification, sink
        self._instructions, self._check = instructions, check
        self._presence_settings: deque[PresenceSettings] = deque(maxlen=1)
        """Settings that the next step begins to use, if any; the newest replaces an older one."""

    def change_presence(self, settings: PresenceSettings) -> None:
        """Use other settings of visits, zones and lines from the next step on; any thread may call it."""
        self._presence_settings.append(settings)

    def _new_presence_settings(self) -> PresenceSettings | None:
        """Return the settings to begin with now; None without a change."""
        if not self._presence_settings:
            return None
        settings = self._presence_settings.popleft()
        return settings if settings != self._identification.presence.settings else None

    def step(self, records: Sequence[Perceived], now: float) -> list[Event]:
        """Advance to `now` (UTC seconds) by one batch of records, which may be empty; return events to `commit`.

        Raises:
            LeaseLostError: another daemon has taken over the site.
        """
        self._check()
        settings = self._new_presence_settings()
        ends = self._identification.change_presence(settings) if settings is not None else []
        return ends + self._identification.step(records, now, self._instructions())

    def finish(self) -> list[Event]:
        """End all visits; return events to `commit`."""
        return self._identification.finish()

    def commit(self, events: Sequence[Event]) -> None:
        """Publish the events of the last `step` or `finish`."""
        if events:
            self._sink.publish(events)

    def close(self, timeout_s: float) -> bool:
        """Close the sink; False if some events had to stay on disk."""
        return self._sink.close(timeout_s)

    @property
    def gallery_size(self) -> int:
        """Identities that can be matched."""
        return self._identification.gallery_size

    @property
    def people_in_view(self) -> int:
        """Identities in view of any camera."""
        return self._identification.people_in_view

    def in_view(self) -> Mapping[CameraId, Collection[GlobalId]]:
        """Identities in view, by camera."""
        return self._identification.in_view()
