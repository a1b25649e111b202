"""docs/reference/events.md: every event type with its data fields."""

import json
import textwrap
from typing import get_type_hints

import msgspec

from docs.generators.markdown import head, sentence, table, type_name
from reid_stream.events import EVENT_TYPES, PREFIX, Event
from reid_stream.publish.json_schema import field_descriptions, schema_of

_TEXT = f"""\
Every event is a [CloudEvents 1.0](https://cloudevents.io) JSON document. `type` is `{PREFIX}` followed by the name in
the table below. A change that a parser could notice gets a new version (`.v2`) beside the old one. JSON Schemas of
whole documents are in `configs/schemas/events/`. How to use the events: [Events](../guide/events.md).

Times in `data` (`..._at`, `since`) are UTC epoch seconds. Boxes are x1, y1, x2, y2 in pixels of the full frame.
`similarity` and `probability` are defined in the [glossary](../glossary.md#similarity).
"""


def page() -> str:
    """Generate the page."""
    envelope = schema_of(EVENT_TYPES[0])["properties"]
    rows = [(f"`{name}`", _envelope(name, field)) for name, field in envelope.items()]
    types = [(f"[`{event.type}`](#{_anchor(event)})", sentence(event.__doc__), event.priority) for event in EVENT_TYPES]
    parts = [
        head("Event types", _TEXT),
        table(("type", "when", "[priority](../guide/redis.md#when-redis-is-away)"), types),
    ]
    parts += ["## Envelope\n", table(("field", "meaning"), rows)]
    parts += [_event(event) for event in EVENT_TYPES]
    return "\n".join(parts)


def _envelope(name: str, field: dict[str, object]) -> str:
    fixed = {
        "specversion": "Always `1.0`.",
        "type": f"`{PREFIX}` and the event type.",
        "datacontenttype": "Always `application/json`.",
        "dataschema": "URN of the JSON Schema.",
        "data": "The fields below.",
    }
    return str(field.get("description") or fixed[name])


def _event(event: type[Event]) -> str:
    docs = field_descriptions(event)
    hints = get_type_hints(event, include_extras=True)
    fields = msgspec.structs.fields(event)
    rows = []
    for field in fields:
        default = "" if field.required else f" Default: `{json.dumps(msgspec.to_builtins(field.default))}`."
        rows.append((f"`{field.encode_name}`", type_name(hints[field.name]), docs.get(field.name, "") + default))
    example = textwrap.indent(json.dumps(json.loads(msgspec.json.encode(event.sample())), indent=2), "    ")
    return (
        f"## {event.type}\n\n{sentence(event.__doc__)}\n\n{table(('field', 'type', 'meaning'), rows)}\n"
        f'??? example "`data`, for example"\n\n    ```json\n{example}\n    ```\n'
    )


def _anchor(event: type[Event]) -> str:
    """Return the anchor of a type's heading, as the site makes it."""
    return event.type.replace(".", "")
