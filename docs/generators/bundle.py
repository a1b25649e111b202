"""docs/reference/bundle.md: the fields of bundle.json."""

import json
from typing import get_type_hints

import msgspec

from docs.generators.markdown import head, sentence, table, type_name
from reid_stream.bundles import bundle
from reid_stream.publish.json_schema import field_docs

_TEXT = f"""\
A model bundle is a folder with two files: `{bundle.MODEL_FILE}`, the network, and `{bundle.BUNDLE_FILE}`, everything
needed to serve it. A bundle is checked completely before anything runs: schema, every field, the size and hash of the
network, then one probe input with its expected output after the engine was built.

A network for crops takes `(b, 3, h, w)` float32 and returns `(b, d)`, with d at most {bundle.MAX_DIM}. Vectors are
scaled to unit length. Every stored vector carries the hash of the bundle that made it; vectors of different bundles are
never compared. `name`, `created`, `licence`, `data`, `metrics` and `source` do not enter the hash.
"""


def page() -> str:
    """Generate the page."""
    structs: list[type[msgspec.Struct]] = [
        bundle.EmbedderBundle,
        bundle.DetectorBundle,
        bundle.EmbedderInput,
        bundle.DetectorInput,
        bundle.Verifier,
        bundle.Calibration,
        bundle.Probe,
    ]
    return "\n".join([head("Bundle format", _TEXT), *(_struct(struct) for struct in structs)])


def _struct(struct: type[msgspec.Struct]) -> str:
    docs, hints = field_docs(struct), get_type_hints(struct, include_extras=True)
    rows = []
    if tag := struct.__struct_config__.tag:
        rows.append(("`kind`", "string", f"`{tag}`."))
    for field in msgspec.structs.fields(struct):
        kind = hints[field.name]
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        shown = f"[{kind.__name__}](#{kind.__name__.lower()})" if is_struct else type_name(kind)
        rows.append((f"`{field.encode_name}`", shown, docs.get(field.name, "") + _default(field)))
    title = f"{str(tag).capitalize()} bundle" if tag else struct.__name__
    return f"## {title}\n\n{sentence(struct.__doc__)}\n\n{table(('field', 'type', 'meaning'), rows)}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required or field.default is msgspec.NODEFAULT:
        return "" if field.required else " Default: empty."
    if field.default is msgspec.UNSET:
        return " Optional."
    return f" Default: `{json.dumps(msgspec.to_builtins(field.default))}`."
