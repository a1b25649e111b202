"""Instructions of any size and content are refused, deleted or trimmed; none of it reaches the events."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from structlog.testing import capture_logs
from typer.testing import CliRunner

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.cli import app
from reid_stream.errors import ConfigError
from reid_stream.instructions import (
    MOST_BYTES,
    MOST_TEXT,
    MOST_TRACKS,
    Erased,
    Instruction,
    MergePeople,
    NamePerson,
    SplitTracks,
    TrackSpan,
    Undo,
    encode,
)
from reid_stream.operators import reader as module
from reid_stream.operators.client import InstructionClient
from reid_stream.operators.listing import list_identities
from reid_stream.operators.reader import InstructionReader
from reid_stream.operators.seal import FIELD, Seal
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.publish.conftest import server as server  # noqa: PLC0414 (a fixture)
from tests.publish.test_redis_supervisor import until

KEY = "reid:shop:instructions"
WORDS = {"at": 1.0, "who": "anna"}
PERSON = GlobalId("shop-1")
CONTROL = ("\x1b]0;title\x07", "two\nlines", "\x00", "\x9b31m", "\u202egnp", "\u2028")


def taken(reader: InstructionReader, count: int) -> list[Instruction]:
    found: list[Instruction] = []

    def is_there() -> bool:
        found.extend(reader.take())
        return len(found) >= count

    until(is_there)
    return found


@pytest.mark.parametrize("text", [*CONTROL, "x" * (MOST_TEXT + 1)])
@pytest.mark.parametrize(
    "make",
    [
        lambda text: NamePerson(at=1.0, who=text, person=PERSON, label="x"),
        lambda text: NamePerson(at=1.0, who="a", why=text, person=PERSON, label="x"),
        lambda text: NamePerson(at=1.0, who="a", person=PERSON, label=text),
        lambda text: NamePerson(at=1.0, who="a", person=GlobalId(text), label="x"),
        lambda text: MergePeople(at=1.0, who="a", gone=GlobalId(text), into=PERSON),
        lambda text: MergePeople(at=1.0, who="a", gone=PERSON, into=GlobalId(text)),
        lambda text: Undo(at=1.0, who="a", instruction=text),
        lambda text: SplitTracks(at=1.0, who="a", person=PERSON, visits=(TrackSpan(camera=CameraId(text)),)),
        lambda text: SplitTracks(at=1.0, who="a", person=PERSON, tracks=((CameraId(text), "r", TrackId(1)),)),
        lambda text: SplitTracks(at=1.0, who="a", person=PERSON, tracks=((CameraId("a"), text, TrackId(1)),)),
    ],
)
def test_no_text_of_an_instruction_is_long_or_has_control_characters(
    make: Callable[[str], Instruction], text: str
) -> None:
    with pytest.raises(ValueError, match="characters") as caught:
        make(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_split_has_a_bounded_number_of_tracks() -> None:
    with pytest.raises(ValueError, match=f"at most {MOST_TRACKS} tracks"):
        SplitTracks(at=1.0, who="a", person=PERSON, tracks=((CameraId("a"), "r", TrackId(1)),) * (MOST_TRACKS + 1))


def test_an_operator_is_refused_with_the_limit(server: UnguardedRedis) -> None:
    desk = InstructionClient(redis.Redis.from_url(server.url), "shop", server.url)
    large = SplitTracks(at=1.0, who="a", person=PERSON, tracks=((CameraId("c" * 200), "r" * 200, TrackId(1)),) * 400)
    with pytest.raises(ConfigError, match=f"at most {MOST_BYTES} bytes"):
        desk.submit(large)
    for option, text in (("--who", "\x1b]0;x\x07"), ("--why", "a\nb")):
        words = [
            "identity",
            "name",
            "shop-1",
            "Bea",
            "--url",
            server.url,
            "--site",
            "shop",
            "--wait",
            "0",
            option,
            text,
        ]
        done = CliRunner().invoke(app, words)
        assert isinstance(done.exception, ConfigError), done.exception
    assert not redis.Redis.from_url(server.url).exists(KEY)


def test_what_others_append_is_refused_logged_in_short_and_deleted_if_large(server: UnguardedRedis) -> None:
    client: Any = redis.Redis.from_url(server.url)
    body = encode(NamePerson(at=1.0, who="anna", person=PERSON, label="Bea"))
    raw = msgspec.json.decode(body)
    client.xadd(KEY, {"instruction": json.dumps({**raw, "label": "x" * 1_000_000})})
    client.xadd(KEY, {"instruction": b"x" * 5_000_000})
    client.xadd(KEY, {"instruction": body, "other": b"x" * 5_000_000})
    client.xadd(KEY, {"instruction": json.dumps({**raw, "who": "\x1b]0;x\x07"})})
    client.xadd(KEY, {"instruction": json.dumps({**raw, "do": "x" * 60_000})})
    client.xadd(KEY, {"nothing": "here"})
    client.xadd(KEY, {"instruction": b'{"new":' + b"[" * 30_000})
    with capture_logs() as logs:
        reader = InstructionReader(redis.Redis.from_url(server.url), "shop")
        until(lambda: reader.malformed >= 6)
        until(lambda: client.xlen(KEY) == 4)
        # The large field beside it is gone; the instruction itself is one.
        assert [instruction.do for instruction in reader.take()] == ["name"]
        reader.close()
    assert reader.malformed == 6
    assert all(len(str(entry)) < 1000 for entry in logs)
    assert client.memory_usage(KEY) < 200_000


def test_only_the_daemon_may_report_an_erasure(server: UnguardedRedis) -> None:
    client: Any = redis.Redis.from_url(server.url)
    body = encode(Erased(at=1.0, who="reid-stream", instruction="1-0", person=PERSON, report="is erased"))
    ours = Seal()
    other = encode(Erased(at=1.0, who="reid-stream", instruction="2-0", person=PERSON, report="is erased"))
    for fields in (
        {"instruction": body},
        {"instruction": body, FIELD: b""},
        {"instruction": body, FIELD: Seal().sign(body)},
        {"instruction": body, FIELD: ours.sign(other)},
        {"instruction": body, FIELD: ours.sign(body)},
    ):
        client.xadd(KEY, fields)
    reader = InstructionReader(redis.Redis.from_url(server.url), "shop", seal=ours)
    until(lambda: reader.malformed == 4)
    found = taken(reader, 1)
    assert [instruction.do for instruction in found] == ["erased"]
    reader.close()


@pytest.mark.slow
def test_the_stream_is_trimmed_once_everything_is_read(server: UnguardedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 200)
    client: Any = redis.Redis.from_url(server.url)
    body = encode(NamePerson(at=1.0, who="anna", person=PERSON, label="Bea"))
    for _ in range(2500):
        client.xadd(KEY, {"instruction": body})
    last = client.xinfo_stream(KEY)["last-generated-id"]
    reader = InstructionReader(redis.Redis.from_url(server.url), "shop")
    # It reads no further ahead than the matcher can follow.
    until(lambda: len(reader._waiting) >= 1000)
    assert client.xlen(KEY) == 2500
    assert len(reader._waiting) < 1100
    assert len(taken(reader, 2500)) == 2500
    until(lambda: 200 <= client.xlen(KEY) <= 300)
    assert client.xinfo_stream(KEY)["last-generated-id"] == last
    reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("value", [b"soon", b"\xff\xfe", b"9", b""])
def test_a_damaged_place_of_the_last_answer_is_no_traceback(server: UnguardedRedis, value: bytes) -> None:
    client: Any = redis.Redis.from_url(server.url)
    client.set("reid:shop:state:instructions", value)
    place = InstructionClient(client, "shop", server.url).submit(
        NamePerson(at=1.0, who="anna", person=PERSON, label="Bea")
    )
    reader = InstructionReader(redis.Redis.from_url(server.url), "shop", "0-1")
    found = taken(reader, 1)
    assert found[0].id == place
    reader.close()


def test_live_keys_with_any_content_are_listed(server: UnguardedRedis) -> None:
    client: Any = redis.Redis.from_url(server.url)
    client.hset("reid:shop:identity:shop-1", mapping={"label": b"\xff", "seen_at": "soon", "revision": "x"})
    client.hset(b"reid:shop:identity:\xff", mapping={"first_seen_at": "1e999", "revision": "nan"})
    client.sadd(b"reid:shop:present:\xfe", b"\xfd")
    rows = {row.person: row for row in list_identities(client, "shop", server.url)}
    assert (rows[PERSON].label, rows[PERSON].seen_at, rows[PERSON].revision) == ("\ufffd", None, 1)
    done = CliRunner().invoke(app, ["identity", "list", "--url", server.url, "--site", "shop"])
    assert done.exit_code == 0, done.exception
