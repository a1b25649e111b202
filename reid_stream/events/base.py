"""Base of all events (pure)."""

from typing import ClassVar, Literal

import msgspec

PREFIX = "io.reid-stream."  # reverse DNS
Priority = Literal["identity", "operation", "liveness"]
"""When the spool overflows, liveness events are dropped first, then operation events, identity events last."""


class EventBase(msgspec.Struct, frozen=True, kw_only=True):
    """Properties that every event defines."""

    type: ClassVar[str]
    priority: ClassVar[Priority]
    time_field: ClassVar[str]
    subject_field: ClassVar[str]

    @property
    def at(self) -> float:
        """Time of the event, UTC seconds."""
        return float(getattr(self, self.time_field))

    @property
    def subject(self) -> str:
        """Global ID, camera or run that the event is about."""
        return str(getattr(self, self.subject_field))
