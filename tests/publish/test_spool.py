"""Events waiting on disk, and those dropped when there is no room."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid_stream import subscribe
from reid_stream.config.settings import Redis
from reid_stream.events import DaemonDropped, Event
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.send_queue import Backlog, Item
from reid_stream.publish.spool import Spool, SpoolFullError
from reid_stream.publish.spool_row import RANKS, Row, rank_of
from reid_stream.publish.stream_ids import NOWHERE, Position
from tests.publish.shop import entered, seen, visit

BODY = b"x" * 900


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", max_bytes=200_000)
    yield spool
    spool.close()


def row(n: int, kind: str = "identity.seen.v1") -> Row:
    return Row(Position(n, 0), rank_of(kind), kind, BODY)


def item(n: int, kind: str = "identity.seen.v1") -> Item:
    return row(n, kind), None


def kinds(rows: list[Row]) -> set[str]:
    return {row.type for row in rows}


def test_the_oldest_events_of_the_lowest_priority_are_dropped_first(small: Spool) -> None:
    for n in range(1, 1500, 3):
        small.append([row(n, "identity.entered.v1"), row(n + 1, "camera.up.v1"), row(n + 2)])
    left = small.after(Position(0, 0), -1)
    newest = [row.position.ms for row in left if row.type == "identity.entered.v1"]
    assert newest == list(range(1 + 3 * small.dropped["identity"], 1500, 3))
    # Of the others only those are left that came since room was last made.
    assert all(row.position.ms > 1450 for row in left if row.type != "identity.entered.v1")
    assert small.size_bytes <= 200_000


def test_events_in_flight_are_never_dropped(small: Spool) -> None:
    small.append([row(n) for n in range(1, 51)])
    small.hold(Position(50, 0))
    for n in range(51, 1000):
        small.append([row(n)])
    assert [row.position.ms for row in small.after(Position(0, 0), 50)] == list(range(1, 51))
    assert small.dropped["liveness"] > 0


def test_delivered_events_make_room_before_any_other(small: Spool) -> None:
    small.append([row(n) for n in range(1, 101)])
    small.mark(Position(100, 0))
    small.append([row(n, "identity.left.v1") for n in range(101, 200)])
    assert sum(small.dropped.values()) == 0
    assert kinds(small.after(Position(0, 0), -1)) == {"identity.left.v1"}


def test_a_fault_other_than_a_full_spool_drops_nothing(small: Spool) -> None:
    small.append([row(1)])
    with pytest.raises(SpoolFullError):
        small.append([row(1)])
    assert small.waiting() == 1
    assert sum(small.dropped.values()) == 0


def test_a_move_without_room_leaves_everything_where_it_was(small: Spool) -> None:
    import sqlite3

    small.append([row(1), row(2)])
    with pytest.raises(sqlite3.Error):
        small.move([(Position(1, 0), Position(2, 0))])
    small.append([row(3)])
    assert [row.position.ms for row in small.after(Position(0, 0), -1)] == [1, 2, 3]


class Unwritable:
    """A spool on a disk that is full until the test frees it."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.is_full = True
        self.dropped = dict.fromkeys(spool.dropped, 0)
        self.hold, self.after, self.move = spool.hold, spool.after, spool.move
        self.was_replaced = False

    def append(self, rows: list[Row], _numbers: object = None) -> None:
        if self.is_full:
            raise SpoolFullError("no room")
        self.spool.append(rows)


def test_memory_gives_up_in_the_same_order_when_the_disk_takes_nothing(small: Spool) -> None:
    waiting = Backlog(Unwritable(small), max_memory=24, retry_s=0)  # type: ignore[arg-type]
    for n in range(1, 21):
        assert not waiting.keep([item(2 * n - 1, "identity.entered.v1"), item(2 * n)]) or n > 12
    assert not waiting.is_on_disk
    left = [row for row, _ in waiting.take(Position(0, 0))]
    assert sum(row.type == "identity.entered.v1" for row in left) == 20
    assert left == sorted(left, key=lambda row: row.position)


