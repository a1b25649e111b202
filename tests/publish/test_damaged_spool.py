"""Damaged spool files, at the start and during a run: logged, set aside, and the daemon continues."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream import subscribe
from reid_stream.events import DaemonDropped
from reid_stream.publish.spool import Spool
from reid_stream.publish.spool_row import Epoch, Row, rank_of
from reid_stream.publish.stream_ids import NOWHERE, Position
from tests.publish.shop import visit
from tests.publish.test_redis_sink import a_sink, until

KIND = "identity.entered.v1"
ROWS = 150


def rows(first: int, count: int) -> list[Row]:
    return [Row(Position(n, 0), rank_of(KIND), KIND, b"%d" % n * 150) for n in range(first, first + count)]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool that was closed in order: all is in the database."""
    folder = tmp_path_factory.mktemp("closed") / "spool"
    spool = Spool(folder)
    for first in range(1, ROWS, 10):
        spool.append(rows(first, 10))
    spool.close()
    return folder


@pytest.fixture(scope="module")
def killed(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose daemon was killed: the latest rows are in the log."""
    folder = tmp_path_factory.mktemp("killed") / "spool"
    before = tmp_path_factory.mktemp("before") / "spool"
    shutil.copytree(closed, before)
    spool = Spool(before)
    for first in range(ROWS + 1, 2 * ROWS, 10):
        spool.append(rows(first, 10))
    shutil.copytree(before, folder)
    spool.close()
    return folder


def check_life(folder: Path, count: int) -> str:
    """Open a spool that should have `count` rows; return its log events."""
    with structlog.testing.capture_logs() as log:
        spool = Spool(folder)
        found = spool.after(NOWHERE, -1)
        lost = spool.take_lost().get("damaged", Counter())
        spool.append(rows(5000, 10))
        again = spool.after(NOWHERE, -1)
        spool.close()
    assert len(again) == len(found) + 10, "it continues"
    assert [row for row in again if row.position.ms < 5000] == found
    assert set(found) <= set(rows(1, count)), "no row is other than it was"
    assert sum(lost.values()) == count - len(found), "what is missing is counted"
    logged = [line["event"] for line in log]
    assert logged.count("spool_damaged") <= 2
    if len(found) < count:
        assert lost
    return " ".join(logged)


def spoil(file: Path, place: int, places: int) -> None:
    """Overwrite eight bytes in the `place`-th of so many parts of a file."""
    body = bytearray(file.read_bytes())
    at = place * len(body) // places + random.Random(place).randrange(len(body) // places)
    body[at : at + 8] = b"\xff\x00spoilt"
    file.write_bytes(body)


@pytest.mark.parametrize("place", range(30))
def test_spoilt_bytes_in_the_database(place: int, closed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    shutil.copytree(closed, folder)
    spoil(folder / "spool.sqlite", place, 30)
    check_life(folder, ROWS)


@pytest.mark.parametrize("place", range(15))
def test_spoilt_bytes_in_the_log(place: int, killed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    shutil.copytree(killed, folder)
    spoil(folder / "spool.sqlite-wal", place, 15)
    check_life(folder, 2 * ROWS)


def garbage(folder: Path) -> None:
    (folder / "spool.sqlite").write_bytes(b"not a database" * 1000)


def cut(folder: Path) -> None:
    file = folder / "spool.sqlite"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(folder: Path) -> None:
    (folder / "spool.sqlite").write_bytes(b"")


def gone(folder: Path) -> None:
    (folder / "spool.sqlite").unlink()


def other_tables(folder: Path) -> None:
    (folder / "spool.sqlite").unlink()
    db = sqlite3.connect(folder / "spool.sqlite")
    db.execute("CREATE TABLE rows (a, b)")
    db.commit()
    db.close()


@pytest.mark.parametrize("spoil", [garbage, cut, empty, gone, other_tables])
def test_a_database_that_is_none(spoil: Callable[[Path], None], closed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    shutil.copytree(closed, folder)
    spoil(folder)
    logged = check_life(folder, ROWS)
    assert "spool_damaged" in logged or spoil in (empty, gone)
    if spoil in (garbage, cut, other_tables):
        assert list(folder.glob("damaged-*.sqlite"))


@pytest.mark.parametrize("text", [b"", b"junk\n", b"00000000 [1]\n", b"\xff\xfe" * 50])
def test_a_note_of_the_latest_state_that_cannot_be_read(text: bytes, closed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    shutil.copytree(closed, folder)
    (folder / "spool.last").write_bytes(text)
    logged = check_life(folder, ROWS)
    assert ("spool_damaged" in logged) is bool(text)


def test_rows_are_still_of_their_epoch_after_the_database_was_set_aside(closed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    shutil.copytree(closed, folder)
    spool = Spool(folder)
    spool.begin_epoch(Epoch("lease", "a", ()))
    spool.close()
    garbage(folder)
    again = Spool(folder)
    again.take_lost()
    again.begin_epoch(Epoch("lease", "b", ("a",)))
    again.append(rows(1, 3))
    again.begin_epoch(Epoch("lease", "b2", ("a", "b")))
    assert len(again.after(NOWHERE, -1)) == 3, "no other had the lease"
    again.begin_epoch(Epoch("lease", "c", ("a", "b", "other")))
    assert not again.after(NOWHERE, -1)
    assert again.take_lost()["stale"]["identity"] == 3
    again.close()


@pytest.mark.parametrize("spoil", [garbage, cut, empty, gone])
def test_a_spool_that_is_spoilt_while_the_daemon_runs(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    first = UnguardedRedis(tmp_path / "redis")
    sink = a_sink(first.url, tmp_path)
    first.stop()
    for number in range(20):
        sink.publish(visit(number))
    with structlog.testing.capture_logs() as log:
        (tmp_path / "spool" / "spool.sqlite-wal").write_bytes(b"")
        spoil(tmp_path / "spool")
        for number in range(20, 40):
            sink.publish(visit(number))
        with UnguardedRedis(tmp_path / "redis", port=first.port) as second:
            until(lambda: sink.away is None)
            assert sink.close(15)
            with subscribe(second.url, site="shop", start="0", block_s=0) as received:
                got = [event.data for event in received]
    lost = sum(event.identity + event.liveness for event in got if isinstance(event, DaemonDropped))
    people = [event for event in got if not isinstance(event, DaemonDropped)]
    assert len(people) + lost == 120
    assert people[-60:] == [event for number in range(20, 40) for event in visit(number)]
    assert sum(line["event"] == "spool_damaged" for line in log) <= 2
