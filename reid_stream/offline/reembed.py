"""Convert the state of a matcher to the vectors of another network, by means of stored crops (pure).

    earlier state, tracks of the store with vectors of the other network -> state: same numbers, new vectors

Vectors of two networks are never compared: everything that depends on the old ones is recomputed from crops or dropped.
Topology, side-by-side facts, labels and operators' instructions are kept. An identity without stored crops is dropped,
since it could not be recognised; its number is not reused.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Match
from reid_stream.match.camera_bias import CameraShifts, shifted
from reid_stream.match.gallery import Exemplar
from reid_stream.match.identities import Person
from reid_stream.match.scoring import EvidenceDiscount
from reid_stream.match.snapshot import MatcherState
from reid_stream.match.tracklets import Key, Stay
from reid_stream.records import Floats
from reid_stream.store.replay import StoredReplay

_LEARN_VECTORS = 5
"""Vectors of one track that count for its camera's mean, as in the matcher."""
_STAYS = 32
"""Stays kept of an identity, as in the matcher."""


class ReembeddedIdentity(msgspec.Struct, frozen=True):
    """Identities carried over and dropped."""

    people: int
    """Number of identities carried over."""
    views: int
    """Number of their views."""
    lost: list[int]
    """Numbers of identities dropped for want of stored crops; if they return, they get new numbers."""


def reembed(
    earlier: MatcherState | None, tracks: Sequence[StoredReplay], bundle: EmbedderBundle, settings: Match, site: str
) -> MatcherState:
    """Return the state of a matcher of `bundle` with the same identities.

    Args:
        earlier: state of the present matcher; None takes the identities from the store alone.
        tracks: of the store, with vectors of `bundle`.
        bundle: the new embedder.
        settings: of matching.
        site: prefix of global IDs.
    """
    serials = _serials(earlier, tracks)
    known = {p.number: p for p in earlier.people} if earlier is not None else _people(tracks, serials, settings, site)
    owner = {_key(one): number for one in tracks if (number := _number(one, site)) in known}
    # The matcher takes precedence: a correction may not have reached the store.
    owner |= {stay.key: person.number for person in known.values() for stay in person.stays}
    shifts = _shifts(tracks)
    redundancy = _redundancy(tracks, shifts)
    views: dict[int, list[tuple[float, Exemplar]]] = defaultdict(list)
    for one in tracks:
        number = owner.get(_key(one))
        if number is not None:
            views[number].append(_view(one, redundancy, serials[_key(one)]))
    kept = {number: person for number, person in known.items() if views[number]}
    exemplars = {
        number: [view for _, view in sorted(views[number], key=lambda each: -each[0])[: settings.exemplars]]
        for number in kept
    }
    people = [_resting(person, kept) for person in kept.values()]
    numbers = [0, *known, *(number for one in tracks if (number := _number(one, site)) is not None)]
    beginning = MatcherState(bundle.hash, 1, 1, [], {}, [], {})
    return msgspec.structs.replace(
        earlier or beginning,
        model=bundle.hash,
        next_number=max(earlier.next_number if earlier is not None else 1, max(numbers) + 1),
        next_serial=max([*serials.values(), 0, (earlier or beginning).next_serial - 1]) + 1,
        people=people,
        exemplars=exemplars,
        tracks=[],
        cameras=shifts.state(),
        redundancy=redundancy,
        gallery=None,
        recent=[person.number for person in sorted(people, key=lambda person: person.last_at)],
        turn=[],
        instants={},
    )


def carried(earlier: MatcherState | None, state: MatcherState) -> ReembeddedIdentity:
    """Return the identities carried over from one state to the next, and those dropped."""
    before = {person.number for person in earlier.people} if earlier is not None else set[int]()
    after = {person.number for person in state.people}
    return ReembeddedIdentity(len(after), sum(len(views) for views in state.exemplars.values()), sorted(before - after))


def _people(
    tracks: Sequence[StoredReplay], serials: Mapping[Key, int], settings: Match, site: str
) -> dict[int, Person]:
    """Return the identities in the store, the latest seen if there are more than `match.max_identities`."""
    found: dict[int, Person] = {}
    for one in sorted(tracks, key=lambda one: one.track.times[0]):
        number = _number(one, site)
        if number is None:
            continue
        first, last = one.track.times[0], one.track.times[-1]
        person = found.setdefault(number, Person(number, one.track.revision, "confirmed", first, last))
        person.revision = max(person.revision, one.track.revision)
        person.last_at = max(person.last_at, last)
        person.num_vectors += len(one.vectors)
        person.stays = [*person.stays, Stay(serials[_key(one)], *_key(one), first, last)][-_STAYS:]
    latest = sorted(found.values(), key=lambda person: person.last_at)[-settings.max_identities :]
    return {person.number: person for person in latest}


def _serials(earlier: MatcherState | None, tracks: Sequence[StoredReplay]) -> dict[Key, int]:
    """Return a serial for each track: that of its stay, or one never used before."""
    serials = {stay.key: stay.serial for person in (earlier.people if earlier else ()) for stay in person.stays}
    after = earlier.next_serial if earlier is not None else 1
    for one in sorted(tracks, key=lambda one: one.track.times[0]):
        if _key(one) not in serials:
            serials[_key(one)] = after
            after += 1
    return serials


def _shifts(tracks: Sequence[StoredReplay]) -> CameraShifts:
    shifts = CameraShifts()
    for one in sorted(tracks, key=lambda one: one.track.times[0]):
        for vector in one.vectors[:_LEARN_VECTORS]:
            shifts.learn(one.track.camera, vector)
    return shifts


def _redundancy(tracks: Sequence[StoredReplay], shifts: CameraShifts) -> EvidenceDiscount:
    redundancy, centring = EvidenceDiscount(), shifts.bias()
    for one in tracks:
        mean = _shares(one) @ shifted(one.vectors, centring.shifts.get(one.track.camera))
        redundancy.learn(len(one.vectors), float(np.linalg.norm(mean)))
    return redundancy


def _view(one: StoredReplay, redundancy: EvidenceDiscount, serial: int) -> tuple[float, Exemplar]:
    mean = (_shares(one) @ one.vectors).astype(np.float16)
    weight = redundancy.independent(len(one.vectors)) * float(np.mean(one.track.qualities))
    return weight, Exemplar(mean.tobytes(), weight, one.track.camera, serial)


def _shares(one: StoredReplay) -> Floats:
    quality = np.asarray(one.track.qualities, dtype=np.float32) + np.float32(1e-3)
    return np.asarray(quality / quality.sum(), dtype=np.float32)


def _resting(person: Person, kept: Collection[int]) -> Person:
    """Return an identity without open tracks, apart from kept identities only."""
    return msgspec.structs.replace(
        person,
        tracks=set(),
        in_view=set(),
        apart={number for number in person.apart if number in kept},
        barred={number for number in person.barred if number in kept},
    )


def _key(one: StoredReplay) -> Key:
    return one.track.run, one.track.camera, one.track.track


def _number(one: StoredReplay, site: str) -> int | None:
    name, _, number = (one.track.global_id or "").rpartition("-")
    return int(number) if name == site and number.isdigit() else None
