"""Entries of the stream between hosts, as its Redis user may make them."""

from typing import Any

import msgspec

from reid_stream.records import encode
from tests.link.test_links import record

LAST = "18446744073709551615-18446744073709551615"
"""The highest ID of a stream."""


def batch(*records: object, epoch: int = 1, camera: str = "door") -> dict[str, Any]:
    bodies = [one if isinstance(one, bytes) else msgspec.msgpack.encode(one) for one in records]
    return {"host": "h", "epochs": msgspec.msgpack.encode({camera: epoch}), "records": msgspec.msgpack.encode(bodies)}


def other(**fields: object) -> dict[str, Any]:
    return {**msgspec.msgpack.decode(encode(record(0))), **fields}
