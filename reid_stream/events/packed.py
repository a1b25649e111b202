"""An event in a message between our own processes (pure)."""

import msgspec

from reid_stream.events import EVENT_TYPES, Event

_KINDS: dict[str, type[Event]] = {kind.type: kind for kind in EVENT_TYPES}


class PackedEvent(msgspec.Struct, frozen=True):
    """An event by its type and msgpack."""

    type: str
    fields: bytes

    @classmethod
    def of(cls, event: Event) -> "PackedEvent":
        """Pack an event."""
        return cls(event.type, msgspec.msgpack.encode(event))

    def unpack(self) -> Event:
        """Return the event.

        Raises:
            ValueError: it is of another version of this program.
        """
        kind = _KINDS.get(self.type)
        if kind is None:
            raise ValueError(f"an event must be of a known type, got {self.type!r:.60}")
        try:
            event: Event = msgspec.msgpack.decode(self.fields, type=kind)
        except RecursionError as error:
            raise ValueError("an event must not be nested so deep") from error
        return event
