"""Stream entries of other writers with IDs far ahead of every clock: this daemon and the next continue."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.publish.spool import Spool
from reid_stream.publish.spool_row import Row, rank_of
from reid_stream.publish.stream_ids import NOWHERE, Position, Positions, start_of
from tests.publish.shop import entered, visit
from tests.publish.test_redis_sink import KEY, a_sink, until

LAST = 2**64 - 1
FAR = [
    "9999999999999-0",
    "1764495000000000-0",  # microseconds
    "1764495000000000000-7",  # nanoseconds
    f"{2**63 - 1}-{2**63}",
    f"{2**63}-0",
    f"{LAST}-0",
]


@pytest.fixture
def raw(server: UnguardedRedis) -> Any:
    client: Any = redis.Redis.from_url(server.url)
    yield client
    client.close()


def numbers(raw: Any) -> list[int]:
    """Sequence numbers on the stream, in its order, other writers' entries left out."""
    bodies = [fields[b"event"] for _, fields in raw.xrange(KEY) if b"event" in fields]
    return [int(json.loads(body)["sequence"]) for body in bodies]


@pytest.mark.parametrize("far", FAR)
def test_events_go_on_behind_a_far_id_and_after_a_restart(
    server: UnguardedRedis, raw: Any, tmp_path: Path, far: str
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    raw.execute_command("XADD", KEY, far, "foreign", "1")
    sink.publish(visit(1))
    assert sink.flush(10)
    assert sink.close(5)
    again = a_sink(server.url, tmp_path, first_sequence=6)
    again.publish(visit(2))
    assert again.close(10)
    assert numbers(raw) == list(range(9))
    assert Position.parse(raw.xinfo_stream(KEY)["last-generated-id"].decode()) > Position.parse(far)


def test_a_far_id_on_the_journal_stops_nothing(server: UnguardedRedis, raw: Any, tmp_path: Path) -> None:
    sink = a_sink(server.url, tmp_path, journal="reid:shop:journal")
    raw.execute_command("XADD", "reid:shop:journal", "9999999999999-0", "entry", "junk")
    sink.publish(visit(0), lambda _: b"entry")
    assert sink.close(10)
    assert numbers(raw) == [0, 1, 2]
    assert raw.xlen("reid:shop:journal") == 2


def test_an_id_that_nothing_can_follow_is_reported_with_the_way_to_mend_it(
    server: UnguardedRedis, raw: Any, tmp_path: Path
) -> None:
    sink = a_sink(server.url, tmp_path)
    sink.publish(visit(0))
    assert sink.flush(5)
    raw.execute_command("XADD", KEY, f"{LAST}-{LAST}", "foreign", "1")
    sink.publish(visit(1))
    until(lambda: sink.away is not None)
    assert f"redis-cli RENAME {KEY} {KEY}:old" in str(sink.away)
    assert sink.ready()[0], "events wait on disk"
    assert not sink.close(0.1)
    until(lambda: not sink._thread.is_alive())
    with structlog.testing.capture_logs() as log:
        again = a_sink(server.url, tmp_path, first_sequence=6)
    assert [line["event"] for line in log].count("redis_away") == 1
    again.publish(visit(2))
    raw.rename(KEY, f"{KEY}:old")
    until(lambda: raw.exists(KEY) and set(numbers(raw)) >= {3, 4, 5, 6, 7, 8})
    assert numbers(raw) == list(range(9)), "what the spool still had went again"
    assert again.close(5)


def test_what_fails_within_an_append_leaves_the_spool_usable(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with pytest.raises(OverflowError):
        spool.append([Row(Position(1, 0), 0, "a", b""), Row(Position(2, 0), 2**70, "b", b"")])
    spool.append([Row(Position(LAST, LAST), 0, "a", b"x")])
    assert [row.position for row in spool.after(NOWHERE, -1)] == [Position(LAST, LAST)]
    spool.close()


def test_positions_beyond_63_bits_keep_their_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    given = [Position(LAST, 5), Position(9, 2**63), Position(10, 0), Position(2**63, 1), Position(9, 7)]
    for position in given:
        spool.append([Row(position, 0, "a", b"x")])
    assert [row.position for row in spool.after(NOWHERE, -1)] == sorted(given)
    assert spool.last() == Position(LAST, 5)
    spool.close()


def test_a_spool_of_the_version_before_is_taken_over_with_every_row(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    old = sqlite3.connect(folder / "spool.sqlite", isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    old.execute(
        "CREATE TABLE waiting (position INTEGER PRIMARY KEY, rank INTEGER NOT NULL, type TEXT NOT NULL, "
        "body BLOB NOT NULL)"
    )
    old.execute("CREATE TABLE mark (id INTEGER PRIMARY KEY CHECK (id = 0), delivered INTEGER NOT NULL)")
    old.execute("INSERT INTO mark VALUES (0, ?)", (1_700_000_000_000 << 20 | 3,))
    kind = entered("shop-1").type
    rows = [(1_700_000_000_000 + n // 3 << 20 | n % 3, rank_of(kind), kind, b"%d" % n) for n in range(2500)]
    old.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?)", rows)
    old.close()
    spool = Spool(folder)
    assert [row.body for row in spool.after(NOWHERE, -1)] == [b"%d" % n for n in range(2500)]
    assert [str(row.position) for row in spool.after(NOWHERE, 4)][-1] == "1700000000001-0"
    assert spool.delivered == Position(1_700_000_000_000, 3)
    spool.close()
    again = Spool(folder)
    assert again.waiting() == 2497
    again.close()


def test_positions_and_starts_stay_within_what_redis_knows() -> None:
    positions = Positions(Position(5, LAST))
    assert positions.next(0.001) == Position(6, 0)
    positions.stay_above(Position(LAST, LAST))
    assert positions.next(0.0) == Position(6, 1)
    for text in (f"{2**64}-0", f"1-{2**64}"):
        with pytest.raises(ValueError, match="64 bits"):
            Position.parse(text)
    assert start_of("2023-11-14T22:13:20+00:00") == Position(1_699_999_999_999, LAST)
    assert Position(7, 0).before() == Position(6, LAST)
    assert NOWHERE.before() == NOWHERE
