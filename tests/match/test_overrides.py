"""Operator overrides are applied where no constraint forbids it, kept from then on, and can be undone."""

from collections.abc import Sequence

import pytest

from reid_stream.config.settings import Match
from reid_stream.instructions import (
    Erased,
    ErasePerson,
    Instruction,
    MergePeople,
    NamePerson,
    SplitTracks,
    TrackSpan,
    Undo,
)
from reid_stream.match.matcher import Matcher
from reid_stream.records import (
    Answer,
    CameraId,
    Decision,
    Erasing,
    Erasure,
    GlobalId,
    Merge,
    Naming,
    Perceived,
    Sighting,
    Split,
    TrackId,
)
from tests.match.test_corrections import CALIBRATION, VERIFIER, a_visit, identities
from tests.match.test_matcher import LEFT, RIGHT, A, B, C, look, play
from tests.worlds import MODEL, RUN, unit

MATCH = Match()
ONE, TWO, THREE = (GlobalId(f"site-{number}") for number in (1, 2, 3))
Known = dict[tuple[CameraId, TrackId], GlobalId]


class InstructedSite:
    """A matcher, an operator who instructs it, and a subscriber of its decisions."""

    def __init__(self, records: Sequence[Perceived] = ()) -> None:
        self.matcher = Matcher(MATCH, "site", MODEL, VERIFIER, CALIBRATION)
        self.decisions: list[Decision] = []
        self.now = 0.0
        self.count = 0
        self.see(records)

    def see(self, records: Sequence[Perceived]) -> list[Decision]:
        new = play(self.matcher, records)
        self.decisions += new
        self.now = max([self.now, *(record.seen_at for record in records)])
        return new

    def say(self, kind: type[Instruction], **words: object) -> list[Decision]:
        self.count += 1
        new = self.matcher.instruct(kind(id=f"{self.count}-0", at=self.now, who="anna", **words), self.now)  # type: ignore[arg-type]
        self.decisions += new
        return new

    @property
    def known(self) -> Known:
        return identities(self.decisions)

    def restarted(self) -> "InstructedSite":
        again = InstructedSite()
        again.matcher = Matcher(MATCH, "site", MODEL, VERIFIER, CALIBRATION, state=self.matcher.state())
        again.decisions, again.now, again.count = list(self.decisions), self.now, self.count
        return again


def answer(decisions: list[Decision]) -> Answer:
    last = decisions[-1]
    assert isinstance(last, Answer)
    return last


def corrections(decisions: list[Decision], kind: type[Decision]) -> list[Decision]:
    return [decision for decision in decisions if isinstance(decision, kind)]


def strangers() -> InstructedSite:
    """Three people who look like three; of each a visit on a camera of its own."""
    visits = [
        a_visit(name, 1, 10.0 * at, look_, look_) for at, (name, look_) in enumerate(zip("abc", (A, B, C), strict=True))
    ]
    return InstructedSite([record for visit in visits for record in visit])


def test_two_people_are_one_when_an_operator_merges_them() -> None:
    site = strangers()
    decisions = site.say(MergePeople, gone=TWO, into=ONE)
    (merge,) = corrections(decisions, Merge)
    assert isinstance(merge, Merge)
    assert (merge.gone, merge.into, merge.by, merge.revision) == (TWO, ONE, "anna", 2)
    assert (answer(decisions).outcome, answer(decisions).people) == ("done", (ONE, TWO))
    assert site.known == {("a", 1): ONE, ("b", 1): ONE, ("c", 1): THREE}


def test_the_id_that_stays_is_the_one_that_was_asked_for() -> None:
    site = strangers()
    site.say(MergePeople, gone=ONE, into=TWO)
    assert site.known[CameraId("a"), TrackId(1)] == TWO


def test_what_a_person_merged_is_never_split_by_second_thoughts() -> None:
    def later_splits(site: InstructedSite) -> list[Decision]:
        seen = [
            r for at in range(40) for r in a_visit("abc"[at % 3], 10 + at, 50.0 + 10 * at, *[(A, B, C)[at % 3]] * 3)
        ]
        new = site.see(seen)
        first = {("a", RUN, 1), ("b", RUN, 1)}
        return [d for d in new if isinstance(d, Split) and first & set(d.tracks)]

    site = strangers()
    site.say(MergePeople, gone=TWO, into=ONE)
    assert later_splits(site) == []
    assert site.known["a", 1] == site.known["b", 1]  # type: ignore[index]
    # Without a person's word the same two are taken apart: it is the word that holds them.
    by_itself = strangers()
    by_itself.say(MergePeople, gone=TWO, into=ONE)
    for person in by_itself.matcher.state().people:
        for stay in person.stays:
            own = by_itself.matcher._people.stay(stay.serial)
            assert own is not None
            own.held = False
    assert later_splits(by_itself)