def test_memory_for_what_the_disk_does_not_take_is_bounded_in_bytes(small: Spool) -> None:
    waiting = Backlog(Unwritable(small), retry_s=0)  # type: ignore[arg-type]
    gone = 0
    for number in range(100):
        entry = Row.entry(Position(1, 2 * number), "journal", b"x" * 2**20)
        event = Row(Position(1, 2 * number + 1), RANKS.index("identity"), "identity.entered.v1", b"y")
        gone += waiting.keep([(entry, None), (event, None)])["journal"]
    kept = waiting.take(NOWHERE)
    assert sum(len(row.body) for row, _ in kept) <= 64 * 2**20
    assert sum(row.journal is None for row, _ in kept) == 100
    assert gone == 100 - sum(row.journal is not None for row, _ in kept)


def test_what_was_in_memory_only_goes_to_the_disk_once_it_can(small: Spool) -> None:
    disk = Unwritable(small)
    waiting = Backlog(disk, retry_s=0)  # type: ignore[arg-type]
    waiting.keep([item(1), item(2)])
    assert small.waiting() == 0
    disk.is_full = False
    waiting.keep([item(3)])
    assert waiting.is_on_disk
    assert small.waiting() == 3
    assert waiting.in_memory_only == 0
    assert [row.position.ms for row, _ in waiting.take(Position(0, 0))] == [1, 2, 3]


def test_events_in_memory_only_move_behind_another_writer_too(small: Spool) -> None:
    waiting = Backlog(Unwritable(small))  # type: ignore[arg-type]
    waiting.keep([item(1), item(2)])
    waiting.move([(Position(1, 0), Position(11, 0)), (Position(2, 0), Position(12, 0))])
    assert [row.position.ms for row, _ in waiting.take(Position(0, 0))] == [11, 12]


def test_subscribers_get_an_event_of_what_was_dropped(tmp_path: Path) -> None:
    first = EmbeddedRedis(tmp_path / "redis")
    spool = Spool(tmp_path / "spool", max_bytes=200_000)
    client = connect(Redis(), url=first.url, timeout_s=0.5)
    sink = RedisSink(client, where=first.url, site="shop", run="run", spool=spool)
    first.stop()
    for number in range(60):
        events: list[Event] = [entered(f"shop-{number}"), *[seen(f"shop-{number}")] * 10]
        sink.publish(events)
    with EmbeddedRedis(tmp_path / "redis", port=first.port) as second:
        assert sink.close(15)
        with subscribe(second.url, site="shop", start="0", block_s=0) as received:
            got = [event.data for event in received]
            missed = received.missed
    news = [event for event in got if isinstance(event, DaemonDropped)]
    assert sum(event.liveness for event in news) == sink.counters.dropped["liveness"] > 0
    assert sum(event.identity + event.operation for event in news) == 0
    assert news[0].reason == "the spool is full"
    assert missed == sink.counters.dropped["liveness"]


def test_a_disk_that_is_truly_full_loses_nothing_while_memory_lasts(tmp_path: Path) -> None:
    """The kernel refuses every write beyond 100 kB to the daemon's process."""
    script = """
import resource, structlog, sys
from pathlib import Path
from reid_stream.config.settings import Redis
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.shop import visit
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
url, folder = sys.argv[1], Path(sys.argv[2])
sink = RedisSink(connect(Redis(), url=url, timeout_s=1), where=url, site="shop", run="run", spool=Spool(folder))
print("ready", flush=True)
sys.stdin.readline()  # Redis is away now
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for number in range(200):
    sink.publish(visit(number))
print(sink.is_on_disk, dict(sink.counters.dropped), flush=True)
sys.stdin.readline()  # and back
print(sink.close(15), sink.is_on_disk, flush=True)
"""
    first = EmbeddedRedis(tmp_path / "redis")
    daemon = subprocess.Popen(
        [sys.executable, "-c", script, first.url, str(tmp_path / "spool")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=Path(__file__).parents[2],
    )
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == "ready\n"
    first.stop()
    daemon.stdin.write("\n")
    assert daemon.stdout.readline() == "False {}\n"
    with EmbeddedRedis(tmp_path / "redis", port=first.port) as second:
        daemon.stdin.write("\n")
        assert daemon.stdout.readline().startswith("True")
        daemon.wait(20)
        with subscribe(second.url, site="shop", start="0", block_s=0) as received:
            assert [event.data for event in received] == [event for n in range(200) for event in visit(n)]
    daemon.stdin.close()
    daemon.stdout.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
