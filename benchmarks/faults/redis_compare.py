"""Compare what two runs of the same footage left on Redis, event by event and field by field (pure)."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reid_stream.publish.spool_row import RANKS, rank_of

_OF_THE_DAY = {"daemon.started.v1", "daemon.stopped.v1"}
"""Events whose content depends on when the daemon ran."""
Live = dict[str, Any]


@dataclass(frozen=True)
class StoredEvents:
    """Stream and live keys that a run left on Redis."""

    bodies: Sequence[bytes]
    """The stream, in its order."""
    live: Live = field(default_factory=dict)
    """The live keys and what they hold."""


def event_of(body: bytes) -> dict[str, Any]:
    """Decode an event without the fields that depend on when the daemon ran."""
    event: dict[str, Any] = json.loads(body)
    if short(event) in _OF_THE_DAY:
        event.pop("time")
        event["data"].pop("told_at")
    return event


def short(event: dict[str, Any]) -> str:
    """Return the type without its prefix."""
    return str(event["type"]).removeprefix("io.reid-stream.")


def ids(left: StoredEvents) -> list[str]:
    """Return the events' ids, in the stream's order."""
    return [str(json.loads(body)["id"]) for body in left.bodies]


def doubled(left: StoredEvents) -> int:
    """Count entries whose event is on the stream already."""
    return sum(count - 1 for count in Counter(ids(left)).values())


def differences(ours: StoredEvents, undisturbed: StoredEvents) -> list[str]:
    """Return the differences, entry by entry; empty where there is none."""
    found = []
    one, two = ([event_of(body) for body in left.bodies] for left in (ours, undisturbed))
    for number, (a, b) in enumerate(zip(one, two, strict=False)):
        found += [f"entry {number}, {path}: {was!r}, not {wanted!r}" for path, was, wanted in _fields(a, b)]
    if len(one) != len(two):
        found.append(f"{len(one)} entries, not {len(two)}")
    for key in sorted(set(ours.live) | set(undisturbed.live)):
        if ours.live.get(key) != undisturbed.live.get(key):
            found.append(f"{key}: {ours.live.get(key)!r}, not {undisturbed.live.get(key)!r}")
    return found


def but_for_liveness(left: StoredEvents) -> StoredEvents:
    """Leave out what may be dropped first, the report of it, and the numbers, which then have gaps."""
    kept = []
    for body in left.bodies:
        event = json.loads(body)
        if rank_of(short(event)) != RANKS.index("liveness") and short(event) != "daemon.dropped.v1":
            for name in ("id", "sequence"):
                event.pop(name)
            kept.append(json.dumps(event).encode())
    return StoredEvents(kept)


def reported_dropped(left: StoredEvents) -> Counter[str]:
    """Add up the counts of `daemon.dropped`, by rank."""
    reported: Counter[str] = Counter()
    for body in left.bodies:
        event = json.loads(body)
        if short(event) == "daemon.dropped.v1":
            reported += Counter({rank: event["data"][rank] for rank in RANKS})
    return reported


def _fields(one: Any, two: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(two, dict):
        return [
            found
            for key in sorted({*one, *two})
            for found in _fields(one.get(key), two.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if one == two else [(path, one, two)]