def test_what_a_person_split_never_comes_together_again_not_even_through_a_third() -> None:
    site = InstructedSite([*a_visit("a", 1, 0.0, A, A), *a_visit("b", 1, 20.0, A, A), *a_visit("c", 1, 40.0, A, A)])
    assert set(site.known.values()) == {ONE}
    decisions = site.say(SplitTracks, person=ONE, tracks=[("b", RUN, 1)])
    assert answer(decisions).outcome == "done"
    assert site.known == {("a", 1): ONE, ("b", 1): TWO, ("c", 1): ONE}
    # Third parties who look the same, joined by the matcher to whomever it likes.
    site.see([r for at in range(20) for r in a_visit("abcd"[at % 4], 100 + at, 60.0 + 15 * at, A, A, A)])
    assert len(set(site.known.values())) >= 2
    assert site.known["a", 1] == site.known["c", 1] != site.known["b", 1]  # type: ignore[index]
    # A third person, merged with each of the two by hand, does not bring them together either.
    other = unit(B - A)  # unlike all before, of whom the cameras' means are
    site.see(a_visit("e", 1, 500.0, other, other))
    third = site.known[CameraId("e"), TrackId(1)]
    site.say(MergePeople, gone=third, into=site.known[CameraId("a"), TrackId(1)])
    site.see([r for at in range(9) for r in a_visit("abc"[at % 3], 200 + at, 600.0 + 15 * at, A, A, A)])
    assert site.known["a", 1] != site.known["b", 1]  # type: ignore[index]


def test_a_later_word_beats_an_earlier_one() -> None:
    site = InstructedSite([*a_visit("a", 1, 0.0, A, A), *a_visit("b", 1, 20.0, A, A)])
    site.say(SplitTracks, person=ONE, tracks=[("b", RUN, 1)])
    assert answer(site.say(MergePeople, gone=TWO, into=ONE)).outcome == "done"
    assert set(site.known.values()) == {ONE}


def test_visits_are_split_off_by_camera_and_time() -> None:
    site = InstructedSite([*a_visit("a", 1, 0.0, A, A), *a_visit("b", 1, 20.0, A, A), *a_visit("b", 2, 60.0, A, A)])
    site.say(SplitTracks, person=ONE, visits=[TrackSpan(camera=CameraId("b"), since=50.0)])
    assert site.known == {("a", 1): ONE, ("b", 1): ONE, ("b", 2): TWO}


def side_by_side() -> InstructedSite:
    return InstructedSite(
        [r for at in range(4) for r in (look("a", 1, float(at), A, LEFT), look("a", 2, float(at), A, RIGHT))]
    )


def test_two_who_were_seen_at_once_on_one_camera_are_not_merged() -> None:
    site = side_by_side()
    refused = answer(site.say(MergePeople, gone=TWO, into=ONE))
    assert refused.outcome == "refused"
    assert "must never have been seen at once on one camera, but were on camera a" in refused.text
    assert set(site.known.values()) == {ONE, TWO}


def test_one_body_found_twice_is_one_person_and_stays_so() -> None:
    site = side_by_side()
    assert answer(site.say(MergePeople, gone=TWO, into=ONE, duplicates=True)).outcome == "done"
    more = [r for at in range(4, 9) for r in (look("a", 1, float(at), A, LEFT), look("a", 2, float(at), A, RIGHT))]
    assert corrections(site.see(more), Split) == []
    assert set(site.known.values()) == {ONE}


def test_a_track_seen_beside_another_of_the_same_person_is_split_off_whoever_merged_them() -> None:
    site = InstructedSite(
        [
            *(look("a", 1, float(at), A, LEFT) for at in range(3)),
            *(look("a", 2, float(at), B, RIGHT) for at in range(3, 6)),
        ]
    )
    site.say(MergePeople, gone=TWO, into=ONE)
    splits = corrections(site.see([look("a", 1, 6.0, A, LEFT), look("a", 2, 6.0, B, RIGHT)]), Split)
    assert len(splits) == 1
    assert site.known["a", 1] != site.known["a", 2]  # type: ignore[index]


def test_a_merge_is_undone_and_both_have_their_ids_and_names_again() -> None:
    site = strangers()
    site.say(NamePerson, person=TWO, label="Bea")
    site.say(MergePeople, gone=TWO, into=ONE)
    before = site.matcher.state()
    assert next(person.label for person in before.people if person.number == 1) == "Bea"
    decisions = site.say(Undo, instruction="2-0")
    assert site.known == {("a", 1): ONE, ("b", 1): TWO, ("c", 1): THREE}
    named = {d.person: d.label for d in decisions if isinstance(d, Naming)}
    assert named == {ONE: "", TWO: "Bea"}
    # Seen again, each is known by its own ID.
    site.see([*a_visit("x", 1, 100.0, A, A), *a_visit("x", 2, 110.0, B, B)])
    assert (site.known["x", 1], site.known["x", 2]) == (ONE, TWO)  # type: ignore[index]


