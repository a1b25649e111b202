"""Events to the live keys of a site: current presence, readable without the stream (pure).

    reid:<site>:present:<camera>    set of global IDs in view
    reid:<site>:state:numbers       highest number given to a person; private
    reid:<site>:identity:<gid>      hash: state, revision, label, camera, track, first_seen_at, seen_at, clock, box,
                                    model
    reid:<site>:state:instructions  place of the last instruction that was answered; private
    reid:<site>:state:sent          position of the last transaction; private

A batch of events becomes as few commands as leave the same keys; they go in the transaction that adds the events, so
that a reader never sees the one without the other.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import assert_never

from reid_stream.events import (
    DaemonStarted,
    DaemonStopped,
    Event,
    IdentityConfirmed,
    IdentityEntered,
    IdentityErased,
    IdentityLeft,
    IdentityMerged,
    IdentityNamed,
    IdentityRetired,
    IdentitySeen,
    IdentitySplit,
    InstructionAnswered,
    NewsEvent,
)
from reid_stream.publish.live_mirror import Command, LiveMirror
from reid_stream.records import CameraId, GlobalId

_NUMBER = re.compile(r"-([0-9]{1,18})$", re.ASCII)
MOST_NUMBER = 10**15
"""More than a site can have; a larger number in a key is another writer's."""
MERGED_KEPT_S = 86_400
"""Seconds that the hash of a merged identity points to its successor: a day, as long as identities are kept by
default."""


def stream_key(site: str) -> str:
    """Name of the events' stream, and of the Pub/Sub channel."""
    return f"reid:{site}:events"


def present_key(site: str, camera: CameraId) -> str:
    """Name of the set of people in view of a camera."""
    return f"reid:{site}:present:{camera}"


def identity_key(site: str, person: GlobalId) -> str:
    """Name of an identity's hash."""
    return f"reid:{site}:identity:{person}"


def numbers_key(site: str) -> str:
    """Name of the highest number that a global ID was made of; the next daemon continues behind it."""
    return f"reid:{site}:state:numbers"


def instructions_key(site: str) -> str:
    """Name of the stream of operator instructions."""
    return f"reid:{site}:instructions"


def answered_key(site: str) -> str:
    """Name of the key of the last answered instruction's position; the next daemon reads on behind it."""
    return f"reid:{site}:state:instructions"


def sent_key(site: str) -> str:
    """Name of the position of the last transaction: Redis that has an older one, or none, has lost data."""
    return f"reid:{site}:state:sent"


def highest_number(events: Iterable[Event]) -> int:
    """Return the highest number of a global ID in events that identify a person; 0 where there is none."""
    people = [event.person for event in events if isinstance(event, IdentityEntered | IdentitySeen)]
    people += [event.into for event in events if isinstance(event, IdentitySplit)]
    return max((number_of(person) for person in people), default=0)


def number_of(person: str) -> int:
    """Return the number that a global ID is made of; 0 where it is none of ours."""
    found = _NUMBER.search(person)
    number = int(found[1]) if found is not None else 0
    return number if number < MOST_NUMBER else 0


