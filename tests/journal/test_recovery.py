"""Identification that ends abruptly, and the next one that continues: on a real Redis, with a real spool."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import redis
import structlog
from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.assembly.identification import open_state, recorder
from reid_stream.assembly.site_state import SiteState
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.presence_settings import CameraPlaces, PresenceSettings
from reid_stream.config.settings import Camera, Match, Redis, Settings, SpoolSettings, StateSettings
from reid_stream.events import Event, IdentityEntered, ZoneEntered
from reid_stream.pipeline import Identification
from reid_stream.publish.cloudevents import UnknownEvent, decode
from reid_stream.records import Perceived
from tests.publish.test_rights import rules
from tests.worlds import MODEL, RUN, World

HEAD = EmbedderInfo(MODEL, None, None, 64)
JOURNAL = f"reid:site:state:v1:replay:{RUN}:{MODEL[:16]}:journal"
SNAPSHOTS = f"reid:site:state:v1:replay:{RUN}:{MODEL[:16]}:snapshot:*"

Batches = list[tuple[float, list[Perceived]]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnguardedRedis]:
    with UnguardedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def server(shared: UnguardedRedis) -> UnguardedRedis:
    raw = redis.Redis.from_url(shared.url)
    raw.config_set("appendfsync", "no")
    raw.flushall()
    raw.close()
    return shared


@pytest.fixture
def raw(server: UnguardedRedis) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def world() -> Batches:
    found: dict[float, list[Perceived]] = {}
    for record in World(people=5, cameras=2, seed=3).observations():
        found.setdefault(record.seen_at, []).append(record)
    return sorted(found.items())


def settings(server: UnguardedRedis, spool: Path, **more: Any) -> Settings:
    return Settings(
        redis=Redis(url=SecretStr(server.url)),
        cameras=tuple(Camera(id=name, url=SecretStr("memory")) for name in ("cam0", "cam1")),
        spool=SpoolSettings(directory=spool),
        state=StateSettings(snapshot_s=1e6),
        **{"match": Match(similarity=0.5), **more},
    )


class Life:
    """One identification, from its start to a sudden end."""

    def __init__(self, given: Settings, head: EmbedderInfo = HEAD) -> None:
        self._given, self._head = given, head

    def __enter__(self) -> Self:
        self._wired = open_state(self._given, self._head, run=RUN, continues=True, fast=True)
        with structlog.testing.capture_logs() as self.log:
            self.state: SiteState = self._wired.__enter__()
        assert self.state.journal is not None
        steps = Identification(self.state.matcher, self.state.presence)
        self.recorder = recorder(self._given, steps, self.state.journal, RUN)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.state.redis is not None
        # Else the snapshot that follows a recovery could reach Redis after the next test has emptied it.
        assert self.recorder._writer.wait(10)
        self.state.redis.close(10)  # what the spool holds reaches Redis; the journal ends in mid-sentence
        self._wired.__exit__(None, None, None)

    @property
    def notes(self) -> str:
        return " | ".join(str(line.get("what", line["event"])) for line in self.log)

    def see(self, batches: Batches) -> None:
        for now, records in batches:
            self.recorder.commit(self.recorder.step(records, now))

    def snapshot(self) -> None:
        assert self.recorder._writer.wait(10)
        self.recorder._take_snapshot()
        assert self.recorder._writer.wait(10)


def events_of(raw: Any) -> list[Event]:
    found = [decode(fields[b"event"]).data for _, fields in raw.xrange("reid:site:events")]
    return [event for event in found if not isinstance(event, UnknownEvent)]


def numbers(raw: Any) -> list[int]:
    return [decode(fields[b"event"]).sequence for _, fields in raw.xrange("reid:site:events")]


@pytest.fixture(scope="module")
def undisturbed(shared: UnguardedRedis, world: Batches, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    client: Any = redis.Redis.from_url(shared.url)
    client.flushall()
    with Life(settings(shared, tmp_path_factory.mktemp("spool"))) as life:
        life.see(world)
    found = events_of(client)
    client.close()
    return found


def thirds(world: Batches) -> tuple[Batches, Batches, Batches]:
    a, b = len(world) // 3, 2 * len(world) // 3
    return world[:a], world[a:b], world[b:]


def test_the_journal_alone_is_enough(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    for part in thirds(world):
        with Life(settings(server, tmp_path)) as life:
            life.see(part)
    assert events_of(raw) == undisturbed
    assert numbers(raw) == list(range(len(undisturbed)))


def test_records_that_come_again_are_not_taken_twice(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    first, second, _ = thirds(world)
    with Life(settings(server, tmp_path)) as life:
        life.see([*first, *second])
    with Life(settings(server, tmp_path)) as life:
        life.see(world)
    assert events_of(raw) == undisturbed


def test_a_damaged_snapshot_is_reported_and_the_one_before_and_the_journal_are_enough(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    first, second, third = thirds(world)
    with Life(settings(server, tmp_path)) as life:
        life.see(first)
        life.snapshot()
        life.see(second)
        life.snapshot()
    newest = max(raw.keys(SNAPSHOTS), key=lambda key: len(raw.hget(key, "part:0")))
    raw.hset(newest, "part:0", raw.hget(newest, "part:0")[:-1])
    with Life(settings(server, tmp_path)) as life:
        assert "damaged; continuing from the one before" in life.notes
        life.see(third)
    assert events_of(raw) == undisturbed


def test_what_redis_lost_with_the_spool_is_published_again_from_the_journal(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    first, second, third = thirds(world)
    with Life(settings(server, tmp_path / "a")) as life:
        life.see([*first, *second])
    last = [place for place, _ in raw.xrevrange("reid:site:events", count=3)]
    raw.xdel("reid:site:events", *last)
    with Life(settings(server, tmp_path / "b")) as life:
        life.see(third)
    assert events_of(raw) == undisturbed
    assert numbers(raw) == list(range(len(undisturbed)))


@pytest.mark.parametrize("snapshots", ["damaged", "gone"])
def test_whatever_is_missing_no_number_is_given_again(
    server: UnguardedRedis, raw: Any, world: Batches, tmp_path: Path, snapshots: str
) -> None:
    first, second, third = thirds(world)
    with Life(settings(server, tmp_path / "a")) as life:
        life.see(first)
        life.snapshot()
        life.snapshot()  # both know the same, so that the journal starts after them
        life.see(second)
    before = {event.person for event in events_of(raw) if isinstance(event, IdentityEntered)}
    for key in raw.keys(SNAPSHOTS):
        raw.hset(key, "head", b"nonsense") if snapshots == "damaged" else raw.delete(key)
    raw.delete("reid:site:state:numbers")
    entries = [place for place, _ in raw.xrange(JOURNAL)]
    raw.xdel(JOURNAL, *entries[3:6])
    count_before = len(events_of(raw))
    with Life(settings(server, tmp_path / "b")) as life:
        assert "are missing; what was seen then is unknown" in life.notes
        life.see([(now + 1000, [shifted(record) for record in records]) for now, records in third])
    new = {event.person for event in events_of(raw)[count_before:] if isinstance(event, IdentityEntered)}
    highest = max(int(person.rpartition("-")[2]) for person in before)
    assert all(int(person.rpartition("-")[2]) > highest for person in new - before)


def shifted(record: Perceived) -> Perceived:
    import msgspec

    return msgspec.structs.replace(record, seen_at=record.seen_at + 1000, run="another")


def test_an_entry_that_cannot_be_read_is_reported(
    server: UnguardedRedis, raw: Any, world: Batches, tmp_path: Path
) -> None:
    with Life(settings(server, tmp_path / "a")) as life:
        life.see(world[:10])
    raw.xadd(JOURNAL, {"entry": b"\xc1"})
    with Life(settings(server, tmp_path / "b")) as life:
        assert "a journal entry cannot be used" in life.notes


def zoned(given: Settings) -> PresenceSettings:
    zones = CameraPlaces(zones={"all": ((0, 0), (1, 0), (1, 1), (0, 1))})
    return PresenceSettings(**given.publish.model_dump(), places={"cam0": zones, "cam1": zones})


@pytest.mark.parametrize("is_saved", [False, True])
def test_zones_drawn_while_it_ran_are_repeated_from_the_journal_and_kept_by_snapshots(
    server: UnguardedRedis, raw: Any, world: Batches, tmp_path: Path, is_saved: bool
) -> None:
    given = settings(server, tmp_path / "a")
    first, second, third = thirds(world)
    with Life(given) as life:
        life.see(first)
        life.recorder.change_presence(zoned(given))
        life.see([*second, *third])
    wanted = events_of(raw)
    assert any(isinstance(event, ZoneEntered) for event in wanted)
    raw.flushall()
    with Life(settings(server, tmp_path / "b")) as life:
        life.see(first)
        life.recorder.change_presence(zoned(given))
        life.see(second)
        if is_saved:
            life.snapshot()
    # As cams.yaml, which has the zones by now.
    given = settings(server, tmp_path / "b").model_copy(update={"publish": zoned(given)})
    with Life(given) as life:
        assert "caused other events" not in life.notes
        life.see(third)
    assert events_of(raw) == wanted


def test_what_was_decided_under_other_settings_is_kept_and_the_new_ones_apply_from_then_on(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    first, second, third = thirds(world)
    with Life(settings(server, tmp_path)) as life:
        life.snapshot()
        life.see([*first, *second])
    before = events_of(raw)
    strict = settings(server, tmp_path, match=Match(similarity=0.99))
    with Life(strict) as life:
        assert "other events" not in life.notes
        assert events_of(raw) == before
        life.see(third)
    after = events_of(raw)
    assert after[: len(before)] == undisturbed[: len(before)] == before
    assert len({e.person for e in after if isinstance(e, IdentityEntered)}) > len(
        {e.person for e in undisturbed if isinstance(e, IdentityEntered)}
    )


def test_people_known_by_another_model_are_left_alone_with_a_log_line(
    server: UnguardedRedis, world: Batches, tmp_path: Path
) -> None:
    with Life(settings(server, tmp_path)) as life:
        life.see(world)
        assert len(life.state.matcher) > 0
    with Life(settings(server, tmp_path), EmbedderInfo("another", None, None, 64)) as life:
        assert "identities_reset_other_model" in life.notes
        assert len(life.state.matcher) == 0
    with Life(settings(server, tmp_path)) as life:
        assert len(life.state.matcher) > 0


@pytest.mark.parametrize("value", [b"zz", b"\xff", b"0123456789abcdef"])
def test_a_damaged_name_of_the_model_resets_no_identity_and_is_not_logged_so(
    server: UnguardedRedis, raw: Any, world: Batches, tmp_path: Path, value: bytes
) -> None:
    with Life(settings(server, tmp_path)) as life:
        life.see(world)
    (key,) = raw.keys("reid:*:state:*:current")
    raw.set(key, value)
    with Life(settings(server, tmp_path)) as life:
        assert "identities_reset_other_model" not in life.notes
        assert "state_key_invalid" in life.notes
        assert len(life.state.matcher) > 0


def test_a_snapshot_is_taken_when_redis_is_back_and_the_journal_holds_what_came_meanwhile(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    first, second, third = thirds(world)
    with Life(settings(server, tmp_path)) as life:
        life.see(first)
        raw.config_set("maxmemory", 1)
        life.see(second)
        recorder = life.recorder
        recorder._take_snapshot()
        raw.config_set("maxmemory", 0)
        assert recorder._writer.wait(30)
        assert recorder._writer.written == 2  # the first one is of the start
    with Life(settings(server, tmp_path)) as life:
        life.see(third)
    assert events_of(raw) == undisturbed


def test_the_journal_is_trimmed_behind_the_older_snapshot_and_a_purge_leaves_nothing_older(
    server: UnguardedRedis, raw: Any, world: Batches, tmp_path: Path
) -> None:
    with Life(settings(server, tmp_path)) as life:
        for part in thirds(world):
            life.see(part)
            life.snapshot()
        assert 0 < raw.xlen(JOURNAL) < len(world) / 2
        answers: list[bool] = []
        recorder = life.recorder
        recorder._writer.purge(answers.append)
        life.see([(world[-1][0] + 1, [])])
        assert recorder._writer.wait(10)
        assert answers == [True]
        assert len(raw.keys(SNAPSHOTS)) == 1
        assert raw.xlen(JOURNAL) <= 1
        assert recorder.entries == len(world) + 1
        assert recorder.snapshots == {"written": 5, "failed": 0}


def test_a_user_with_the_rights_that_the_documentation_names_is_enough(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    rights = [rule.replace("shop", "site") for rule in rules()["daemon"]]
    raw.execute_command("ACL", "SETUSER", "daemon", *rights, ">word")
    login = Redis(url=SecretStr(server.url), username="daemon", password=SecretStr("word"))
    given = settings(server, tmp_path).model_copy(update={"redis": login})
    first, second, third = thirds(world)
    for part in (first, [*second, *third]):
        with Life(given) as life:
            life.see(part)
            life.snapshot()
            life.snapshot()
    assert events_of(raw) == undisturbed
    raw.execute_command("ACL", "DELUSER", "daemon")


def test_an_entry_is_on_redis_if_and_only_if_its_events_are_and_events_need_a_step(
    server: UnguardedRedis, raw: Any, world: Batches, tmp_path: Path
) -> None:
    with Life(settings(server, tmp_path)) as life:
        for now, records in world[:20]:
            events = life.recorder.step(records, now)
            entries, before = raw.xlen(JOURNAL), raw.xlen("reid:site:events")
            life.recorder.commit(events)
            assert life.state.redis is not None
            assert life.state.redis.flush(10)
            assert raw.xlen(JOURNAL) == entries + 1
            assert raw.xlen("reid:site:events") == before + len(events)
        assert events_of(raw)
        with pytest.raises(ValueError, match="right after their step; got 1 without one"):
            life.recorder.commit(events_of(raw)[:1])


def test_a_step_whose_events_were_never_committed_keeps_its_entry_and_its_events_stay_unpublished(
    server: UnguardedRedis, raw: Any, world: Batches, undisturbed: list[Event], tmp_path: Path
) -> None:
    with Life(settings(server, tmp_path / "a")) as life:
        place, lost = -1, list[Event]()
        while not lost:
            life.recorder.commit(lost)
            place += 1
            now, records = world[place]
            lost = life.recorder.step(records, now)
        known = len(life.state.matcher)
        life.see([(now + 0.01, [])])
    assert events_of(raw) == []
    with Life(settings(server, tmp_path / "b")) as life:
        assert "steps caused other events" in life.notes
        assert len(life.state.matcher) == known > 0
        life.see(world[place + 1 :])
    assert events_of(raw) == undisturbed[len(lost) :]
