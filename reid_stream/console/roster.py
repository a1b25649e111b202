"""Events in, who is where now and who has been where out: what any subscriber can know from the stream alone (pure)."""

from collections.abc import Iterable, Mapping

from reid_stream.console.table import PersonRow
from reid_stream.events import (
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
)
from reid_stream.records import GlobalId


class Roster:
    """Follow an event stream."""

    def __init__(self, labels: Mapping[GlobalId, str] | None = None) -> None:
        """`labels`: what people called whom before the first event."""
        self._here: dict[tuple[str, str], IdentityEntered | IdentitySeen] = {}
        self._confirmed: set[str] = set()
        self._visited: dict[str, set[str]] = {}
        self._labels: dict[str, str] = {str(person): label for person, label in (labels or {}).items()}

    def update(self, events: Iterable[Event]) -> None:  # noqa: C901 (one case per kind of event)
        """Take in events in their order."""
        for event in events:
            match event:
                case IdentityEntered() | IdentitySeen():
                    self._here[event.person, event.camera] = event
                    self._visited.setdefault(event.person, set()).add(event.camera)
                    if event.state == "confirmed":
                        self._confirmed.add(event.person)
                case IdentityLeft():
                    self._here.pop((event.person, event.camera), None)
                case IdentityConfirmed():
                    self._confirmed.add(event.person)
                case IdentityMerged():
                    self._merge(event)
                case IdentityNamed():
                    self._labels[event.person] = event.label
                case IdentityRetired() | IdentityErased():
                    self._labels.pop(event.person, None)
                case IdentitySplit():
                    for camera in {camera for camera, _, _ in event.tracks}:
                        self._visited.setdefault(event.into, set()).add(camera)

    def here(self) -> list[PersonRow]:
        """Return everybody in view, one row per person and camera."""
        return [
            PersonRow(
                person=person,
                camera=camera,
                since=event.since,
                state="confirmed" if person in self._confirmed else "provisional",
                similarity=event.similarity,
                label=self._labels.get(person, ""),
            )
            for (person, camera), event in sorted(self._here.items())
        ]

    @property
    def seen(self) -> int:
        """How many people there have been, merged ones counted once."""
        return len(self._visited)

    @property
    def on_two(self) -> int:
        """How many of them were seen on two cameras or more under one ID."""
        return sum(len(cameras) > 1 for cameras in self._visited.values())

    def _merge(self, event: IdentityMerged) -> None:
        self._labels.pop(event.previous, None)
        self._visited.setdefault(event.person, set()).update(self._visited.pop(event.previous, set()))
        for person, camera in list(self._here):
            if person == event.previous:
                seen = self._here.pop((person, camera))
                self._here.setdefault((event.person, camera), seen)
        if event.previous in self._confirmed:
            self._confirmed.add(event.person)
