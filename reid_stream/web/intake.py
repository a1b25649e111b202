"""Check events and stored tracks before the console shows them.

Programs that may write to Redis or the store may write anything there. An entry that the API's records or the pages
cannot hold would fail every list that it is part of, for all visitors.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from reid_stream.events import DaemonStarted, Event, IdentitySplit, InstructionAnswered
from reid_stream.publish.cloudevents import UnknownEvent
from reid_stream.publish.subscribe import Received
from reid_stream.records import CAMERA_PATTERN, RUN_PATTERN
from reid_stream.store.layout import StoredTrack
from reid_stream.web.schemas import PERSON_PATTERN

_EARLIEST, _LATEST = -62_135_596_800.0, 253_402_300_799.0
"""UTC seconds of the years 1 to 9999, beyond which no date can be shown; no other figure of an event is so large."""
_MOST_DEPTH = 16
"""Levels of nesting: the deepest event has four; serialisers give up at some hundreds."""
_SNAPSHOT = re.compile(f"{CAMERA_PATTERN[:-1]}/{RUN_PATTERN[1:-1]}/[0-9]{{1,16}}/[0-9]{{1,16}}$")
_PERSON, _CAMERA, _RUN = re.compile(PERSON_PATTERN), re.compile(CAMERA_PATTERN), re.compile(RUN_PATTERN)
_PERSON_FIELDS = ("person", "previous", "into")
_CAMERA_FIELDS = ("camera", "slowest")


def check_event(event: Received) -> None:
    """Check an event's data, and its body, which is shown unchanged.

    Raises:
        ValueError: a name is malformed, a time cannot be shown, or the body cannot be serialised.
    """
    try:
        body = msgspec.json.decode(event.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Fields that the event's struct does not have are not decoded before.
        raise ValueError(f"an event must be JSON throughout: {error}") from error
    _check_figures(body, 0)
    if not isinstance(event.data, UnknownEvent):
        _check_names(event.data)


def check_track(track: StoredTrack) -> None:
    """Check a stored track.

    Raises:
        ValueError: a name is malformed, or a figure cannot be shown.
    """
    _check(_CAMERA, "camera", [track.camera])
    _check(_RUN, "run", [track.run])
    if track.global_id is not None:
        _check(_PERSON, "global_id", [track.global_id])
    if not 0 <= track.track <= 2**53:
        raise ValueError(f"track must be from 0 to 2**53, found {track.track}")
    _check_figures([track.times, track.boxes, track.qualities, track.revision], 0)


def _check_names(data: Event) -> None:
    for name in data.__struct_fields__:
        value = getattr(data, name)
        if name in _PERSON_FIELDS:
            _check(_PERSON, name, [value])
        elif name in _CAMERA_FIELDS:
            _check(_CAMERA, name, [value])
        elif name == "snapshot" and value is not None:
            _check(_SNAPSHOT, name, [value])
        elif name == "run" and value:  # empty in events of earlier versions
            _check(_RUN, name, [value])
    match data:
        case DaemonStarted():
            _check(_CAMERA, "cameras", data.cameras)
            _check(_CAMERA, "in_view", (camera for camera, _ in data.in_view))
            _check(_PERSON, "in_view", (person for _, person in data.in_view))
        case IdentitySplit():
            _check(_CAMERA, "tracks", (camera for camera, _, _ in data.tracks))
            _check(_RUN, "tracks", (run for _, run, _ in data.tracks if run))
            if data.spans and len(data.spans) != len(data.tracks):
                raise ValueError(f"spans must be as many as tracks, {len(data.tracks)}, found {len(data.spans)}")
        case InstructionAnswered():
            _check(_PERSON, "people", data.people)
        case _:
            pass


def _check(pattern: re.Pattern[str], name: str, values: Iterable[str]) -> None:
    for value in values:
        if not pattern.fullmatch(value):
            raise ValueError(f"{name} must match {pattern.pattern}, found {value[:80]!r}")


def _check_figures(value: Any, depth: int) -> None:
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
                _check_figures(one, depth + 1)
