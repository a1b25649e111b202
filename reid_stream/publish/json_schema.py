"""JSON Schemas of the events, one file per type, generated from `events`.

    python -m reid_stream.publish.json_schema [DIRECTORY]      writes configs/schemas/events/*.json

Each schema describes the whole CloudEvents object, so a subscriber validates what it reads as it reads it. Its example
is that of the struct.
"""

import ast
import functools
import inspect
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from reid_stream.events import EVENT_TYPES, EXAMPLE_RUN, PREFIX, Event
from reid_stream.publish.cloudevents import SCHEMA_URI, encode

DIRECTORY = Path("configs/schemas/events")


def field_descriptions(event: type[Event]) -> dict[str, str]:
    """Return the description of each documented field of an event, from the strings below its fields."""
    times = {name: "UTC seconds." for name in event.__struct_fields__ if name.endswith("_at")}
    return times | field_docs(event)


def field_docs(kind: type) -> dict[str, str]:
    """Return the string below each field of a class of this package and of its bases, by field name."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("reid_stream"):
            found |= _own_field_docs(owner)
    return found


@functools.cache
def _own_field_docs(kind: type) -> dict[str, str]:
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = " ".join(words.split())
    return found


def sample_body(event: type[Event]) -> bytes:
    """Return the example of an event type as a subscriber receives it."""
    return encode(event.sample(), site="shop", run=EXAMPLE_RUN, sequence=7)


def schema_of(event: type[Event]) -> dict[str, Any]:
    """Describe the CloudEvents object that carries `event` (JSON Schema, draft 2020-12)."""
    (reference,), definitions = msgspec.json.schema_components((event,), ref_template="#/$defs/{name}")
    for name, words in field_descriptions(event).items():
        if name in (described := definitions[event.__name__]["properties"]):
            described[name]["description"] = words
    short = event.type
    text = {"type": "string", "minLength": 1}
    properties: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "id": text | {"description": "Unique with `source`: the run and the sequence."},
        "source": text | {"pattern": "^reid-stream/", "description": "`reid-stream/` and the site."},
        "type": {"const": PREFIX + short},
        "time": text | {"format": "date-time", "description": "When it happened, UTC; of a frame, its capture time."},
        "subject": text | {"description": "The global ID, the camera or the run that it is about."},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": SCHEMA_URI + short},
        "sequence": text
        | {"pattern": "^[0-9]{12,}$", "description": "Grows by one per event of a run; sorts as text."},
        "runid": text | {"description": "The daemon's run."},
        "data": reference,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URI + short,
        "title": PREFIX + short,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "examples": [json.loads(sample_body(event))],
        "$defs": definitions,
    }


def write(directory: Path) -> list[Path]:
    """Write one file per event type and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for event in EVENT_TYPES:
        path = directory / f"{event.type}.json"
        path.write_text(json.dumps(schema_of(event), indent=2) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    written = write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
    sys.stdout.write("".join(f"{path}\n" for path in written))
