"""Check an event before it is shown or passed on.

Programs that may write to Redis may write anything there. A name that is no part of a topic or a path, a time that is
no date, or a field of megabytes would end an outlet, fail an export, and every page that shows it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import structlog

from reid_stream.errors import DECODE_ERRORS
from reid_stream.events import DaemonStarted, Event, IdentitySplit, InstructionAnswered
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.publish.subscribe import Received
from reid_stream.records import CAMERA_PATTERN, PERSON_PATTERN, RUN_PATTERN

_log = structlog.get_logger(__name__)
_MOST_BYTES = 1 << 20
"""Largest event: the start of a daemon with some twenty thousand people in view."""
_MOST_NAME = 512
"""Longest id, source, subject and run; receivers get them in headers."""
_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_EARLIEST, _LATEST = -62_135_596_800.0, 253_402_300_799.0
"""UTC seconds of the years 1 to 9999, beyond which no date can be shown; no other figure of an event is so large."""
_MOST_DEPTH = 16
"""Levels of nesting: the deepest event has four; serialisers give up at some hundreds."""
_SNAPSHOT = re.compile(f"{CAMERA_PATTERN[:-1]}/{RUN_PATTERN[1:-1]}/[0-9]{{1,16}}/[0-9]{{1,16}}$")
PERSON, CAMERA, RUN = re.compile(PERSON_PATTERN), re.compile(CAMERA_PATTERN), re.compile(RUN_PATTERN)
_PERSON_FIELDS = ("person", "previous", "into")
_CAMERA_FIELDS = ("camera", "slowest")


def check_event(event: Received) -> None:
    """Check an event's data, and its body, which is shown and passed on unchanged.

    Raises:
        ValueError: it is too large, a name is malformed, a time cannot be shown, or the body cannot be serialised.
    """
    if len(event.body) > _MOST_BYTES:
        raise ValueError(f"an event must have at most {_MOST_BYTES} characters, got {len(event.body)}")
    check_names(_TYPE, "type", [event.type])
    for name in ("id", "source", "subject", "run"):
        if (length := len(getattr(event, name))) > _MOST_NAME:
            raise ValueError(f"{name} must have at most {_MOST_NAME} characters, got {length}")
    try:
        body = msgspec.json.decode(event.body)
    except DECODE_ERRORS as error:
        # Fields that the event's struct does not have are not decoded before.
        raise ValueError(f"an event must be JSON throughout: {error}") from error
    check_figures(body)
    if not isinstance(event.data, UnknownEvent):
        check_data(event.data)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Of two values another program might take the other one.
        raise ValueError(f"the names of an object must be unique, found {[name for name, _ in pairs]!s:.80}")
    return found


def sound(events: Iterable[Received]) -> Iterator[Received]:
    """Yield the events that are sound; others are logged and left out."""
    for event in events:
        if is_sound(event):
            yield event


def is_sound(event: Received) -> bool:
    """Return whether an event can be shown, and means the same to every program that reads it; it is logged if not."""
    try:
        check_event(event)
        json.loads(event.body, object_pairs_hook=_object)
    except ValueError as error:
        _log.warning("event_invalid", position=event.position, reason=str(error))
        return False
    return True


def check_data(data: Event) -> None:
    """Check the names in an event's data.

    Raises:
        ValueError: one is malformed.
    """
    for name in data.__struct_fields__:
        value = getattr(data, name)
        if name in _PERSON_FIELDS:
            check_names(PERSON, name, [value])
        elif name in _CAMERA_FIELDS:
            check_names(CAMERA, name, [value])
        elif name == "snapshot" and value is not None:
            check_names(_SNAPSHOT, name, [value])
        elif name == "run" and value:  # empty in events of earlier versions
            check_names(RUN, name, [value])
    match data:
        case DaemonStarted():
            check_names(CAMERA, "cameras", data.cameras)
            check_names(CAMERA, "in_view", (camera for camera, _ in data.in_view))
            check_names(PERSON, "in_view", (person for _, person in data.in_view))
        case IdentitySplit():
            check_names(CAMERA, "tracks", (camera for camera, _, _ in data.tracks))
            check_names(RUN, "tracks", (run for _, run, _ in data.tracks if run))
            if data.spans and len(data.spans) != len(data.tracks):
                raise ValueError(f"spans must be as many as tracks, {len(data.tracks)}, found {len(data.spans)}")
        case InstructionAnswered():
            check_names(PERSON, "people", data.people)
        case _:
            pass


def check_names(pattern: re.Pattern[str], name: str, values: Iterable[str]) -> None:
    """Check the values of the field `name`.

    Raises:
        ValueError: one does not match.
    """
    for value in values:
        if not pattern.fullmatch(value):
            raise ValueError(f"{name} must match {pattern.pattern}, found {value[:80]!r}")


def check_figures(value: Any, depth: int = 0) -> None:
    """Check that no figure is larger than any date, and that nothing is nested too deep.

    Raises:
        ValueError: a figure or the depth is out of range.
    """
    match value:
        case bool() | str() | None:
            pass
        case int() | float():
            # NaN fails every comparison.
            if not _EARLIEST <= value <= _LATEST:
                raise ValueError(f"a figure must be from {_EARLIEST:.0f} to {_LATEST:.0f}, found {str(value)[:40]}")
        case dict() | list() | tuple():
            if depth >= _MOST_DEPTH:
                raise ValueError(f"an event must be nested at most {_MOST_DEPTH} deep")
            for one in value.values() if isinstance(value, dict) else value:
                check_figures(one, depth + 1)
