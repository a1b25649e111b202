"""Encoding and decoding of events."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.events import EVENT_TYPES, Event, IdentityLeft
from reid_stream.publish.cloudevents import UnknownEvent, decode, encode
from reid_stream.publish.json_schema import DIRECTORY, sample_body, schema_of, write

ROOT = Path(__file__).parents[2]
LEFT = json.loads(sample_body(IdentityLeft))

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
times = st.floats(min_value=0, max_value=4e9)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
st.register_type_strategy(float, numbers)
st.register_type_strategy(str, names)


def an_event(kind: type[Event]) -> st.SearchStrategy[Any]:
    named = {name: times for name in kind.__struct_fields__ if name.endswith("_at") or name == "since"}
    return st.builds(kind, **named)


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.type)
@given(data=st.data())
def test_an_event_comes_back_as_it_was_sent(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(an_event(kind))
    envelope = decode(encode(event, site="shop", run="run-1", sequence=7))
    assert envelope.data == event
    assert (envelope.id, envelope.run, envelope.sequence) == ("run-1-7", "run-1", 7)
    assert envelope.source == "reid-stream/shop"
    assert envelope.subject == event.subject
    assert abs(envelope.time.timestamp() - event.at) < 1e-5


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.type)
@given(data=st.data())
def test_every_event_fits_its_schema(kind: type[Event], data: st.DataObject) -> None:
    body = encode(data.draw(an_event(kind)), site="shop", run="r", sequence=0)
    jsonschema.Draft202012Validator(schema_of(kind)).validate(json.loads(body))


def test_the_committed_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    committed = {path.name: path.read_text() for path in (ROOT / DIRECTORY).iterdir()}
    assert {path.name: path.read_text() for path in write(tmp_path)} == committed


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.type)
def test_the_sample_of_each_type_is_valid_and_loads(kind: type[Event]) -> None:
    (body,) = json.loads((ROOT / DIRECTORY / f"{kind.type}.json").read_bytes())["examples"]
    jsonschema.Draft202012Validator(schema_of(kind)).validate(body)
    envelope = decode(json.dumps(body))
    assert isinstance(envelope.data, kind)
    again = encode(envelope.data, site="shop", run=envelope.run, sequence=envelope.sequence)
    assert json.loads(again) == body


def test_an_unknown_version_comes_with_its_fields() -> None:
    sample = copy.deepcopy(LEFT)
    sample["type"] = "io.reid-stream.identity.left.v9"
    data = decode(json.dumps(sample)).data
    assert isinstance(data, UnknownEvent)
    assert data.fields["camera"] == sample["data"]["camera"]


def test_a_field_of_a_later_release_is_ignored() -> None:
    sample = copy.deepcopy(LEFT)
    sample["data"]["new"] = 1
    sample["newextension"] = "x"
    assert not isinstance(decode(json.dumps(sample)).data, UnknownEvent)


@given(st.binary() | st.text())
def test_garbage_is_a_value_error(body: bytes | str) -> None:
    with pytest.raises(ValueError, match="event"):
        decode(body)


def test_data_that_does_not_fit_its_type_is_a_value_error() -> None:
    sample = copy.deepcopy(LEFT)
    sample["data"]["since"] = "yesterday"
    with pytest.raises(ValueError, match="since"):
        decode(json.dumps(sample))
