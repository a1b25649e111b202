"""A subscriber from the start of the stream knows what the daemon knows: people, tracks, names, presence."""

import random
from itertools import groupby
from typing import Any

import pytest

from reid_stream.config.settings import Match, Publish
from reid_stream.events import DaemonStarted, Event, IdentityEntered, IdentityLeft, IdentityMerged
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
from reid_stream.match.presence import Presence
from reid_stream.publish.cloudevents import decode, encode
from reid_stream.publish.projection import SiteView
from reid_stream.records import CameraId, Decision, GlobalId, Perceived, TrackId
from tests.worlds import MODEL, World

DOOR = CameraId("door")


class Site:
    """Match and presence as the daemon has them, a person who talks into it, and a subscriber behind the wire."""

    def __init__(self, **options: object) -> None:
        self.matcher = Matcher(Match.model_validate(options), "site", MODEL)
        self.presence = Presence(Publish(seen_interval_s=1.0, left_after_s=2.0))
        self.fold = SiteView()
        self.published = 0
        self.count = 0

    def step(self, records: list[Perceived], given: list[Instruction], now: float) -> None:
        decisions = self.matcher.update(records, now)
        for instruction in given:
            decisions += self.matcher.instruct(instruction, now)
        self.publish(decisions, now)

    def publish(self, decisions: list[Decision], now: float) -> None:
        events: list[Event] = self.presence.update(decisions, now)
        for event in events:
            body = encode(event, site="site", run="run", sequence=self.published)
            self.published += 1
            self.fold.take(decode(body).data)

    def place(self) -> str:
        self.count += 1
        return f"{self.count}-0"

    def check(self) -> None:
        """Compare what the subscriber knows with what the daemon knows."""
        state = self.matcher.state()
        erasing = {f"site-{underway.number}" for underway in state.override_log.erasing.values()}
        known = {f"site-{person.number}": person for person in state.people}
        assert set(self.fold.people) - erasing == set(known)
        assert self.fold.here() == self.presence.present()
        for name, person in known.items():
            published = self.fold.people[GlobalId(name)]
            assert published.label == person.label
            assert published.state == person.state
            assert published.revision == person.revision
            mine = {(stay.camera, stay.run, stay.track) for stay in person.stays if stay.until is None}
            assert {self.fold.owner(key) for key in mine} <= {name}
            if len(mine) < 32:  # the matcher forgets the oldest of more
                others = {
                    (s.camera, s.run, s.track) for other in state.people for s in other.stays if s.until is None
                } - mine
                assert not set(published.tracks) & others


def an_instruction(site: Site, dice: random.Random, now: float) -> Instruction:
    words: dict[str, Any] = {"id": site.place(), "at": now, "who": "anna"}
    known = [person.number for person in site.matcher._people.all()] or [1, 2]
    one, other = (GlobalId(f"site-{number}") for number in (dice.choice([*known, 99]), dice.choice(known)))
    match dice.choice(["merge", "merge", "merge", "split", "split", "name", "erase", "erased", "undo", "undo"]):
        case "merge" if one != other:
            return MergePeople(gone=one, into=other, duplicates=dice.random() < 0.3, **words)
        case "split":
            return SplitTracks(
                person=other,
                visits=(TrackSpan(camera=CameraId(dice.choice(["cam0", "cam1"])), since=now - 20),),
                **words,
            )
        case "name":
            return NamePerson(person=other, label=dice.choice(["", "Anna", "Bea"]), **words)
        case "erase":
            return ErasePerson(person=one, **words)
        case "erased" if site.matcher.override_log.erasing:
            done, underway = next(iter(site.matcher.override_log.erasing.items()))
            return Erased(instruction=done, person=GlobalId(f"site-{underway.number}"), report="", **words)
        case _:
            return Undo(instruction=f"{dice.randint(1, site.count)}-0", **words)


@pytest.mark.parametrize("seed", range(40))
def test_a_subscriber_knows_what_the_daemon_knows_whatever_people_say(seed: int) -> None:
    dice = random.Random(seed)
    site = Site(retention_s=25, max_identities=dice.choice([4, 100]))
    world = World(people=4, cameras=2, seed=seed, noise=dice.choice([0.2, 0.7, 1.2]), fps=4)
    for number, (at, group) in enumerate(groupby(world.observations(), key=lambda record: record.seen_at)):
        given = [an_instruction(site, dice, at)] if number > 8 and number % 4 == 0 else []
        site.step(list(group), given, at)
        if number % 4 < 2:
            site.check()
    assert site.published > 20


def entered(person: str) -> IdentityEntered:
    return IdentityEntered(
        person=GlobalId(person), revision=1, camera=DOOR, track=TrackId(4), seen_at=12.0, clock="file",
        box=(0, 0, 9, 9), frame_size=(64, 48), score=0.9, state="provisional", similarity=None, probability=0.7,
        model="m", since=10.0, run="r",
    )  # fmt: skip


def test_who_was_in_view_of_a_daemon_that_was_killed_stays_so_only_if_the_next_one_resumes() -> None:
    def started(*in_view: tuple[CameraId, GlobalId]) -> DaemonStarted:
        return DaemonStarted(run="r2", told_at=20.0, version="1", cameras=(DOOR,), model="m", in_view=in_view)

    goes_on = SiteView([entered("s-1"), entered("s-2"), started((DOOR, GlobalId("s-1")))])
    assert goes_on.here() == {DOOR: {"s-1"}}
    assert goes_on.people[GlobalId("s-2")].visits[0].is_over
    assert SiteView([entered("s-1"), started()]).here() == {}


def test_a_visit_that_continues_under_another_id_is_one_visit() -> None:
    def left(person: str, at: float) -> IdentityLeft:
        return IdentityLeft(
            person=GlobalId(person), revision=1, camera=DOOR, since=10.0, last_seen_at=at, clock="file",
            state="provisional",
        )  # fmt: skip

    merged = IdentityMerged(
        person=GlobalId("s-1"), revision=2, previous=GlobalId("s-2"), similarity=0.9, probability=0.8, merged_at=13.0
    )
    fold = SiteView([entered("s-2"), left("s-2", 12.0), merged, entered("s-1"), left("s-1", 15.0)])
    (visit,) = fold.people[GlobalId("s-1")].visits
    assert (visit.since, visit.last_at, visit.is_over) == (10.0, 15.0, True)
    assert fold.people[GlobalId("s-1")].probability == 0.7
    assert fold.successor(GlobalId("s-2")) == "s-1"
