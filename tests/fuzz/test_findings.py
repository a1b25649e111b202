"""Input that once caused faults, and a short run of every fuzz target."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.bundles import bundle
from reid_stream.errors import ModelError
from reid_stream.publish.cloudevents import decode, encode
from reid_stream.publish.live_keys import LiveState
from reid_stream.publish.spool import Spool
from reid_stream.publish.spool_row import Row
from reid_stream.publish.stream_ids import Position
from reid_stream.records import decode as decode_record
from tests.fuzz.__main__ import by_chance, spoil, targets
from tests.fuzz.publish import SAMPLES
from tests.publish.shop import entered, left, visit
from tests.publish.test_redis_sink import a_sink, sent_numbers

DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.slow
@pytest.mark.parametrize("name", list(targets()))
def test_a_little_spoilt_input_breaks_nothing(name: str) -> None:
    target, seeds = targets()[name]
    for seed in seeds:
        target(seed)
    by_chance(target, seeds, seconds=0.3, seed=0)


def test_the_same_seed_spoils_in_the_same_way() -> None:
    import random

    assert spoil(b'{"a":1}', random.Random(3), [b"x"]) == spoil(b'{"a":1}', random.Random(3), [b"x"])


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": "-5"},
        {"sequence": "1_000"},
        {"sequence": "٣"},
        {"sequence": "9" * 400},
        {"type": "io.reid-stream.later.v1", "data": json.loads(DEEP[4990:5010])},
    ],
)
def test_an_event_with_numbers_or_data_of_another_kind_is_a_value_error(changes: dict[str, Any]) -> None:
    event = json.loads(encode(entered("shop-1"), site="shop", run="r", sequence=0))
    with pytest.raises(ValueError, match="event"):
        decode(json.dumps(event | changes))


def test_an_event_too_deep_to_read_is_a_value_error() -> None:
    event = json.loads(encode(entered("shop-1"), site="shop", run="r", sequence=0))
    event |= {"type": "io.reid-stream.later.v1", "data": {"x": "DEEP"}}
    with pytest.raises(ValueError, match="event"):
        decode(json.dumps(event).replace('"DEEP"', DEEP))


@pytest.mark.parametrize("at", [-1.0, 1e12, 1e300])
def test_a_camera_with_a_mad_clock_does_not_end_the_events(at: float) -> None:
    assert decode(encode(left("shop-1", at=at), site="shop", run="r", sequence=0)).type.endswith("left.v1")


def test_a_person_without_a_number_is_no_news_for_the_numbers() -> None:
    live = LiveState("s")
    names = [entered("no-number"), entered("s-4[[["), entered("s-" + "9" * 30)]
    assert not [command for command in live.commands(names) if command[0] == "SET"]


def test_a_spoilt_row_does_not_stop_the_rows_behind_it(server: UnguardedRedis, tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool")
    bodies = [encode(event, site="shop", run="run", sequence=n) for n, event in enumerate(visit(1))]
    bodies[1] = bodies[1][:-30] + b'"""'
    first.append([Row(Position(n + 1, 0), 2, "identity.seen.v1", body) for n, body in enumerate(bodies)])
    first.close()
    sink = a_sink(server.url, tmp_path, first_sequence=3)
    sink.publish(visit(2))
    assert sink.close(5)
    assert sent_numbers(server.url) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("field", ["seen_at", "box", "score"])
def test_a_record_from_another_host_with_no_number_for_a_number_is_a_value_error(field: str) -> None:
    record = msgspec.msgpack.decode((SAMPLES / "observation.msgpack").read_bytes())
    record[field] = [10.0, 20.0, float("nan"), 84.0] if field == "box" else float("nan")
    with pytest.raises(ValueError, match="must be"):
        decode_record(msgspec.msgpack.encode(record))


SAMPLE = Path(__file__).parents[1] / "samples" / "embedder-tiny" / bundle.BUNDLE_FILE


@pytest.mark.parametrize(
    "text",
    [
        SAMPLE.read_bytes().replace(b"random weights", b"\xff\xfe"),
        SAMPLE.read_bytes().replace(b'"metrics": {}', b'"metrics": ' + DEEP.encode()),
        SAMPLE.read_bytes().replace(b'"height": 32', b'"height": 1000000000'),
        SAMPLE.read_bytes().replace(b'"seed": 7', b'"seed": -7'),
    ],
    ids=["no text", "deep", "a picture of a kilometre", "a seed below 0"],
)
def test_a_bundle_with_impossible_fields_is_a_model_error(tmp_path: Path, text: bytes) -> None:
    assert text != SAMPLE.read_bytes()
    (tmp_path / bundle.BUNDLE_FILE).write_bytes(text)
    with pytest.raises(ModelError, match=r"bundle\.json"):
        bundle.load(tmp_path)