def test_a_split_is_undone() -> None:
    site = InstructedSite([*a_visit("a", 1, 0.0, A, A), *a_visit("b", 1, 20.0, A, A)])
    site.say(SplitTracks, person=ONE, tracks=[("b", RUN, 1)])
    assert answer(site.say(Undo, instruction="1-0")).outcome == "done"
    assert set(site.known.values()) == {ONE}
    assert "was undone already" in answer(site.say(Undo, instruction="1-0")).text


def test_a_name_is_kept_published_and_undone() -> None:
    site = strangers()
    site.say(NamePerson, person=ONE, label="Anna")
    decisions = site.say(NamePerson, person=ONE, label="Annette")
    assert [(d.person, d.label) for d in decisions if isinstance(d, Naming)] == [(ONE, "Annette")]
    assert [d.label for d in site.say(Undo, instruction="2-0") if isinstance(d, Naming)] == ["Anna"]


def test_an_erased_person_leaves_nothing_in_the_matcher_and_comes_back_as_a_new_identity() -> None:
    site = strangers()
    site.say(NamePerson, person=ONE, label="Anna")
    (erasing,) = site.say(ErasePerson, person=ONE)
    assert isinstance(erasing, Erasing)
    kept = site.matcher.state()
    assert [person.number for person in kept.people] == [2, 3]
    assert sorted(kept.exemplars) == [2, 3]
    assert not [done for done in kept.override_log.done if done.label]
    reported = site.say(Erased, instruction=erasing.instruction, person=ONE, report="2 crops")
    assert [type(d) for d in reported] == [Erasure, Answer]
    site.see(a_visit("a", 9, 100.0, A, A))
    assert site.known["a", 9] == "site-4"  # type: ignore[index]
    assert answer(site.say(Undo, instruction="2-0")).outcome == "refused"


def test_a_person_erased_in_view_is_a_new_identity_at_once() -> None:
    site = InstructedSite([look("a", 1, float(at), A) for at in range(4)])
    site.say(ErasePerson, person=ONE)
    seen = site.see([look("a", 1, float(at), A) for at in range(4, 8)])
    assert {d.person for d in seen if isinstance(d, Sighting)} == {TWO}


@pytest.mark.parametrize(
    ("kind", "words", "reason"),
    [
        (MergePeople, {"gone": "site-9", "into": ONE}, "site-9 must be a global ID issued at site"),
        (MergePeople, {"gone": "shop-2", "into": ONE}, "shop-2 must be a global ID"),
        (SplitTracks, {"person": ONE, "tracks": [("a", RUN, 1)]}, "must leave site-1 at least one track"),
        (SplitTracks, {"person": ONE, "tracks": [("b", RUN, 1)]}, "b/.*/1 does not"),
        (SplitTracks, {"person": ONE, "visits": [TrackSpan(camera=CameraId("z"))]}, "but z does not"),
        (NamePerson, {"person": "site-x", "label": "Anna"}, "site-x must be a global ID"),
        (Undo, {"instruction": "77-0"}, "was not applied"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing(
    kind: type[Instruction], words: dict[str, object], reason: str
) -> None:
    site = strangers()
    known = site.known
    decisions = site.say(kind, **words)
    assert [type(d) for d in decisions] == [Answer]
    assert answer(decisions).outcome == "refused"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(answer(decisions).text)
    assert site.known == known


def test_an_instruction_counts_once() -> None:
    site = strangers()
    words = MergePeople(id="5-0", at=0.0, who="anna", gone=TWO, into=ONE)
    assert len(site.matcher.instruct(words, 1.0)) == 2
    assert site.matcher.instruct(words, 1.0) == []


def test_what_operators_decided_outlives_a_restart() -> None:
    site = InstructedSite([*a_visit("a", 1, 0.0, A, A), *a_visit("b", 1, 20.0, A, A), *a_visit("c", 1, 40.0, B, B)])
    site.say(SplitTracks, person=ONE, tracks=[("b", RUN, 1)])
    site = site.restarted()
    site.see([r for at in range(12) for r in a_visit("abd"[at % 3], 100 + at, 60.0 + 15 * at, A, A, A)])
    assert site.known["a", 1] != site.known["b", 1]  # type: ignore[index]
    assert site.matcher.instruct(Undo(id="1-0", at=0.0, who="anna", instruction="1-0"), 300.0) == []  # taken before
    assert answer(site.say(Undo, instruction="1-0")).outcome == "done"


def test_the_visits_of_a_merge_in_view_go_on() -> None:
    site = InstructedSite([r for at in range(4) for r in (look("a", 1, float(at), A), look("b", 1, float(at), B))])
    site.say(MergePeople, gone=TWO, into=ONE)
    seen = site.see([look("b", 1, 5.0)])
    assert [d.person for d in seen if isinstance(d, Sighting)] == [ONE]
