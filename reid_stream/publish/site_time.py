"""Times of events and instructions between site time, which the matcher counts in, and UTC (pure).

The two differ only once the system's clock has been set while the daemon runs; see `ingest.site_clock`.
"""

from collections.abc import Sequence

import msgspec

from reid_stream.events import Event, IdentityErased
from reid_stream.instructions import Instruction

_IN_UTC = ("camera.", "daemon.", "worker.")
"""Types of events whose times do not come from the matcher."""


def in_utc(event: Event, shift_s: float) -> Event:
    """Convert the times of what the matcher decided from site time to UTC; other events have UTC already.

    `shift_s`: UTC less site time, seconds.
    """
    if not shift_s or event.type.startswith(_IN_UTC) or isinstance(event, IdentityErased):
        return event
    return msgspec.structs.replace(event, **_shifted(event, shift_s))


def in_site_time(instruction: Instruction, shift_s: float) -> Instruction:
    """Convert the times that an instruction names (of visits) from UTC to site time."""
    if not shift_s:
        return instruction
    changes = {
        name: tuple(msgspec.structs.replace(one, **_shifted(one, -shift_s)) for one in value)
        for name, value in _fields(instruction)
        if isinstance(value, tuple) and value and all(isinstance(one, msgspec.Struct) for one in value)
    }
    return msgspec.structs.replace(instruction, **changes)


def _fields(struct: msgspec.Struct) -> Sequence[tuple[str, object]]:
    return [(name, getattr(struct, name)) for name in struct.__struct_fields__]


def _shifted(struct: msgspec.Struct, by_s: float) -> dict[str, object]:
    changes: dict[str, object] = {}
    for name, value in _fields(struct):
        if isinstance(value, float) and (name.endswith("_at") or name in ("since", "until")):
            changes[name] = value + by_s if value or name.endswith("_at") else value
        elif name == "spans" and isinstance(value, tuple):
            changes[name] = tuple(tuple(None if at is None else at + by_s for at in span) for span in value)
    return changes
