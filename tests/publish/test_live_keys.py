"""Live keys follow from the events alone, however these are batched and whatever fails."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reid_stream.events import DaemonStarted, DaemonStopped, Event, IdentityMerged, IdentityRetired
from reid_stream.publish.live_keys import LiveState, numbers_key
from reid_stream.publish.live_mirror import Command
from reid_stream.records import CameraId, GlobalId
from tests.publish.shop import entered, left, seen

people = st.integers(1, 4).map(lambda n: f"s-{n}")
cameras = st.sampled_from(["door", "till"])
times = st.integers(0, 50).map(float)


def merged(pair: tuple[str, str], at: float) -> IdentityMerged:
    into, gone = (GlobalId(name) for name in pair)
    return IdentityMerged(person=into, previous=gone, revision=1, similarity=0.7, probability=None, merged_at=at)


def retired(person: str, at: float) -> IdentityRetired:
    return IdentityRetired(person=GlobalId(person), revision=0, reason="expired", last_seen_at=at, retired_at=at)


BOTH = (CameraId("door"), CameraId("till"))
events = st.lists(
    st.one_of(
        st.builds(entered, people, cameras, times),
        st.builds(seen, people, cameras, times),
        st.builds(left, people, cameras, times),
        st.builds(merged, st.permutations(["s-1", "s-2", "s-3"]).map(lambda names: (names[0], names[1])), times),
        st.builds(retired, people, times),
        st.just(DaemonStarted(run="r", told_at=0, version="1", cameras=BOTH, model="m")),
        st.just(DaemonStopped(run="r", told_at=0, reason="stopped")),
    ),
    max_size=25,
)


class Keys:
    """What Redis would hold."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def carry_out(self, commands: Sequence[Command]) -> None:
        for name, key, *rest in commands:
            match name:
                case "DEL":
                    self.held.pop(str(key), None)
                case "SET":
                    self.held[str(key)] = rest[0]
                case "SADD":
                    self.held.setdefault(str(key), set()).update(rest)
                case "SREM":
                    self.held.setdefault(str(key), set()).difference_update(rest)
                    if not self.held[str(key)]:
                        del self.held[str(key)]
                case "HSET":
                    self.held.setdefault(str(key), {}).update(zip(rest[::2], rest[1::2], strict=True))
                case "HSETNX":
                    self.held.setdefault(str(key), {}).setdefault(rest[0], rest[1])


def batches(events: Sequence[Event], ends: set[int]) -> list[Sequence[Event]]:
    cuts = [0, *sorted(end for end in ends if end < len(events)), len(events)]
    return [events[begin:end] for begin, end in pairwise(cuts)]


@given(events, st.sets(st.integers(0, 25)), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_batches_failures_and_lost_answers_change_nothing(
    events: list[Event], ends: set[int], failing: set[int], unanswered: set[int]
) -> None:
    one, at_once = LiveState("s"), Keys()
    for event in events:
        at_once.carry_out(one.commands([event]))
        one.done()
    other, keys = LiveState("s"), Keys()
    for number, batch in enumerate(batches(events, ends)):
        if number in failing:
            other.commands(batch)  # Redis refuses them, so they come again
        keys.carry_out(other.commands(batch))
        if number in unanswered:
            other.follow(batch)  # found on the stream when it was to be sent again
        else:
            other.done()
    assert keys.held == at_once.held


def test_a_number_that_could_not_be_noted_is_noted_with_the_next_attempt() -> None:
    live = LiveState("s")
    note = ("SET", numbers_key("s"), 9)
    assert note in live.commands([entered("s-9")])
    assert note in live.commands([entered("s-9")])
    live.done()
    assert note not in live.commands([entered("s-9")])
