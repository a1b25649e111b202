"""An instruction stream that is full up to the highest ID, deleted or restored: every instruction is done once."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.config.settings import Match
from reid_stream.errors import BrokerError
from reid_stream.instructions import NONE, NamePerson, Undo, encode
from reid_stream.match.matcher import Matcher
from reid_stream.match.override_log import OverrideLog
from reid_stream.operators import reader as module
from reid_stream.operators.client import InstructionClient
from reid_stream.operators.reader import InstructionReader
from reid_stream.records import Answer, GlobalId
from tests.match.test_corrections import CALIBRATION, VERIFIER
from tests.publish.conftest import server as server  # noqa: PLC0414 (a fixture)
from tests.publish.test_redis_supervisor import until
from tests.worlds import MODEL

KEY = "reid:shop:instructions"
LAST = 2**64 - 1
FAR = [f"{LAST}-{LAST}", f"{LAST}-0", "9999999999999-0"]
BEA = NamePerson(at=1.0, who="anna", person=GlobalId("shop-1"), label="Bea")


class Site:
    """A reader, and the matcher that applies what it reads."""

    def __init__(self, url: str, matcher: Matcher | None = None) -> None:
        self.url = url
        # A matcher without identities is false.
        made = Matcher(Match(), "shop", MODEL, VERIFIER, CALIBRATION)
        self.matcher = matcher if matcher is not None else made
        self.reader = InstructionReader(redis.Redis.from_url(url), "shop", self.matcher.override_log.last)
        self.answers: list[str] = []

    def step(self) -> None:
        for instruction in self.reader.take():
            for decision in self.matcher.instruct(instruction, 1.0):
                assert isinstance(decision, Answer)
                self.answers.append(decision.instruction)

    def answers_all(self, *places: str) -> bool:
        self.step()
        return set(places) <= set(self.answers)

    def restarted(self) -> "Site":
        """Another daemon, which continues with the state of this one."""
        self.reader.close()
        state = self.matcher.state()
        return Site(self.url, Matcher(Match(), "shop", MODEL, VERIFIER, CALIBRATION, state=state))


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.1)
    monkeypatch.setattr(module, "_RETRY_S", 0.1)


@pytest.fixture
def raw(server: UnguardedRedis) -> Iterator[Any]:
    client: Any = redis.Redis.from_url(server.url)
    yield client
    client.close()


@pytest.fixture
def desk(server: UnguardedRedis, raw: Any) -> InstructionClient:
    return InstructionClient(raw, "shop", server.url)


def submit(desk: InstructionClient) -> str:
    """Submit once the daemon has made room."""
    found: list[str] = []

    def is_accepted() -> bool:
        try:
            found.append(desk.submit(BEA))
        except BrokerError as error:
            assert "highest there is" in str(error), error
        return bool(found)

    until(is_accepted)
    return found[0]


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("body", [b"{}", encode(BEA)])
def test_an_entry_with_a_far_id_stops_no_instruction(
    server: UnguardedRedis, raw: Any, desk: InstructionClient, far: str, body: bytes
) -> None:
    site = Site(server.url)
    first = desk.submit(BEA)
    until(lambda: site.answers_all(first))
    raw.execute_command("XADD", KEY, far, "do", "name", "instruction", body)
    second = submit(desk)
    until(lambda: site.answers_all(second))
    again = site.restarted()
    third = submit(desk)
    until(lambda: again.answers_all(third))
    again.reader.close()
    assert again.answers == [third]
    expected = [first, far, second] if body != b"{}" else [first, second]
    assert site.answers == expected
    assert first.encode() in {place for place, _ in raw.xrange(KEY)}


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("is_running", [True, False])
def test_instructions_on_a_deleted_stream_are_carried_out_though_their_ids_are_lower(
    server: UnguardedRedis, raw: Any, desk: InstructionClient, far: str, is_running: bool
) -> None:
    site = Site(server.url)
    raw.execute_command("XADD", KEY, far, "do", "name", "instruction", encode(BEA))
    until(lambda: site.answers_all(far))
    with capture_logs() as logs:
        if not is_running:
            site.reader.close()
        raw.delete(KEY)
        places = [desk.submit(BEA) for _ in range(3)]
        if not is_running:
            raw.set("reid:shop:state:instructions", far)
            site = site.restarted()
        until(lambda: site.answers_all(*places))
        site = site.restarted()
        places.append(desk.submit(BEA))
        until(lambda: site.answers_all(places[-1]))
        site.reader.close()
    assert site.answers == places[-1:]
    restarted = [line["stream"] for line in logs if line["event"] == "instruction_stream_restarted"]
    # A stream without room may have been replaced before it was deleted.
    assert set(restarted) <= {KEY}
    assert restarted or far.startswith(str(LAST))


def test_a_stream_restored_from_a_backup_is_not_carried_out_again(
    server: UnguardedRedis, raw: Any, desk: InstructionClient
) -> None:
    site = Site(server.url)
    places = [desk.submit(BEA) for _ in range(5)]
    backup = raw.dump(KEY)
    places += [desk.submit(BEA) for _ in range(5)]
    until(lambda: site.answers_all(*places))
    raw.restore(KEY, 0, backup, replace=True)
    places.append(desk.submit(BEA))
    until(lambda: site.answers_all(*places))
    raw.restore(KEY, 0, backup, replace=True)
    site.reader.close()
    earlier = site.answers
    site = site.restarted()
    places.append(desk.submit(BEA))
    until(lambda: site.answers_all(places[-1]))
    site.reader.close()
    assert [*earlier, *site.answers] == places


def test_a_clock_of_redis_that_was_put_back_loses_no_instruction(
    server: UnguardedRedis, raw: Any, desk: InstructionClient
) -> None:
    site = Site(server.url)
    now = int(raw.time()[0]) * 1000
    raw.execute_command("XADD", KEY, f"{now + 3_600_000}-0", "instruction", encode(BEA))
    until(lambda: site.answers_all(f"{now + 3_600_000}-0"))
    raw.delete(KEY)
    place = desk.submit(BEA)
    until(lambda: site.answers_all(place))
    site.reader.close()


def test_a_key_of_another_type_is_named_until_it_is_mended(
    server: UnguardedRedis, raw: Any, desk: InstructionClient
) -> None:
    raw.set(KEY, "x")
    raw.sadd("reid:shop:state:instructions", "x")
    site = Site(server.url)
    with capture_logs() as logs:
        until(lambda: site.reader.fault is not None)
        assert f"{KEY} must be a stream; rename or delete it" in str(site.reader.fault)
        raw.delete(KEY)
        place = desk.submit(BEA)
        until(lambda: site.answers_all(place))
    until(lambda: site.reader.fault is None)
    site.reader.close()
    assert [line["event"] for line in logs if line["event"].startswith("instructions_")][-1] == "instructions_readable"


def test_the_state_of_an_older_version_still_applies_nothing_twice() -> None:
    log = OverrideLog(last="1764495000000-5")
    assert log.is_known("1764495000000-5")
    assert not log.is_known("1764495000001-0")
    log.note_place("1764495000001-0")
    assert log.is_known("1764495000000-4")
    assert not log.is_known("1764495000000-6")
    # A forged ID is no time before which everything was applied.
    assert not OverrideLog(last=f"{LAST}-{LAST}").is_known("1764495000000-5")
    assert OverrideLog().last == NONE


def test_the_log_of_places_is_bounded() -> None:
    log = OverrideLog()
    for number in range(1, 25_000):
        log.note_place(f"{number}-0")
    assert len(log.recent) == 20_000
    assert not Matcher(Match(), "shop", MODEL, VERIFIER, CALIBRATION).instruct(
        Undo(id="0-0", at=0.0, who="a", instruction="1-0"), 1.0
    )
