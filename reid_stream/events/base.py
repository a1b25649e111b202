"""Base of all events (pure)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal, Self

import msgspec

PREFIX = "io.reid-stream."  # reverse DNS
Priority = Literal["identity", "operation", "liveness"]
"""When the spool overflows, liveness events are dropped first, then operation events, identity events last."""
EXAMPLE_RUN = "20261121-044000"
"""Run of the daemon in the examples."""


def values(**fields: object) -> Mapping[str, object]:
    """Return the values of an example, read-only."""
    return MappingProxyType(fields)


class EventBase(msgspec.Struct, frozen=True, kw_only=True):
    """Properties that every event defines."""

    type: ClassVar[str]
    priority: ClassVar[Priority]
    time_field: ClassVar[str]
    subject_field: ClassVar[str]
    is_of_host: ClassVar[bool] = False
    """Whether each host of a site reports it; only identification makes events about people and the whole site."""
    example: ClassVar[Mapping[str, object]] = values()
    """Values of fields, completed by those of the bases; see `sample`."""

    @property
    def at(self) -> float:
        """Time of the event, UTC seconds."""
        return float(getattr(self, self.time_field))

    @property
    def subject(self) -> str:
        """Global ID, camera or run that the event is about."""
        return str(getattr(self, self.subject_field))

    @classmethod
    def sample(cls) -> Self:
        """Return the type's example, for its JSON Schema, its reference and its tests."""
        values: dict[str, object] = {}
        for kind in reversed(cls.__mro__):
            values |= kind.__dict__.get("example", {})
        return msgspec.convert(values, cls)


class NewsEvent(EventBase, frozen=True, kw_only=True):
    """Base of the events that change neither the live keys nor the projection of the stream."""


def event_types(base: type[EventBase] = EventBase) -> list[type[EventBase]]:
    """Return all classes below `base` that are event types: those with a type of their own."""
    found = [base] if "type" in base.__dict__ else []
    for kind in base.__subclasses__():
        found += [one for one in event_types(kind) if one not in found]
    return found