class LiveState:
    """Convert events to commands; knows who is in view of which camera, to move merged people."""

    def __init__(self, site: str, *, keeps_numbers: bool = True) -> None:
        """`keeps_numbers`: note the highest number of a global ID, so that none is given twice."""
        self.mirror = LiveMirror()
        """The live keys as they are on Redis, to write them again."""
        self._site = site
        self._highest = 0 if keeps_numbers else None
        self._commands: list[Command] = []
        self._present: dict[CameraId, set[GlobalId]] = {}
        self._staying: dict[CameraId, tuple[GlobalId, ...]] = {}
        self._next, self._next_highest = self._present, self._highest

    def begin(self, present: Mapping[CameraId, Collection[GlobalId]]) -> None:
        """Continue with the people who were in view when an earlier daemon ended, and have not left since."""
        self._staying = {camera: tuple(sorted(people)) for camera, people in present.items()}

    def commands(self, events: Sequence[Event]) -> list[Command]:
        """Give the commands that bring the keys from before `events` to after them, however events are put together.

        Until `done` says that they have been carried out, the next call starts from the same state as this one.
        """
        self._next = {camera: set(people) for camera, people in self._present.items()}
        self._next_highest = self._highest
        batch = _Batch()
        for event in events:
            self._apply(event, batch)
        answered = [("SET", answered_key(self._site), batch.answered)] if batch.answered is not None else []
        self._commands = [*batch.commands(self._site), *self._numbers(batch), *answered]
        return self._commands

    def follow(self, events: Sequence[Event]) -> None:
        """Note events whose commands were carried out, though the reply was lost."""
        self.commands(events)
        self.done()

    def done(self) -> None:
        """Note that the commands given last have been carried out."""
        self.mirror.apply(self._commands)
        self._commands = []
        self._present, self._highest = self._next, self._next_highest

    def _numbers(self, batch: "_Batch") -> list[Command]:
        if self._highest is None:
            return []
        given = max(map(number_of, batch.named), default=0)
        if given <= self._highest:
            return []
        self._next_highest = given
        return [("SET", numbers_key(self._site), given)]

    def know_highest(self, number: int) -> None:
        """Note the highest number given so far; it is written again where Redis loses it."""
        if self._highest is not None and number > self._highest:
            self._highest = self._next_highest = number
            self.mirror.apply([("SET", numbers_key(self._site), number)])

    def _apply(self, event: Event, batch: "_Batch") -> None:  # noqa: C901 (one case per kind of event)
        if isinstance(event, NewsEvent):
            return
        match event:
            case IdentityEntered() | IdentitySeen():
                self._move(event.person, event.camera, True, batch)
                batch.named.add(event.person)
                batch.begin(event.person, first_seen_at=event.since)
                batch.set(
                    event.person,
                    state=event.state,
                    revision=event.revision,
                    camera=event.camera,
                    track=event.track,
                    seen_at=event.seen_at,
                    clock=event.clock,
                    box=",".join(f"{edge:.1f}" for edge in event.box),
                    model=event.model,
                )
            case IdentityLeft():
                self._move(event.person, event.camera, False, batch)
                batch.set(event.person, revision=event.revision, seen_at=event.last_seen_at, state=event.state)
            case IdentityConfirmed():
                batch.set(event.person, state="confirmed", revision=event.revision)
            case IdentityMerged():
                for camera in self._where(event.previous):
                    self._move(event.previous, camera, False, batch)
                    self._move(event.person, camera, True, batch)
                batch.delete(event.previous)
                batch.set(event.previous, merged_into=event.person)
                batch.expiring.add(event.previous)
                batch.set(event.person, revision=event.revision)
            case IdentitySplit():
                batch.set(event.person, revision=event.revision)
                batch.named.add(event.into)
                batch.revive(event.into)
                batch.set(event.into, revision=event.into_revision, state=event.into_state)
                batch.begin(event.into, first_seen_at=event.split_at, seen_at=event.split_at)
            case IdentityNamed():
                batch.set(event.person, revision=event.revision, label=event.label)
            case InstructionAnswered():
                batch.answered = event.instruction
            case IdentityRetired() | IdentityErased():
                for camera in self._where(event.person):
                    self._move(event.person, camera, False, batch)
                batch.delete(event.person)
            case DaemonStarted():
                for camera in event.cameras:
                    self._empty(camera, batch)
                    for person in self._staying.get(camera, ()):
                        self._move(person, camera, True, batch)
            case DaemonStopped():
                for camera in tuple(self._next):
                    self._empty(camera, batch)
            case _:
                assert_never(event)

    def _where(self, person: GlobalId) -> list[CameraId]:
        return [camera for camera, people in self._next.items() if person in people]

    def _move(self, person: GlobalId, camera: CameraId, is_in: bool, batch: "_Batch") -> None:
        people = self._next.setdefault(camera, set())
        (people.add if is_in else people.discard)(person)
        batch.moves[camera, person] = is_in

    def _empty(self, camera: CameraId, batch: "_Batch") -> None:
        self._next.pop(camera, None)
        for key in [key for key in batch.moves if key[0] == camera]:
            del batch.moves[key]
        batch.emptied.add(camera)


class _Batch:
    """Net effect of a batch of events."""

    def __init__(self) -> None:
        self.emptied: set[CameraId] = set()
        self.moves: dict[tuple[CameraId, GlobalId], bool] = {}
        self.deleted: set[GlobalId] = set()
        self.fields: dict[GlobalId, dict[str, str | float]] = {}
        self.started: dict[GlobalId, dict[str, str | float]] = {}
        """Fields of each person's hash that are written unless they are there already."""
        self.revived: set[GlobalId] = set()
        """People who may have been merged into others before and are separate again."""
        self.answered: str | None = None
        """Place of the last instruction that was answered."""
        self.named: set[GlobalId] = set()
        """All people who came into view, whether they left again or not."""
        self.expiring: set[GlobalId] = set()

    def set(self, person: GlobalId, **fields: str | float) -> None:
        self.fields.setdefault(person, {}).update(fields)

    def begin(self, person: GlobalId, **fields: str | float) -> None:
        known = self.started.setdefault(person, {})
        known.update({name: value for name, value in fields.items() if name not in known})

    def revive(self, person: GlobalId) -> None:
        self.revived.add(person)
        self.expiring.discard(person)
        self.fields.get(person, {}).pop("merged_into", None)

    def delete(self, person: GlobalId) -> None:
        self.deleted.add(person)
        self.fields.pop(person, None)
        self.started.pop(person, None)
        self.revived.discard(person)

    def commands(self, site: str) -> list[Command]:
        found: list[Command] = [("DEL", present_key(site, camera)) for camera in sorted(self.emptied)]
        groups: dict[tuple[CameraId, bool], list[str]] = {}
        for (camera, person), is_in in self.moves.items():
            groups.setdefault((camera, is_in), []).append(person)
        for (camera, is_in), people in groups.items():
            found.append(("SADD" if is_in else "SREM", present_key(site, camera), *people))
        found += [("DEL", identity_key(site, person)) for person in sorted(self.deleted)]
        for person in sorted(self.revived):
            found.append(("HDEL", identity_key(site, person), "merged_into"))
            found.append(("PERSIST", identity_key(site, person)))
        for person, fields in self.fields.items():
            if fields:
                pairs = [part for pair in fields.items() for part in pair]
                found.append(("HSET", identity_key(site, person), *pairs))
        for person, fields in self.started.items():
            found += [("HSETNX", identity_key(site, person), name, value) for name, value in fields.items()]
        found += [("EXPIRE", identity_key(site, person), MERGED_KEPT_S) for person in sorted(self.expiring)]
        return found
