"""Fuzz targets: bytes that a subscriber decodes, and model folders."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from reid_stream.bundles import bundle
from reid_stream.errors import ModelError
from reid_stream.events import EVENT_TYPES, Event
from reid_stream.match.presence import Presence  # noqa: F401 (what atheris is to look into is imported before it starts)
from reid_stream.publish.cloudevents import UnknownEvent, decode, encode
from reid_stream.publish.json_schema import sample_body
from reid_stream.publish.live_keys import LiveState
from reid_stream.records import Perceived
from reid_stream.records import decode as decode_record
from reid_stream.records import encode as encode_record

SAMPLES = Path(__file__).parents[1] / "samples"
_FOLDER = Path(tempfile.mkdtemp(prefix="reid-stream-fuzz-"))


def event(data: bytes) -> None:
    """An event is read whole or is a ValueError; what was read can be written again and read the same."""
    try:
        read = decode(data)
    except ValueError:
        return
    assert 0 <= read.sequence < 10**18
    if isinstance(read.data, UnknownEvent):
        return
    known: Event = read.data
    body = encode(known, site="s", run=read.run, sequence=read.sequence)
    again = decode(body)
    assert again.data == known, (again.data, known)
    LiveState("s").commands([known])


def observation(data: bytes) -> None:
    """A record from the link is read whole or is a ValueError."""
    try:
        read: Perceived = decode_record(data)
    except ValueError:
        return
    assert decode_record(encode_record(read)) == read


def bundle_json(data: bytes) -> None:
    """A bundle is read whole or is a ModelError, and its probe can be made."""
    (_FOLDER / bundle.BUNDLE_FILE).write_bytes(data)
    model = b"no network"
    (_FOLDER / bundle.MODEL_FILE).write_bytes(model)
    with contextlib.suppress(ModelError):
        bundle.load(_FOLDER)
    # Whoever writes a bundle writes its hash as well, so what comes behind that is looked at, too.
    with contextlib.suppress(ModelError):
        read = bundle._parse(data, _FOLDER)
        bundle._check_fields(read, _FOLDER)
        found = bundle.load(_rehashed(read, model))
        bundle.check_probe(found, bundle.probe_input(found))


def _rehashed(read: bundle.Bundle, model: bytes) -> Path:
    sized = msgspec.structs.replace(read, model_bytes=len(model))
    complete = msgspec.structs.replace(sized, hash=bundle.fingerprint(sized, model))
    (_FOLDER / bundle.BUNDLE_FILE).write_bytes(msgspec.json.encode(complete))
    return _FOLDER


def _event_seeds() -> Iterator[bytes]:
    yield from map(sample_body, EVENT_TYPES)


def _bundle_seeds() -> Iterator[bytes]:
    for path in sorted(SAMPLES.rglob(bundle.BUNDLE_FILE)):
        yield path.read_bytes()


TARGETS = {
    "event": (event, list(_event_seeds())),
    "observation": (observation, [(SAMPLES / "observation.msgpack").read_bytes()]),
    "bundle": (bundle_json, list(_bundle_seeds())),
}
