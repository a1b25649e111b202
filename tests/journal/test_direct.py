"""Identification without a journal takes instructions, refuses a lost site, and publishes what is committed."""

from collections.abc import Sequence

import pytest

from reid_stream.config.settings import Match, Publish
from reid_stream.events import IdentityEntered, IdentityNamed
from reid_stream.instructions import Instruction, NamePerson
from reid_stream.journal.direct import DirectIdentification
from reid_stream.journal.lease import LeaseLostError
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.pipeline import Identification
from tests.builders import ListSink
from tests.worlds import MODEL, World


def steps() -> Identification:
    return Identification(Matcher(Match(similarity=0.5), "site", MODEL, dim=64), Presence(Publish()))


def test_an_instruction_is_carried_out_before_the_observations_of_its_step_and_events_come_with_the_commit() -> None:
    waiting: list[Instruction] = []

    def take() -> Sequence[Instruction]:
        taken = list(waiting)
        waiting.clear()
        return taken

    sink = ListSink()
    direct = DirectIdentification(steps(), sink, instructions=take)
    for record in World(people=1, cameras=1, seed=3).observations():
        direct.commit(direct.step([record], record.seen_at))
    person = next(event.person for event in sink.events if isinstance(event, IdentityEntered))
    published = len(sink.events)
    waiting.append(NamePerson(at=1.0, who="anna", person=person, label="Bea", id="1-0"))
    events = direct.step([], record.seen_at + 0.1)
    assert [event.label for event in events if isinstance(event, IdentityNamed)] == ["Bea"]
    assert len(sink.events) == published
    direct.commit(events)
    assert sink.events[published:] == events


def test_a_site_that_another_daemon_has_taken_over_gets_no_step() -> None:
    def lost() -> None:
        raise LeaseLostError("process 7 has taken over")

    with pytest.raises(LeaseLostError):
        DirectIdentification(steps(), ListSink(), check=lost).step([], 1.0)
