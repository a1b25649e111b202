"""Instructions are sent, awaited and looked up; live keys list the known people."""

from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.errors import BrokerError
from reid_stream.events import IdentityNamed, InstructionAnswered
from reid_stream.instructions import NONE, NamePerson, SplitTracks, TrackSpan, decode, encode, order
from reid_stream.operators.client import InstructionClient
from reid_stream.operators.reader import InstructionReader
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.publish.conftest import server as server  # noqa: PLC0414 (a fixture)
from tests.publish.shop import visit

BEA = NamePerson(at=5.0, who="anna", why="wears it on her coat", person=GlobalId("shop-7"), label="Bea")


def answered(place: str) -> InstructionAnswered:
    return InstructionAnswered(
        instruction=place, do="name", outcome="done", text="shop-7 has a name", people=(GlobalId("shop-7"),), by="anna",
        answered_at=6.0,
    )  # fmt: skip


def wait_for(inbox: InstructionReader) -> list[Any]:
    found: list[Any] = []
    for _ in range(200):
        found += inbox.take()
        if found:
            break
        inbox._thread.join(0.02)
    return found


@pytest.mark.slow
def test_an_instruction_is_read_once_in_order_and_its_answer_is_found(server: UnguardedRedis, tmp_path: Path) -> None:
    client: Any = redis.Redis.from_url(server.url)
    desk = InstructionClient(client, "shop", server.url)
    first, second = (
        desk.submit(BEA),
        desk.submit(
            SplitTracks(at=5.0, who="anna", person=GlobalId("shop-7"), visits=(TrackSpan(camera=CameraId("door")),))
        ),
    )
    assert order(first) < order(second)
    inbox = InstructionReader(redis.Redis.from_url(server.url), "shop")
    read = wait_for(inbox)
    assert read[0] == BEA.placed(first)
    inbox.close()
    assert desk.answer(first, desk.events_end(), 0.0) is None
    sink = RedisSink(redis.Redis.from_url(server.url), where=server.url, site="shop", run="r", spool=Spool(tmp_path))
    behind = desk.events_end()
    named = IdentityNamed(person=GlobalId("shop-7"), revision=1, label="Bea", by="anna", named_at=6.0)
    sink.publish([*visit(0), named, answered(first)])
    assert desk.answer(first, behind, 5.0) == answered(first)
    assert [(entry.instruction.id, entry.answer is None) for entry in desk.entries()] == [
        (first, False),
        (second, True),
    ]
    # The next daemon starts after the last answer.
    again = InstructionReader(redis.Redis.from_url(server.url), "shop")
    assert [instruction.id for instruction in wait_for(again)] == [second]
    again.close()
    sink.close(5)


def test_an_entry_that_is_no_instruction_is_skipped_and_counted(server: UnguardedRedis) -> None:
    client: Any = redis.Redis.from_url(server.url)
    for body in (b"{", b'{"do": "dance", "at": 1, "who": "x"}', encode(BEA)[:-1] + b', "more": 1}'):
        client.xadd("reid:shop:instructions", {"instruction": body})
    client.xadd("reid:shop:instructions", {"something": "else"})
    place = InstructionClient(client, "shop", server.url).submit(BEA)
    inbox = InstructionReader(redis.Redis.from_url(server.url), "shop", NONE)
    assert [instruction.id for instruction in wait_for(inbox)] == [place]
    assert inbox.malformed == 4
    inbox.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"who": ""}, "who must have 1 to 200 characters"),
        ({"why": "x" * 201}, "why at most 200"),
        ({"label": "two\nlines"}, "printable characters"),
        ({"id": "soon"}, "<number>-<number>"),
    ],
)
def test_an_invalid_instruction_is_refused_with_what_it_must_hold(words: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        NamePerson(**{"at": 1.0, "who": "anna", "person": GlobalId("s-1"), "label": "Bea", **words})


def test_an_instruction_comes_back_as_it_was_handed_in() -> None:
    tracks = ((CameraId("door"), "run", TrackId(3)),)
    split = SplitTracks(at=1.5, who="anna", person=GlobalId("s-1"), tracks=tracks)
    assert decode(encode(split), "7-1") == split.placed("7-1")


@pytest.mark.slow
def test_a_redis_that_is_not_there_is_reported(tmp_path: Path) -> None:
    desk = InstructionClient(redis.Redis(port=1), "shop", "redis://127.0.0.1:1/0")
    with pytest.raises(BrokerError, match="Redis must answer"):
        desk.submit(BEA)
