"""Matcher and presence on disturbed observations: all counted and published, none lost."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from benchmarks.simulator.world import SimulatedWorld, simulate
from reid_stream.config.settings import Match, Publish
from reid_stream.events import Event, IdentityEntered, IdentityLeft
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.records import CameraId, Decision, Observation, Perceived, Sighting, pack_vector
from tests.benchmarks.simulator.people import calm, looks

Batches = Iterable[tuple[float, list[Perceived]]]


@dataclass
class Run:
    """What came out."""

    decisions: list[Decision] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    def published(self) -> Counter[tuple[str, int]]:
        """Count the sightings of each observation, by camera and sequence."""
        return Counter(
            (d.observation.camera, d.observation.sequence) for d in self.decisions if isinstance(d, Sighting)
        )

    def people_of(self, world: SimulatedWorld) -> dict[int, set[str]]:
        """Return the identities published of each true person."""
        rows = {name: np.flatnonzero(world.rows.camera == number) for number, name in enumerate(world.names)}
        found: dict[int, set[str]] = defaultdict(set)
        for decision in self.decisions:
            if isinstance(decision, Sighting) and decision.observation.camera in rows:
                row = rows[decision.observation.camera][decision.observation.sequence]
                found[int(world.rows.person[row])].add(decision.person)
        return found


def run(batches: Batches, **options: object) -> Run:
    matcher = Matcher(Match.model_validate({"similarity": 0.6, **options}), "site", "bundle-a", dim=32)
    presence, out = Presence(Publish()), Run()
    for now, records in batches:
        decisions = matcher.update(records, now)
        out.decisions += decisions
        out.events += presence.update(decisions, now)
    out.events += presence.close()
    out.rejected = matcher.rejected
    return out


def observations(batches: Batches) -> list[Observation]:
    return [record for _, records in batches for record in records if isinstance(record, Observation)]


def disturbed(
    world: SimulatedWorld, change: Callable[[Observation], Observation]
) -> Iterator[tuple[float, list[Perceived]]]:
    for now, records in world.batches():
        yield now, [change(record) if isinstance(record, Observation) else record for record in records]


def every(number: int, **changes: object) -> Callable[[Observation], Observation]:
    """Change one observation with a vector in so many."""
    count = iter(range(1 << 30))

    def change(seen: Observation) -> Observation:
        if seen.vector is None or next(count) % number:
            return seen
        return msgspec.structs.replace(seen, **changes)

    return change


@pytest.fixture(scope="module")
def world() -> SimulatedWorld:
    return simulate(calm(dropped_frames=0.02), looks(12), 1)


def test_every_observation_is_published_once_and_every_visit_ends(world: SimulatedWorld) -> None:
    out = run(world.batches())
    published = out.published()
    assert set(published.values()) == {1}
    assert len(published) == world.observations
    balance: Counter[tuple[str, str]] = Counter()
    for event in out.events:
        if isinstance(event, IdentityEntered | IdentityLeft):
            balance[event.person, event.camera] += 1 if isinstance(event, IdentityEntered) else -1
            assert balance[event.person, event.camera] in (0, 1)
    assert set(balance.values()) == {0}


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        ("vector of another model", {"model": "bundle-b"}),
        ("vector of another dimension", {"vector": pack_vector(np.full(16, 0.25, np.float32))}),
        ("vector not finite", {"vector": np.full(32, np.inf, dtype="<f2").tobytes()}),
        ("vector not finite", {"vector": np.zeros(32, dtype="<f2").tobytes()}),
    ],
)
def test_vectors_that_cannot_be_compared_are_counted_and_their_people_still_followed(
    world: SimulatedWorld, cause: str, changes: dict[str, object]
) -> None:
    vectors = sum(seen.vector is not None for seen in observations(world.batches()))
    out = run(disturbed(world, every(3, **changes)))
    assert out.rejected == {cause: -(-vectors // 3)}
    assert all(len(names) == 1 for names in out.people_of(world).values())


def test_a_site_whose_vectors_are_all_of_another_bundle_crashes_nothing(world: SimulatedWorld) -> None:
    out = run(disturbed(world, every(1, model="bundle-b")))
    assert not out.published()
    assert sum(out.rejected.values()) == sum(seen.vector is not None for seen in observations(world.batches()))


def test_minutes_of_delay_of_one_camera_lose_nothing_and_assign_no_person_twice() -> None:
    people = looks(12)
    late = simulate(calm(stalls_per_hour=60, stall_s=120), people, 1)
    out = run(late.batches())
    published = out.published()
    assert set(published.values()) == {1}
    assert len(published) == late.observations
    assert all(len(names) == 1 for names in out.people_of(late).values())


def test_a_single_observation_that_comes_minutes_late_is_published_at_its_own_time(world: SimulatedWorld) -> None:
    batches = list(world.batches())
    held = next(seen for seen in observations(batches) if seen.vector is None)
    track = [seen for seen in observations(batches) if (seen.camera, seen.track) == (held.camera, held.track)]
    moved = [(now, [r for r in records if r is not held]) for now, records in batches]
    at = next(i for i, (now, _) in enumerate(moved) if now > track[-1].seen_at + 1)
    moved[at][1].append(held)
    out = run(moved)
    sightings = [d for d in out.decisions if isinstance(d, Sighting) and d.observation.sequence == held.sequence]
    mine = [d for d in sightings if d.observation.camera == held.camera]
    assert [d.observation.seen_at for d in mine] == [held.seen_at]
    assert {d.person for d in mine} <= {n for names in out.people_of(world).values() for n in names}


@pytest.mark.parametrize("back_s", [2.0, 300.0, 86_400.0])
def test_a_camera_whose_clock_goes_back_loses_nothing(world: SimulatedWorld, back_s: float) -> None:
    seen_of = [seen.seen_at for seen in observations(world.batches())]
    middle = float(np.median(seen_of))

    def change(seen: Observation) -> Observation:
        if seen.camera == "cam1" and seen.seen_at > middle:
            return msgspec.structs.replace(seen, seen_at=seen.seen_at - back_s)
        return seen

    out = run(disturbed(world, change))
    published = out.published()
    assert set(published.values()) == {1}
    assert len(published) >= 0.99 * world.observations
    assert sum(len(names) for names in out.people_of(world).values()) <= len(out.people_of(world)) + 2


def test_an_unconfigured_camera_is_a_camera(world: SimulatedWorld) -> None:
    def change(seen: Perceived) -> Perceived:
        return msgspec.structs.replace(seen, camera=CameraId("attic")) if seen.camera == "cam2" else seen

    out = run((now, [change(record) for record in records]) for now, records in world.batches())
    assert len(out.published()) == world.observations
    entered = {event.camera for event in out.events if isinstance(event, IdentityEntered)}
    assert entered == {"cam1", "attic", "cam3"}


def test_boxes_that_lie_on_each_other_crash_nothing_and_have_no_person_in_common(world: SimulatedWorld) -> None:
    same = (100.0, 100.0, 200.0, 400.0)
    out = run(disturbed(world, lambda seen: msgspec.structs.replace(seen, box=same)))
    assert len(out.published()) == world.observations
    assert all(len(names) == 1 for names in out.people_of(world).values())


def test_records_that_come_twice_make_no_new_people(world: SimulatedWorld) -> None:
    out = run((now, [copy for record in records for copy in (record, record)]) for now, records in world.batches())
    assert len(out.published()) == world.observations
    assert all(len(names) == 1 for names in out.people_of(world).values())


def test_time_that_stands_still_or_jumps_ahead_crashes_nothing(world: SimulatedWorld) -> None:
    still = run((0.0, records) for _, records in world.batches())
    assert len(still.published()) == world.observations
    jump = run((now + 1e9 * (number > 50), records) for number, (now, records) in enumerate(world.batches()))
    assert len(jump.published()) == world.observations


def test_a_gallery_of_one_place_still_publishes_every_person_in_view() -> None:
    crowded = simulate(calm(people=20, arrivals_per_hour=3600), looks(20), 2)
    out = run(crowded.batches(), max_identities=1)
    assert set(out.published().values()) == {1}
    assert len({d.person for d in out.decisions if isinstance(d, Sighting)}) > 1
