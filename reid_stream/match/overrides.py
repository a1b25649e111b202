"""Apply operators' instructions about identities (pure).

    merge  moves all tracks of one identity to another and pins the tracks of both
    split  moves some tracks to a new identity and pins them; the two identities are never merged again
    name   sets the label of an identity
    erase  forgets an identity; the caller deletes stored data
    undo   reverts an earlier merge, split or name

A later instruction overrides an earlier one, and both override the matcher. No instruction breaks the invariant that an
identity never has two tracks side by side: identities seen side by side are merged only if the operator declares the
tracks to be one person detected twice, and a track later seen side by side with another one of its identity is
detached.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from reid_stream.instructions import (
    VERBS,
    Erased,
    ErasePerson,
    Instruction,
    MergePeople,
    NamePerson,
    SplitTracks,
    TrackSpan,
    Undo,
)
from reid_stream.match.corrections import Corrections
from reid_stream.match.identities import Identities, Person, RetirementReason
from reid_stream.match.override_log import AppliedOverride, OverrideLog, PendingErasure
from reid_stream.match.tracklets import OpenTracks, Stay
from reid_stream.records import Answer, Decision, Erasing, Erasure, GlobalId, Merge, Naming, Retirement, Split

_Effect = tuple[list[Decision], str, tuple[int, ...]]
"""Effect of an instruction: decisions, text of the answer, numbers of the identities concerned."""
_PLACEHOLDER = -1
"""Serial of a placeholder track in view, which keeps an identity from being evicted."""


class _RefusedError(Exception):
    """A precondition of an instruction does not hold; the message becomes the text of the answer."""


@dataclass(slots=True)
class Overrides:
    """Application of instructions to the identities of one matcher."""

    site: str
    people: Identities
    tracks: OpenTracks
    corrections: Corrections
    retire: Callable[[Person, RetirementReason, float], Retirement]
    log: OverrideLog

    def apply(self, instruction: Instruction, now: float) -> list[Decision]:
        """Apply an instruction and answer it; one applied before has no effect and no answer."""
        if self.log.is_known(instruction.id):
            return []
        self.log.note_place(instruction.id)
        try:
            match instruction:
                case MergePeople():
                    decisions, text, people = self._merge(instruction, now)
                case SplitTracks():
                    decisions, text, people = self._split(instruction, now)
                case NamePerson():
                    decisions, text, people = self._rename(instruction, now)
                case Undo():
                    decisions, text, people = self._undo(instruction, now)
                case ErasePerson():
                    return [self._erase(instruction, now)]  # answered when all stored data is deleted
                case Erased():
                    return self._erased(instruction, now)
        except _RefusedError as refused:
            return [self._answer(instruction, "refused", str(refused), (), now)]
        return [*decisions, self._answer(instruction, "done", text, people, now)]

    def _answer(self, instruction: Instruction, outcome: str, text: str, people: Iterable[int], now: float) -> Answer:
        assert not isinstance(instruction, Erased), "a report of the daemon itself has no answer"
        return Answer(
            instruction=instruction.id,
            do=VERBS[type(instruction)],
            outcome="done" if outcome == "done" else "refused",
            text=text,
            people=tuple(self._name(number) for number in people),
            by=instruction.who,
            at=now,
        )

    def _name(self, number: int) -> GlobalId:
        return GlobalId(f"{self.site}-{number}")

    def _number(self, person: GlobalId) -> int:
        site, _, number = person.rpartition("-")
        if site != self.site or not number.isdecimal() or not 0 < int(number) < self.people.next_number:
            raise _RefusedError(f"{person} must be a global ID issued at {self.site}; no such ID was issued")
        return int(number)

    def _known(self, person: GlobalId, now: float) -> Person:
        """Return a known identity, marked as just seen so that retirement is postponed."""
        number = self._number(person)
        if number not in self.people:
            raise _RefusedError(
                f"{person} must be a current identity, but was merged, retired or erased; see `identity show`"
            )
        self.people.see(number, self.people[number].last_at, now)
        return self.people[number]

    def _merge(self, wanted: MergePeople, now: float) -> _Effect:
        gone, into = self._known(wanted.gone, now), self._known(wanted.into, now)
        twins = self._side_by_side(gone, into)
        if not wanted.duplicates:
            self._refuse_apart(gone, into, twins)
        done = AppliedOverride(
            wanted.id, "merge", gone.number, into.number, serials=[stay.serial for stay in gone.stays],
            held=[stay.serial for stay in (*gone.stays, *into.stays)], twins=twins,
            label=gone.label, heir_label=into.label, revision=gone.revision, state=gone.state,
        )  # fmt: skip
        self._mark_twins(twins, True)
        merge = self._join(gone, into, wanted.who, now)
        for stay in into.stays:
            stay.held = True
        self.log.note(done)
        return [merge], f"{wanted.gone} is {wanted.into}", (into.number, gone.number)

    def _join(self, gone: Person, into: Person, by: str, now: float) -> Merge:
        self.people.reconcile(gone, into)
        similarity = self.corrections.similarity(gone, into)
        label = "" if into.label else gone.label
        self.people.merge(gone, into)
        self.tracks.rename(gone.number, into.number)
        names = self._name(gone.number), self._name(into.number)
        return Merge(*names, into.revision, similarity, None, now, by=by, label=label)

    def _side_by_side(self, a: Person, b: Person) -> list[tuple[int, int]]:
        others = {stay.serial for stay in b.stays}
        return [(stay.serial, serial) for stay in a.stays for serial in sorted(stay.apart & others)]

    def _refuse_apart(self, a: Person, b: Person, pairs: list[tuple[int, int]]) -> None:
        if not pairs and b.number not in a.apart:
            return
        where = "on a camera, long ago"
        if pairs:
            stay = next(stay for stay in a.stays if stay.serial == pairs[0][0])
            where = f"on camera {stay.camera} (tracks {stay.track} and {self._track(b, pairs[0][1])})"
        raise _RefusedError(
            f"{self._name(a.number)} and {self._name(b.number)} must never have been seen at once on one camera,"
            f" but were {where}; if one person was detected twice, mark the tracks as duplicates"
        )

    @staticmethod
    def _track(person: Person, serial: int) -> int:
        return next(stay.track for stay in person.stays if stay.serial == serial)

    def _mark_twins(self, pairs: list[tuple[int, int]], are_twins: bool) -> None:
        """Mark pairs of tracks seen side by side as one person detected twice, or lift the mark."""
        for one, other in _both_ways(pairs):
            stay = self.people.stay(one)
            if stay is not None:
                (stay.twins.add if are_twins else stay.twins.discard)(other)
                (stay.apart.discard if are_twins else stay.apart.add)(other)

    def _split(self, wanted: SplitTracks, now: float) -> _Effect:
        person = self._known(wanted.person, now)
        leaving = self._named_stays(person, wanted)
        staying = [stay for stay in person.stays if stay not in leaving]
        if not staying:
            raise _RefusedError(
                f"a split must leave {wanted.person} at least one track, but all {len(leaving)} were named"
            )
        decisions: list[Decision] = [*self._make_room(person, now)]
        fresh = self.people.new(leaving[0].first_at, max(stay.last_at for stay in leaving), now)
        pairs = [(a.serial, b.serial) for a in leaving for b in staying]
        done = AppliedOverride(
            wanted.id, "split", person.number, fresh.number, serials=[stay.serial for stay in leaving],
            held=[stay.serial for stay in leaving], barred=pairs,
        )  # fmt: skip
        decisions.append(self._hand_over(leaving, person, fresh, wanted.who, now))
        self.people.bar(person.number, fresh.number)
        for a, b in ((a, b) for a in leaving for b in staying):
            a.barred.add(b.serial)
            b.barred.add(a.serial)
        for stay in leaving:
            stay.held = True
        self.log.note(done)
        count = "one track" if len(leaving) == 1 else f"{len(leaving)} tracks"
        text = f"{count} of {wanted.person} moved to the new identity {self._name(fresh.number)}"
        return decisions, text, (person.number, fresh.number)

    def _make_room(self, keep: Person, now: float) -> list[Retirement]:
        """Evict the longest unseen identity other than `keep` if the gallery is full."""
        keep.in_view.add(_PLACEHOLDER)
        has_room, evicted = self.people.make_room()
        keep.in_view.discard(_PLACEHOLDER)
        if not has_room:
            raise _RefusedError("there must be room for one more identity, but all known identities are in view")
        return [] if evicted is None else [self.retire(evicted, "gallery full", now)]

    def _named_stays(self, person: Person, wanted: SplitTracks) -> list[Stay]:
        """Return the stays of an identity that an instruction names, in order of time."""
        keys = {(stay.camera, stay.run, stay.track) for stay in person.stays}
        missing = [
            f"{camera}/{run}/{track}" for camera, run, track in wanted.tracks if (camera, run, track) not in keys
        ]
        missing += [visit.camera for visit in wanted.visits if not any(_touches(visit, stay) for stay in person.stays)]
        if missing:
            raise _RefusedError(
                f"tracks to split off must belong to {wanted.person} and still be kept, but {', '.join(missing)} does"
                " not; `identity show` lists them"
            )
        return [
            stay
            for stay in person.stays
            if (stay.camera, stay.run, stay.track) in wanted.tracks
            or any(_touches(visit, stay) for visit in wanted.visits)
        ]

    def _hand_over(self, stays: list[Stay], person: Person, heir: Person, by: str, now: float) -> Split:
        self.corrections.reassign(stays, person, heir.number, None)
        return replace(self.corrections.split(person, heir.number, stays), by=by, at=now)

    def _rename(self, wanted: NamePerson, now: float) -> _Effect:
        person = self._known(wanted.person, now)
        self.log.note(AppliedOverride(wanted.id, "name", person.number, label=person.label))
        naming = self._label(person, wanted.label, wanted.who, now)
        # The answer is kept when the person is erased, so it must not contain the label.
        return naming, f"{wanted.person} has {'a' if wanted.label else 'no'} name", (person.number,)

    def _label(self, person: Person, label: str, by: str, now: float) -> list[Decision]:
        if person.label == label:
            return []
        person.label = label
        return [Naming(self._name(person.number), label, person.revision, by, now)]

    def _erase(self, wanted: ErasePerson, now: float) -> Erasing:
        number = self._number(wanted.person)
        revision = 0
        if number in self.people:
            person = self.people[number]
            revision = person.revision
            self.tracks.forget(number)
            self.people.remove(person)
        self.log.forget(number)
        self.log.erasing[wanted.id] = PendingErasure(number, revision, wanted.who)
        return Erasing(wanted.person, wanted.id, now)

    def _erased(self, report: Erased, now: float) -> list[Decision]:
        underway = self.log.erasing.pop(report.instruction, None)
        if underway is None:
            return []
        person = self._name(underway.number)
        return [
            Erasure(person, underway.revision, underway.by, now),
            Answer(report.instruction, "erase", "done", report.report, (person,), underway.by, now),
        ]

    def _undo(self, wanted: Undo, now: float) -> _Effect:
        done = self.log.find(wanted.instruction)
        if done is None or done.is_undone:
            found = "was undone already" if done is not None else "was not applied, is of another kind, or too old"
            raise _RefusedError(f"{wanted.instruction} must be a merge, split or name that was applied, but {found}")
        match done.do:
            case "merge":
                decisions, people = self._undo_merge(done, wanted.who, now)
            case "split":
                decisions, people = self._undo_split(done, wanted.who, now)
            case _:
                person = self._known(self._name(done.person), now)
                decisions = self._label(person, done.label, wanted.who, now)
                people = (done.person,)
        done.is_undone = True
        return decisions, f"the {done.do} of {wanted.instruction} is undone", people

    def _undo_merge(self, done: AppliedOverride, by: str, now: float) -> tuple[list[Decision], tuple[int, ...]]:
        """Restore a merged identity with its tracks, under its former ID."""
        into = self._known(self._name(done.into), now)
        going = [stay for stay in into.stays if stay.serial in done.serials]
        if not going or len(going) == len(into.stays) or done.person in self.people:
            raise _RefusedError(
                f"{self._name(done.into)} must still have tracks of {self._name(done.person)} and others, but does not"
            )
        decisions: list[Decision] = [*self._make_room(into, now)]
        self._withdraw(done)
        self._mark_twins(done.twins, False)
        last_at = max(stay.last_at for stay in going)
        person = Person(done.person, done.revision, done.state, going[0].first_at, last_at, updated_at=now)
        self.people.put(person, [])
        person.revision += 1
        decisions.append(self._hand_over(going, into, person, by, now))
        decisions += self._label(into, done.heir_label, by, now)
        decisions += self._label(person, done.label, by, now)
        return decisions, (into.number, person.number)

    def _undo_split(self, done: AppliedOverride, by: str, now: float) -> tuple[list[Decision], tuple[int, ...]]:
        """Move the tracks that were split off back; the whole identity is merged if it has no others."""
        person, heir = self._known(self._name(done.person), now), self._known(self._name(done.into), now)
        self._refuse_apart(heir, person, self._side_by_side(heir, person))
        back = [stay for stay in heir.stays if stay.serial in done.serials]
        if not back:
            raise _RefusedError(f"{self._name(done.into)} must still have the tracks, but does not")
        self._withdraw(done)
        if len(back) == len(heir.stays):
            decision: Decision = self._join(heir, person, by, now)
        else:
            person.revision += 1
            decision = self._hand_over(back, heir, person, by, now)
        return [decision], (person.number, heir.number)

    def _withdraw(self, done: AppliedOverride) -> None:
        """Lift the pins and bars of an instruction that no other one requires."""
        rest = [other for other in self.log.done if other is not done and not other.is_undone]
        for serial in set(done.held) - {serial for other in rest for serial in other.held}:
            stay = self.people.stay(serial)
            if stay is not None:
                stay.held = False
        for one, other in _both_ways(set(done.barred) - {pair for kept in rest for pair in kept.barred}):
            stay = self.people.stay(one)
            if stay is not None:
                stay.barred.discard(other)


def _touches(visit: TrackSpan, stay: Stay) -> bool:
    is_over = visit.until is not None and stay.first_at > visit.until
    return stay.camera == visit.camera and stay.last_at >= visit.since and not is_over


def _both_ways(pairs: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    return (way for a, b in pairs for way in ((a, b), (b, a)))
